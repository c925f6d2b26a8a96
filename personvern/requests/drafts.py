"""What a person has typed into the form so far, in one encrypted table.

The dialogue holds only the draft's id. A draft goes with its conversation, when the request is filed or given up, and
after a day.
"""

import json
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from personvern.database.tables import request_drafts
from personvern.privacy.keys import Keys
from personvern.privacy.masking import mask
from personvern.requests.kinds import all_simple, kind_of

KEPT = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class OnBehalf:
    """Somebody asks for another: who that is, and on what ground (parent, guardian, power of attorney)."""

    who: str
    ground: str


@dataclass(frozen=True, slots=True)
class RequestDraft:
    """`replace(draft, email=...)` and `save` change it. `stage` is the dialogue's own business."""

    id: str
    conversation_id: str
    language: str
    rights: tuple[str, ...] = ()
    marketing: bool = False
    """The objection is to direct marketing."""
    name: str | None = None
    email: str | None = None
    details: str | None = None
    on_behalf: OnBehalf | None = None
    stage: str = ""
    typed: tuple[str, ...] = ()
    """Every name and address that was typed, the corrected ones too: what must leave the transcript at the end."""
    group_id: str | None = None
    """The unconfirmed requests that were opened from it."""

    @property
    def is_simple(self) -> bool:
        """Whether the address is all that may be asked for."""
        return bool(self.rights) and all_simple(self.rights, marketing=self.marketing)


def create(connection: Connection, keys: Keys, conversation_id: str, language: str, now: datetime) -> RequestDraft:
    """A new draft of this conversation, in place of the one it had."""
    delete_of(connection, conversation_id)
    draft = RequestDraft(secrets.token_hex(16), conversation_id, language)
    connection.execute(
        insert(request_drafts).values(
            id=draft.id,
            conversation_id=conversation_id,
            content=keys.encrypt(_content(draft)),
            created_at=now,
            updated_at=now,
        )
    )
    return draft


def load(connection: Connection, keys: Keys, draft_id: str) -> RequestDraft | None:
    return _draft(keys, connection.execute(select(request_drafts).where(request_drafts.c.id == draft_id)).one_or_none())


def find(connection: Connection, keys: Keys, conversation_id: str) -> RequestDraft | None:
    """The draft of a conversation."""
    row = connection.execute(
        select(request_drafts).where(request_drafts.c.conversation_id == conversation_id)
    ).one_or_none()
    return _draft(keys, row)


def save(connection: Connection, keys: Keys, draft: RequestDraft, now: datetime) -> RequestDraft:
    """Keep a changed draft; returns it as it is kept, identity and account numbers masked.

    KeyError where it is gone or where a right is none.
    """
    for right in draft.rights:
        kind_of(right)
    draft = replace(
        draft,
        name=_masked(draft.name),
        details=_masked(draft.details),
        on_behalf=OnBehalf(mask(draft.on_behalf.who).text, mask(draft.on_behalf.ground).text)
        if draft.on_behalf
        else None,
    )
    kept = connection.execute(
        update(request_drafts)
        .where(request_drafts.c.id == draft.id)
        .values(content=keys.encrypt(_content(draft)), updated_at=now)
    )
    if not kept.rowcount:
        raise KeyError(draft.id)
    return draft


def delete_of(connection: Connection, conversation_id: str) -> bool:
    """Forget the draft of a conversation."""
    return bool(
        connection.execute(delete(request_drafts).where(request_drafts.c.conversation_id == conversation_id)).rowcount
    )


def stale(connection: Connection, keys: Keys, now: datetime) -> list[tuple[str, tuple[str, ...]]]:
    """(conversation, what was typed) of every draft that `purge` would forget."""
    rows = connection.execute(select(request_drafts).where(request_drafts.c.updated_at < now - KEPT)).all()
    found = [_draft(keys, row) for row in rows]
    return [
        (draft.conversation_id, (*draft.typed, *((draft.details,) if draft.details else ())))
        for draft in found
        if draft is not None
    ]


def purge(connection: Connection, now: datetime) -> int:
    """Forget every draft that nobody has touched for a day."""
    return connection.execute(delete(request_drafts).where(request_drafts.c.updated_at < now - KEPT)).rowcount


def _masked(text: str | None) -> str | None:
    return None if text is None else mask(text).text


def _content(draft: RequestDraft) -> str:
    fields = asdict(draft)
    del fields["id"], fields["conversation_id"]
    return json.dumps(fields, ensure_ascii=False)


def _draft(keys: Keys, row: Row[Any] | None) -> RequestDraft | None:
    if row is None:
        return None
    fields = json.loads(keys.decrypt(row.content))
    fields["rights"] = tuple(fields["rights"])
    fields["typed"] = tuple(fields.get("typed", ()))
    if fields["on_behalf"]:
        fields["on_behalf"] = OnBehalf(**fields["on_behalf"])
    return RequestDraft(row.id, row.conversation_id, **fields)
