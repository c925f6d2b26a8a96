"""How many mails one address, one conversation or one network address can cause. What is counted is a keyed hash."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, delete, insert, select

from personvern.database.locking import lock
from personvern.database.tables import mail_sendings
from personvern.privacy.keys import Keys

Scope = Literal["address", "conversation", "network"]

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Cap:
    scope: Scope
    purpose: str | None
    """None where mails of every purpose count."""
    most: int
    within: timedelta


CAPS = (
    Cap("address", "code", 3, _HOUR),
    Cap("address", None, 10, _DAY),
    # Nobody needs more, and it keeps one visitor from writing to many strangers.
    Cap("conversation", "code", 10, _DAY),
    Cap("network", "code", 30, _HOUR),
)


def free_at(
    connection: Connection,
    keys: Keys,
    *,
    purpose: str,
    address: str,
    conversation_id: str | None = None,
    network: str | None = None,
    now: datetime,
) -> datetime:
    """When the next mail of this purpose may be sent: now, or later. Nothing is counted.

    Holds the address's place in the queue until the transaction ends, so that two at once cannot both be the last.
    """
    earliest = now
    for scope, value in _scopes(address, conversation_id, network):
        lock(connection, "mail", scope, value)
        rows = connection.execute(
            select(mail_sendings.c.purpose, mail_sendings.c.sent_at).where(
                mail_sendings.c.scope == scope,
                mail_sendings.c.key_hash.in_(keys.hashes("mail_sending", scope, value)),
                mail_sendings.c.sent_at > now - _DAY,
            )
        ).all()
        for cap in CAPS:
            if cap.scope != scope or cap.purpose not in (None, purpose):
                continue
            # Those still to be sent count as well: they lie in the future.
            times = sorted(row.sent_at for row in rows if cap.purpose in (None, row.purpose))
            times = [at for at in times if at > now - cap.within]
            if len(times) >= cap.most:
                earliest = max(earliest, times[-cap.most] + cap.within)
    return earliest


def count(
    connection: Connection,
    keys: Keys,
    *,
    purpose: str,
    address: str,
    conversation_id: str | None = None,
    network: str | None = None,
    at: datetime,
) -> None:
    """Count a mail that is sent then."""
    for scope, value in _scopes(address, conversation_id, network):
        connection.execute(
            insert(mail_sendings).values(
                id=secrets.token_hex(16),
                scope=scope,
                key_hash=keys.hash("mail_sending", scope, value),
                purpose=purpose,
                sent_at=at,
            )
        )


def purge(connection: Connection, now: datetime) -> int:
    """Forget what no cap counts any more."""
    return connection.execute(delete(mail_sendings).where(mail_sendings.c.sent_at < now - _DAY)).rowcount


def _scopes(address: str, conversation_id: str | None, network: str | None) -> list[tuple[Scope, str]]:
    found: list[tuple[Scope, str]] = [("address", address.strip().casefold())]
    if conversation_id:
        found.append(("conversation", conversation_id))
    if network:
        found.append(("network", network))
    return found
