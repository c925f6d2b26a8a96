"""The real app on loopback, in front of an engine that the test plays."""

import asyncio
import base64
import contextlib
import json
import shutil
import socket
import warnings
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from helpers import ANSWER, ROOT, Clock
from litestar import Litestar

from personvern.conversations import store
from personvern.conversations.messages import Draft
from personvern.database.connection import Database
from personvern.settings import Settings

with warnings.catch_warnings():
    # test_the_app_is_made_without_a_warning (test_chat_api.py) waits for these to go.
    warnings.simplefilter("ignore", DeprecationWarning)
    import app.turns
    from app.main import create_app
    from app.services import Services

TOKEN = "the-engine's-token"
KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
SECONDS = 10.0
"""How long a test waits for what must come; what comes sooner is not waited for."""


async def until(condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Whatever the condition gives, as soon as it is true."""
    async with asyncio.timeout(seconds):
        while not (found := condition()):  # noqa: ASYNC110 - nothing tells that it came true
            await asyncio.sleep(0.01)
    return found


async def settle() -> None:
    """Closed transports let go of their sockets in the next rounds of the loop."""
    for _ in range(3):
        await asyncio.sleep(0)


@dataclass
class FakeEngine:
    """Does what the real engine and the actions do: writes its replies into the app's record, once a message.

    `plan` says what becomes of the next calls: "answer", "empty", "hang", or a status to refuse with.
    """

    database_url: str
    clock: Clock
    say: Callable[[dict[str, Any]], list[Draft]] = lambda _: [ANSWER]
    plan: list[str | int] = field(default_factory=list)
    then: str | int = "answer"
    received: list[dict[str, Any]] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    at_work: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    most_at_work: int = 0
    most_in_one_conversation: int = 0
    port: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.go_on = asyncio.Event()
        self._database: Database | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def up(self) -> None:
        application = web.Application()
        application.router.add_get("/webhooks/personvern/", self._ready)
        application.router.add_post("/webhooks/personvern/messages", self._message)
        application.router.add_delete("/webhooks/personvern/conversations/{id}", self._forget)
        application.router.add_delete("/webhooks/personvern/conversations", self._forget_old)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def down(self) -> None:
        self.go_on.set()
        if self._runner:
            await self._runner.cleanup()
            self._runner = None
            await settle()

    async def close(self) -> None:
        await self.down()
        if self._database:
            self._database.close()

    def _authorised(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {TOKEN}"

    async def _ready(self, request: web.Request) -> web.Response:
        return web.json_response({"ready": True}, status=200 if self._authorised(request) else 401)

    async def _message(self, request: web.Request) -> web.Response:
        if not self._authorised(request):
            return web.json_response({}, status=401)
        sent = await request.json()
        self.received.append(sent)
        outcome = self.plan.pop(0) if self.plan else self.then
        conversation = sent["conversation_id"]
        self.at_work[conversation] += 1
        self.most_at_work = max(self.most_at_work, sum(self.at_work.values()))
        self.most_in_one_conversation = max(self.most_in_one_conversation, self.at_work[conversation])
        try:
            if outcome == "hang":
                await self.go_on.wait()
            elif self.seconds:
                await asyncio.sleep(self.seconds)
            if isinstance(outcome, int):
                return web.json_response({"outcome": "failed"}, status=outcome)
            if outcome != "empty":
                await asyncio.to_thread(self._write, sent)
        finally:
            self.at_work[conversation] -= 1
        return web.json_response({"outcome": "done"})

    def _write(self, sent: dict[str, Any]) -> None:
        if self._database is None:
            self._database = Database(self.database_url)
        with self._database.write() as connection:
            store.run_once(
                connection,
                conversation_id=sent["conversation_id"],
                message_id=sent["message_id"],
                action="action_answer",
                number=0,
                work=lambda _: (self.say(sent), []),
                now=self.clock(),
            )

    async def _forget(self, request: web.Request) -> web.Response:
        if self.then == "hang":
            await self.go_on.wait()
        self.forgotten.append(request.match_info["id"])
        return web.json_response({"outcome": "done"})

    async def _forget_old(self, request: web.Request) -> web.Response:
        return web.json_response({"outcome": "done", "count": 0})


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ctrl-C is the test runner's."""
        yield

    async def main_loop(self) -> None:
        """As uvicorn's, ten times as attentive to being told to stop."""
        await self.on_tick(0)
        while not self.should_exit:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@dataclass
class RunningApp:
    settings: Settings
    clock: Clock
    url: str = ""
    services: Services = None  # type: ignore[assignment]
    application: Litestar = None  # type: ignore[assignment]

    async def start(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            application = self.application = create_app(self.settings, clock=self.clock)
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        self._server = _Server(
            uvicorn.Config(
                application,
                lifespan="on",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._task = asyncio.create_task(self._serve(listening))
        await until(lambda: self._server.started or self._task.done(), 60)
        if self._task.done():
            await self._task
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.services = application.state.services

    async def _serve(self, listening: socket.socket) -> None:
        try:
            await self._server.serve([listening])
        except SystemExit:
            listening.close()
            raise RuntimeError("the app did not start: its log says why") from None

    async def stop(self) -> None:
        self._server.should_exit = True
        await self._task
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        await settle()


class Refused(Exception):
    def __init__(self, response: aiohttp.ClientResponse, problem: dict[str, Any]) -> None:
        super().__init__(response.status, problem)
        self.status, self.problem, self.headers = response.status, problem, response.headers


@dataclass
class Visitor:
    """A browser with one conversation."""

    http: aiohttp.ClientSession
    url: str
    begun: dict[str, Any]
    sent: int = 0

    @property
    def id(self) -> str:
        return str(self.begun["id"])

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.begun['token']}"}

    def path(self, rest: str = "") -> str:
        return f"{self.url}/api/v1/conversations/{self.id}{rest}"

    async def ask(self, method: str, rest: str = "", *, headers: dict[str, str] | None = None, **options: Any) -> Any:
        async with self.http.request(method, self.path(rest), headers=self.headers | (headers or {}), **options) as got:
            if got.status >= 400:
                raise Refused(got, await got.json(content_type=None))
            return await got.json() if got.content_type == "application/json" else await got.text()

    async def say(
        self, text: str | None = None, *, offer: str | None = None, client_id: str | None = None, **options: Any
    ) -> dict[str, Any]:
        self.sent += 1
        body = {"client_id": client_id or f"client-{self.sent}"}
        body |= {"text": text} if text is not None else {}
        body |= {"offer": offer} if offer is not None else {}
        answer = await self.ask("POST", "/messages", json=body, **options)
        assert isinstance(answer, dict)
        return answer

    async def poll(self, after: int = 0) -> list[dict[str, Any]]:
        return list((await self.ask("GET", f"/messages?after={after}"))["events"])

    async def done(self, turns: int = 1, seconds: float = SECONDS) -> list[dict[str, Any]]:
        """All events, once so many turns are over."""
        async with asyncio.timeout(seconds):
            while True:
                events = await self.poll()
                if sum(event["kind"] == "turn_done" for event in events) >= turns:
                    return events
                await asyncio.sleep(0.02)

    @contextlib.asynccontextmanager
    async def stream(self, after: int | str | None = None) -> AsyncIterator["EventStream"]:
        headers = self.headers | ({} if after is None else {"Last-Event-ID": str(after)})
        async with self.http.get(self.path("/events"), headers=headers) as response:
            assert response.status == 200, await response.text()
            yield EventStream(response)


@dataclass
class EventStream:
    response: aiohttp.ClientResponse
    comments: int = 0

    async def next(self, seconds: float = SECONDS) -> tuple[int | None, str, Any] | None:
        """Number, kind and data of the next event; None where the stream has ended."""
        number, kind, data = None, "", None
        async with asyncio.timeout(seconds):
            async for raw in self.response.content:
                line = raw.decode().rstrip("\n")
                if line.startswith(":"):
                    self.comments += 1
                elif line.startswith("id: "):
                    number = int(line[4:])
                elif line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: "):
                    data = json.loads(line[6:])
                elif not line and kind:
                    return number, kind, data
        return None

    async def numbered(self, up_to: int, seconds: float = SECONDS) -> list[tuple[int, str, Any]]:
        """The numbered events up to this one."""
        found: list[tuple[int, str, Any]] = []
        async with asyncio.timeout(seconds):
            while not found or found[-1][0] < up_to:
                event = await self.next(seconds)
                assert event is not None, "the stream ended"
                if event[0] is not None:
                    found.append((event[0], event[1], event[2]))
        return found


@pytest.fixture(scope="session")
def two_companies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policies")
    for company in ("jackon", "jobbkort"):
        shutil.copytree(ROOT / "policies" / company, folder / company)
    return folder


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session
    await settle()


@pytest.fixture
async def engine(sqlite_url: str, clock: Clock) -> AsyncIterator[FakeEngine]:
    playing = FakeEngine(sqlite_url, clock)
    await playing.up()
    yield playing
    await playing.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the app waits between two attempts is a tenth of what it waits for people."""
    monkeypatch.setattr(app.turns, "_FIRST_WAIT", app.turns._FIRST_WAIT / 10)
    monkeypatch.setattr(app.turns, "_LONGEST_WAIT", app.turns._LONGEST_WAIT / 10)


type MakeApp = Callable[..., Awaitable[RunningApp]]


@pytest.fixture
async def make_app(
    engine: FakeEngine, sqlite_url: str, clock: Clock, two_companies: Path, tmp_path: Path
) -> AsyncIterator[MakeApp]:
    started: list[RunningApp] = []

    async def make(**given: Any) -> RunningApp:
        settings = Settings(
            **{
                "database_url": sqlite_url,
                "policies": two_companies,
                "engine_url": engine.url,
                "engine_token": TOKEN,
                "worker_name": "app-1",
                "rate_limit_conversation": "1000/minute",
                "delay_notice_seconds": 60.0,  # however busy the machine is: no notice that a test did not mean
                "data_key": KEY,
                "hash_key": KEY,
                "outbox_folder": tmp_path / "outbox",
                **given,
            }
        )
        engine.database_url = settings.database_url
        made = RunningApp(settings, clock)
        await made.start()
        started.append(made)
        return made

    yield make
    engine.go_on.set()
    for one in started:
        await one.stop()


@pytest.fixture
async def running(make_app: MakeApp) -> RunningApp:
    return await make_app()


type Arrive = Callable[..., Awaitable[Visitor]]


@pytest.fixture
def arrive(http: aiohttp.ClientSession) -> Arrive:
    """A visitor begins a conversation with the app."""

    async def begin(app: RunningApp, company: str = "jackon", language: str | None = "nb", **options: Any) -> Visitor:
        body = {"company": company, "language": language}
        async with http.post(f"{app.url}/api/v1/conversations", json=body, **options) as response:
            begun = await response.json(content_type=None)
            if response.status != 201:
                raise Refused(response, begun)
        return Visitor(http, app.url, begun)

    return begin


@pytest.fixture
async def visitor(running: RunningApp, arrive: Arrive) -> Visitor:
    return await arrive(running)
