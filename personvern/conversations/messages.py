"""What is said in a conversation: the shapes that actions make, the record keeps and channels render."""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

Author = Literal["visitor", "bot", "staff", "system"]

Act = Literal[
    "answer",
    "silent",
    "clarify",
    "ask_slot",
    "reprompt",
    "confirm",
    "code_sent",
    "request_opened",
    "request_cancelled",
    "status",
    "handover_queued",
    "refuse",
    "chitchat",
    "notice",
]


@dataclass(frozen=True, slots=True)
class Translation:
    text: str
    language: str
    reviewed: bool


@dataclass(frozen=True, slots=True)
class Quote:
    """`text` stands word for word in the statement; `passages` are the ids it spans, `passage` the first of them."""

    passage: str
    passages: tuple[str, ...]
    heading: str
    text: str
    language: str
    translation: Translation | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where the quotes come from. `note` says what the reader must know of it, such as that it does not bind."""

    title: str
    address: str | None
    version: str | None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A button. `acts` where tapping it does something, and so is good once; a question may be asked again."""

    intent: str
    label: str
    kind: Literal["topic", "right", "human", "other"]
    topic: str | None = None
    right: str | None = None
    acts: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that somebody is about to say."""

    act: Act
    language: str
    text: str
    topic: str | None = None
    right: str | None = None
    slot: str | None = None
    quotes: tuple[Quote, ...] = ()
    source: Source | None = None
    offers: tuple[Offer, ...] = ()

    def data(self) -> dict[str, Any]:
        """All but the act, the language, the text and the offers, without what is empty."""
        fields: dict[str, Any] = {
            "topic": self.topic,
            "right": self.right,
            "slot": self.slot,
            "quotes": [asdict(quote) for quote in self.quotes],
            "source": asdict(self.source) if self.source else None,
        }
        return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message."""

    id: str
    conversation_id: str
    author: Author
    language: str
    text: str
    created_at: datetime
    act: Act | None = None
    in_reply_to: str | None = None
    client_id: str | None = None
    data: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The message as the chat API and the transcript give it."""
        given: dict[str, Any] = {
            "id": self.id,
            "author": self.author,
            "act": self.act,
            "language": self.language,
            "text": self.text,
            "in_reply_to": self.in_reply_to,
            "client_id": self.client_id,
            "created_at": self.created_at.isoformat(),
            **self.data,
        }
        return {name: value for name, value in given.items() if value is not None}
