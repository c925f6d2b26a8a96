"""The record of conversations: a message is stored before it is worked on, a turn ends in one transaction.

Every function takes a connection inside a transaction (`Database.read` or `Database.write`) and the present time.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from personvern.conversations.messages import Author, Draft, Message
from personvern.database.tables import action_runs, conversations, events, feedback, messages, offers, turns

LEASE = timedelta(seconds=60)
"""How long the other app processes leave a conversation to the one that works on it."""


REDACTED = "[…]"
MOST_EVENTS = 200
"""How many events are read at once."""


class ConversationError(Exception):
    """What was asked of a conversation cannot be done."""


class UnknownConversation(ConversationError):
    """There is no such conversation, or the token is not its own: the two are not told apart."""


class UnknownOffer(ConversationError):
    """The button was not offered in this conversation, or was used already."""


class UnknownMessage(ConversationError):
    """No such message of the bot in this conversation."""


@dataclass(frozen=True, slots=True)
class Conversation:
    id: str
    company: str
    channel: str
    language: str
    language_chosen: bool
    state: str
    last_event: int
    asking: str | None = None
    """What a form waits for: name, email, details, confirm, correction or code."""


@dataclass(frozen=True, slots=True)
class Event:
    """One step of a conversation as it is streamed. `number` counts within the conversation, from 1."""

    number: int
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """A visitor's message that waits for its reply."""

    message_id: str
    conversation: Conversation
    text: str
    language: str
    client_id: str | None
    intent: str | None
    attempts: int
    told_of_delay: bool
    received_at: datetime
    taken: dict[str, Any] = field(default_factory=dict)
    """What the door took out of the text, by name: never what was typed."""


@dataclass(frozen=True, slots=True)
class Received:
    message: Message
    events: tuple[Event, ...]
    repeated: bool
    claimed: bool


def new_id() -> str:
    return secrets.token_hex(16)


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


_CONVERSATION = (
    conversations.c.id,
    conversations.c.company,
    conversations.c.channel,
    conversations.c.language,
    conversations.c.language_chosen,
    conversations.c.state,
    conversations.c.last_event,
    conversations.c.asking,
)


def create(
    connection: Connection, *, company: str, channel: str, language: str, language_chosen: bool, now: datetime
) -> tuple[Conversation, str]:
    """A new conversation and its token, which is given once and kept only as a hash."""
    token = secrets.token_urlsafe(32)
    conversation = Conversation(new_id(), company, channel, language, language_chosen, "bot", 0)
    connection.execute(
        insert(conversations).values(
            id=conversation.id,
            company=company,
            channel=channel,
            language=language,
            language_chosen=language_chosen,
            token_hash=hash_of(token),
            state="bot",
            last_event=0,
            created_at=now,
            last_message_at=now,
        )
    )
    return conversation, token


def authenticate(connection: Connection, conversation_id: str, token: str) -> Conversation:
    row = connection.execute(
        select(*_CONVERSATION, conversations.c.token_hash).where(conversations.c.id == conversation_id)
    ).one_or_none()
    known = row.token_hash if row else hash_of("")
    if not hmac.compare_digest(known, hash_of(token)) or row is None:
        raise UnknownConversation(conversation_id)
    return Conversation(*row[:-1])


def _locked(connection: Connection, conversation_id: str) -> Any:
    row = connection.execute(
        select(*_CONVERSATION, conversations.c.worker, conversations.c.worker_until)
        .where(conversations.c.id == conversation_id)
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise UnknownConversation(conversation_id)
    return row


def receive(
    connection: Connection,
    conversation_id: str,
    *,
    text: str,
    language: str,
    language_chosen: bool,
    client_id: str,
    offer_id: str | None,
    worker: str,
    now: datetime,
    taken: dict[str, Any] | None = None,
) -> Received:
    """Store what the visitor said, with a turn that waits for its reply, and claim the conversation when it is free.

    The same `client_id` again changes nothing. With `offer_id` the text is the button's own label.
    """
    row = _locked(connection, conversation_id)
    known = connection.execute(
        select(messages).where(messages.c.conversation_id == conversation_id, messages.c.client_id == client_id)
    ).one_or_none()
    if known is not None:
        return Received(_message(known), (), repeated=True, claimed=False)
    intent = None
    if offer_id is not None:
        offer = connection.execute(
            select(offers).where(offers.c.id == offer_id, offers.c.conversation_id == conversation_id)
        ).one_or_none()
        if offer is None or (offer.acts and offer.used_at is not None):
            raise UnknownOffer(offer_id)
        connection.execute(update(offers).where(offers.c.id == offer_id).values(used_at=now))
        text, intent = offer.label, offer.intent
    message = Message(new_id(), conversation_id, "visitor", language, text, now, client_id=client_id)
    _insert(connection, message)
    number = row.last_event + 1
    connection.execute(
        insert(turns).values(
            message_id=message.id,
            conversation_id=conversation_id,
            position=number,
            intent=intent,
            taken=taken or {},
            attempts=0,
            told_of_delay=False,
            received_at=now,
        )
    )
    event = _append(connection, conversation_id, number, "message", message)
    claimed = row.worker in (None, worker) or row.worker_until is None or row.worker_until < now
    changes: dict[str, Any] = {
        "last_event": number,
        "last_message_at": now,
        "language": language,
        "language_chosen": language_chosen,
    }
    if claimed:
        changes |= {"worker": worker, "worker_until": now + LEASE}
    connection.execute(update(conversations).where(conversations.c.id == conversation_id).values(changes))
    return Received(message, (event,), repeated=False, claimed=claimed)


def is_known(connection: Connection, conversation_id: str, client_id: str) -> bool:
    """Whether this message was received before."""
    return (
        connection.execute(
            select(messages.c.id).where(
                messages.c.conversation_id == conversation_id, messages.c.client_id == client_id
            )
        ).first()
        is not None
    )


def next_turn(connection: Connection, conversation_id: str) -> Turn | None:
    """The oldest turn without a reply."""
    row = connection.execute(
        select(
            *_CONVERSATION,
            messages.c.id.label("message_id"),
            messages.c.text,
            messages.c.language.label("message_language"),
            messages.c.client_id,
            turns.c.intent,
            turns.c.attempts,
            turns.c.told_of_delay,
            turns.c.received_at,
            turns.c.taken,
        )
        .join_from(turns, messages, turns.c.message_id == messages.c.id)
        .join(conversations, turns.c.conversation_id == conversations.c.id)
        .where(turns.c.conversation_id == conversation_id, turns.c.finished_at.is_(None))
        .order_by(turns.c.position)
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    return Turn(
        row.message_id,
        Conversation(*row[: len(_CONVERSATION)]),
        row.text,
        row.message_language,
        row.client_id,
        row.intent,
        row.attempts,
        row.told_of_delay,
        row.received_at,
        row.taken,
    )


def any_waiting(connection: Connection) -> bool:
    return (
        connection.execute(select(turns.c.message_id).where(turns.c.finished_at.is_(None)).limit(1)).first() is not None
    )


def claim_waiting(connection: Connection, worker: str, now: datetime, limit: int = 200) -> list[str]:
    """Conversations with an unanswered turn that no living process works on, oldest first; they are now `worker`'s."""
    free = or_(
        conversations.c.worker.is_(None),
        conversations.c.worker == worker,
        conversations.c.worker_until < now,
    )
    found = connection.execute(
        select(conversations.c.id)
        .join(turns, turns.c.conversation_id == conversations.c.id)
        .where(turns.c.finished_at.is_(None), free)
        .group_by(conversations.c.id)
        .order_by(func.min(turns.c.received_at))
        .limit(limit)
    ).scalars()
    ids = list(found)
    if ids:
        # Asked again in the update: of two processes that saw the same ones, each conversation goes to one.
        claimed = connection.execute(
            update(conversations)
            .where(conversations.c.id.in_(ids), free)
            .values(worker=worker, worker_until=now + LEASE)
            .returning(conversations.c.id)
        ).scalars()
        mine = set(claimed)
        ids = [conversation_id for conversation_id in ids if conversation_id in mine]
    return ids


def renew(connection: Connection, conversation_id: str, worker: str, now: datetime) -> bool:
    """Keep the lease; False when another process has taken the conversation over."""
    kept = connection.execute(
        update(conversations)
        .where(conversations.c.id == conversation_id, conversations.c.worker == worker)
        .values(worker_until=now + LEASE)
    )
    return bool(kept.rowcount)


def count_attempt(connection: Connection, message_id: str) -> None:
    connection.execute(update(turns).where(turns.c.message_id == message_id).values(attempts=turns.c.attempts + 1))


def run_once(
    connection: Connection,
    *,
    conversation_id: str,
    message_id: str,
    action: str,
    number: int,
    work: Callable[[Connection], tuple[Sequence[Draft], list[dict[str, Any]]]],
    now: datetime,
) -> list[dict[str, Any]]:
    """Do an action's work once for (message, action, number): its effects and what it says are one transaction.

    `work` returns what is to be said and the events for the dialogue engine; a repeated call returns the same events
    and does nothing.
    """
    key = (
        action_runs.c.message_id == message_id,
        action_runs.c.action == action,
        action_runs.c.number == number,
    )
    done = connection.execute(select(action_runs.c.events).where(*key)).scalar_one_or_none()
    if done is not None:
        return list(done)
    drafts, dialogue_events = work(connection)
    connection.execute(
        insert(action_runs).values(message_id=message_id, action=action, number=number, events=dialogue_events)
    )
    for index, draft in enumerate(drafts):
        _say(
            connection,
            conversation_id,
            draft,
            author="bot",
            in_reply_to=message_id,
            now=now,
            place={"action": action, "action_number": number, "number": index},
        )
    return dialogue_events


def finish(connection: Connection, turn: Turn, *, failed: bool, now: datetime) -> tuple[tuple[Event, ...], bool] | None:
    """Stream the turn's messages and close it. None when it has no messages and did not fail: that is no reply.

    Also tells whether the conversation has another turn waiting; where it has none the lease is given back.
    """
    row = _locked(connection, turn.conversation.id)
    if connection.execute(select(turns.c.finished_at).where(turns.c.message_id == turn.message_id)).scalar_one():
        return (), False  # another process got here first
    said = connection.execute(
        select(messages)
        .outerjoin(events, events.c.message_id == messages.c.id)
        .where(messages.c.in_reply_to == turn.message_id, events.c.number.is_(None))
        .order_by(messages.c.action_number, messages.c.number)
    ).all()
    if not said and not failed:
        return None
    number = row.last_event
    streamed = []
    for stored in said:
        number += 1
        streamed.append(_append(connection, turn.conversation.id, number, "message", _message(stored)))
    number += 1
    streamed.append(_turn_done(connection, turn, number, failed))
    connection.execute(
        update(turns).where(turns.c.message_id == turn.message_id).values(finished_at=now, failed=failed)
    )
    more = connection.execute(
        select(turns.c.message_id)
        .where(turns.c.conversation_id == turn.conversation.id, turns.c.finished_at.is_(None))
        .limit(1)
    ).first()
    changes: dict[str, Any] = {"last_event": number, "last_message_at": now, "worker_until": now + LEASE}
    if more is None:
        changes |= {"worker": None, "worker_until": None}
    connection.execute(update(conversations).where(conversations.c.id == turn.conversation.id).values(changes))
    return tuple(streamed), more is not None


def tell(
    connection: Connection, turn: Turn, draft: Draft, *, about_delay: bool = False, now: datetime
) -> tuple[Event, ...]:
    """Say something about a turn that is not over: that it takes longer, that it failed."""
    row = _locked(connection, turn.conversation.id)
    state = connection.execute(
        select(turns.c.told_of_delay, turns.c.finished_at).where(turns.c.message_id == turn.message_id)
    ).one()
    if state.finished_at is not None or (about_delay and state.told_of_delay):
        return ()
    message = _say(
        connection, turn.conversation.id, draft, author="system", in_reply_to=turn.message_id, now=now, place={}
    )
    event = _append(connection, turn.conversation.id, row.last_event + 1, "message", message)
    if about_delay:
        connection.execute(update(turns).where(turns.c.message_id == turn.message_id).values(told_of_delay=True))
    connection.execute(
        update(conversations).where(conversations.c.id == turn.conversation.id).values(last_event=event.number)
    )
    return (event,)


def greet(connection: Connection, conversation: Conversation, drafts: Sequence[Draft], now: datetime) -> list[Event]:
    """What the bot says before anybody has asked anything."""
    greeted = []
    for number, draft in enumerate(drafts, start=1):
        message = _say(connection, conversation.id, draft, author="bot", in_reply_to=None, now=now, place={})
        greeted.append(_append(connection, conversation.id, number, "message", message))
    connection.execute(
        update(conversations).where(conversations.c.id == conversation.id).values(last_event=len(greeted))
    )
    return greeted


def ask_for(connection: Connection, conversation_id: str, slot: str | None) -> None:
    """A form waits for this in the conversation; with None no form does."""
    connection.execute(update(conversations).where(conversations.c.id == conversation_id).values(asking=slot))


def asked_for(connection: Connection, conversation_id: str, *, lock: bool = False) -> str | None:
    """With `lock` nobody else changes the conversation before the transaction ends."""
    query = select(conversations.c.asking).where(conversations.c.id == conversation_id)
    return connection.execute(query.with_for_update() if lock else query).scalar_one_or_none()


def exists(connection: Connection, conversation_id: str) -> bool:
    found = connection.execute(select(conversations.c.id).where(conversations.c.id == conversation_id)).first()
    return found is not None


def redact(connection: Connection, conversation_id: str, typed: Sequence[str]) -> None:
    """Put a placeholder for each of what was typed into every message that holds it as a whole word."""
    values = sorted({value.strip() for value in typed if len(value.strip()) > 1}, key=len, reverse=True)
    if not values:
        return
    pattern = re.compile("|".join(rf"(?<!\w){re.escape(value)}(?!\w)" for value in values))
    rows = connection.execute(
        select(messages.c.id, messages.c.text).where(messages.c.conversation_id == conversation_id)
    ).all()
    for row in rows:
        changed = pattern.sub(REDACTED, row.text)
        if changed != row.text:
            connection.execute(update(messages).where(messages.c.id == row.id).values(text=changed))


def choose_language(connection: Connection, conversation_id: str, language: str) -> None:
    """The person asked for this language: it holds until she asks for another."""
    connection.execute(
        update(conversations)
        .where(conversations.c.id == conversation_id)
        .values(language=language, language_chosen=True)
    )


def events_after(connection: Connection, conversation_id: str, number: int, limit: int = MOST_EVENTS) -> list[Event]:
    rows = connection.execute(
        select(events.c.number, events.c.kind, events.c.data.label("event_data"), messages)
        .outerjoin(messages, events.c.message_id == messages.c.id)
        .where(events.c.conversation_id == conversation_id, events.c.number > number)
        .order_by(events.c.number)
        .limit(limit)
    )
    found = []
    for row in rows:
        data = row.event_data
        if row.kind == "message":
            data = _message(row).as_json()
        # `messages.number` and `events.number` share a name in the row; the event's own comes first.
        found.append(Event(row[0], row.kind, data))
    return found


def last_offers(connection: Connection, conversation_id: str) -> tuple[str, ...]:
    """The intents of the buttons under the bot's latest message."""
    latest = connection.execute(
        select(events.c.message_id)
        .join(messages, messages.c.id == events.c.message_id)
        .where(events.c.conversation_id == conversation_id, messages.c.author == "bot")
        .order_by(events.c.number.desc())
        .limit(1)
    ).scalar_one_or_none()
    if latest is None:
        return ()
    return tuple(connection.execute(select(offers.c.intent).where(offers.c.message_id == latest)).scalars())


def transcript(connection: Connection, conversation_id: str) -> list[Message]:
    rows = connection.execute(
        select(messages)
        .join(events, events.c.message_id == messages.c.id)
        .where(events.c.conversation_id == conversation_id)
        .order_by(events.c.number)
    )
    return [_message(row) for row in rows]


def give_feedback(
    connection: Connection, conversation_id: str, message_id: str, *, helpful: bool, now: datetime
) -> None:
    """Only answers and silences can be helpful or not."""
    known = connection.execute(
        select(messages.c.id).where(
            messages.c.id == message_id,
            messages.c.conversation_id == conversation_id,
            messages.c.act.in_(("answer", "silent")),
        )
    ).one_or_none()
    if known is None:
        raise UnknownMessage(message_id)
    connection.execute(delete(feedback).where(feedback.c.message_id == message_id))
    connection.execute(
        insert(feedback).values(message_id=message_id, conversation_id=conversation_id, helpful=helpful, given_at=now)
    )


def _say(
    connection: Connection,
    conversation_id: str,
    draft: Draft,
    *,
    author: Author,
    in_reply_to: str | None,
    now: datetime,
    place: dict[str, Any],
) -> Message:
    offered = [(new_id(), offer) for offer in draft.offers]
    data = draft.data()
    if offered:
        data["offers"] = [
            {
                name: value
                for name, value in {
                    "id": offer_id,
                    "label": offer.label,
                    "kind": offer.kind,
                    "topic": offer.topic,
                    "right": offer.right,
                }.items()
                if value
            }
            for offer_id, offer in offered
        ]
    message = Message(
        new_id(),
        conversation_id,
        author,
        draft.language,
        draft.text,
        now,
        act=draft.act,
        in_reply_to=in_reply_to,
        data=data,
    )
    _insert(connection, message, place)
    if any(offer.acts for offer in draft.offers):
        # A yes belongs to what was read back last.
        connection.execute(
            update(offers)
            .where(offers.c.conversation_id == conversation_id, offers.c.acts, offers.c.used_at.is_(None))
            .values(used_at=now)
        )
    if offered:
        connection.execute(
            insert(offers),
            [
                {
                    "id": offer_id,
                    "conversation_id": conversation_id,
                    "message_id": message.id,
                    "intent": offer.intent,
                    "label": offer.label,
                    "acts": offer.acts,
                }
                for offer_id, offer in offered
            ],
        )
    return message


def _insert(connection: Connection, message: Message, place: dict[str, Any] | None = None) -> None:
    connection.execute(
        insert(messages).values(
            id=message.id,
            conversation_id=message.conversation_id,
            author=message.author,
            client_id=message.client_id,
            in_reply_to=message.in_reply_to,
            act=message.act,
            language=message.language,
            text=message.text,
            data=message.data,
            created_at=message.created_at,
            **(place or {}),
        )
    )


def _append(connection: Connection, conversation_id: str, number: int, kind: str, message: Message) -> Event:
    connection.execute(
        insert(events).values(conversation_id=conversation_id, number=number, kind=kind, message_id=message.id, data={})
    )
    return Event(number, kind, message.as_json())


def _turn_done(connection: Connection, turn: Turn, number: int, failed: bool) -> Event:
    event = Event(number, "turn_done", {"client_id": turn.client_id, "failed": failed})
    connection.execute(
        insert(events).values(conversation_id=turn.conversation.id, number=number, kind=event.kind, data=event.data)
    )
    return event


def _message(row: Row[Any]) -> Message:
    stored = row._mapping
    return Message(
        stored[messages.c.id],
        stored[messages.c.conversation_id],
        stored[messages.c.author],
        stored[messages.c.language],
        stored[messages.c.text],
        stored[messages.c.created_at],
        act=stored[messages.c.act],
        in_reply_to=stored[messages.c.in_reply_to],
        client_id=stored[messages.c.client_id],
        data=stored[messages.c.data],
    )
