"""Messages while the three processes are killed at random: each stored once, answered once, in order.

50 conversations speak through the public API while every few seconds a random process gets SIGKILL and is started
again at once. Some messages go two at a time, some are sent again under the same `client_id`, as after a broken
connection. What came out is read through the API and in the databases, and compared with a calm run.
"""

import argparse
import asyncio
import json
import random
import socket
import sqlite3
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from app.client import Chat, ChatError
from benchmarks.common import COMPANIES, QUESTIONS, Question, stack_in, table, write_figures
from tools.stack import NAMES, Stack

_TWO_AT_ONCE_EVERY = 10
_REPEATED = 0.1
_WAYS_TO_REPEAT = ("after", "beside", "broken off", "late")
_SHOWN = 5
_MOST_KILLS_IN_VAIN = 4


class Stuck(Exception):
    """The run did not come to its end in time."""


@dataclass(slots=True)
class Sent:
    client_id: str
    question: Question
    batch: int
    started: float = 0.0
    done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Outcome:
    """What was counted on the way, and everything found wrong, by kind."""

    kills: Counter[str] = field(default_factory=Counter)
    repeats: Counter[str] = field(default_factory=Counter)
    broken_posts: int = 0
    answered: int = 0
    progress: asyncio.Event = field(default_factory=asyncio.Event)
    longest_wait: float = 0.0
    delay_notices: int = 0
    seconds: float = 0.0
    wrong: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def find(self, kind: str, what: str) -> None:
        self.wrong[kind].append(what)

    def count(self, *kinds: str) -> int:
        return sum(len(self.wrong.get(kind, ())) for kind in kinds)


# What an answer to a question looks like when nothing is killed: acts and topics in order, and how many actions ran.
type Expected = dict[tuple[str, str], tuple[tuple[tuple[str, str], ...], int]]


class Visitor:
    """One conversation, that sends its next message when the one before is answered."""

    def __init__(self, chat: Chat, company: str, outcome: Outcome, chance: random.Random, longest: float) -> None:
        self.chat = chat
        self.company = company
        self.sent: list[Sent] = []
        self.streamed: list[tuple[str, str]] = []
        """Kind and id of each event, as this client saw them."""
        self._outcome = outcome
        self._chance = chance
        self._longest = longest

    async def talk(self, count: int) -> None:
        batch = 0
        while len(self.sent) < count:
            batch += 1
            size = 2 if batch % _TWO_AT_ONCE_EVERY == 0 and count - len(self.sent) >= 2 else 1
            messages = [Sent(str(uuid.uuid4()), self._chance.choice(QUESTIONS), batch) for _ in range(size)]
            self.sent += messages
            try:
                async with asyncio.timeout(self._longest):
                    await asyncio.gather(*(self._deliver(message) for message in messages), self._until_done(messages))
            except TimeoutError:
                for message in messages:
                    if not message.done.is_set():
                        self._outcome.find("lost", f"{self.chat.id} {message.client_id}: no turn_done on the stream")
                return

    async def _deliver(self, message: Sent) -> None:
        message.started = time.monotonic()
        way = self._chance.choice(_WAYS_TO_REPEAT) if self._chance.random() < _REPEATED else None
        if way:
            self._outcome.repeats[way] += 1
        if way == "beside":
            await asyncio.gather(self._post(message), self._post(message))
            return
        if way == "broken off":
            first = asyncio.create_task(self._post(message))
            await asyncio.wait({first}, timeout=self._chance.uniform(0.0, 0.01))
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
        await self._post(message)
        if way == "after":
            await self._post(message)
        elif way == "late":
            await message.done.wait()
            await self._post(message)

    async def _post(self, message: Sent) -> None:
        while True:
            try:
                await self.chat.say(message.question.text, client_id=message.client_id)
                return
            except ChatError as error:
                self._outcome.find("refused", f"{self.chat.id} {message.client_id}: status {error.status}")
            except (aiohttp.ClientError, TimeoutError, OSError):
                self._outcome.broken_posts += 1
            await asyncio.sleep(self._chance.uniform(0.05, 0.3))

    async def _until_done(self, messages: Sequence[Sent]) -> None:
        waiting = {message.client_id: message for message in messages}
        while waiting:
            kind, data = await self.chat.events.get()
            if kind == "typing":
                continue
            self.streamed.append((kind, data.get("id") or data.get("client_id") or ""))
            if kind == "turn_done":
                message = waiting.pop(data["client_id"], None)
                if message:
                    message.done.set()
                    self._outcome.answered += 1
                    self._outcome.progress.set()
                    waited = time.monotonic() - message.started
                    self._outcome.longest_wait = max(self._outcome.longest_wait, waited)


async def kill(stack: Stack, name: str, outcome: Outcome) -> None:
    stack.kill(name)
    await asyncio.to_thread(stack.processes[name].wait, 10)
    stack.start(name)
    outcome.kills[name] += 1


async def kill_now_and_then(
    stack: Stack, outcome: Outcome, chance: random.Random, between: tuple[float, float]
) -> None:
    """Any of those that are up: to kill one that is only starting proves nothing.

    On a slow machine the three would never be up together: after some kills without an answer it waits for one.
    """
    answered, in_vain = outcome.answered, 0
    while True:
        await asyncio.sleep(chance.uniform(*between))
        in_vain = 0 if outcome.answered > answered else in_vain + 1
        if in_vain > _MOST_KILLS_IN_VAIN:
            await _reach(outcome, answered + 1)
        answered = outcome.answered
        if up := [name for name in NAMES if _listens(getattr(stack.ports, name))]:
            await kill(stack, chance.choice(up), outcome)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def _reach(outcome: Outcome, answered: int) -> None:
    while outcome.answered < answered:
        outcome.progress.clear()
        await outcome.progress.wait()


async def kill_at(stack: Stack, outcome: Outcome, when: Iterable[tuple[int, str]]) -> None:
    """Kill a process when so many messages have been answered."""
    for answered, name in when:
        await _reach(outcome, answered)
        await kill(stack, name, outcome)


async def _calm(
    session: aiohttp.ClientSession, stack: Stack, companies: Sequence[str], seconds: float = 120.0
) -> Expected:
    """What each question is answered when nothing is killed."""
    acts: dict[tuple[str, str], tuple[str, tuple[tuple[str, str], ...]]] = {}
    async with asyncio.timeout(seconds):
        for company in companies:
            chat = await Chat.begin(session, stack.url, company)
            for question in QUESTIONS:
                reply = await chat.ask(question.text)
                shape = tuple((message["act"], message.get("topic", "")) for message in reply.messages)
                acts[company, question.text] = (reply.messages[0]["in_reply_to"], shape)
            await chat.close()
    runs = dict(_rows(stack.folder / "personvern.db", "SELECT message_id, count(*) FROM action_runs GROUP BY 1"))
    return {key: (shape, runs[message_id]) for key, (message_id, shape) in acts.items()}


async def run(
    stack: Stack,
    *,
    messages: int,
    conversations: int,
    seed: int,
    minutes: float,
    between: tuple[float, float] = (2.0, 5.0),
    when: Sequence[tuple[int, str]] | None = None,
    longest: float = 300.0,
) -> Outcome:
    """Send the messages, kill meanwhile, and find everything that is wrong afterwards.

    Kills come at random times `between` so many seconds, or, where `when` is given, after so many answers.
    """
    outcome = Outcome()
    chance = random.Random(seed)
    timeout = aiohttp.ClientTimeout(total=30)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        companies = COMPANIES[: min(len(COMPANIES), conversations)]
        expected = await _calm(session, stack, companies)
        visitors = []
        for number in range(conversations):
            company = companies[number % len(companies)]
            chat = await Chat.begin(session, stack.url, company)
            visitors.append(Visitor(chat, company, outcome, random.Random(chance.random()), longest))
        shares = [messages // conversations + (number < messages % conversations) for number in range(conversations)]
        started = time.monotonic()
        killing = asyncio.create_task(
            kill_at(stack, outcome, when) if when else kill_now_and_then(stack, outcome, chance, between)
        )
        try:
            async with asyncio.timeout(minutes * 60):
                await asyncio.gather(*(visitor.talk(share) for visitor, share in zip(visitors, shares, strict=True)))
        except TimeoutError:
            missing = messages - outcome.answered
            raise Stuck(f"after {minutes:g} minutes {missing} of {messages} messages were not answered") from None
        finally:
            outcome.seconds = time.monotonic() - started
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
            for visitor in visitors:
                await visitor.chat.close()
        if killing.done() and not killing.cancelled() and (error := killing.exception()):
            raise error
        for name in stack.died():
            stack.start(name)  # the end came between its death and its start
        await asyncio.to_thread(stack.wait)
        await _no_turn_open(stack.folder / "personvern.db", 60.0)
        for visitor in visitors:
            await _check_through_the_api(session, visitor, outcome, expected, asyncio.get_running_loop().time() + 60)
    _check_the_record(stack.folder / "personvern.db", visitors, outcome, expected)
    _check_the_working_memory(stack.folder / "engine.db", visitors, outcome)
    return outcome


async def _no_turn_open(path: Path, seconds: float) -> None:
    """What is still open after so long is found by the checks."""
    until = time.monotonic() + seconds
    query = "SELECT 1 FROM turns WHERE finished_at IS NULL LIMIT 1"
    while time.monotonic() < until and _rows(path, query):  # noqa: ASYNC110 - nobody could wake us
        await asyncio.sleep(0.5)


async def _all_events(session: aiohttp.ClientSession, chat: Chat, until: float) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    while loop.time() < until:
        after = events[-1]["number"] if events else 0
        async with session.get(f"{chat._url}/messages", params={"after": after}, headers=chat._headers) as response:
            response.raise_for_status()
            found = (await response.json())["events"]
        if not found:
            return events
        events += found
    raise Stuck(f"the events of conversation {chat.id} do not end")


async def _check_through_the_api(
    session: aiohttp.ClientSession, visitor: Visitor, outcome: Outcome, expected: Expected, until: float
) -> None:
    here = visitor.chat.id
    events = await _all_events(session, visitor.chat, until)
    if [event["number"] for event in events] != list(range(1, len(events) + 1)):
        outcome.find("gaps", f"{here}: numbers {[event['number'] for event in events]}")
    stored = [event for event in events if event["kind"] == "message" and event["data"]["author"] == "visitor"]
    done = [event for event in events if event["kind"] == "turn_done"]
    times_stored = Counter(event["data"]["client_id"] for event in stored)
    times_done = Counter(event["data"]["client_id"] for event in done)
    for message in visitor.sent:
        _expect_once(outcome, here, message.client_id, "stored", times_stored[message.client_id])
        _expect_once(outcome, here, message.client_id, "turn_done", times_done[message.client_id])
    for stranger in (times_stored.keys() | times_done.keys()) - {message.client_id for message in visitor.sent}:
        outcome.find("doubles", f"{here}: nobody sent {stranger}")
    for event in done:
        if event["data"]["failed"]:
            outcome.find("failed", f"{here} {event['data']['client_id']}")
    order = [event["data"]["client_id"] for event in stored]
    if order != [event["data"]["client_id"] for event in done]:
        outcome.find("out of order", f"{here}: the turns end in another order than the messages came in")
    batch = {message.client_id: message.batch for message in visitor.sent}
    batches = [batch.get(client_id, 0) for client_id in order]
    if batches != sorted(batches):
        outcome.find("out of order", f"{here}: a later message stands before an earlier one")
    _check_replies(visitor, events, stored, done, outcome, expected)
    _check_stream(visitor, events, outcome)


def _expect_once(outcome: Outcome, here: str, client_id: str, what: str, times: int) -> None:
    if times == 0:
        outcome.find("lost", f"{here} {client_id}: never {what}")
    elif times > 1:
        outcome.find("doubles", f"{here} {client_id}: {what} {times} times")


def _check_replies(
    visitor: Visitor,
    events: Sequence[dict[str, Any]],
    stored: Sequence[dict[str, Any]],
    done: Sequence[dict[str, Any]],
    outcome: Outcome,
    expected: Expected,
) -> None:
    here = visitor.chat.id
    replies: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        data = event["data"]
        if event["kind"] != "message" or data["author"] == "visitor" or "in_reply_to" not in data:
            continue
        if data["author"] == "system" and data["act"] == "notice":
            outcome.delay_notices += 1
        replies[data["in_reply_to"]].append(event)
    asked = {message.client_id: message.question.text for message in visitor.sent}
    ends = {event["data"]["client_id"]: event["number"] for event in done}
    previous_end = 0
    for event in stored:
        data = event["data"]
        client_id = data["client_id"]
        end = ends.get(client_id, 0)
        if data["text"] != asked.get(client_id):
            outcome.find("wrong answers", f"{here} {client_id}: stored as something else than was sent")
        mine = replies.pop(data["id"], [])
        for reply in mine:
            if not max(event["number"], previous_end) < reply["number"] < end:
                outcome.find("out of order", f"{here} {client_id}: event {reply['number']} lies outside its turn")
        bot = [reply["data"] for reply in mine if reply["data"]["author"] == "bot"]
        if not bot:
            outcome.find("lost", f"{here} {client_id}: no answer")
        shape = tuple((message["act"], message.get("topic", "")) for message in bot)
        usual, _ = expected[visitor.company, asked[client_id]]
        if bot and shape != usual:
            kind = "doubles" if len(shape) > len(usual) else "wrong answers"
            outcome.find(kind, f"{here} {client_id}: {shape} instead of {usual}")
        previous_end = end
    for stranger in replies:
        outcome.find("out of order", f"{here}: a reply to {stranger}, which is no message here")


def _check_stream(visitor: Visitor, events: Sequence[dict[str, Any]], outcome: Outcome) -> None:
    """What the open stream brought, broken off and resumed as it was, is what is stored."""
    stored = [
        (event["kind"], event["data"].get("id") or event["data"].get("client_id") or "")
        for event in events[len(visitor.chat.greeting) :]
    ]
    if visitor.streamed != stored:
        missing = Counter(stored) - Counter(visitor.streamed)
        extra = Counter(visitor.streamed) - Counter(stored)
        outcome.find("stream", f"{visitor.chat.id}: missing {dict(missing)}, extra {dict(extra)}")


def _rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def _check_the_record(path: Path, visitors: Sequence[Visitor], outcome: Outcome, expected: Expected) -> None:
    ours = {visitor.chat.id: visitor for visitor in visitors}
    for pragma in ("integrity_check", "foreign_key_check"):
        answer = _rows(path, f"PRAGMA {pragma}")
        if answer not in ([], [("ok",)]):
            outcome.find("database", f"{pragma}: {answer[:3]}")
    times_stored = Counter(row[0] for row in _rows(path, "SELECT client_id FROM messages WHERE client_id IS NOT NULL"))
    for visitor in visitors:
        for message in visitor.sent:
            _expect_once(outcome, visitor.chat.id, message.client_id, "a row", times_stored[message.client_id])
    for row in _rows(
        path,
        "SELECT in_reply_to, action, action_number, number, count(*) FROM messages WHERE author = 'bot' "
        "AND in_reply_to IS NOT NULL GROUP BY 1, 2, 3, 4 HAVING count(*) > 1",
    ):
        outcome.find("doubles", f"said twice: {row}")
    unstreamed = (
        "SELECT m.conversation_id, m.id, count(e.number) FROM messages m LEFT JOIN events e ON e.message_id = m.id "
        "GROUP BY m.id HAVING count(e.number) != 1"
    )
    for conversation, message, count in _rows(path, unstreamed):
        outcome.find("lost" if not count else "doubles", f"{conversation}: message {message} has {count} events")
    for conversation, last, count, highest in _rows(
        path,
        "SELECT c.id, c.last_event, count(e.number), max(e.number) FROM conversations c "
        "JOIN events e ON e.conversation_id = c.id GROUP BY c.id",
    ):
        if not last == count == highest:
            outcome.find("gaps", f"{conversation}: last_event {last}, {count} events, the highest {highest}")
    turns = _rows(
        path,
        "SELECT t.conversation_id, m.client_id, m.text, t.finished_at, t.failed, "
        "(SELECT count(*) FROM action_runs a WHERE a.message_id = m.id) "
        "FROM messages m LEFT JOIN turns t ON t.message_id = m.id WHERE m.author = 'visitor'",
    )
    for conversation, client_id, text, finished, failed, runs in turns:
        if conversation not in ours:
            if conversation is None:
                outcome.find("lost", f"{client_id} has no turn")
            continue
        if finished is None:
            outcome.find("lost", f"{conversation} {client_id}: the turn is open")
        if failed:
            outcome.find("failed", f"{conversation} {client_id}")
        _, usual = expected[ours[conversation].company, text]
        if runs > usual:
            outcome.find("doubles", f"{conversation} {client_id}: {runs} actions ran instead of {usual}")
        elif runs < usual:
            outcome.find("lost", f"{conversation} {client_id}: {runs} actions ran instead of {usual}")


def _check_the_working_memory(path: Path, visitors: Sequence[Visitor], outcome: Outcome) -> None:
    """The dialogue engine remembers a message once too: twice would be two turns of the dialogue."""
    if _rows(path, "PRAGMA integrity_check") != [("ok",)]:
        outcome.find("database", "the engine's integrity_check")
    memories = dict(_rows(path, "SELECT conversation_id, memory FROM working_memory"))
    for visitor in visitors:
        if visitor.chat.id not in memories:
            outcome.find("lost", f"{visitor.chat.id}: nothing in the engine's memory")
            continue
        said = [event for event in json.loads(memories[visitor.chat.id]) if event["event"] == "user"]
        for message_id, times in Counter(event["message_id"] for event in said).items():
            if times > 1:
                outcome.find("doubles", f"{visitor.chat.id}: the engine remembers {message_id} {times} times")


def report(outcome: Outcome, messages: int) -> str:
    rows = [
        ("messages", messages),
        ("kills", f"{outcome.kills.total()} ({', '.join(f'{name} {outcome.kills[name]}' for name in NAMES)})"),
        ("answered", outcome.answered),
        ("doubles", outcome.count("doubles")),
        ("lost", outcome.count("lost")),
        ("failed or refused", outcome.count("failed", "refused")),
        ("out of order, gaps", outcome.count("out of order", "gaps")),
        ("wrong answers", outcome.count("wrong answers")),
        ("streams unlike the record", outcome.count("stream")),
        ("faults in a database", outcome.count("database")),
        ("sent again on purpose", outcome.repeats.total()),
        ("posts that broke off", outcome.broken_posts),
        ("told of a delay", outcome.delay_notices),
        ("longest wait", f"{outcome.longest_wait:.1f} s"),
        ("seconds", f"{outcome.seconds:.0f}"),
    ]
    lines = [table(rows, ("kill at random", ""))]
    for kind, found in outcome.wrong.items():
        lines += [f"{kind}: {what}" for what in found[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(f"{kind}: and {len(found) - _SHOWN} more")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.kill_at_random", description=__doc__)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--conversations", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--between", type=float, nargs=2, default=(2.0, 5.0), metavar=("FROM", "TO"), help="seconds")
    parser.add_argument("--minutes", type=float, default=25.0, help="the run ends with an error after so long")
    parser.add_argument("--folder", type=Path, help="keep the databases and logs here")
    given = parser.parse_args()
    # A folder of its own in any case: what an earlier run left would be counted.
    folder = Path(tempfile.mkdtemp(prefix="kills-", dir=given.folder)) if given.folder else None
    with stack_in(folder) as stack:
        try:
            outcome = asyncio.run(
                run(
                    stack,
                    messages=given.messages,
                    conversations=given.conversations,
                    seed=given.seed,
                    minutes=given.minutes,
                    between=tuple(given.between),
                )
            )
        except Stuck as error:
            sys.exit(f"kill_at_random: {error}")
    print(report(outcome, given.messages))
    figures = {
        "messages": given.messages,
        "conversations": given.conversations,
        "seed": given.seed,
        "kills": dict(outcome.kills),
        "answered": outcome.answered,
        "repeats": dict(outcome.repeats),
        "broken_posts": outcome.broken_posts,
        "delay_notices": outcome.delay_notices,
        "longest_wait_seconds": round(outcome.longest_wait, 2),
        "seconds": round(outcome.seconds, 1),
        "wrong": {kind: len(found) for kind, found in outcome.wrong.items()},
    }
    print(write_figures("kill_at_random", figures))
    if outcome.wrong or outcome.answered != given.messages:
        sys.exit(1)


if __name__ == "__main__":
    main()
