"""What every action shares: who asks, in which language, and saying a reply once."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from rasa_sdk import Tracker
from rasa_sdk.executor import CollectingDispatcher
from sqlalchemy import Connection

from personvern.conversations import store
from personvern.conversations.messages import Draft
from personvern.database.connection import Database
from personvern.languages.texts import texts
from personvern.settings import Settings
from personvern.statements.company import Company
from personvern.statements.library import Library

_NOT_UNDERSTOOD = -0.75
"""Below this margin nine texts of ten are gibberish or of a language that we do not speak: docs/understanding.md."""

type Work = Callable[["Turn", Connection | None], Sequence[Draft]]


@cache
def settings() -> Settings:
    return Settings.load()


@cache
def database() -> Database:
    return Database(settings().database_url)


@cache
def library() -> Library:
    return Library(settings().policies)


@dataclass(frozen=True, slots=True)
class Turn:
    """One message as an action sees it."""

    conversation_id: str
    message_id: str | None
    """None where there is no app in front: `rasa shell`."""
    company: Company
    language: str
    text: str
    intent: str | None
    ranking: tuple[tuple[str, float], ...]
    """Intents and confidences, best first."""
    is_understood: bool
    """False where the text is far from everything that the model was trained on."""
    action_number: int

    @classmethod
    def of(cls, tracker: Tracker) -> "Turn":
        latest = tracker.latest_message
        metadata = latest.get("metadata") or {}
        ranking = tuple(
            (entry["name"], entry["confidence"]) for entry in latest.get("intent_ranking") or () if entry.get("name")
        )
        intent = (latest.get("intent") or {}).get("name")
        text = latest.get("text") or ""
        return cls(
            tracker.sender_id,
            metadata.get("message_id"),
            library().company(metadata.get("company") or settings().default_company),
            metadata.get("language") or _language_of(text),
            text,
            intent,
            ranking or (((intent, 1.0),) if intent else ()),
            intent is not None and latest.get("margin", 0.0) > _NOT_UNDERSTOOD,
            int(tracker.slots.get("action_number") or 0),
        )


def _language_of(text: str) -> str:
    from personvern.languages.identify import identifier

    return identifier().identify(text).language


async def reply(dispatcher: CollectingDispatcher, tracker: Tracker, action: str, work: Work) -> list[dict[str, Any]]:
    """Do `work` and say what it returns: into the record where there is one, else straight to whoever listens."""
    turn = Turn.of(tracker)
    message_id = turn.message_id
    if message_id is None:
        for draft in work(turn, None):
            dispatcher.utter_message(text=as_text(draft))
        return []

    def once() -> list[dict[str, Any]]:
        with database().write() as connection:
            return store.run_once(
                connection,
                conversation_id=turn.conversation_id,
                message_id=message_id,
                action=action,
                number=turn.action_number,
                work=lambda inside: (work(turn, inside), []),
                now=datetime.now(UTC),
            )

    return await asyncio.to_thread(once)


def as_text(draft: Draft) -> str:
    """A message for a terminal, with its proof."""
    lines = [draft.text]
    words = texts(draft.language, "transcript")
    for quote in draft.quotes:
        lines.append(words["quote"].format(heading=quote.heading) + "\n    " + quote.text.replace("\n", "\n    "))
        if quote.translation:
            lines.append(words["translation"] + "\n    " + quote.translation.text.replace("\n", "\n    "))
    return "\n  ".join(lines)
