"""The tables of the record. The dialogue engine's working memory is a store of its own (engine/working_memory.py)."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Date,
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
    # What a form waits for in this conversation: name, email, details, confirm, correction or code.
    Column("asking", String(16)),
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
    # What the door took out of the text: names of fields, never what was typed.
    Column("taken", JSON, nullable=False),
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

# Rights requests. What a person typed is encrypted wherever it lies; what can be searched is a keyed hash.

request_drafts = Table(
    "request_drafts",
    metadata,
    Column("id", ID, primary_key=True),
    _of_conversation(),
    Column("content", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("conversation_id"),
)

requests = Table(
    "requests",
    metadata,
    Column("id", ID, primary_key=True),
    Column("reference", String(12), nullable=False),
    # What was asked for in one go, in this order, and is confirmed by one code.
    Column("group_id", ID, nullable=False),
    Column("position", Integer, nullable=False),
    Column("company", String(64), nullable=False),
    Column("right", String(24), nullable=False),
    Column("marketing", Boolean, nullable=False),
    Column("status", String(16), nullable=False),
    Column("language", String(2), nullable=False),
    Column("channel", String(16), nullable=False),
    # Encrypted; emptied when the request has been kept long enough.
    Column("name", Text),
    Column("email", Text),
    Column("details", Text),
    Column("on_behalf", Text),
    Column("email_hash", String(64)),
    Column("received_at", UtcDateTime, nullable=False),
    # The calendar day in Norway, and the law's last dates counted from it: the plain month, and a working day.
    Column("received_on", Date, nullable=False),
    Column("due_plain", Date),
    Column("due_rolled", Date),
    # The company's own date: the only one that a complaint has.
    Column("target", Date),
    Column("needs_human", Boolean, nullable=False),
    Column("email_confirmed_at", UtcDateTime),
    Column("identity_established_at", UtcDateTime),
    # When the privacy lead first opened it: what nobody has read is never purged.
    Column("read_at", UtcDateTime),
    Column("closed_at", UtcDateTime),
    # While a complaint or a claim is open nothing is purged.
    Column("held_at", UtcDateTime),
    Column("exported_at", UtcDateTime),
    Column("purged_at", UtcDateTime),
    # The open request of the same person that this one only repeated.
    Column("same_as", ID),
    # A filed request stays under its own rule when the conversation goes.
    Column("conversation_id", ID, ForeignKey("conversations.id", ondelete="SET NULL")),
    # The head of the request's log: how many rows, the last one's hash, and a signature over both.
    Column("log_length", Integer, nullable=False),
    Column("log_head", String(64), nullable=False),
    Column("log_signature", String(64), nullable=False),
    UniqueConstraint("reference"),
    Index(None, "company", "status", "due_plain"),
    Index(None, "email_hash"),
    Index(None, "group_id"),
    Index(None, "conversation_id"),
)

request_log = Table(
    "request_log",
    metadata,
    Column("request_id", ID, ForeignKey("requests.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("who", String(40), nullable=False),
    Column("status_before", String(16)),
    Column("status_after", String(16), nullable=False),
    Column("why", String(40), nullable=False),
    Column("hash", String(64), nullable=False),
)

email_codes = Table(
    "email_codes",
    metadata,
    Column("id", ID, primary_key=True),
    Column("purpose", String(24), nullable=False),
    # What the code opens: a group of requests, a case.
    Column("subject", ID, nullable=False),
    Column("code_hash", String(64), nullable=False),
    Column("sent_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("tries", Integer, nullable=False),
    UniqueConstraint("purpose", "subject"),
    Index(None, "expires_at"),
)

mail_sendings = Table(
    "mail_sendings",
    metadata,
    # What the caps count. No address: a keyed hash of it.
    Column("id", ID, primary_key=True),
    Column("scope", String(16), nullable=False),
    Column("key_hash", String(64), nullable=False),
    Column("purpose", String(24), nullable=False),
    Column("sent_at", UtcDateTime, nullable=False),
    Index(None, "scope", "key_hash", "sent_at"),
    Index(None, "sent_at"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", ID, primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("purpose", String(24), nullable=False),
    Column("company", String(64), nullable=False),
    # The request or the group of requests that it is about.
    Column("subject", ID),
    Column("key", String(80)),
    Column("state", String(12), nullable=False),
    # Encrypted; empty when it has been delivered.
    Column("payload", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("next_attempt_at", UtcDateTime, nullable=False),
    Column("give_up_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    # Which worker sends it now, and until when the others leave it alone.
    Column("lease", ID),
    Column("lease_until", UtcDateTime),
    Column("last_error", String(80)),
    Column("finished_at", UtcDateTime),
    UniqueConstraint("key"),
    Index("ix_outbox_waiting", "state", "next_attempt_at"),
    Index(None, "subject"),
)
