"""What is to be sent, written in the same transaction as what it tells of, and delivered at least once by a worker.

A worker that dies between sending and writing down that it did sends the same once more, with the same id: a mail has
the same Message-ID, a webhook the same idempotency key. What cannot be delivered is tried again, later and later, and
given up after a day; then it is counted by `failed_count` until somebody sends it again or it is forgotten.
"""

import json
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from sqlalchemy import Connection, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from personvern.database.connection import Database
from personvern.database.tables import outbox
from personvern.privacy.keys import Keys, Unreadable

logger = logging.getLogger(__name__)

Kind = Literal["mail", "webhook"]

GIVE_UP_AFTER = timedelta(days=1, hours=2)
"""A mail server that was down for a whole day finds its mails still waiting."""
LEASE = timedelta(minutes=5)
"""Longer than any transport's time-outs together."""
_FIRST_RETRY = timedelta(seconds=10)
_LONGEST_RETRY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One thing to send. The id is the same each time it is tried."""

    id: str
    kind: Kind
    purpose: str
    company: str
    payload: Mapping[str, Any]
    created_at: datetime


class NotDelivered(Exception):
    """It was not taken. `code` says why in one word or number, never whom or what; `for_good` where no retry helps."""

    def __init__(self, code: str, *, for_good: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.for_good = for_good


class Transport(Protocol):
    def send(self, outgoing: Outgoing) -> None:
        """Deliver it, or raise NotDelivered."""


@dataclass(frozen=True, slots=True)
class Failure:
    id: str
    kind: Kind
    purpose: str
    company: str
    subject: str | None
    attempts: int
    error: str | None
    created_at: datetime


def enqueue(
    connection: Connection,
    keys: Keys,
    *,
    kind: Kind,
    purpose: str,
    company: str,
    payload: Mapping[str, Any],
    now: datetime,
    subject: str | None = None,
    key: str | None = None,
    not_before: datetime | None = None,
    give_up_at: datetime | None = None,
) -> bool:
    """Put something into the outbox; False where something with the same `key` is or was there, and nothing is done."""
    first = max(now, not_before or now)
    statement = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(outbox)
    done = connection.execute(
        statement.values(
            id=secrets.token_hex(16),
            kind=kind,
            purpose=purpose,
            company=company,
            subject=subject,
            key=key,
            state="waiting",
            payload=keys.encrypt(json.dumps(payload, ensure_ascii=False)),
            created_at=now,
            next_attempt_at=first,
            give_up_at=give_up_at or first + GIVE_UP_AFTER,
            attempts=0,
        )
        .on_conflict_do_nothing(index_elements=["key"])
        .returning(outbox.c.id)
    )
    return done.first() is not None


def deliver_due(
    database: Database,
    keys: Keys,
    transports: Mapping[str, Transport],
    now: Callable[[], datetime],
    limit: int = 100,
) -> int:
    """Send what is due, one after the other; returns how many were delivered. Any number of workers may do so."""
    delivered = 0
    for _ in range(limit):
        claimed = _claim(database, keys, now())
        if claimed is None:
            break
        outgoing, lease = claimed
        fault: NotDelivered | None = None
        if outgoing is not None:
            try:
                transports[outgoing.kind].send(outgoing)
            except NotDelivered as error:
                fault = error
            except Exception as error:  # whatever a transport does, what it had to send must not be lost
                logger.error("outbox.transport_broken kind=%s error=%s", outgoing.kind, type(error).__name__)
                fault = NotDelivered(type(error).__name__)
            delivered += _settle(database, outgoing, lease, fault, now())
    return delivered


def _claim(database: Database, keys: Keys, now: datetime) -> tuple[Outgoing | None, str] | None:
    """The next thing that is due, leased to whoever asked; None in its place where it was given up instead."""
    free = or_(outbox.c.lease_until.is_(None), outbox.c.lease_until < now)
    with database.write() as connection:
        row = connection.execute(
            select(outbox)
            .where(outbox.c.state == "waiting", outbox.c.next_attempt_at <= now, free)
            .order_by(outbox.c.next_attempt_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            return None
        lease = secrets.token_hex(16)
        if now > row.give_up_at:
            # Nobody tried in time: a code that no longer opens anything is not sent.
            _give_up(connection, row.id, row.last_error or "too_late", now)
            return None, lease
        try:
            payload = json.loads(keys.decrypt(row.payload))
        except Unreadable:
            _give_up(connection, row.id, "unreadable", now)
            return None, lease
        connection.execute(
            update(outbox)
            .where(outbox.c.id == row.id)
            .values(lease=lease, lease_until=now + LEASE, attempts=row.attempts + 1)
        )
    return Outgoing(row.id, row.kind, row.purpose, row.company, payload, row.created_at), lease


def _settle(database: Database, outgoing: Outgoing, lease: str, fault: NotDelivered | None, now: datetime) -> int:
    mine = (outbox.c.id == outgoing.id, outbox.c.lease == lease)
    with database.write() as connection:
        row = connection.execute(select(outbox).where(*mine).with_for_update()).one_or_none()
        if row is None:
            return 0  # it took longer than the lease and another worker has it
        if fault is None:
            connection.execute(
                update(outbox)
                .where(*mine)
                .values(state="delivered", payload=None, lease=None, lease_until=None, last_error=None, finished_at=now)
            )
            logger.info("outbox.delivered id=%s kind=%s purpose=%s", outgoing.id, outgoing.kind, outgoing.purpose)
            return 1
        wait = min(_FIRST_RETRY * 2 ** min(row.attempts - 1, 12), _LONGEST_RETRY)
        if fault.for_good or now + wait > row.give_up_at:
            _give_up(connection, row.id, fault.code, now)
        else:
            connection.execute(
                update(outbox)
                .where(*mine)
                .values(next_attempt_at=now + wait, lease=None, lease_until=None, last_error=fault.code[:80])
            )
        logger.warning(
            "outbox.not_delivered id=%s kind=%s purpose=%s error=%s",
            outgoing.id,
            outgoing.kind,
            outgoing.purpose,
            fault.code,
        )
    return 0


def _give_up(connection: Connection, outgoing_id: str, error: str, now: datetime) -> None:
    connection.execute(
        update(outbox)
        .where(outbox.c.id == outgoing_id)
        .values(state="failed", lease=None, lease_until=None, last_error=error[:80], finished_at=now)
    )
    logger.error("outbox.given_up id=%s error=%s", outgoing_id, error)


def waiting_count(connection: Connection, now: datetime) -> int:
    """How much is due and not sent."""
    return connection.execute(
        select(func.count()).where(outbox.c.state == "waiting", outbox.c.next_attempt_at <= now)
    ).scalar_one()


def failed_count(connection: Connection) -> int:
    """How much was given up and waits for somebody to look at it."""
    return connection.execute(select(func.count()).where(outbox.c.state == "failed")).scalar_one()


def failures(connection: Connection, *, subject: str | None = None, limit: int = 200) -> list[Failure]:
    """What was given up, newest first; with `subject` of one request only."""
    query = select(
        outbox.c.id,
        outbox.c.kind,
        outbox.c.purpose,
        outbox.c.company,
        outbox.c.subject,
        outbox.c.attempts,
        outbox.c.last_error,
        outbox.c.created_at,
    ).where(outbox.c.state == "failed")
    if subject is not None:
        query = query.where(outbox.c.subject == subject)
    return [Failure(*row) for row in connection.execute(query.order_by(outbox.c.created_at.desc()).limit(limit))]


def send_again(connection: Connection, outgoing_id: str, now: datetime) -> bool:
    """Give what was given up another day; False where there is nothing to send again."""
    done = connection.execute(
        update(outbox)
        .where(outbox.c.id == outgoing_id, outbox.c.state == "failed", outbox.c.payload.is_not(None))
        .values(state="waiting", next_attempt_at=now, give_up_at=now + GIVE_UP_AFTER, finished_at=None)
    )
    return bool(done.rowcount)


def take_back(connection: Connection, subject: str, purpose: str | None = None) -> int:
    """Forget what was not sent yet about this subject; what a worker has in hand at this moment may still go out."""
    query = delete(outbox).where(outbox.c.subject == subject, outbox.c.state != "delivered")
    if purpose is not None:
        query = query.where(outbox.c.purpose == purpose)
    return connection.execute(query).rowcount


def purge(connection: Connection, before: datetime) -> int:
    """Forget what was delivered or given up before then."""
    return connection.execute(
        delete(outbox).where(outbox.c.state.in_(("delivered", "failed")), outbox.c.finished_at < before)
    ).rowcount
