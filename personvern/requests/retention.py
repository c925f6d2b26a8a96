"""What is kept and for how long: name, address and text go, the bare figures stay.

Never purged is an unconfirmed request that nobody at the company has read, one that is held because a complaint or a
claim is open, and one of a public body before its export is confirmed.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from dateutil.relativedelta import relativedelta
from sqlalchemy import ColumnElement, Connection, select

from personvern.database.connection import Database
from personvern.database.tables import requests
from personvern.notifications import caps, outbox
from personvern.privacy.keys import Keys
from personvern.requests import drafts, life, verification

logger = logging.getLogger(__name__)

_SENT_KEPT = timedelta(days=30)
_AT_A_TIME = 200


@dataclass(frozen=True, slots=True)
class Keeping:
    """A company's rule."""

    months: int = 36
    needs_export: bool = False
    """A public body: case documents are archive-bound."""


def purge_closed(connection: Connection, keys: Keys, now: datetime, keeping: Callable[[str], Keeping]) -> int:
    """Take the personal data out of requests that were closed long enough ago."""
    return _purge(connection, keys, now, keeping, "closed", requests.c.closed_at)


def purge_unconfirmed(connection: Connection, keys: Keys, now: datetime, keeping: Callable[[str], Keeping]) -> int:
    """Close requests whose code never came and take the personal data out of them, as long after their receipt.

    Only those that the privacy lead has read: her clock ran all the same.
    """
    return _purge(connection, keys, now, keeping, "unconfirmed", requests.c.received_at)


def purge_all(database: Database, keys: Keys, now: datetime, keeping: Callable[[str], Keeping]) -> dict[str, int]:
    """The daily job: all that this package and the outbox keep no longer."""
    purged = {}
    with database.write() as connection:
        purged["drafts"] = drafts.purge(connection, now)
        purged["codes"] = verification.purge(connection, now)
        purged["sendings"] = caps.purge(connection, now)
        purged["sent"] = outbox.purge(connection, now - _SENT_KEPT)
    for name, purge in (("unconfirmed", purge_unconfirmed), ("closed", purge_closed)):
        purged[name] = 0
        more = _AT_A_TIME
        while more:
            with database.write() as connection:
                more = purge(connection, keys, now, keeping)
            purged[name] += more
    logger.info("requests.purged %s", " ".join(f"{name}={number}" for name, number in purged.items()))
    return purged


def _purge(
    connection: Connection,
    keys: Keys,
    now: datetime,
    keeping: Callable[[str], Keeping],
    status: life.Status,
    since: ColumnElement[datetime],
) -> int:
    purged = 0
    companies = connection.execute(
        select(requests.c.company).where(requests.c.status == status, requests.c.purged_at.is_(None)).distinct()
    ).scalars()
    for company in list(companies):
        rule = keeping(company)
        query = select(requests.c.id, requests.c.group_id).where(
            requests.c.company == company,
            requests.c.status == status,
            requests.c.purged_at.is_(None),
            requests.c.held_at.is_(None),
            since <= now - relativedelta(months=rule.months),
        )
        if status == "unconfirmed":
            query = query.where(requests.c.read_at.is_not(None))
        if rule.needs_export:
            query = query.where(requests.c.exported_at.is_not(None))
        for row in connection.execute(query.limit(_AT_A_TIME)).all():
            _forget(connection, keys, row.id, row.group_id, status, now)
            purged += 1
    return purged


def _forget(
    connection: Connection, keys: Keys, request_id: str, group_id: str, status: life.Status, now: datetime
) -> None:
    emptied = {
        "name": None,
        "email": None,
        "details": None,
        "on_behalf": None,
        "email_hash": None,
        "conversation_id": None,
        "purged_at": now,
    }
    if status == "closed":
        life.note(connection, keys, request_id, who="system", why="kept_long_enough", now=now, changes=emptied)
    else:
        life.move(connection, keys, request_id, "closed", who="system", why="never_confirmed", now=now, changes=emptied)
    outbox.take_back(connection, request_id)
    outbox.take_back(connection, group_id)
