"""Small hands for the tests: a clock that is set by hand, conversations without an app or an engine."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, select

from personvern.conversations import store
from personvern.conversations.messages import Draft, Message, Offer, Quote, Source, Translation
from personvern.conversations.store import Conversation, Event, Received, Turn
from personvern.database.connection import Database

ROOT = Path(__file__).resolve().parent.parent


class NetworkReached(AssertionError):
    """A test tried to leave this machine."""


class Clock:
    """The time that a test says it is."""

    def __init__(self) -> None:
        self.now = datetime(2025, 3, 3, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> datetime:
        self.now += timedelta(**duration)
        return self.now


GREETING = Draft("chitchat", "nb", "Hei, jeg er en chatbot.")
ANSWER = Draft(
    "answer",
    "en",
    "They are kept for a year.",
    topic="retention",
    quotes=(
        Quote(
            "lagring.1",
            ("lagring.1", "lagring.2"),
            "Lagring",
            "Vi lagrer dem i ett år.",
            "nb",
            Translation("We keep them for one year.", "en", True),
        ),
    ),
    source=Source("Personvernerklæring", None, "2018-07-01"),
)
SILENT = Draft("silent", "nb", "Erklæringen sier ikke noe om kameraovervåking.", topic="camera_surveillance")
ACTS_ONCE = Offer("request_erasure", "Slett alt", "right", right="erasure", acts=True)
ASKS = Offer("ask_retention", "Hvor lenge?", "topic", topic="retention")


class Talk:
    """Conversations in a database, as the app and the actions hold them, each step a transaction of its own."""

    def __init__(self, database: Database, clock: Callable[[], datetime], worker: str = "one") -> None:
        self.database, self.clock, self.worker = database, clock, worker
        self._client_ids = count(1)

    def begin(self, company: str = "jackon", channel: str = "widget", language: str = "nb") -> tuple[Conversation, str]:
        with self.database.write() as connection:
            return store.create(
                connection,
                company=company,
                channel=channel,
                language=language,
                language_chosen=False,
                now=self.clock(),
            )

    def greet(self, conversation: Conversation, *drafts: Draft) -> list[Event]:
        with self.database.write() as connection:
            return store.greet(connection, conversation, drafts or (GREETING,), self.clock())

    def receive(
        self,
        conversation: Conversation,
        text: str = "Hvor lenge lagrer dere det?",
        *,
        client_id: str | None = None,
        offer: str | None = None,
        worker: str | None = None,
        language: str = "nb",
        language_chosen: bool = False,
    ) -> Received:
        with self.database.write() as connection:
            return store.receive(
                connection,
                conversation.id,
                text=text,
                language=language,
                language_chosen=language_chosen,
                client_id=client_id or f"client-{next(self._client_ids)}",
                offer_id=offer,
                worker=worker or self.worker,
                now=self.clock(),
            )

    def next(self, conversation: Conversation) -> Turn | None:
        with self.database.read() as connection:
            return store.next_turn(connection, conversation.id)

    def waiting(self, conversation: Conversation) -> Turn:
        turn = self.next(conversation)
        assert turn is not None
        return turn

    def act(
        self,
        turn: Turn,
        *drafts: Draft,
        action: str = "action_answer",
        number: int = 0,
        events: Sequence[dict[str, Any]] = (),
        work: Callable[[Connection], tuple[Sequence[Draft], list[dict[str, Any]]]] | None = None,
    ) -> list[dict[str, Any]]:
        with self.database.write() as connection:
            return store.run_once(
                connection,
                conversation_id=turn.conversation.id,
                message_id=turn.message_id,
                action=action,
                number=number,
                work=work or (lambda _: (drafts, list(events))),
                now=self.clock(),
            )

    def finish(self, turn: Turn, *, failed: bool = False) -> tuple[tuple[Event, ...], bool] | None:
        with self.database.write() as connection:
            return store.finish(connection, turn, failed=failed, now=self.clock())

    def tell(self, turn: Turn, draft: Draft = GREETING, *, about_delay: bool = False) -> tuple[Event, ...]:
        with self.database.write() as connection:
            return store.tell(connection, turn, draft, about_delay=about_delay, now=self.clock())

    def answer(self, conversation: Conversation, *drafts: Draft) -> tuple[Event, ...]:
        """Work on the turn that waits longest and close it."""
        turn = self.waiting(conversation)
        self.act(turn, *(drafts or (ANSWER,)))
        finished = self.finish(turn)
        assert finished is not None
        return finished[0]

    def events(self, conversation: Conversation, after: int = 0, limit: int = 10_000) -> list[Event]:
        with self.database.read() as connection:
            return store.events_after(connection, conversation.id, after, limit)

    def transcript(self, conversation: Conversation) -> list[Message]:
        with self.database.read() as connection:
            return store.transcript(connection, conversation.id)

    def claim(self, worker: str, limit: int = 200) -> list[str]:
        with self.database.write() as connection:
            return store.claim_waiting(connection, worker, self.clock(), limit)

    def renew(self, conversation: Conversation, worker: str) -> bool:
        with self.database.write() as connection:
            return store.renew(connection, conversation.id, worker, self.clock())

    def feedback(self, conversation: Conversation, message_id: str, helpful: bool) -> None:
        with self.database.write() as connection:
            store.give_feedback(connection, conversation.id, message_id, helpful=helpful, now=self.clock())

    def set(self, table: Table, conversation: Conversation, **values: Any) -> None:
        """What no part of the product does yet: put values into the conversation's rows."""
        column = table.c.id if table.name == "conversations" else table.c.conversation_id
        with self.database.write() as connection:
            connection.execute(table.update().where(column == conversation.id).values(**values))

    def rows(self, table: Table) -> list[dict[str, Any]]:
        with self.database.read() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]
