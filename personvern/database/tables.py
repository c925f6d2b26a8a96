"""The tables of the record. The dialogue engine's working memory is a store of its own (engine/working_memory.py)."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes in and out, stored as UTC without a zone, because SQLite has none."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone reached the database")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ID = String(32)
"""32 random hexadecimal digits."""


def _of_conversation() -> Column[str]:
    return Column("conversation_id", ID, ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False)


conversations = Table(
    "conversations",
    metadata,
    Column("id", ID, primary_key=True),
    Column("company", String(64), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("language", String(2), nullable=False),
    Column("language_chosen", Boolean, nullable=False),
    Column("token_hash", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("last_event", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_message_at", UtcDateTime, nullable=False),
    # Which app process works on this conversation's turns, and until when the others leave it alone.
    Column("worker", String(64)),
    Column("worker_until", UtcDateTime),
    Index(None, "company", "last_message_at"),
)

messages = Table(
    "messages",
    metadata,
    Column("id", ID, primary_key=True),
    _of_conversation(),
    Column("author", String(8), nullable=False),
    Column("client_id", String(64)),
    Column("in_reply_to", ID),
    Column("action", String(64)),
    Column("action_number", Integer),
    Column("number", Integer),
    Column("act", String(24)),
    Column("language", String(2), nullable=False),
    Column("text", Text, nullable=False),
    Column("data", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("conversation_id", "client_id"),
    UniqueConstraint("in_reply_to", "action", "action_number", "number"),
)

turns = Table(
    "turns",
    metadata,
    Column("message_id", ID, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    _of_conversation(),
    Column("position", Integer, nullable=False),
    Column("intent", String(64)),
    Column("attempts", Integer, nullable=False),
    Column("told_of_delay", Boolean, nullable=False),
    Column("failed", Boolean),
    Column("received_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    UniqueConstraint("conversation_id", "position"),
    Index("ix_turns_waiting", "finished_at", "received_at"),
)

action_runs = Table(
    "action_runs",
    metadata,
    Column("message_id", ID, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    Column("action", String(64), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("events", JSON, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("conversation_id", ID, ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True, nullable=False),
    Column("number", Integer, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("message_id", ID, ForeignKey("messages.id", ondelete="CASCADE"), index=True),
    Column("data", JSON, nullable=False),
)

offers = Table(
    "offers",
    metadata,
    Column("id", ID, primary_key=True),
    _of_conversation(),
    Column("message_id", ID, ForeignKey("messages.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("intent", String(64), nullable=False),
    Column("label", String(80), nullable=False),
    Column("acts", Boolean, nullable=False),
    Column("used_at", UtcDateTime),
    Index(None, "conversation_id"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("message_id", ID, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    _of_conversation(),
    Column("helpful", Boolean, nullable=False),
    Column("given_at", UtcDateTime, nullable=False),
    Index(None, "conversation_id"),
)

erasures = Table(
    "erasures",
    metadata,
    # No foreign key: the row outlives the conversation as the proof that it was erased. It holds nothing else of it.
    Column("conversation_id", ID, primary_key=True),
    Column("reason", String(16), nullable=False),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("next_attempt_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("finished_at", UtcDateTime),
    Index("ix_erasures_waiting", "finished_at", "next_attempt_at"),
)
