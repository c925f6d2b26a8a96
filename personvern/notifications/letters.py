"""Mails of the product, written from the `mails` texts in the reader's language and put into the outbox.

Plain text throughout. Nothing that a visitor typed is a header, and none of it is in a mail to an address that has not
been confirmed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from sqlalchemy import Connection

from personvern.languages.texts import text, texts
from personvern.notifications import caps, outbox
from personvern.privacy.keys import Keys


@dataclass(frozen=True, slots=True)
class Sender:
    """On whose behalf a mail is sent."""

    company: str
    name: Mapping[str, str]
    """The company's name by language."""
    reply_to: str | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    subject: str
    text: str


def write(purpose: str, language: str, values: Mapping[str, Any]) -> Letter:
    """The letter `mails.<purpose>` with its values in place; a missing value is an error, not a gap."""
    return Letter(
        " ".join(_template(language, f"mails.{purpose}.subject").render(values).split()),
        _template(language, f"mails.{purpose}.text").render(values).strip() + "\n",
    )


def queue_mail(
    connection: Connection,
    keys: Keys,
    *,
    purpose: str,
    to: str,
    sender: Sender,
    language: str,
    values: Mapping[str, Any],
    now: datetime,
    subject: str | None = None,
    key: str | None = None,
    give_up_at: datetime | None = None,
    conversation_id: str | None = None,
    network: str | None = None,
    capped: bool = True,
) -> bool:
    """Write a mail and put it into the outbox; False where one with the same `key` is there.

    A person gets no more of them than the caps allow: one too many waits until it may be sent. Mails to the company
    itself are not capped.
    """
    letter = write(purpose, language, {"company": sender.name[language], **values})
    not_before = now
    if capped:
        counted: dict[str, Any] = {
            "purpose": purpose,
            "address": to,
            "conversation_id": conversation_id,
            "network": network,
        }
        not_before = caps.free_at(connection, keys, now=now, **counted)
        caps.count(connection, keys, at=not_before, **counted)
    return outbox.enqueue(
        connection,
        keys,
        kind="mail",
        purpose=purpose,
        company=sender.company,
        subject=subject,
        key=key,
        payload={
            "to": to,
            "from_name": text(language, "mails.from", company=sender.name[language]),
            "reply_to": sender.reply_to,
            "language": language,
            "subject": letter.subject,
            "text": letter.text,
        },
        now=now,
        not_before=not_before,
        give_up_at=give_up_at,
    )


def queue_handover_notice(
    connection: Connection,
    keys: Keys,
    *,
    to: str,
    sender: Sender,
    language: str,
    topic: str | None,
    link: str,
    key: str,
    now: datetime,
) -> bool:
    """Tell the company that somebody waits for a human; `topic` is one of `contracts.md`, never what was written."""
    summary = text(language, f"topics.{topic}") if topic else None
    return queue_mail(
        connection,
        keys,
        purpose="handover",
        to=to,
        sender=sender,
        language=language,
        values={"topic": summary, "link": link},
        key=key,
        now=now,
        capped=False,
    )


def queue_message(
    connection: Connection,
    keys: Keys,
    *,
    to: str,
    sender: Sender,
    language: str,
    urgent: bool,
    reference: str,
    email: str,
    message: str,
    demo: bool,
    key: str,
    now: datetime,
) -> bool:
    """Send the company what somebody wants a human to know, with the address that she wants the reply at."""
    return queue_mail(
        connection,
        keys,
        purpose="message",
        to=to,
        sender=sender,
        language=language,
        values={"urgent": urgent, "reference": reference, "email": email, "message": message, "demo": demo},
        key=key,
        now=now,
        capped=False,
    )


def quoted(typed: str) -> str:
    """What somebody typed, each line marked as hers, so that none of it passes for ours."""
    return "\n".join(f"> {line}" for line in typed.splitlines())


# Plain text: there is nothing to escape for. What people typed is a value and never a template.
_ENVIRONMENT = Environment(
    autoescape=False,  # noqa: S701
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters["quoted"] = quoted


@cache
def _template(language: str, key: str) -> Template:
    parts = key.split(".")
    found = texts(language, ".".join(parts[:-1]))[parts[-1]]
    return _ENVIRONMENT.from_string(found)
