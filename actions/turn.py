"""What every action shares: who asks, of which company, in which language."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from rasa_sdk import Tracker
from sqlalchemy import Connection

from personvern.conversations.messages import Draft
from personvern.database.connection import Database
from personvern.privacy.keys import Keys
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
def keys() -> Keys:
    return Keys(settings().data_key, settings().hash_key)


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
    margin: float
    is_tapped: bool
    """A button was tapped: nothing was typed."""
    is_understood: bool
    """False where the text is far from everything that the model was trained on."""
    action_number: int
    channel: str
    taken: dict[str, Any]
    """What the door took out of the text, by name: never what was typed."""

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
            float(latest.get("margin", 0.0)),
            bool(metadata.get("tapped")),
            intent is not None and latest.get("margin", 0.0) > _NOT_UNDERSTOOD,
            int(tracker.slots.get("action_number") or 0),
            metadata.get("channel") or "terminal",
            metadata.get("taken") or {},
        )


def _language_of(text: str) -> str:
    from personvern.languages.identify import identifier

    return identifier().identify(text).language
