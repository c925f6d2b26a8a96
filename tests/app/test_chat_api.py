"""The public chat API: a real app over real HTTP, an engine that the test plays."""

import asyncio
import json
import logging
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from conftest import FakeEngine, MakeApp, Refused, RunningApp, Visitor, until
from helpers import ACTS_ONCE, ANSWER, ASKS, ROOT, SILENT, Clock, Talk
from sqlalchemy import text as sql

import app.api
from app.turns import TurnWorker
from personvern.conversations import erasure
from personvern.database.connection import Database
from personvern.database.migrate import upgrade
from personvern.database.tables import conversations, erasures, events, feedback, messages, turns
from personvern.languages.texts import text, texts
from personvern.settings import Settings
from personvern.statements.reading import LANGUAGES

type Arrive = Callable[..., Awaitable[Visitor]]

IDENTITY = "15819012345"  # eleven digits, no person's
NEEDLE = "Nålen i høystakken"


@pytest.fixture
def talk(running: RunningApp, clock: Clock) -> Talk:
    """A look into the app's own database."""
    return Talk(running.services.database, clock, worker="app-1")


async def refused(call: Awaitable[Any]) -> Refused:
    with pytest.raises(Refused) as error:
        await call
    return error.value


def check_problem(found: Refused, kind: str, status: int, language: str, of: str = "", **values: object) -> None:
    words = texts(language, "problems")[kind]
    assert found.headers["Content-Type"].startswith("application/problem+json"), of
    expected = {
        "type": f"/problems/{kind}",
        "title": words["title"],
        "detail": words["detail"].format(**values),
        "status": status,
        "language": language,
    }
    assert found.problem == expected, of
    assert found.status == status, of


# Beginning


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_conversation_begins_with_a_chatbot_that_says_so(
    running: RunningApp, arrive: Arrive, language: str
) -> None:
    begun = (await arrive(running, language=language)).begun
    assert set(begun) == {"id", "token", "language", "messages", "suggestions", "last_event"}
    assert begun["language"] == language
    [greeting] = begun["messages"]
    assert (greeting["author"], greeting["act"], greeting["language"]) == ("bot", "chitchat", language)
    assert greeting["text"] == text(language, "greeting", company="Jackon")
    assert "chatbot" in greeting["text"]
    assert begun["suggestions"] == texts(language, "suggestions")
    assert begun["last_event"] == 1
    assert len(begun["token"]) >= 32


async def test_the_first_language_is_the_browsers_or_the_statements(running: RunningApp, arrive: Arrive) -> None:
    for company, accept, language in (
        ("jackon", None, "nb"),
        ("jobbkort", None, "en"),
        ("jackon", "en-GB,en;q=0.9,nb;q=0.8", "en"),
        ("jobbkort", "nn-NO", "nn"),
        ("jobbkort", "no", "nb"),
        ("jobbkort", "de,fr;q=0.5", "nb"),
        ("jobbkort", "de,en;q=0.5", "en"),
    ):
        headers = {"Accept-Language": accept} if accept else {}
        begun = (await arrive(running, company, None, headers=headers)).begun
        assert begun["language"] == language, (company, accept)


async def test_the_companies_are_listed(running: RunningApp, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{running.url}/api/v1/companies") as response:
        listed = await response.json()
    assert [company["id"] for company in listed] == ["jackon", "jobbkort"]
    assert listed[0]["name"] == {"nb": "Jackon", "nn": "Jackon", "en": "Jackon"}
    assert listed[0]["languages"] == list(LANGUAGES)


# A question and its answer


async def test_a_question_is_stored_acknowledged_and_answered(visitor: Visitor, engine: FakeEngine, talk: Talk) -> None:
    acknowledged = await visitor.say("Hvor lenge lagrer dere opplysningene mine?", client_id="c1")
    assert acknowledged == {
        "id": acknowledged["id"],
        "client_id": "c1",
        "language": "nb",
        "text": "Hvor lenge lagrer dere opplysningene mine?",
    }
    greeting, question, answer, done = await visitor.done()
    assert [event["number"] for event in (greeting, question, answer, done)] == [1, 2, 3, 4]
    assert question["data"]["id"] == acknowledged["id"]
    assert question["data"]["author"] == "visitor"
    assert answer["data"]["in_reply_to"] == acknowledged["id"]
    assert answer["data"]["act"] == "answer"
    assert answer["data"]["quotes"][0]["text"] == ANSWER.quotes[0].text
    assert answer["data"]["source"]["title"] == "Personvernerklæring"
    assert (done["kind"], done["data"]) == ("turn_done", {"client_id": "c1", "failed": False})
    [sent] = engine.received
    assert {"company": "jackon", "channel": "widget", "language": "nb"}.items() <= sent.pop("metadata").items()
    assert sent == {
        "conversation_id": visitor.id,
        "message_id": acknowledged["id"],
        "text": "Hvor lenge lagrer dere opplysningene mine?",
        "intent": None,
    }
    assert talk.rows(conversations)[0]["worker"] is None


async def test_a_button_is_asked_by_its_id_and_its_meaning_is_known(visitor: Visitor, engine: FakeEngine) -> None:
    engine.say = lambda _: [replace(ANSWER, offers=(ASKS, ACTS_ONCE))]
    await visitor.say("Hva lagrer dere?")
    offered = (await visitor.done())[2]["data"]["offers"]
    assert [offer["label"] for offer in offered] == [ASKS.label, ACTS_ONCE.label]
    acknowledged = await visitor.say(offer=offered[1]["id"])
    assert acknowledged["text"] == ACTS_ONCE.label
    await visitor.done(2)
    assert (engine.received[1]["intent"], engine.received[1]["text"]) == ("request_erasure", ACTS_ONCE.label)
    check_problem(await refused(visitor.say(offer=offered[1]["id"])), "unknown-offer", 409, "nb")
    await visitor.say(offer=offered[0]["id"])
    await visitor.say(offer=offered[0]["id"])
    await visitor.done(4)


async def test_what_begins_with_a_slash_is_text_as_all_else(visitor: Visitor, engine: FakeEngine) -> None:
    typed = ["/restart", '/ask_retention{"slot": 1}', "/", "//", "/session_start", '  /inform{"name": "x"}']
    for one in typed:
        await visitor.say(one)
    await visitor.done(len(typed))
    assert [sent["text"] for sent in engine.received] == [one.strip() for one in typed]
    assert [sent["intent"] for sent in engine.received] == [None] * len(typed)


# Refusals

Call = Callable[[Visitor, Visitor], Awaitable[Any]]


def without_token(visitor: Visitor, other: Visitor) -> Awaitable[Any]:
    return visitor.ask("GET", "/messages", headers={"Authorization": ""})


def raw(body: bytes, headers: dict[str, str] | None = None) -> Call:
    sent = {"Content-Type": "application/json"} | (headers or {})
    return lambda visitor, _: visitor.ask("POST", "/messages", data=body, headers=sent)


def post(path: str, body: object) -> Call:
    return lambda visitor, _: visitor.ask("POST", path, json=body)


def with_token(token: Callable[[Visitor, Visitor], str]) -> Call:
    return lambda visitor, other: visitor.ask(
        "GET", "/messages", headers={"Authorization": f"Bearer {token(visitor, other)}"}
    )


REFUSALS: dict[str, tuple[Call, str, int]] = {
    # Whose conversation it is
    "no token": (without_token, "unauthorised", 401),
    "a token that is none": (with_token(lambda *_: "wrong"), "unauthorised", 401),
    "another conversation's token": (with_token(lambda _, other: other.begun["token"]), "unauthorised", 401),
    "a token that is not ASCII": (with_token(lambda *_: "nøkkel"), "unauthorised", 401),
    "another scheme": (
        lambda visitor, _: visitor.ask("GET", "/messages", headers={"Authorization": "Basic eDp5"}),
        "unauthorised",
        401,
    ),
    "a conversation that is not there": (
        lambda visitor, _: replace(visitor, begun={**visitor.begun, "id": "0" * 32}).poll(),
        "unauthorised",
        401,
    ),
    "the stream without a token": (
        lambda visitor, _: visitor.ask("GET", "/events", headers={"Authorization": ""}),
        "unauthorised",
        401,
    ),
    "deleting without a token": (
        lambda visitor, _: visitor.ask("DELETE", headers={"Authorization": "Bearer x"}),
        "unauthorised",
        401,
    ),
    # What is said
    "nothing": (post("/messages", {"client_id": "c", "text": ""}), "empty-text", 422),
    "white space": (post("/messages", {"client_id": "c", "text": " \n\t\u00a0"}), "empty-text", 422),
    "control signs only": (post("/messages", {"client_id": "c", "text": "\u0000\u0007"}), "empty-text", 422),
    "2,001 signs": (post("/messages", {"client_id": "c", "text": "å" * 2_001}), "text-too-long", 422),
    "a body of more than 64 kB": (
        post("/messages", {"client_id": "c", "text": "a" * 66_000}),
        "body-too-large",
        413,
    ),
    "neither text nor button": (post("/messages", {"client_id": "c"}), "malformed", 400),
    "both text and button": (post("/messages", {"client_id": "c", "text": "a", "offer": "b"}), "malformed", 400),
    "no client id": (post("/messages", {"text": "a"}), "malformed", 400),
    "an empty client id": (post("/messages", {"client_id": "", "text": "a"}), "malformed", 400),
    "a client id of 65 signs": (post("/messages", {"client_id": "c" * 65, "text": "a"}), "malformed", 400),
    "a number as text": (post("/messages", {"client_id": "c", "text": 5}), "malformed", 400),
    "an unknown field": (post("/messages", {"client_id": "c", "text": "a", "intent": "x"}), "malformed", 400),
    "a list": (post("/messages", [1]), "malformed", 400),
    "no JSON": (raw(b'{"client_id": "c", "text": '), "malformed", 400),
    "no body": (raw(b""), "malformed", 400),
    "a form": (
        raw(b"client_id=c&text=a", {"Content-Type": "application/x-www-form-urlencoded"}),
        "malformed",
        400,
    ),
    "a button that was never offered": (
        post("/messages", {"client_id": "c", "offer": "f" * 32}),
        "unknown-offer",
        409,
    ),
    # What is asked for
    "events before the first": (lambda visitor, _: visitor.poll(-1), "malformed", 400),
    "events after no number": (lambda visitor, _: visitor.ask("GET", "/messages?after=x"), "malformed", 400),
    "another kind of transcript": (lambda visitor, _: visitor.ask("GET", "/transcript?format=pdf"), "malformed", 400),
    "a path that is not there": (lambda visitor, _: visitor.ask("GET", "/nothing"), "not-found", 404),
    "a method that is not there": (lambda visitor, _: visitor.ask("PUT", "/messages"), "method-not-allowed", 405),
    "feedback on a message that is not there": (
        post(f"/messages/{'f' * 32}/feedback", {"helpful": True}),
        "not-found",
        404,
    ),
    "feedback without a word": (post(f"/messages/{'f' * 32}/feedback", {}), "malformed", 400),
}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_refusal_says_why_in_the_persons_language(
    running: RunningApp, arrive: Arrive, http: aiohttp.ClientSession, language: str
) -> None:
    other = await arrive(running)
    visitor = await arrive(running, language=language, headers={"Accept-Language": language})
    http.headers["Accept-Language"] = language
    for name, (call, kind, status) in REFUSALS.items():
        found = await refused(call(visitor, other))
        check_problem(found, kind, status, language, name, limit=2_000)
        if status == 401:
            assert found.headers["WWW-Authenticate"] == "Bearer", name
    assert [event["number"] for event in await visitor.poll()] == [1]


async def test_a_body_that_is_no_utf_8_is_malformed(visitor: Visitor) -> None:
    found = await refused(raw(b'{"client_id": "c", "text": "\xff"}')(visitor, visitor))
    check_problem(found, "malformed", 400, "nb")


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_conversation_that_cannot_begin_says_why(
    running: RunningApp, http: aiohttp.ClientSession, language: str
) -> None:
    for body, kind, status in (
        ({"company": "nobody"}, "unknown-company", 404),
        ({"company": "../jackon"}, "unknown-company", 404),
        ({"company": "jackon\u0000"}, "unknown-company", 404),
        ({"company": ""}, "malformed", 400),
        ({"company": "x" * 65}, "malformed", 400),
        ({"company": "jackon", "language": "de"}, "malformed", 400),
        ({"company": "jackon", "admin": True}, "malformed", 400),
        ({}, "malformed", 400),
    ):
        headers = {"Accept-Language": language}
        async with http.post(f"{running.url}/api/v1/conversations", json=body, headers=headers) as response:
            found = Refused(response, await response.json(content_type=None))
        check_problem(found, kind, status, language, str(body))


async def test_an_unknown_company_is_told_in_the_language_that_was_chosen(running: RunningApp, arrive: Arrive) -> None:
    found = await refused(arrive(running, "nobody", "nn", headers={"Accept-Language": "en"}))
    check_problem(found, "unknown-company", 404, "nn")


async def test_another_conversations_button_is_unknown_here(
    running: RunningApp, arrive: Arrive, engine: FakeEngine
) -> None:
    engine.say = lambda _: [replace(ANSWER, offers=(ASKS,))]
    visitor, other = await arrive(running), await arrive(running)
    await other.say("Hva lagrer dere?")
    offered = (await other.done())[2]["data"]["offers"][0]["id"]
    check_problem(await refused(visitor.say(offer=offered)), "unknown-offer", 409, "nb")
    assert len(await visitor.poll()) == 1


async def test_2000_signs_are_not_too_many(visitor: Visitor, engine: FakeEngine) -> None:
    longest = "å" * 1_999 + "😀"
    assert (await visitor.say(f"  {longest}\n"))["text"] == longest
    await visitor.done()
    assert engine.received[0]["text"] == longest


async def test_the_same_client_id_again_is_acknowledged_and_changes_nothing(
    visitor: Visitor, engine: FakeEngine, talk: Talk
) -> None:
    first = await visitor.say("Hva lagrer dere?", client_id="same")
    again = await asyncio.gather(*(visitor.say("Hva lagrer dere?", client_id="same") for _ in range(4)))
    assert again == [first] * 4
    await visitor.done()
    assert await visitor.say("noe helt annet", client_id="same") == first
    assert [row["author"] for row in talk.rows(messages)] == ["bot", "visitor", "bot"]
    assert len(engine.received) == 1


# Limits


async def test_a_conversation_has_its_limit(make_app: MakeApp, arrive: Arrive) -> None:
    running = await make_app(rate_limit_conversation="3/minute")
    visitor, other = await arrive(running, language="nn"), await arrive(running)
    for number in range(3):
        await visitor.say(f"Spørsmål {number}")
    found = await refused(visitor.say("Spørsmål 4"))
    check_problem(found, "too-many-messages", 429, "nn")
    assert 1 <= int(found.headers["Retry-After"]) <= 60
    await other.say("Jeg er en annen")


async def test_an_address_has_its_limit_across_conversations(make_app: MakeApp, arrive: Arrive) -> None:
    running = await make_app(rate_limit_address="3/minute", trusted_proxies=("127.0.0.1",))
    from_one, from_two = ({"X-Forwarded-For": address} for address in ("203.0.113.9", "203.0.113.10"))
    first, second = await arrive(running), await arrive(running, language="en")
    for visitor in (first, second, first):
        await visitor.say("OK", headers=from_one)
    found = await refused(second.say("OK", headers=from_one))
    check_problem(found, "too-many-messages", 429, "en")
    assert 1 <= int(found.headers["Retry-After"]) <= 60
    await second.say("OK", headers=from_two)
    await second.say("OK")  # this machine itself


async def test_an_address_can_begin_so_many_conversations(make_app: MakeApp, arrive: Arrive) -> None:
    running = await make_app(rate_limit_conversations="2/minute", trusted_proxies=("127.0.0.1",))
    headers = {"X-Forwarded-For": "203.0.113.9", "Accept-Language": "nn"}
    for _ in range(2):
        await arrive(running, headers=headers)
    found = await refused(arrive(running, headers=headers))
    check_problem(found, "too-many-messages", 429, "nn")
    assert "Retry-After" in found.headers
    await arrive(running, headers={"X-Forwarded-For": "203.0.113.10"})


# What is personal is masked before anything keeps it


async def test_an_identity_number_reaches_neither_the_record_nor_the_engine(
    visitor: Visitor, engine: FakeEngine, talk: Talk, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with visitor.stream() as stream:
        acknowledged = await visitor.say(f"Fødselsnummeret mitt er {IDENTITY}, hva har dere?")
        assert "[fødselsnummer]" in acknowledged["text"]
        streamed = await stream.numbered(up_to=4)
    assert "[fødselsnummer]" in engine.received[0]["text"]
    everything = [
        json.dumps(acknowledged),
        json.dumps(engine.received),
        json.dumps(streamed),
        json.dumps(await visitor.poll()),
        json.dumps(await visitor.ask("GET", "/transcript")),
        await visitor.ask("GET", "/transcript?format=text"),
        caplog.text,
        *(str(talk.rows(table)) for table in (messages, turns, events, conversations)),
        *(file.read_bytes().decode("latin-1") for file in Path(sqlite_url[10:]).parent.glob("personvern.db*")),
    ]
    for written in everything:
        assert IDENTITY not in written
        assert IDENTITY[:6] not in written


# Streams


async def test_a_stream_tells_everything_in_order_with_numbers_to_resume_from(
    visitor: Visitor, engine: FakeEngine
) -> None:
    engine.say = lambda _: [ANSWER, SILENT]
    async with visitor.stream() as stream:
        assert stream.response.content_type == "text/event-stream"
        assert stream.response.headers["Cache-Control"] == "no-store"
        first = await stream.next()
        assert first is not None
        assert first[:2] == (1, "message")
        await visitor.say("Hva lagrer dere?", client_id="c1")
        told = []
        while not told or told[-1][1] != "turn_done":
            event = await stream.next()
            assert event is not None
            told.append(event)
    assert [(number, kind) for number, kind, _ in told if kind != "typing"] == [
        (2, "message"),
        (3, "message"),
        (4, "message"),
        (5, "turn_done"),
    ]
    assert (None, "typing", {}) in told
    assert [event["data"] for event in (await visitor.poll())[1:]] == [
        data for _, kind, data in told if kind != "typing"
    ]


async def test_a_stream_resumes_after_the_last_event_that_was_seen(visitor: Visitor) -> None:
    await visitor.say("Hva lagrer dere?")
    everything = [(event["number"], event["kind"], event["data"]) for event in await visitor.done()]
    for after in range(4):
        async with visitor.stream(after) as stream:
            assert await stream.numbered(up_to=4) == everything[after:]
    for after in (4, 5):
        async with visitor.stream(after) as stream:
            with pytest.raises(TimeoutError):
                await stream.next(0.2)


async def test_a_resumption_that_cannot_be_read_begins_at_the_beginning(visitor: Visitor) -> None:
    for nonsense in ("", "x", "-1", "1.5", "99999999999999999999", "1; DROP TABLE"):
        async with visitor.stream(nonsense) as stream:
            first = await stream.next()
        assert first is not None
        assert first[0] == 1, nonsense


async def test_a_stream_that_breaks_off_again_and_again_loses_and_repeats_nothing(
    visitor: Visitor, engine: FakeEngine
) -> None:
    engine.seconds = 0.01
    seen: list[tuple[int, str, Any]] = []

    async def ask() -> None:
        for number in range(12):
            await visitor.say(f"Spørsmål {number}")
            await asyncio.sleep(0.01)

    asking = asyncio.create_task(ask())
    last = 1 + 3 * 12
    step = 0
    while not seen or seen[-1][0] < last:
        step += 1
        async with visitor.stream(seen[-1][0] if seen else None) as stream:
            for _ in range(1 + step % 4):
                event = await stream.next()
                assert event is not None
                if event[0] is not None:
                    seen.append((event[0], event[1], event[2]))
                if seen and seen[-1][0] == last:
                    break
    await asking
    assert [number for number, _, _ in seen] == list(range(1, last + 1))
    assert seen == [(event["number"], event["kind"], event["data"]) for event in await visitor.poll()]


async def test_two_streams_of_a_conversation_are_told_the_same(visitor: Visitor) -> None:
    async with visitor.stream() as one, visitor.stream(1) as two:
        await visitor.say("Hva lagrer dere?")
        first, second = await asyncio.gather(one.numbered(4), two.numbered(4))
    assert first[1:] == second
    assert [number for number, _, _ in first] == [1, 2, 3, 4]


async def test_a_stream_tells_what_another_process_wrote(running: RunningApp, visitor: Visitor, clock: Clock) -> None:
    running.services = replace(running.services, poll_seconds=0.1)
    running.application.state.services = running.services
    other = Database(running.settings.database_url)
    async with visitor.stream(1) as stream:
        talk = Talk(other, clock, worker="app-2")
        with other.read() as connection:
            row = connection.execute(conversations.select()).one()
        await asyncio.to_thread(talk.receive, row, "fra en annen prosess")
        told = await stream.next()
    other.close()
    assert told is not None
    assert (told[0], told[2]["text"]) == (2, "fra en annen prosess")


async def test_a_stream_is_kept_alive_while_nothing_happens(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.api, "_KEEP_ALIVE_SECONDS", 0.05)
    async with visitor.stream() as stream:
        await stream.next()
        with pytest.raises(TimeoutError):
            await stream.next(0.5)
        assert stream.comments >= 3
        await visitor.say("Er du der?")  # and it still tells
        told = await stream.next()
        assert told is not None
        assert told[1] in ("message", "typing")


async def test_a_long_conversation_is_resumed_without_pauses(visitor: Visitor, talk: Talk) -> None:
    def fill() -> None:
        with talk.database.read() as connection:
            row = connection.execute(conversations.select()).one()
        for number in range(150):
            talk.receive(row, f"Spørsmål {number}", client_id=f"c{number}", worker="app-9")
            talk.answer(row)

    await asyncio.to_thread(fill)
    async with visitor.stream() as stream:
        told = await stream.numbered(up_to=451, seconds=3)
    assert [number for number, _, _ in told] == list(range(1, 452))


async def test_nobody_listens_any_more_when_a_stream_was_left(running: RunningApp, visitor: Visitor) -> None:
    async with visitor.stream() as stream:
        await stream.next()
        assert visitor.id in running.services.broadcaster._queues
    await until(lambda: visitor.id not in running.services.broadcaster._queues)


# Polling and the transcript


async def test_polling_gives_the_events_after_a_number(visitor: Visitor) -> None:
    await visitor.say("Hva lagrer dere?")
    everything = await visitor.done()
    for after in range(6):
        assert await visitor.poll(after) == everything[after:]


async def test_the_transcript_is_what_is_stored(visitor: Visitor, engine: FakeEngine, talk: Talk) -> None:
    engine.say = lambda _: [ANSWER]
    await visitor.say("Hvor lenge?")
    await visitor.done()
    transcript = await visitor.ask("GET", "/transcript")
    assert transcript["company"] == "jackon"
    assert [(message["author"], message["text"]) for message in transcript["messages"]] == [
        ("bot", text("nb", "greeting", company="Jackon")),
        ("visitor", "Hvor lenge?"),
        ("bot", ANSWER.text),
    ]
    assert len(talk.rows(messages)) == 3


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_transcript_can_be_read_as_text(
    running: RunningApp, arrive: Arrive, http: aiohttp.ClientSession, language: str
) -> None:
    visitor = await arrive(running, language=language)
    await visitor.say("OK")
    await visitor.done()
    async with http.get(visitor.path("/transcript?format=text"), headers=visitor.headers) as response:
        assert response.content_type == "text/plain"
        assert (response.charset or "").lower() == "utf-8"
        said = await response.text()
    words = texts(language, "transcript")
    assert said.startswith(words["title"].format(company="Jackon"))
    assert f"{words['visitor']}: OK" in said
    assert f"{words['bot']}: {ANSWER.text}" in said
    assert f"    > {ANSWER.quotes[0].text}" in said
    assert words["translation"] in said


async def test_the_transcript_outlives_the_company(
    make_app: MakeApp, arrive: Arrive, two_companies: Path, tmp_path: Path
) -> None:
    """Who takes a company away must not take what people said with it: they still have a right to see it."""
    folder = tmp_path / "policies"
    shutil.copytree(two_companies, folder)
    running = await make_app(policies=folder)
    visitor = await arrive(running)
    shutil.rmtree(folder / "jackon")
    running.services.library.refresh()
    assert (await visitor.ask("GET", "/transcript"))["company"] == "jackon"
    assert "chatbot" in await visitor.ask("GET", "/transcript?format=text")
    assert await visitor.ask("DELETE") == ""


@pytest.mark.xfail(strict=True, reason="say() does not catch UnknownCompany: 500")
async def test_a_question_to_a_company_that_is_gone_is_told_so(
    make_app: MakeApp, arrive: Arrive, two_companies: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "policies"
    shutil.copytree(two_companies, folder)
    running = await make_app(policies=folder)
    visitor = await arrive(running, language="nn")
    shutil.rmtree(folder / "jackon")
    running.services.library.refresh()
    check_problem(await refused(visitor.say("OK")), "unknown-company", 404, "nn")


# Erasing


async def test_an_erased_conversation_is_gone_everywhere(
    running: RunningApp, visitor: Visitor, engine: FakeEngine, talk: Talk, sqlite_url: str
) -> None:
    await visitor.say(NEEDLE)
    await visitor.done()
    async with visitor.stream(4) as stream:
        assert await visitor.ask("DELETE") == ""
        told = await stream.next(2)  # at once: sooner than the stream looks by itself
        assert told == (None, "closed", {"reason": "erased"})
        assert await stream.next() is None
    for method, path in (
        ("GET", "/messages"),
        ("GET", "/events"),
        ("GET", "/transcript"),
        ("DELETE", ""),
        ("POST", f"/messages/{'f' * 32}/feedback"),
    ):
        options: dict[str, Any] = {"json": {"helpful": True}} if method == "POST" else {}
        assert (await refused(visitor.ask(method, path, **options))).status == 401
    check_problem(await refused(visitor.say("Er du der?")), "unauthorised", 401, "nb")
    await until(lambda: talk.rows(erasures)[0]["finished_at"])
    assert engine.forgotten == [visitor.id]
    assert [talk.rows(table) for table in (conversations, messages, turns, events)] == [[], [], [], []]
    for file in Path(sqlite_url[10:]).parent.glob("personvern.db*"):
        assert NEEDLE.encode() not in file.read_bytes()


async def test_an_erasure_is_tried_until_the_engine_has_forgotten(
    running: RunningApp, visitor: Visitor, engine: FakeEngine, talk: Talk, clock: Clock
) -> None:
    await engine.down()
    assert await visitor.ask("DELETE") == ""  # the person need not wait
    await until(lambda: talk.rows(erasures)[0]["attempts"])
    assert talk.rows(erasures)[0]["finished_at"] is None
    await engine.up()
    clock.advance(seconds=6)
    running.services.erasures.wake()
    await until(lambda: talk.rows(erasures)[0]["finished_at"])
    assert engine.forgotten == [visitor.id]


async def test_an_erasure_that_was_left_over_is_done_at_the_next_start(
    make_app: MakeApp, arrive: Arrive, engine: FakeEngine, clock: Clock
) -> None:
    first = await make_app()
    visitor = await arrive(first)
    await engine.down()
    await visitor.ask("DELETE")
    await until(lambda: Talk(first.services.database, clock).rows(erasures)[0]["attempts"])
    await first.stop()
    await engine.up()
    clock.advance(minutes=1)
    await make_app()
    await until(lambda: engine.forgotten == [visitor.id])


async def test_deleting_while_an_answer_is_being_made_leaves_nothing_of_it(
    running: RunningApp, visitor: Visitor, engine: FakeEngine, talk: Talk, caplog: pytest.LogCaptureFixture
) -> None:
    engine.plan = ["hang"]
    await visitor.say(NEEDLE)
    await until(lambda: engine.received)
    await visitor.ask("DELETE")
    engine.go_on.set()
    await until(lambda: not running.services.turns._tasks)
    assert [talk.rows(table) for table in (conversations, messages, turns, events)] == [[], [], [], []]
    assert "turn.crashed" not in caplog.text


async def test_a_stream_ends_when_another_process_erases_the_conversation(
    running: RunningApp, visitor: Visitor, clock: Clock
) -> None:
    running.application.state.services = replace(running.services, poll_seconds=0.1)
    async with visitor.stream(1) as stream:
        with running.services.database.write() as connection:
            erasure.erase_record(connection, visitor.id, "retention", clock())
        told = await stream.next(2)
        assert told is None or told[1] == "closed"


async def test_conversations_are_erased_by_themselves_after_the_companys_own_time(
    make_app: MakeApp, arrive: Arrive, engine: FakeEngine, clock: Clock, two_companies: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "policies"
    shutil.copytree(two_companies, folder)
    with (folder / "jobbkort" / "company.yml").open("a", encoding="utf-8") as file:
        file.write("\nretention_days: {widget: 90}\n")
    first = await make_app(policies=folder, retention_days=30)
    short, long = await arrive(first, "jackon"), await arrive(first, "jobbkort")
    await first.stop()
    clock.advance(days=31)
    second = await make_app(policies=folder, retention_days=30)
    talk = Talk(second.services.database, clock)
    await until(lambda: [row["id"] for row in talk.rows(conversations)] == [long.id])
    await until(lambda: engine.forgotten == [short.id])


# Feedback


async def test_an_answer_can_be_said_to_have_helped(visitor: Visitor, talk: Talk) -> None:
    await visitor.say("Hvor lenge?")
    greeting, question, answer, _ = await visitor.done()
    for helpful in (True, False):
        path = f"/messages/{answer['data']['id']}/feedback"
        assert await visitor.ask("POST", path, json={"helpful": helpful}) == ""
        assert [row["helpful"] for row in talk.rows(feedback)] == [helpful]
    for other in (greeting, question):
        path = f"/messages/{other['data']['id']}/feedback"
        check_problem(await refused(visitor.ask("POST", path, json={"helpful": True})), "not-found", 404, "nb")
    for malformed in ({}, {"helpful": "yes"}, {"helpful": True, "why": "x"}):
        assert (await refused(visitor.ask("POST", path, json=malformed))).status == 400
    assert len(talk.rows(feedback)) == 1


# When something is broken


async def test_while_the_engine_is_down_the_message_is_kept_and_the_delay_is_told(
    make_app: MakeApp, arrive: Arrive, engine: FakeEngine
) -> None:
    assert Settings().delay_notice_seconds < 3
    running = await make_app(delay_notice_seconds=0.5)
    visitor = await arrive(running, language="nn")
    await engine.down()
    async with visitor.stream(1) as stream:
        await visitor.say("OK")
        question, notice = await stream.numbered(up_to=3, seconds=30)
        assert question[2]["text"] == "OK"
        assert (notice[2]["author"], notice[2]["act"]) == ("system", "notice")
        assert notice[2]["text"] == text("nn", "notice.delay")
        await engine.up()
        answer, done = await stream.numbered(up_to=5)
        assert answer[2]["text"] == ANSWER.text
        assert done[2] == {"client_id": "client-1", "failed": False}
    assert len(await visitor.poll()) == 5  # told once, answered once


async def test_what_is_only_unavailable_is_no_failure_however_often(
    make_app: MakeApp, arrive: Arrive, engine: FakeEngine, clock: Clock
) -> None:
    running = await make_app(delay_notice_seconds=0.1)
    visitor, talk = await arrive(running), Talk(running.services.database, clock)
    engine.plan = [401, 404, 502, 503, 504] * 2
    await visitor.say("Hvor lenge?")
    told = await visitor.done()
    assert [event["data"].get("act") for event in told] == ["chitchat", None, "notice", "answer", None]
    assert told[-1]["data"]["failed"] is False
    assert len(engine.received) == 11
    assert talk.rows(turns)[0]["attempts"] == 0


@pytest.mark.parametrize("outcome", [500, 400, "empty"])
async def test_after_four_failures_the_person_is_told_that_there_is_no_answer(
    visitor: Visitor, engine: FakeEngine, talk: Talk, outcome: str | int
) -> None:
    engine.then = outcome
    await visitor.say("Hvor lenge?", client_id="c1")
    told = await visitor.done()
    assert len(engine.received) == 4
    assert len({sent["message_id"] for sent in engine.received}) == 1
    assert [event["data"]["text"] for event in told if event["data"].get("author") == "system"][-1] == text(
        "nb", "notice.failed"
    )
    assert told[-1]["data"] == {"client_id": "c1", "failed": True}
    assert talk.rows(turns)[0]["failed"] is True
    engine.then = "answer"
    await visitor.say("Og nå?")  # the conversation goes on
    assert (await visitor.done(2))[-1]["data"]["failed"] is False


async def test_fewer_failures_are_never_seen(visitor: Visitor, engine: FakeEngine) -> None:
    plans: list[list[str | int]] = [[500], [500, 500, 500], ["empty", 503, 500]]
    for number, plan in enumerate(plans, start=1):
        engine.plan = plan
        await visitor.say("Hvor lenge?")
        told = await visitor.done(number)
        assert [event["data"]["text"] for event in told if event["data"].get("act") == "answer"] == [
            ANSWER.text
        ] * number
        assert told[-1]["data"]["failed"] is False


async def test_an_app_that_was_stopped_in_the_middle_answers_what_waited(
    make_app: MakeApp, arrive: Arrive, engine: FakeEngine
) -> None:
    first = await make_app()
    visitor = await arrive(first)
    engine.plan = ["hang"]
    await visitor.say("Spørsmål 1")
    await visitor.say("Spørsmål 2")
    await until(lambda: engine.received)
    started = asyncio.get_running_loop().time()
    await first.stop()
    assert asyncio.get_running_loop().time() - started < 3
    second = await make_app()
    visitor.url = second.url
    told = await visitor.done(2)
    answers = [event["data"]["in_reply_to"] for event in told if event["data"].get("act") == "answer"]
    asked = [event["data"]["id"] for event in told if event["data"].get("author") == "visitor"]
    assert answers == asked
    assert [sent["message_id"] for sent in engine.received] == [asked[0], *asked]


async def test_another_process_takes_over_from_one_that_died(
    make_app: MakeApp, arrive: Arrive, engine: FakeEngine, clock: Clock
) -> None:
    first = await make_app()
    visitor = await arrive(first)
    engine.plan = ["hang"]
    await visitor.say("Hvor lenge?")
    await until(lambda: engine.received)
    await first.stop()
    second = await make_app(worker_name="app-2")
    visitor.url = second.url
    await asyncio.sleep(1.2)  # longer than it looks for work: the lease of the dead one still holds
    assert len(engine.received) == 1
    clock.advance(seconds=61)
    assert (await visitor.done())[-1]["data"]["failed"] is False


async def test_messages_of_a_conversation_are_answered_one_at_a_time_in_order(
    visitor: Visitor, engine: FakeEngine
) -> None:
    engine.seconds = 0.02
    await asyncio.gather(*(visitor.say(f"Spørsmål {number}", client_id=f"c{number}") for number in range(8)))
    told = await visitor.done(8)
    asked = [event["data"]["client_id"] for event in told if event["data"].get("author") == "visitor"]
    assert [event["data"]["client_id"] for event in told if event["kind"] == "turn_done"] == asked
    assert [event["number"] for event in told] == list(range(1, 1 + 1 + 3 * 8))
    assert engine.most_in_one_conversation == 1
    assert len(engine.received) == 8


async def test_conversations_do_not_wait_for_each_other(
    running: RunningApp, arrive: Arrive, engine: FakeEngine
) -> None:
    slow, quick = await arrive(running), await arrive(running)
    engine.plan = ["hang", "answer"]
    await slow.say("Hvor lenge?")
    await until(lambda: engine.received)
    await quick.say("Hvor lenge?")
    await quick.done()
    assert engine.most_at_work == 2
    engine.go_on.set()
    await slow.done()


async def test_a_message_that_comes_as_a_turn_ends_is_not_left_to_the_recovery(
    make_app: MakeApp, arrive: Arrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recovery looks once a second: until then she would wait for nothing."""
    turn = TurnWorker._turn
    answered: list[Visitor] = []

    async def turn_then_another_message(self: TurnWorker, waiting: Any) -> bool:
        more = await turn(self, waiting)
        if len(answered) == 1:
            await answered.pop().say("Og én ting til")
        return more

    async def no_recovery(self: TurnWorker) -> None:
        return None

    monkeypatch.setattr(TurnWorker, "_turn", turn_then_another_message)
    monkeypatch.setattr(TurnWorker, "recover", no_recovery)
    visitor = await arrive(await make_app())
    answered.append(visitor)
    await visitor.say("Hvor lenge?")
    await visitor.done(2, seconds=2)


# Around the API


HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


async def check_headers(http: aiohttp.ClientSession, url: str) -> None:
    async with http.get(url) as response:
        assert {name: response.headers.get(name) for name in HEADERS} == HEADERS, url
        policy = response.headers["Content-Security-Policy"]
        assert "camera=()" in response.headers["Permissions-Policy"]
        assert "Set-Cookie" not in response.headers
        assert "Server" not in response.headers
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"
    assert rules["base-uri"] == "'none'"
    assert "unsafe" not in policy
    assert "*" not in policy


async def test_every_response_tells_the_browser_to_be_careful(running: RunningApp, http: aiohttp.ClientSession) -> None:
    for path in ("/", "/health", "/api/v1/companies", "/api/openapi.json"):
        await check_headers(http, running.url + path)


@pytest.mark.parametrize(
    "path",
    [
        "/static/chat.js",
        "/nothing",
        f"/api/v1/conversations/{'0' * 32}/messages",
    ],
)
async def test_files_and_refusals_do_so_too(running: RunningApp, http: aiohttp.ClientSession, path: str) -> None:
    await check_headers(http, running.url + path)


async def test_the_chat_page_and_what_it_needs_are_served(running: RunningApp, http: aiohttp.ClientSession) -> None:
    kinds = {"/": "text/html", "/static/chat.js": "javascript", "/static/texts.json": "application/json"}
    for path, kind in kinds.items():
        async with http.get(running.url + path) as response:
            assert response.status == 200, path
            assert kind in response.headers["Content-Type"]
            assert await response.read()
    async with http.get(f"{running.url}/static/../main.py") as response:
        assert response.status == 404
    async with http.get(f"{running.url}/static/%2e%2e/%2e%2e/main.py") as response:
        assert response.status == 404


async def test_the_api_describes_itself(running: RunningApp, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{running.url}/api/openapi.json") as response:
        assert response.status == 200
        described = await response.json(content_type=None)
    assert described["openapi"].startswith("3.")
    calls = {(path.rsplit("}", 1)[-1] or path, method) for path, ways in described["paths"].items() for method in ways}
    assert {("/messages", "get"), ("/messages", "post"), ("/events", "get"), ("/transcript", "get")} <= calls
    assert "/api/v1/conversations" in described["paths"]
    assert not [path for path in described["paths"] if not path.startswith("/api/v1/")]


async def test_health_is_told_of_each_part(
    running: RunningApp, http: aiohttp.ClientSession, engine: FakeEngine
) -> None:
    async def health() -> tuple[int, dict[str, Any]]:
        async with http.get(f"{running.url}/health") as response:
            return response.status, await response.json()

    status, told = await health()
    assert (status, told["ok"]) == (200, True)
    assert {"database", "engine", "statements"} <= set(told["parts"])
    assert all(told["parts"].values())
    await engine.down()
    status, told = await health()
    assert (status, told["ok"]) == (503, False)
    assert [part for part, well in told["parts"].items() if not well] == ["engine"]


@pytest.fixture
def broken_folder(two_companies: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    shutil.copytree(two_companies, folder)
    (folder / "jackon" / "reading.yml").write_text("[", encoding="utf-8")
    return folder


async def test_health_tells_of_a_company_that_cannot_be_read(
    make_app: MakeApp, http: aiohttp.ClientSession, broken_folder: Path
) -> None:
    running = await make_app(policies=broken_folder)
    async with http.get(f"{running.url}/health") as response:
        assert response.status == 503
        told = await response.json()
    assert [part for part, well in told["parts"].items() if not well] == ["statements"]
    assert "jackon" in told["statements"]


async def test_health_names_nothing_of_what_is_inside(
    make_app: MakeApp, http: aiohttp.ClientSession, broken_folder: Path
) -> None:
    running = await make_app(policies=broken_folder)
    async with http.get(f"{running.url}/health") as response:
        assert str(broken_folder) not in await response.text()


async def test_an_error_that_nobody_foresaw_is_told_without_its_text(
    running: RunningApp, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    with running.services.database.write() as connection:
        connection.execute(sql("DROP TABLE events"))
    found = await refused(visitor.say(NEEDLE, headers={"Accept-Language": "nn"}))
    check_problem(found, "internal", 500, "nn")
    assert "request.failed error=OperationalError at=" in caplog.text
    assert NEEDLE not in caplog.text


# Odd texts


ODD = {
    "control signs": ("a\u0000b\u0007c\u001bd", "abcd"),
    "lines and tabs": ("en\n\tto", "en\n\tto"),
    "emoji of several signs": ("👩‍👩‍👧‍👦 og 🇳🇴 👍🏽", "👩‍👩‍👧‍👦 og 🇳🇴 👍🏽"),
    "right to left": ("שלום עליכם \u202eabc", "שלום עליכם \u202eabc"),
    "combining marks": ("A\u030angstrøm", "A\u030angstrøm"),
    "beyond the first plane": ("𝕳𝖊𝖎 𐍈", "𝕳𝖊𝖎 𐍈"),
    "line separators": ("en\u2028to\u2029tre", "en\u2028to\u2029tre"),
    "markup": ("<script>alert(1)</script>&amp;", "<script>alert(1)</script>&amp;"),
    "what a stream uses": ("data: x\n\nevent: closed\nid: 99", "data: x\n\nevent: closed\nid: 99"),
    "what SQL uses": ("'); DROP TABLE messages; -- %s ? {x} $1", "'); DROP TABLE messages; -- %s ? {x} $1"),
}


async def test_odd_texts_survive_or_are_cleaned(visitor: Visitor, engine: FakeEngine) -> None:
    async with visitor.stream(1) as stream:
        for turn, (name, (typed, kept)) in enumerate(ODD.items()):
            acknowledged = await visitor.say(typed)
            told = await stream.numbered(up_to=4 + 3 * turn)
            assert acknowledged["text"] == kept, name
            assert told[0][2]["text"] == kept, name
            assert [kind for _, kind, _ in told] == ["message", "message", "turn_done"], name
            assert engine.received[-1]["text"] == kept, name


async def test_half_a_surrogate_pair_is_cleaned_or_refused_but_breaks_nothing(visitor: Visitor) -> None:
    accepted = 0
    for number, escaped in enumerate((r"\ud83d", r"hei \udc00 du", r"\ud83d\ud83d")):
        body = f'{{"client_id": "half-{number}", "text": "{escaped}"}}'.encode()
        try:
            acknowledged = await visitor.ask(
                "POST", "/messages", data=body, headers={"Content-Type": "application/json"}
            )
        except Refused as found:
            check_problem(found, "malformed", 400, "nb", escaped)
        else:
            acknowledged["text"].encode()
            accepted += 1
    await visitor.say("Går det bra?", client_id="last")
    assert (await visitor.done(accepted + 1))[-1]["data"] == {"client_id": "last", "failed": False}


@pytest.fixture
async def on_postgres(make_app: MakeApp, empty_postgres_url: str) -> AsyncIterator[RunningApp]:
    running = await make_app(database_url=empty_postgres_url)
    yield running
    await running.stop()


async def test_the_app_runs_on_postgresql(on_postgres: RunningApp, arrive: Arrive, engine: FakeEngine) -> None:
    visitor = await arrive(on_postgres)
    for typed, kept in ODD.values():
        assert (await visitor.say(typed))["text"] == kept
    told = await visitor.done(len(ODD))
    assert [event["number"] for event in told] == list(range(1, 2 + 3 * len(ODD)))
    await visitor.ask("DELETE")
    await until(lambda: engine.forgotten)


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (lambda visitor: visitor.say("Hei", client_id="c\u0000"), (202, 400)),
        (lambda visitor: visitor.say(offer="o\u0000"), (400, 409)),
        (lambda visitor: replace(visitor, begun={**visitor.begun, "id": "%00"}).poll(), (400, 401, 404)),
        (lambda visitor: visitor.ask("POST", "/messages/%00/feedback", json={"helpful": True}), (400, 404)),
    ],
    ids=["client id", "button", "conversation", "feedback"],
)
async def test_ids_that_no_database_stores_are_refused(
    on_postgres: RunningApp, arrive: Arrive, call: Callable[[Visitor], Awaitable[Any]], status: tuple[int, ...]
) -> None:
    visitor = await arrive(on_postgres)
    answered = 202
    try:
        await call(visitor)
    except Refused as found:
        answered = found.status
    assert answered in status


async def test_what_is_sent_twice_at_once_is_taken_in_once(
    on_postgres: RunningApp, arrive: Arrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A one-time code among them: a second try of the same message would count against the person."""
    taken = []
    take_in = app.api.take_in

    def slowly(*arguments: Any, **options: Any) -> Any:
        taken.append(options["conversation_id"])
        time.sleep(0.2)
        return take_in(*arguments, **options)

    monkeypatch.setattr(app.api, "take_in", slowly)
    visitor = await arrive(on_postgres)
    await asyncio.gather(*(visitor.say("Hei", client_id="same") for _ in range(3)))
    assert taken == [visitor.id]


# Logs


async def test_what_people_say_is_in_no_log(
    running: RunningApp, visitor: Visitor, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    engine.plan = [503, 500, "empty"]
    engine.say = lambda _: [replace(ANSWER, text=f"{NEEDLE} sier boten")]
    await visitor.say(f"{NEEDLE} sier jeg")
    await visitor.done()
    engine.then = 500
    await visitor.say(f"{NEEDLE} sier jeg igjen")
    await visitor.done(2)
    await refused(visitor.ask("POST", "/messages", json={"client_id": "c", "text": NEEDLE * 200}))
    await refused(visitor.ask("POST", "/messages", json={"client_id": "c", "text": 5, NEEDLE: NEEDLE}))
    await visitor.ask("DELETE")
    await until(lambda: engine.forgotten)
    assert "engine.failed" in caplog.text
    assert "engine.unavailable" in caplog.text
    assert NEEDLE not in caplog.text
    assert NEEDLE.encode("unicode_escape").decode() not in caplog.text
    assert visitor.begun["token"] not in caplog.text


@pytest.mark.xfail(strict=True, reason="app/api.py uses what Litestar has deprecated")
async def test_the_app_is_made_without_a_warning() -> None:
    """What is deprecated today stops working at the next update."""
    command = [sys.executable, "-W", "error", "-c", "from app.main import create_app; create_app()"]
    made = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=asyncio.subprocess.PIPE)
    _, said = await made.communicate()
    assert made.returncode == 0, said.decode()[-500:]


def test_the_database_of_an_old_version_is_brought_up_to_date(tmp_path: Path) -> None:
    """`upgrade` is what the app calls when it starts: calling it twice at once does no harm either."""
    database = Database(f"sqlite:///{tmp_path}/new.db")
    for _ in range(2):
        upgrade(database)
    database.close()
