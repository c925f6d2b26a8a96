"""Plant what identifies people, delete the conversations, and look for it in everything the stack has written.

Each of 50 invented people has a name, an address, an e-mail address, a telephone number, a synthetic identity number
(month + 80, true check digits) and a test card number. They are said in messages, in buttons, in malformed requests,
while a process is down, just before a deletion. Identity numbers, card numbers and the conversations' tokens must never
be stored; the rest must be gone when the erasures are done: from every table, and from every byte of every file.
"""

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from sqlalchemy import Connection

from app.client import Chat, ChatError
from benchmarks.common import COMPANIES, QUESTIONS, table, write_figures
from benchmarks.common import stack_in as started
from personvern.conversations import erasure, store
from personvern.conversations.messages import Draft
from personvern.database.connection import Database
from personvern.database.migrate import upgrade
from tools.stack import Stack

NEVER_STORED = ("identity number", "card number", "token")
KINDS = ("name", "address", "e-mail address", "telephone number", *NEVER_STORED)
_LONGEST_ERASURE = 90.0
_LARGEST_FILE = 200_000_000
_SYLLABLES = (
    *("bral", "krev", "dulm", "fosk", "gørt", "hjald", "jæv", "kvår", "lurn", "mæsk"),
    *("nølt", "pryk", "rask", "sjøl", "tvem", "våld", "ymst", "ærk", "øgl", "ådn"),
)


@dataclass(frozen=True, slots=True)
class Planted:
    kind: str
    written: str
    """As it is put into a message."""
    parts: tuple[str, ...] = ()
    """What may not be found of it either: unique pieces, or the number without its separators."""


@dataclass(frozen=True, slots=True)
class Person:
    name: Planted
    address: Planted
    email: Planted
    phone: Planted
    identity: Planted
    card: Planted

    def all(self) -> tuple[Planted, ...]:
        return (self.name, self.address, self.email, self.phone, self.identity, self.card)

    def described(self) -> str:
        return ", ".join(planted.written for planted in self.all())


def invent(chance: random.Random) -> Person:
    def word(count: int) -> str:
        return "".join(chance.choices(_SYLLABLES, k=count))

    surname, street, mailbox = word(3).capitalize(), word(3).capitalize(), word(2) + word(2)
    mailbox = mailbox.translate(str.maketrans("æøå", "aoa")) + str(chance.randrange(100, 1000))
    phone = f"9{chance.randrange(10**7):07}"
    written_phone = chance.choice(
        (phone, f"+47 {phone[:3]} {phone[3:5]} {phone[5:]}", f"{phone[:2]} {phone[2:4]} {phone[4:6]} {phone[6:]}")
    )
    identity = _identity_number(chance)
    written_identity = chance.choice((identity, f"{identity[:6]} {identity[6:]}", f"{identity[:6]}-{identity[6:]}"))
    card = _card_number(chance)
    fours = [card[start : start + 4] for start in range(0, 16, 4)]
    return Person(
        Planted("name", f"{chance.choice(('Åse', 'Bjørn', 'Kari', 'Pål'))} {surname}", (surname,)),
        Planted("address", f"{street}vegen {chance.randrange(1, 200)}", (street,)),
        Planted("e-mail address", f"{mailbox}@example.no", (mailbox,)),
        Planted("telephone number", written_phone, (phone, f"47{phone}")),
        Planted("identity number", written_identity, (identity,)),
        Planted("card number", chance.choice((card, " ".join(fours), "-".join(fours))), (card,)),
    )


def _identity_number(chance: random.Random) -> str:
    """A synthetic one, as Skatteetaten's test population has them: 80 is added to the month."""
    while True:
        born = f"{chance.randrange(1, 29):02}{chance.randrange(1, 13) + 80:02}{chance.randrange(50, 100):02}"
        digits = born + f"{chance.randrange(500):03}"
        first = -_weighted(digits, (3, 7, 6, 1, 8, 9, 4, 5, 2)) % 11
        second = -_weighted(f"{digits}{first}", (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
        if first < 10 and second < 10:
            return f"{digits}{first}{second}"


def _weighted(digits: str, weights: Sequence[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits[: len(weights)], weights, strict=True))


def _card_number(chance: random.Random) -> str:
    digits = f"400000{chance.randrange(10**9):09}"
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[::-2])
    return f"{digits}{-(sum(doubled) + sum(map(int, digits[-2::-2]))) % 10}"


class Finder:
    """Looks for many strings at once, whatever their case and in every encoding they may have been written in."""

    _GRAM = 4

    def __init__(self, planted: Iterable[Planted]) -> None:
        needles: dict[bytes, Planted] = {}
        for one in planted:
            for text in (one.written, *one.parts):
                for encoded in _encodings(text):
                    needles[encoded] = one
        self._needles = needles
        # Every gram that can lie on a position looked at is known, so one position in `_step` is enough.
        self._step = min(map(len, needles)) - self._GRAM + 1
        self._grams: dict[bytes, list[tuple[bytes, int]]] = defaultdict(list)
        for needle in needles:
            for offset in range(self._step):
                self._grams[needle[offset : offset + self._GRAM]].append((needle, offset))

    def __call__(self, haystack: bytes) -> set[Planted]:
        found: set[Planted] = set()
        low = haystack.lower()
        for position in range(0, len(low) - self._GRAM + 1, self._step):
            for needle, offset in self._grams.get(low[position : position + self._GRAM], ()):
                start = position - offset
                if start >= 0 and low.startswith(needle, start):
                    planted = self._needles[needle]
                    if len(needle) > 8 or not needle.isdigit() or _stands_alone(low, start, start + len(needle)):
                        found.add(planted)
        return found


def _encodings(text: str) -> set[bytes]:
    forms = {text, text.lower(), text.upper()}
    for form in tuple(forms):
        escaped = json.dumps(form)[1:-1]
        forms |= {escaped, json.dumps(escaped)[1:-1], quote(form), form.encode().decode("latin-1")}
    # `lower` of bytes folds ASCII only, as in the haystack.
    return {form.encode(code).lower() for form in forms for code in ("utf-8", "utf-16-le", "utf-16-be")} | {
        form.encode("latin-1").lower() for form in (text, text.lower(), text.upper())
    }


def _stands_alone(low: bytes, start: int, end: int) -> bool:
    """Eight digits within a longer number or an id are not a telephone number."""
    return not (low[max(0, start - 1) : start].isalnum() or low[end : end + 1].isalnum())


@dataclass(slots=True)
class Search:
    """Where what was found: kind to the places and the strings."""

    files: int = 0
    bytes: int = 0
    rows: int = 0
    found: dict[Planted, set[str]] = field(default_factory=lambda: defaultdict(set))

    def of(self, kind: str) -> int:
        return sum(planted.kind == kind for planted in self.found)


def search(stack: Stack, finder: Finder, since: float) -> Search:
    """Every file of the stack, every file made for a while in the temp folder, every table."""
    result = Search()
    for label, path in _files(stack, since):
        try:
            if path.stat().st_size > _LARGEST_FILE:
                continue
            content = path.read_bytes()
        except OSError:
            continue
        result.files += 1
        result.bytes += len(content)
        for planted in finder(content):
            result.found[planted].add(label)
    for database in ("personvern.db", "engine.db"):
        for name, row in _rows(stack.folder / database):
            result.rows += 1
            for planted in finder(row.encode()):
                result.found[planted].add(f"{database}: table {name}")
    return result


def _files(stack: Stack, since: float) -> Iterator[tuple[str, Path]]:
    # A mail on its way stands encrypted in a table; one that was sent, here into a file, is no longer ours.
    sent = Path(stack.environment.get("OUTBOX_FOLDER", stack.folder / "outbox"))
    for path in sorted(stack.folder.rglob("*")):
        if sent not in path.parents and path.is_file() and not path.is_symlink():
            yield str(path.relative_to(stack.folder)), path
    temporary = Path(tempfile.gettempdir())
    for parent, folders, names in os.walk(temporary, onerror=lambda _: None):
        if Path(parent).resolve() == stack.folder:
            folders.clear()
            continue
        for name in names:
            path = Path(parent) / name
            try:
                if path.is_file() and not path.is_symlink() and path.stat().st_mtime >= since:
                    yield str(path), path
            except OSError:
                continue
    # Files that were deleted and are still open.
    for process in stack.processes.values():
        for link in Path(f"/proc/{process.pid}/fd").glob("*"):
            try:
                target = os.readlink(link)
                if target.endswith(" (deleted)") and target.startswith("/") and not target.startswith("/memfd"):
                    yield target, link
            except OSError:
                continue


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            for row in connection.execute(f'SELECT * FROM "{name}"').fetchall():  # noqa: S608 - from the schema
                yield name, " ".join(str(value) for value in row)
    finally:
        connection.close()


class Planting:
    """Says what identifies people in every way the public API can be told anything."""

    def __init__(self, stack: Stack, session: aiohttp.ClientSession, people: Sequence[Person], seed: int) -> None:
        self.stack = stack
        self.session = session
        self.people = people
        self.chance = random.Random(seed)
        self.chats: list[Chat] = []
        self.bystanders: list[Chat] = []
        self.tokens: list[Planted] = []
        self.said: set[Planted] = set()
        """What stands in accepted messages, so that it must be found before the deletion."""
        self.faults: list[str] = []
        self.forms = 0
        self._next = 0

    def person(self) -> Person:
        self._next += 1
        return self.people[(self._next - 1) % len(self.people)]

    async def begin(self, company: str) -> Chat:
        chat = await Chat.begin(self.session, self.stack.url, company)
        self.tokens.append(Planted("token", chat._headers["Authorization"].removeprefix("Bearer ")))
        return chat

    async def everything(self) -> None:
        self.chats = [await self.begin(COMPANIES[number % len(COMPANIES)]) for number in range(10)]
        self.bystanders = [await self.begin(COMPANIES[number % len(COMPANIES)]) for number in range(5)]
        await self.in_messages()
        await self.in_requests_refused()
        await self.after_a_button()
        await self.in_a_request()
        await self.while_down("engine")
        await self.while_down("actions")
        await self.while_down("app")

    async def in_messages(self) -> None:
        """People and bystanders by turns, so that what is deleted and what stays share pages of the database."""
        for number in range(len(self.people)):
            person, chat = self.person(), self.chats[number % len(self.chats)]
            for text in _messages(person):
                await self.ask(chat, text)
            bystander = self.bystanders[number % len(self.bystanders)]
            await bystander.ask(self.chance.choice(QUESTIONS).text)
            self.said |= _kept(person)

    async def ask(self, chat: Chat, text: str) -> None:
        reply = await chat.ask(text, timeout=60)
        assert not reply.failed, f"no answer to a message in {chat.id}"

    async def in_requests_refused(self) -> None:
        """Requests that are refused leave nothing at all: no row, and no line in a log."""
        chat, who = self.chats[0], self.person
        long = "Slett alt om meg. " * 120
        refused: tuple[dict[str, Any], ...] = (
            {"client_id": "a", "text": f"{who().described()} {long}"},
            {"client_id": "b", "text": f"{who().described()} {long * 40}"},
            {"client_id": "c", "text": who().described(), "unknown": who().described()},
            {"client_id": "d", "text": [who().described()]},
            {"client_id": "e", "text": {"name": who().described()}},
            {"client_id": "f", "offer": who().email.written},
            {"client_id": "g", "offer": who().described()},
            {"client_id": who().described(), "text": who().described()},
            {"client_id": 12, "text": who().described()},
            {"text": who().described()},
        )
        for index, body in enumerate(refused):
            await self.send(f"message {index}", "POST", f"{chat._url}/messages", chat, json=body)
        malformed = (
            b'{"client_id": "h", "text": "' + who().described().encode(),
            who().described().encode(),
            '{"client_id": "i", "text": "Jeg heter '.encode("utf-16") + who().described().encode("utf-16"),
            b'{"client_id": "j", "text": "\xff\xfe' + who().described().encode() + b'"}',
        )
        for index, raw in enumerate(malformed):
            headers = {"Content-Type": "application/json"}
            await self.send(f"malformed {index}", "POST", f"{chat._url}/messages", chat, data=raw, headers=headers)
        api = f"{self.stack.url}/api/v1"
        for what, method, url, arguments in (
            ("company", "POST", f"{api}/conversations", {"json": {"company": who().name.written}}),
            (
                "language",
                "POST",
                f"{api}/conversations",
                {"json": {"company": "jackon", "language": who().email.written}},
            ),
            ("conversation", "GET", f"{api}/conversations/{quote(who().email.written)}/messages", {}),
            ("path", "GET", f"{api}/{quote(who().described())}", {}),
            ("after", "GET", f"{chat._url}/messages?after={quote(who().identity.written)}", {}),
            (
                "feedback",
                "POST",
                f"{chat._url}/messages/{quote(who().phone.written)}/feedback",
                {"json": {"helpful": True}},
            ),
        ):
            await self.send(what, method, url, chat, **arguments)
        await self.send("query", "GET", f"{chat._url}/messages?name={quote(who().described())}", chat, ok=True)
        strange = {"Authorization": f"Bearer {quote(who().described())}", "User-Agent": quote(who().described())}
        await self.send("token", "DELETE", chat._url, headers=strange)
        # After the errors, what is said all the same.
        for person in (who(), who()):
            for text in _messages(person):
                await self.ask(chat, text)
            self.said |= _kept(person)

    async def send(
        self,
        what: str,
        method: str,
        url: str,
        chat: Chat | None = None,
        headers: dict[str, str] | None = None,
        ok: bool = False,
        **body: Any,
    ) -> None:
        headers = {**(chat._headers if chat else {}), **(headers or {})}
        async with self.session.request(method, url, headers=headers, **body) as response:
            await response.read()
        if response.status >= 500 or (response.status < 400 and not ok):
            self.faults.append(f"{method} {what} was answered with {response.status}")

    async def after_a_button(self) -> None:
        """A button is tapped, and what is typed next to it and after it is planted."""
        chat, person = self.chats[1], self.person()
        for question in QUESTIONS:
            reply = await chat.ask(question.text)
            offers = [offer for message in reply.messages for offer in message.get("offers", ())]
            if offers:
                await chat.ask(offer=offers[0]["id"])
                break
        # Not a command to the dialogue engine, whatever it looks like; a client id is what the client says it is.
        await self.ask(chat, f'/ask_contact{{"name": "{person.name.written}", "nr": "{person.identity.written}"}}')
        await self.ask(chat, f"/restart {person.email.written} {person.card.written}")
        await chat.say(f"{person.address.written}, {person.phone.written}", client_id=person.phone.parts[0])
        await _until(lambda: _done(chat, person.phone.parts[0]), "the answer to a telephone number")
        self.said |= _kept(person)

    async def in_a_request(self) -> None:
        """Forms that are left half-way: one before the yes, one where a code was sent."""
        for stops_at in ("confirm", "code"):
            for chat in self.chats[4:9]:
                if await self.fill_in(chat, self.person(), stops_at):
                    self.forms += 1
                    break

    async def fill_in(self, chat: Chat, person: Person, stops_at: str) -> bool:
        """Whether the form came as far as that; some companies take no requests."""
        said = "Jeg vil ha innsyn i alt dere har lagret om meg, send meg en kopi"
        for _ in range(8):
            asked = (await chat.ask(said)).messages[-1]
            slot = "confirm" if asked["act"] == "confirm" else asked.get("slot")
            if slot == stops_at:
                return True
            answers = {"name": f"Jeg heter {person.name.written}", "email": person.email.written, "confirm": "ja"}
            if slot not in answers:
                return False
            said = answers[slot]
        return False

    async def while_down(self, name: str) -> None:
        """Messages on their way while a process is dead and comes back."""
        people = [self.person() for _ in range(2)]
        chats = self.chats[2:4]
        if name == "app":
            sending = [
                asyncio.create_task(chat.say(_message(person))) for chat, person in zip(chats, people, strict=True)
            ]
            done, _ = await asyncio.wait(sending, timeout=10)
            assert len(done) == len(sending), "the app does not accept messages"
            client_ids = [task.result() for task in sending]
            self.stack.kill(name)
        else:
            self.stack.kill(name)
            client_ids = [await chat.say(_message(person)) for chat, person in zip(chats, people, strict=True)]
            await asyncio.sleep(3.0)  # the notice of the delay, and some tries
        await asyncio.to_thread(self.stack.processes[name].wait, 10)
        self.stack.start(name)
        for chat, client_id in zip(chats, client_ids, strict=True):
            await _until(
                lambda chat=chat, client_id=client_id: _done(chat, client_id), f"an answer after the {name} was killed"
            )
        for person in people:
            self.said |= _kept(person)

    async def delete(self) -> None:
        """All but the bystanders: some while messages are worked on, some while the engine and then the app is dead."""
        in_work, engine_dead, rest = self.chats[:3], self.chats[3:6], self.chats[6:]
        for chat in in_work:
            person = self.person()
            await asyncio.gather(*(chat.say(text) for text in _messages(person)))
            await asyncio.sleep(self.chance.uniform(0.0, 0.03))
            await chat.erase()
        for chat in rest:
            await chat.erase()
        self.stack.kill("engine")
        for chat in engine_dead:
            await chat.say(_message(self.person()))
            await chat.erase()
        await asyncio.sleep(1.0)
        self.stack.kill("app")
        for name in ("engine", "app"):
            await asyncio.to_thread(self.stack.processes[name].wait, 10)
            self.stack.start(name)
        await asyncio.to_thread(self.stack.wait)
        ids = {chat.id for chat in self.chats}
        traffic = asyncio.create_task(self._go_on())
        try:
            await _until(lambda: _erased(self.stack, ids), "the erasures", _LONGEST_ERASURE)
        finally:
            traffic.cancel()
            await asyncio.gather(traffic, return_exceptions=True)

    async def _go_on(self) -> None:
        """The others keep talking while the erasures are carried out."""
        while True:
            for chat in self.bystanders:
                await chat.ask(self.chance.choice(QUESTIONS).text)

    async def bystanders_are_whole(self) -> bool:
        for chat in self.bystanders:
            async with self.session.get(f"{chat._url}/transcript", headers=chat._headers) as response:
                if response.status != 200 or len((await response.json())["messages"]) < 3:
                    return False
        return True

    async def deleted_are_gone(self) -> bool:
        for chat in self.chats:
            async with self.session.get(f"{chat._url}/transcript", headers=chat._headers) as response:
                if response.status != 401:
                    return False
        return True


def _kept(person: Person) -> set[Planted]:
    """What a message is stored with. E-mail addresses are taken out of it and lie encrypted in a draft."""
    return {person.name, person.address, person.phone}


def _messages(person: Person) -> tuple[str, ...]:
    return (
        f"Hei, jeg heter {person.name.written} og bor i {person.address.written}. Hvor lenge lagrer dere dette?",
        f"Eg kan nåast på {person.email.written} eller {person.phone.written}. Kva rettar har eg?",
        f"My number is {person.identity.written}, what data do you have about me?",
        f"Jeg betalte med kort {person.card.written}, hvem får se det? Hilsen {person.name.written.upper()}",
    )


def _message(person: Person) -> str:
    return f"Hva har dere lagret om meg? {person.described()}"


async def _until(true: Callable[[], Coroutine[Any, Any, bool]], what: str, seconds: float = 60.0) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not await true():  # noqa: ASYNC110 - there is nobody who could wake us
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise TimeoutError(f"waited {seconds:.0f} s for {what}") from None


async def _done(chat: Chat, client_id: str) -> bool:
    while not chat.events.empty():
        kind, data = chat.events.get_nowait()
        if kind == "turn_done" and data["client_id"] == client_id:
            assert not data["failed"], "a turn failed"
            return True
    return False


async def _erased(stack: Stack, ids: set[str]) -> bool:
    def finished() -> set[str]:
        path = stack.folder / "personvern.db"
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            rows = connection.execute("SELECT conversation_id FROM erasures WHERE finished_at IS NOT NULL")
            return {conversation_id for (conversation_id,) in rows}
        finally:
            connection.close()

    return ids <= await asyncio.to_thread(finished)


def churn(folder: Path, seed: int, conversations: int = 200, each: int = 12, rounds: int = 12) -> tuple[int, int]:
    """Erase most of a database's conversations, some at a time; how many strings were said in them and still lie there.

    Rows move from page to page as others go, and `secure_delete` does not clear the places that they moved away from.
    """
    chance, now = random.Random(seed), datetime.now(UTC)
    path = folder / "churn.db"
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    said: dict[str, list[str]] = {}
    with database.write() as connection:
        for _ in range(conversations):
            conversation, _ = store.create(
                connection, company="jackon", channel="widget", language="nb", language_chosen=False, now=now
            )
            said[conversation.id] = []
    for _ in range(each):
        with database.write() as connection:
            for conversation_id in chance.sample(sorted(said), len(said)):
                mark, client_id = f"said{chance.getrandbits(64):016x}", f"sent{chance.getrandbits(64):016x}"
                said[conversation_id] += [mark, client_id]
                answer = "y" * chance.randint(50, 900)
                _say(connection, conversation_id, "x" * chance.randint(5, 200) + mark, client_id, answer, now)
    erased: set[str] = set()
    left: set[str] = set()
    order = chance.sample(sorted(said), len(said))
    share = len(order) * 9 // 10 // rounds
    for number in range(rounds):
        with database.write() as connection:
            for conversation_id in order[number * share : (number + 1) * share]:
                erasure.erase_record(connection, conversation_id, "asked_for", now)
                erased.add(conversation_id)
        if not database.forget_deleted():
            raise TimeoutError("the write-ahead log could not be emptied")
        content = b"".join(file.read_bytes() for file in sorted(folder.glob("churn.db*")))
        present = {found.decode() for found in re.findall(rb"(?:said|sent)[0-9a-f]{16}", content)}
        left |= {mark for conversation_id in erased for mark in said[conversation_id] if mark in present}
    database.close()
    return sum(len(said[conversation_id]) for conversation_id in erased), len(left)


def _say(connection: Connection, conversation_id: str, said: str, client_id: str, answer: str, now: datetime) -> None:
    store.receive(
        connection,
        conversation_id,
        text=said,
        language="nb",
        language_chosen=False,
        client_id=client_id,
        offer_id=None,
        worker="churn",
        now=now,
    )
    turn = store.next_turn(connection, conversation_id)
    assert turn is not None
    store.run_once(
        connection,
        conversation_id=conversation_id,
        message_id=turn.message_id,
        action="action_answer",
        number=0,
        work=lambda _: ([Draft("answer", "nb", answer)], []),
        now=now,
    )
    store.finish(connection, turn, failed=False, now=now)


@dataclass(slots=True)
class Findings:
    planted: dict[str, int]
    before: Search
    live: Search
    stopped: Search
    churned: tuple[int, int]
    forms: int
    faults: list[str]
    seconds: float


async def _plant_and_delete(
    stack: Stack, people: Sequence[Person], seed: int, since: float
) -> tuple[list[Planted], Search, Search, Planting]:
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        planting = Planting(stack, session, people, seed)
        faults = planting.faults
        try:
            await planting.everything()
            planted = [one for person in people for one in person.all()] + planting.tokens
            finder = Finder(planted)
            before = await asyncio.to_thread(search, stack, finder, since)
            for kind, count in Counter(one.kind for one in planting.said).items():
                # Else the search is blind, or what was planted was never stored.
                if before.of(kind) < count / 2:
                    faults.append(f"only {before.of(kind)} of {count} were found before the deletion: {kind}")
            for one in before.found:
                if one.kind in NEVER_STORED:
                    faults.append(f"a {one.kind} was stored: {sorted(before.found[one])}")
            await planting.delete()
            await asyncio.sleep(2.0)  # what was still on its way
            live = await asyncio.to_thread(search, stack, finder, since)
            if not await planting.bystanders_are_whole():
                faults.append("a conversation that nobody deleted is not whole")
            if not await planting.deleted_are_gone():
                faults.append("a deleted conversation still answers")
        finally:
            for chat in (*planting.chats, *planting.bystanders):
                await chat.close()
    return planted, before, live, planting


def run(stack: Stack, *, people: int, seed: int, minutes: float = 8.0) -> Findings:
    """`stack` is running, and is stopped here to look once more."""
    began, since = time.monotonic(), time.time() - 1
    chance = random.Random(seed)
    invented = [invent(chance) for _ in range(people)]

    async def bounded() -> tuple[list[Planted], Search, Search, Planting]:
        async with asyncio.timeout(minutes * 60):
            return await _plant_and_delete(stack, invented, seed, since)

    planted, before, live, planting = asyncio.run(bounded())
    faults = planting.faults
    stack.stop()
    stopped = search(stack, Finder(planted), since)
    for when, found in (("while it runs", live), ("after it has ended", stopped)):
        for one, places in found.found.items():
            faults.append(f"{when}: a {one.kind} in {sorted(places)}")
    with tempfile.TemporaryDirectory(prefix="personvern-churn-") as folder:
        churned = churn(Path(folder), seed)
    if churned[1]:
        faults.append(f"{churned[1]} of {churned[0]} strings stay in the database's file after many erasures")
    counts = dict(Counter(one.kind for one in planted))
    return Findings(counts, before, live, stopped, churned, planting.forms, faults, time.monotonic() - began)


def report(findings: Findings) -> str:
    rows = [
        (
            kind,
            findings.planted[kind],
            findings.before.of(kind),
            findings.live.of(kind),
            findings.stopped.of(kind),
        )
        for kind in KINDS
    ]
    rows.append(("after many erasures", findings.churned[0], "", findings.churned[1], ""))  # type: ignore[arg-type]
    searched = [
        (f.files, f"{f.bytes / 1e6:.0f} MB", f.rows) for f in (findings.before, findings.live, findings.stopped)
    ]
    rows += [
        (f"({label})", "", *(search[index] for search in searched))  # type: ignore[misc]
        for index, label in enumerate(("files read", "of them", "rows read"))
    ]
    lines = [table(rows, ("nothing stays", "planted", "found before", "after deletion", "after the end"))]
    before = Counter(place for places in findings.before.found.values() for place in places)
    lines.append("found before, by place: " + ", ".join(f"{place} {count}" for place, count in sorted(before.items())))
    lines.append(f"forms left half-way: {findings.forms}. {findings.seconds:.0f} s")
    lines += findings.faults[:20]
    if len(findings.faults) > 20:
        lines.append(f"and {len(findings.faults) - 20} more")
    return "\n".join(lines)


def environment(folder: Path) -> dict[str, str]:
    """The processes' own temp folder, inside the stack's: whatever they write there is looked through too."""
    temporary = folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    return {"TMPDIR": str(temporary)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.nothing_stays", description=__doc__)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--seed", type=int, help="the same people again; random without")
    parser.add_argument("--minutes", type=float, default=8.0, help="the run ends with an error after so long")
    parser.add_argument("--keep", action="store_true", help="leave the databases and logs, and say where")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**9)
    folder = Path(tempfile.mkdtemp(prefix="personvern-nothing-stays-"))
    try:
        with started(folder, environment(folder)) as stack:
            try:
                findings = run(stack, people=given.people, seed=seed, minutes=given.minutes)
            except (AssertionError, ChatError, TimeoutError) as error:
                sys.exit(f"nothing_stays: {error} (seed {seed})")
    finally:
        if given.keep:
            print(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(report(findings))
    figures = {
        "seed": seed,
        "planted": findings.planted,
        "found_before_deletion": {kind: findings.before.of(kind) for kind in KINDS},
        "found_after_deletion": {kind: findings.live.of(kind) for kind in KINDS},
        "found_after_the_end": {kind: findings.stopped.of(kind) for kind in KINDS},
        "after_many_erasures": {"planted": findings.churned[0], "found": findings.churned[1]},
        "forms_left_half_way": findings.forms,
        "files": findings.live.files,
        "bytes": findings.live.bytes,
        "rows": findings.live.rows,
        "faults": len(findings.faults),
        "seconds": round(findings.seconds, 1),
    }
    print(write_figures("nothing_stays", figures))
    if findings.faults:
        sys.exit(1)


if __name__ == "__main__":
    main()
