"""The life of a request: one table of allowed moves, each an audit row in the same transaction.

The rows hold no personal data. They are chained by hash for each request, and the head of the chain is signed, so that
a row that was changed, added or taken away shows.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Literal

from sqlalchemy import Connection, insert, select, update

from personvern.database.tables import request_log, requests
from personvern.privacy.keys import Keys

Status = Literal[
    "unconfirmed",
    "confirmed",
    "in_progress",
    "extended",
    "fulfilled",
    "partly_fulfilled",
    "refused",
    "withdrawn",
    "closed",
]

MOVES: dict[Status, frozenset[Status]] = {
    # Staff may take up what was never confirmed; its clock runs all the same.
    "unconfirmed": frozenset({"confirmed", "in_progress", "withdrawn", "closed"}),
    # Closed at once: what only repeats a case that is open.
    "confirmed": frozenset({"in_progress", "withdrawn", "closed"}),
    "in_progress": frozenset({"extended", "fulfilled", "partly_fulfilled", "refused", "withdrawn"}),
    "extended": frozenset({"fulfilled", "partly_fulfilled", "refused", "withdrawn"}),
    "fulfilled": frozenset({"closed"}),
    # After a complaint the answer can be another.
    "partly_fulfilled": frozenset({"in_progress", "closed"}),
    "refused": frozenset({"in_progress", "closed"}),
    "withdrawn": frozenset({"closed"}),
    "closed": frozenset(),
}
FIRST: frozenset[Status] = frozenset({"unconfirmed", "confirmed"})
OPEN: frozenset[Status] = frozenset({"confirmed", "in_progress", "extended"})
"""Somebody works on it, or will."""

_WHO = re.compile(r"visitor|system|staff:[A-Za-z0-9_-]{1,32}")
_WHY = re.compile(r"[a-z_]{1,40}")


class ForbiddenMove(Exception):
    """A request cannot go from its status to this one."""

    def __init__(self, request_id: str, before: str, after: str) -> None:
        super().__init__(f"request {request_id} cannot go from {before} to {after}")
        self.request_id, self.before, self.after = request_id, before, after


class UnknownRequest(Exception):
    """There is no request of this id."""


@dataclass(frozen=True, slots=True)
class LogRow:
    number: int
    at: datetime
    who: str
    status_before: Status | None
    status_after: Status
    why: str


@dataclass(frozen=True, slots=True)
class LogFault:
    """Something in a request's log is not as it was written. `number` is the row, None for the head."""

    request_id: str
    number: int | None
    kind: Literal["changed", "missing", "head", "status"]


def first_entry(keys: Keys, request_id: str, *, status: Status, who: str, why: str, now: datetime) -> dict[str, Any]:
    """The first row of a new request's log, and for the request itself the head: `{"row": ..., "head": ...}`."""
    if status not in FIRST:
        raise ForbiddenMove(request_id, "nothing", status)
    row = _row(request_id, 1, "", now, who, None, status, why)
    return {"row": row, "head": _head(keys, request_id, 1, row["hash"])}


def move(
    connection: Connection,
    keys: Keys,
    request_id: str,
    to: Status,
    *,
    who: str,
    why: str,
    now: datetime,
    changes: dict[str, Any] | None = None,
) -> None:
    """Move a request on, with `changes` to its other columns, and write down who did it and why."""
    current = _locked(connection, request_id)
    if to not in MOVES[current.status]:
        raise ForbiddenMove(request_id, current.status, to)
    more = {"closed_at": now} if to == "closed" else {}
    _append(connection, keys, current, to, who, why, now, {"status": to, **more, **(changes or {})})


def note(
    connection: Connection,
    keys: Keys,
    request_id: str,
    *,
    who: str,
    why: str,
    now: datetime,
    changes: dict[str, Any] | None = None,
) -> None:
    """Write down something that happened to a request without moving it."""
    current = _locked(connection, request_id)
    _append(connection, keys, current, current.status, who, why, now, changes or {})


def log_of(connection: Connection, request_id: str) -> list[LogRow]:
    rows = connection.execute(
        select(request_log).where(request_log.c.request_id == request_id).order_by(request_log.c.number)
    )
    return [LogRow(row.number, row.at, row.who, row.status_before, row.status_after, row.why) for row in rows]


def verify_log(connection: Connection, keys: Keys) -> Iterator[LogFault]:
    """Go through the log of every request; yields what is not as it was written, nothing where all is well."""
    heads = {
        row.id: row
        for row in connection.execute(
            select(
                requests.c.id, requests.c.status, requests.c.log_length, requests.c.log_head, requests.c.log_signature
            )
        )
    }
    rows = connection.execute(select(request_log).order_by(request_log.c.request_id, request_log.c.number))
    seen = set()
    for request_id, chain in groupby(rows, key=lambda row: row.request_id):
        seen.add(request_id)
        yield from _faults(keys, heads[request_id], list(chain))
    for request_id in heads.keys() - seen:
        yield LogFault(request_id, 1, "missing")


def _faults(keys: Keys, head: Any, chain: list[Any]) -> Iterator[LogFault]:
    last = ""
    for expected, row in enumerate(chain, start=1):
        if row.number != expected:
            yield LogFault(head.id, expected, "missing")
            return
        made = _row(head.id, row.number, last, row.at, row.who, row.status_before, row.status_after, row.why)
        if made["hash"] != row.hash:
            yield LogFault(head.id, row.number, "changed")
            return
        last = row.hash
    if len(chain) < head.log_length:
        yield LogFault(head.id, len(chain) + 1, "missing")
    elif last != head.log_head or not keys.matches(
        head.log_signature, "request_log", head.id, str(head.log_length), head.log_head
    ):
        yield LogFault(head.id, None, "head")
    elif chain[-1].status_after != head.status:
        yield LogFault(head.id, None, "status")


def _locked(connection: Connection, request_id: str) -> Any:
    row = connection.execute(
        select(requests.c.id, requests.c.status, requests.c.log_length, requests.c.log_head)
        .where(requests.c.id == request_id)
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise UnknownRequest(request_id)
    return row


def _append(
    connection: Connection,
    keys: Keys,
    current: Any,
    to: str,
    who: str,
    why: str,
    now: datetime,
    changes: dict[str, Any],
) -> None:
    number = current.log_length + 1
    row = _row(current.id, number, current.log_head, now, who, current.status, to, why)
    connection.execute(insert(request_log).values(row))
    connection.execute(
        update(requests)
        .where(requests.c.id == current.id)
        .values({**changes, **_head(keys, current.id, number, row["hash"])})
    )


def _row(
    request_id: str, number: int, last: str, at: datetime, who: str, before: str | None, after: str, why: str
) -> dict[str, Any]:
    if not _WHO.fullmatch(who) or not _WHY.fullmatch(why):
        raise ValueError("a log holds who as a role or a staff id and why as a code, nothing else")
    chained = json.dumps([last, request_id, number, at.astimezone(UTC).isoformat(), who, before, after, why])
    return {
        "request_id": request_id,
        "number": number,
        "at": at,
        "who": who,
        "status_before": before,
        "status_after": after,
        "why": why,
        "hash": hashlib.sha256(chained.encode()).hexdigest(),
    }


def _head(keys: Keys, request_id: str, length: int, last: str) -> dict[str, Any]:
    return {
        "log_length": length,
        "log_head": last,
        "log_signature": keys.hash("request_log", request_id, str(length), last),
    }
