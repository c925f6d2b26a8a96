"""Erasing conversations: at once when the person asks, by itself when they have been kept long enough.

An erasure is a durable job: it is written down first, done everywhere, tried again until every place has confirmed, and
what stays is a line that says that it was done. The places outside the database (the dialogue engine's working memory)
are given as functions, so that this module knows no transport.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, delete, exists, insert, select, update

from personvern.conversations.store import UnknownConversation
from personvern.database.connection import Database
from personvern.database.tables import conversations, erasures, turns

logger = logging.getLogger(__name__)

Reason = Literal["asked_for", "retention"]

_FIRST_RETRY = timedelta(seconds=5)
_LONGEST_RETRY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Erasure:
    conversation_id: str
    reason: Reason
    attempts: int


def erase_record(connection: Connection, conversation_id: str, reason: Reason, now: datetime) -> None:
    """Delete all that the database holds of the conversation and write down what is left to do elsewhere.

    One transaction: from here on the conversation is gone for everybody, whatever happens to this process.
    """
    known = connection.execute(delete(conversations).where(conversations.c.id == conversation_id))
    if not known.rowcount:
        raise UnknownConversation(conversation_id)
    connection.execute(
        insert(erasures).values(
            conversation_id=conversation_id, reason=reason, requested_at=now, next_attempt_at=now, attempts=0
        )
    )


def due(connection: Connection, now: datetime, limit: int = 500) -> list[Erasure]:
    rows = connection.execute(
        select(erasures.c.conversation_id, erasures.c.reason, erasures.c.attempts)
        .where(erasures.c.finished_at.is_(None), erasures.c.next_attempt_at <= now)
        .order_by(erasures.c.next_attempt_at)
        .limit(limit)
    )
    return [Erasure(*row) for row in rows]


def finish(database: Database, jobs: list[Erasure], forget_elsewhere: Callable[[str], None], now: datetime) -> int:
    """Carry the due jobs through; returns how many are done. Those that fail are tried again, later and later."""
    forgotten: list[Erasure] = []
    failed: list[Erasure] = []
    for job in jobs:
        try:
            forget_elsewhere(job.conversation_id)
        except Exception as error:  # whatever a place answers, the job must not be lost
            logger.warning("erasure.failed conversation=%s error=%s", job.conversation_id, type(error).__name__)
            failed.append(job)
        else:
            forgotten.append(job)
    if forgotten and not database.forget_deleted():
        failed, forgotten = failed + forgotten, []
    with database.write() as connection:
        for job in forgotten:
            connection.execute(
                update(erasures).where(erasures.c.conversation_id == job.conversation_id).values(finished_at=now)
            )
        for job in failed:
            wait = min(_FIRST_RETRY * 2 ** min(job.attempts, 12), _LONGEST_RETRY)
            connection.execute(
                update(erasures)
                .where(erasures.c.conversation_id == job.conversation_id)
                .values(attempts=job.attempts + 1, next_attempt_at=now + wait)
            )
    for job in forgotten:
        logger.info("erasure.finished conversation=%s reason=%s", job.conversation_id, job.reason)
    return len(forgotten)


def erase_expired(database: Database, now: datetime, keep: Callable[[str, str], timedelta]) -> int:
    """Erase every conversation whose last message is older than `keep(company, channel)`; returns how many.

    One that a person has open, or that still owes an answer, stays.
    """
    with database.read() as connection:
        pairs = connection.execute(select(conversations.c.company, conversations.c.channel).distinct()).all()
    erased = 0
    for company, channel in pairs:
        limit = now - keep(company, channel)
        while True:
            with database.write() as connection:
                ids = list(
                    connection.execute(
                        select(conversations.c.id)
                        .where(
                            conversations.c.company == company,
                            conversations.c.channel == channel,
                            conversations.c.last_message_at < limit,
                            conversations.c.state.in_(("bot", "closed")),
                            ~exists().where(
                                turns.c.conversation_id == conversations.c.id, turns.c.finished_at.is_(None)
                            ),
                        )
                        .limit(200)
                    ).scalars()
                )
                for conversation_id in ids:
                    erase_record(connection, conversation_id, "retention", now)
            erased += len(ids)
            if len(ids) < 200:
                break
    logger.info("retention.finished erased=%d", erased)
    return erased


def forget_old_erasures(connection: Connection, before: datetime) -> int:
    """Finished erasures are kept as proof for a while, not for ever."""
    return connection.execute(
        delete(erasures).where(erasures.c.finished_at.is_not(None), erasures.c.finished_at < before)
    ).rowcount
