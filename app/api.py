"""The public chat API: what the widget, the chat page, the terminal and the evaluation speak."""

import asyncio
import unicodedata
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, Request, Response, delete, get, post
from litestar.datastructures import State
from litestar.params import JSONBody, Parameter
from litestar.response import Stream

from app.problems import Problem, preferred_language
from app.services import Services
from app.streams import keep_alive
from personvern.conversations import erasure, store
from personvern.conversations.messages import Draft
from personvern.conversations.store import Conversation, Event, UnknownConversation, UnknownMessage, UnknownOffer
from personvern.conversations.transcripts import as_text
from personvern.languages.identify import identifier, requested_language
from personvern.languages.texts import text, texts
from personvern.privacy.masking import mask
from personvern.requests.door import take_in
from personvern.requests.intake import take
from personvern.statements.library import UnknownCompany
from personvern.statements.reading import LANGUAGES

LONGEST_TEXT = 2_000
MOST_STREAMS = 8
CHANNEL = "widget"
_KEEP_ALIVE_SECONDS = 15.0
_POLL_SECONDS = 1.0

Language = Literal["nb", "nn", "en"]


class NewConversation(msgspec.Struct, forbid_unknown_fields=True):
    company: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    language: Language | None = None


class NewMessage(msgspec.Struct, forbid_unknown_fields=True):
    client_id: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
    text: str | None = None
    offer: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{1,64}\Z")] | None = None


class Feedback(msgspec.Struct, forbid_unknown_fields=True):
    helpful: bool


def _token(request: Request[Any, Any, Any]) -> str:
    if "\x00" in request.url.path:
        raise Problem("not-found")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Problem("unauthorised")
    return token


async def _conversation(request: Request[Any, Any, Any], services: Services, conversation_id: str) -> Conversation:
    token = _token(request)

    def find() -> Conversation:
        with services.database.read() as connection:
            return store.authenticate(connection, conversation_id, token)

    try:
        return await asyncio.to_thread(find)
    except UnknownConversation:
        raise Problem("unauthorised") from None


def _cleaned(given: str) -> str:
    """Without what no database stores and no person means: control signs, halves of surrogate pairs."""
    whole = given.encode("utf-8", "replace").decode()
    return "".join(sign for sign in whole if sign in "\n\t" or unicodedata.category(sign) != "Cc").strip()


class ChatApi(Controller):
    path = "/api/v1"
    tags = ("chat",)

    @get("/companies", summary="The companies of this installation")
    async def companies(self, state: State) -> list[dict[str, Any]]:
        services: Services = state.services
        return [
            {
                "id": company.id,
                "name": dict(company.name),
                "languages": list(LANGUAGES),
                "retention_days": services.erasures.days_kept(company.id, CHANNEL),
            }
            for company in services.library.companies()
        ]

    @post("/conversations", status_code=201, summary="Begin a conversation")
    async def begin(
        self, request: Request[Any, Any, Any], state: State, data: JSONBody[NewConversation]
    ) -> dict[str, Any]:
        services: Services = state.services
        await services.limits.new_conversation(request)
        try:
            company = services.library.company(data.company)
        except UnknownCompany:
            raise Problem("unknown-company", data.language) from None
        language = data.language or _first_language(request, company.reading.language)
        greeting = Draft("chitchat", language, text(language, "greeting", company=company.name[language]))

        def create() -> tuple[Conversation, str, list[Event]]:
            with services.database.write() as connection:
                now = services.clock()
                conversation, token = store.create(
                    connection,
                    company=company.id,
                    channel=CHANNEL,
                    language=language,
                    language_chosen=False,
                    now=now,
                )
                return conversation, token, store.greet(connection, conversation, [greeting], now)

        conversation, token, greeted = await asyncio.to_thread(create)
        return {
            "id": conversation.id,
            "token": token,
            "language": language,
            "messages": [event.data for event in greeted],
            "suggestions": texts(language, "suggestions"),
            "last_event": len(greeted),
        }

    @post("/conversations/{conversation_id:str}/messages", status_code=202, summary="Say something")
    async def say(
        self, request: Request[Any, Any, Any], state: State, conversation_id: str, data: JSONBody[NewMessage]
    ) -> dict[str, Any]:
        services: Services = state.services
        conversation = await _conversation(request, services, conversation_id)
        given = _cleaned(data.text) if data.text is not None else ""
        if (data.text is None) == (data.offer is None):
            raise Problem("malformed", conversation.language)
        if data.offer is None and not given:
            raise Problem("empty-text", conversation.language)
        if len(given) > LONGEST_TEXT:
            raise Problem("text-too-long", conversation.language, limit=LONGEST_TEXT)
        await services.limits.message(request, conversation_id, conversation.language)
        language, chosen = _language(given, conversation)
        masked = mask(given).text
        company = services.library.company(conversation.company)

        def receive() -> store.Received:
            with services.database.write() as connection:
                intake = take(masked, store.asked_for(connection, conversation_id, lock=True))
                taken: dict[str, Any] = {}
                if store.is_known(connection, conversation_id, data.client_id):
                    pass
                else:
                    taken = take_in(
                        connection,
                        services.keys,
                        company=company,
                        conversation_id=conversation_id,
                        language=language,
                        intake=intake,
                        now=services.clock(),
                    )
                return store.receive(
                    connection,
                    conversation_id,
                    text=intake.text,
                    taken=taken,
                    language=language,
                    language_chosen=chosen,
                    client_id=data.client_id,
                    offer_id=data.offer,
                    worker=services.turns.name,
                    now=services.clock(),
                )

        try:
            received = await asyncio.to_thread(receive)
        except UnknownOffer:
            raise Problem("unknown-offer", conversation.language) from None
        except UnknownConversation:
            raise Problem("unauthorised", conversation.language) from None
        if received.claimed:
            services.turns.work_on(conversation_id)
        services.broadcaster.publish(conversation_id, received.events)
        return {
            "id": received.message.id,
            "client_id": data.client_id,
            "language": received.message.language,
            "text": received.message.text,
        }

    @get("/conversations/{conversation_id:str}/events", summary="The conversation as server-sent events")
    async def events(
        self,
        request: Request[Any, Any, Any],
        state: State,
        conversation_id: str,
    ) -> Stream:
        services: Services = state.services
        conversation = await _conversation(request, services, conversation_id)
        if services.broadcaster.listeners(conversation_id) >= MOST_STREAMS:
            raise Problem("too-many-messages", conversation.language, retry_after=5)
        last_event_id = request.headers.get("last-event-id")
        after = int(last_event_id) if last_event_id and last_event_id.isdecimal() and len(last_event_id) < 10 else 0
        return Stream(
            keep_alive(_follow(services, conversation_id, after), _KEEP_ALIVE_SECONDS),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    @get("/conversations/{conversation_id:str}/messages", summary="The same by polling")
    async def poll(
        self,
        request: Request[Any, Any, Any],
        state: State,
        conversation_id: str,
        after: Annotated[int, Parameter(ge=0, le=1_000_000_000)] = 0,
    ) -> dict[str, Any]:
        services: Services = state.services
        await _conversation(request, services, conversation_id)
        found = await asyncio.to_thread(_events_after, services, conversation_id, after) or []
        return {"events": [{"number": event.number, "kind": event.kind, "data": event.data} for event in found]}

    @get("/conversations/{conversation_id:str}/transcript", summary="What is stored of this conversation")
    async def transcript(
        self,
        request: Request[Any, Any, Any],
        state: State,
        conversation_id: str,
        format: Literal["json", "text"] = "json",
    ) -> Response[Any]:
        services: Services = state.services
        conversation = await _conversation(request, services, conversation_id)

        def find() -> list[Any]:
            with services.database.read() as connection:
                return store.transcript(connection, conversation_id)

        messages = await asyncio.to_thread(find)
        if format == "json":
            return Response({"company": conversation.company, "messages": [message.as_json() for message in messages]})
        try:
            name = services.library.company(conversation.company).name[conversation.language]
        except UnknownCompany:
            name = conversation.company
        return Response(as_text(messages, name, conversation.language), media_type="text/plain")

    @delete("/conversations/{conversation_id:str}", status_code=204, summary="Erase the conversation everywhere")
    async def erase(self, request: Request[Any, Any, Any], state: State, conversation_id: str) -> None:
        services: Services = state.services
        await _conversation(request, services, conversation_id)

        def forget() -> None:
            with services.database.write() as connection:
                erasure.erase_record(connection, conversation_id, "asked_for", services.clock())

        try:
            await asyncio.to_thread(forget)
        except UnknownConversation:
            raise Problem("unauthorised") from None
        services.broadcaster.publish(conversation_id, (Event(0, "closed", {"reason": "erased"}),))
        services.erasures.wake()

    @post(
        "/conversations/{conversation_id:str}/messages/{message_id:str}/feedback",
        status_code=204,
        summary="Was this helpful?",
    )
    async def feedback(
        self,
        request: Request[Any, Any, Any],
        state: State,
        conversation_id: str,
        message_id: str,
        data: JSONBody[Feedback],
    ) -> None:
        services: Services = state.services
        conversation = await _conversation(request, services, conversation_id)

        def give() -> None:
            with services.database.write() as connection:
                store.give_feedback(connection, conversation_id, message_id, helpful=data.helpful, now=services.clock())

        try:
            await asyncio.to_thread(give)
        except UnknownMessage:
            raise Problem("not-found", conversation.language) from None


def _first_language(request: Request[Any, Any, Any], statement_language: str) -> str:
    if request.headers.get("accept-language"):
        return preferred_language(request)
    return statement_language


def _language(given: str, conversation: Conversation) -> tuple[str, bool]:
    """The language of the reply: what was asked for, else what was written, else what was spoken before."""
    if not given:
        return conversation.language, conversation.language_chosen
    asked = requested_language(given)
    if asked is not None:
        return asked, True
    current = conversation.language
    found = identifier().identify(given, current)  # type: ignore[arg-type]
    if conversation.language_chosen and {found.language, current} == {"nb", "nn"}:
        return current, True
    return found.language, conversation.language_chosen and found.language == current


def _events_after(services: Services, conversation_id: str, after: int) -> list[Event] | None:
    """None where the conversation is gone."""
    with services.database.read() as connection:
        found = store.events_after(connection, conversation_id, after)
        return found if found or store.exists(connection, conversation_id) else None


async def _follow(services: Services, conversation_id: str, after: int) -> AsyncIterator[Event]:
    """Every event after the given one, without a gap: what this process tells, and the database when in doubt."""
    with services.broadcaster.subscribed(conversation_id) as queue:
        while True:
            found = await asyncio.to_thread(_events_after, services, conversation_id, after)
            if found is None:
                yield Event(0, "closed", {"reason": "erased"})
                return
            for event in found:
                after = event.number
                yield event
            if len(found) >= store.MOST_EVENTS:
                continue
            while True:
                try:
                    async with asyncio.timeout(services.poll_seconds):
                        event = await queue.get()
                except TimeoutError:
                    break  # another process may have written: look
                if event.number == 0:
                    yield event
                    if event.kind == "closed":
                        return
                elif event.number == after + 1:
                    after = event.number
                    yield event
                elif event.number > after + 1:
                    break
