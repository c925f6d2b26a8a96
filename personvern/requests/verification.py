"""One-time codes by mail. A code proves a mailbox, not a person.

Six random digits, kept only as a keyed hash, good for fifteen minutes and five tries, destroyed on success and at the
limit. `check_code` counts a wrong try: its transaction must be committed whatever the outcome.
"""

import re
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Literal

from sqlalchemy import Connection, delete, insert, select, update

from personvern.database.locking import lock
from personvern.database.tables import email_codes
from personvern.languages.texts import text
from personvern.notifications import caps, outbox
from personvern.notifications.letters import Sender, queue_mail
from personvern.privacy.keys import Keys

GOOD_FOR = timedelta(minutes=15)
TRIES = 5

Purpose = Literal["confirm_requests", "request_status"]
Outcome = Literal["right", "wrong", "expired", "used_up", "none"]


@dataclass(frozen=True, slots=True)
class CodeSent:
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class TooManyCodes:
    """The cap is reached, whoever caused it; from then on another may be sent."""

    again_at: datetime


@dataclass(frozen=True, slots=True)
class Checked:
    outcome: Outcome
    """`none`: no code is waited for, because none was sent or the last one has been used."""
    tries_left: int = 0


def random_code() -> str:
    return f"{secrets.randbelow(1_000_000):06d}"


def send_code(
    connection: Connection,
    keys: Keys,
    *,
    purpose: Purpose,
    subject: str,
    address: str,
    sender: Sender,
    language: str,
    conversation_id: str | None = None,
    network: str | None = None,
    now: datetime,
    make_code: Callable[[], str] = random_code,
) -> CodeSent | TooManyCodes:
    """Put a new code into the outbox, in place of the one that this subject had."""
    lock_code(connection, purpose, subject)
    free_at = caps.free_at(
        connection,
        keys,
        purpose="code",
        address=address,
        conversation_id=conversation_id,
        network=network,
        now=now,
    )
    if free_at > now:
        return TooManyCodes(free_at)
    code = make_code()
    expires_at = now + GOOD_FOR
    code_id = secrets.token_hex(16)
    forget_code(connection, purpose, subject)
    connection.execute(
        insert(email_codes).values(
            id=code_id,
            purpose=purpose,
            subject=subject,
            code_hash=keys.hash("email_code", code_id, purpose, subject, code),
            sent_at=now,
            expires_at=expires_at,
            tries=0,
        )
    )
    queue_mail(
        connection,
        keys,
        purpose="code",
        to=address,
        sender=sender,
        language=language,
        values={"code": code, "minutes": int(GOOD_FOR.total_seconds() // 60)},
        subject=subject,
        now=now,
        give_up_at=expires_at,
        conversation_id=conversation_id,
        network=network,
    )
    return CodeSent(expires_at)


def check_code(
    connection: Connection, keys: Keys, *, purpose: Purpose, subject: str, code: str, now: datetime
) -> Checked:
    """Try a code of six digits; one that is right, or tried too often, is gone afterwards."""
    lock_code(connection, purpose, subject)
    row = connection.execute(
        select(email_codes).where(email_codes.c.purpose == purpose, email_codes.c.subject == subject)
    ).one_or_none()
    if row is None:
        return Checked("none")
    if now >= row.expires_at:
        forget_code(connection, purpose, subject)
        return Checked("expired")
    if keys.matches(row.code_hash, "email_code", row.id, purpose, subject, code):
        forget_code(connection, purpose, subject)
        return Checked("right")
    tries = row.tries + 1
    if tries >= TRIES:
        forget_code(connection, purpose, subject)
        return Checked("used_up")
    connection.execute(update(email_codes).where(email_codes.c.id == row.id).values(tries=tries))
    return Checked("wrong", TRIES - tries)


def lock_code(connection: Connection, purpose: Purpose, subject: str) -> None:
    """One at a time with this subject's code. Whoever also locks its requests does this first."""
    lock(connection, "code", purpose, subject)


def is_awaited(connection: Connection, purpose: Purpose, subject: str, now: datetime) -> bool:
    """Whether a code that still opens something has been sent for this."""
    return (
        connection.execute(
            select(email_codes.c.id).where(
                email_codes.c.purpose == purpose, email_codes.c.subject == subject, email_codes.c.expires_at > now
            )
        ).first()
        is not None
    )


def forget_code(connection: Connection, purpose: Purpose, subject: str) -> None:
    """Destroy the code of a subject, and the mail with it where that has not gone out."""
    connection.execute(delete(email_codes).where(email_codes.c.purpose == purpose, email_codes.c.subject == subject))
    outbox.take_back(connection, subject, "code")


def purge(connection: Connection, now: datetime) -> int:
    """Destroy the codes whose time is over."""
    return connection.execute(delete(email_codes).where(email_codes.c.expires_at <= now)).rowcount


# Six digits alone in a row; else six that are kept apart by one space, point or hyphen.
_ROW = re.compile(r"(?<!\d)\d{6}(?!\d)")
_SPACED = re.compile(r"\d(?:[ .\-–]?\d)*")
_WORD = re.compile(r"[^\W\d_]+|\d")
_BETWEEN_WORDS = re.compile(r"[\s,.;\-–]*(?:(?:og|and)\s)?")


def extract_code(typed: str) -> str | None:
    """The one code in a text: "123456", "123 456", "koden er 123456", "en to tre fire fem seks"; else None."""
    plain = "".join(_ascii_digit(sign) for sign in unicodedata.normalize("NFKC", typed)).casefold()
    plain = " ".join(plain.split())
    rows = set(_ROW.findall(plain))
    if not rows:
        groups = (re.sub(r"\D", "", match[0]) for match in _SPACED.finditer(plain))
        rows = {group for group in groups if len(group) == 6}
    if not rows:
        rows = {run for run in _spoken(plain) if len(run) == 6}
    return rows.pop() if len(rows) == 1 else None


def _ascii_digit(sign: str) -> str:
    return str(unicodedata.digit(sign)) if sign.isdecimal() else sign


def _spoken(plain: str) -> list[str]:
    """Runs of digits said as words, in any of the languages."""
    words = _digit_words()
    runs, end = [""], 0
    for match in _WORD.finditer(plain):
        digit = match[0] if match[0].isdecimal() else words.get(match[0])
        if digit is None:
            continue
        if _BETWEEN_WORDS.fullmatch(plain[end : match.start()]) is None:
            runs.append("")
        runs[-1] += digit
        end = match.end()
    return runs


@cache
def _digit_words() -> dict[str, str]:
    """What is said for each digit in any of the languages."""
    return {
        word: str(digit)
        for language in ("nb", "nn", "en")
        for digit, words in enumerate(text(language, "mails.digits").split(","))
        for word in words.split()
    }
