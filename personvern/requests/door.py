"""At the door: what is taken out of a message goes into the draft, and a code is tried, before anything is stored."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from personvern.conversations import store as conversation
from personvern.privacy.keys import Keys
from personvern.requests import drafts, store
from personvern.requests.intake import Intake
from personvern.statements.company import Company


def take_in(
    connection: Connection,
    keys: Keys,
    *,
    company: Company,
    conversation_id: str,
    language: str,
    intake: Intake,
    now: datetime,
) -> dict[str, Any]:
    """Keep what was taken out; returns its names and the code's outcome, nothing of what was typed."""
    taken: dict[str, Any] = {}
    if intake.code:
        group_id = store.awaited_group(connection, conversation_id, now)
        draft = drafts.find(connection, keys, conversation_id)
        group_id = group_id or (draft.group_id if draft else None)
        if group_id is None:
            return {"code": "none"}
        if draft is not None and draft.typed:
            conversation.redact(connection, conversation_id, draft.typed)
        checked = store.confirm_email(connection, keys, company=company, group_id=group_id, code=intake.code, now=now)
        return {"code": checked.outcome, "group": group_id, "tries": checked.tries_left}
    if intake.email_fault:
        taken["email_fault"] = intake.email_fault
    if intake.name or intake.email:
        draft = drafts.find(connection, keys, conversation_id) or drafts.create(
            connection, keys, conversation_id, language, now
        )
        typed = (*draft.typed, *(value for value in (intake.name, intake.email) if value))
        draft = replace(
            draft, name=intake.name or draft.name, email=intake.email or draft.email, typed=tuple(dict.fromkeys(typed))
        )
        drafts.save(connection, keys, draft, now)
        taken |= {name: True for name in ("name", "email") if getattr(intake, name)}
    return taken
