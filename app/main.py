"""Making the application."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from litestar import Litestar, Response, get
from litestar.datastructures import CacheControlHeader, MutableScopeHeaders, State
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.response import File
from litestar.static_files import create_static_files_router
from litestar.types import Message, Scope
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.api import ChatApi
from app.engine_client import EngineClient
from app.jobs import Deliveries, Erasures
from app.limits import RateLimits
from app.problems import Problem, answer_http_exception, answer_problem, answer_unforeseen, answer_unreadable
from app.services import Services
from app.streams import Broadcaster
from app.turns import TurnWorker
from personvern.database.connection import Database
from personvern.database.migrate import upgrade
from personvern.languages.identify import identifier
from personvern.notifications.transports import transports_of
from personvern.privacy.keys import Keys
from personvern.settings import Settings
from personvern.statements.library import Library

_PAGES = Path(__file__).parent / "pages"
_LARGEST_BODY = 64 * 1024
_SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def _now() -> datetime:
    return datetime.now(UTC)


@get("/", include_in_schema=False)
async def chat_page() -> File:
    return File(_PAGES / "index.html", content_disposition_type="inline", media_type="text/html")


@get("/health", include_in_schema=False)
async def health(state: State) -> Response[dict[str, Any]]:
    """Whether each part answers; 503 when one does not. Names nothing of what is inside."""
    services: Services = state.services

    def database_answers() -> bool:
        try:
            with services.database.read() as connection:
                connection.execute(select(1))
            return True
        except SQLAlchemyError:
            return False

    parts = {
        "database": await asyncio.to_thread(database_answers),
        "engine": await services.engine.is_ready(),
        "statements": not services.library.problems and bool(services.library.companies()),
    }
    undelivered = await asyncio.to_thread(services.deliveries.failed)
    return Response(
        {
            "ok": all(parts.values()),
            "parts": parts,
            "statements": sorted(services.library.problems),
            "undelivered": undelivered,
        },
        status_code=200 if all(parts.values()) else 503,
    )


async def _secure(message: Message, scope: Scope) -> None:
    """The headers on every response, errors and files too."""
    if message["type"] == "http.response.start":
        headers = MutableScopeHeaders.from_message(message)
        for name, value in _SECURITY_HEADERS.items():
            headers.setdefault(name, value)
        if scope["path"].startswith("/api/v1"):
            headers.setdefault("Cache-Control", "no-store")


def create_app(settings: Settings | None = None, clock: Callable[[], datetime] = _now) -> Litestar:
    given = settings or Settings.load()

    @asynccontextmanager
    async def running(app: Litestar) -> AsyncIterator[None]:
        database = Database(given.database_url)
        await asyncio.to_thread(upgrade, database)
        identifier()
        library = Library(given.policies)
        broadcaster = Broadcaster()
        async with EngineClient(given.engine_url, given.engine_token) as engine:
            name = given.worker_name or f"{socket.gethostname()}:{given.port}"
            turns = TurnWorker(
                database,
                engine,
                broadcaster,
                name=name[:64],
                delay_notice_seconds=given.delay_notice_seconds,
                clock=clock,
            )
            keys = Keys(given.data_key, given.hash_key)
            erasures = Erasures(database, engine, library, keys, retention_days=given.retention_days, clock=clock)
            deliveries = Deliveries(database, keys, transports_of(given, keys, clock), clock=clock)
            app.state.services = Services(
                given,
                database,
                library,
                engine,
                broadcaster,
                turns,
                erasures,
                deliveries,
                RateLimits(given),
                keys,
                clock,
                poll_seconds=5.0 if database.is_sqlite else 1.0,
            )
            tasks = [
                asyncio.create_task(job)
                for job in (
                    turns.recover(),
                    erasures.run(),
                    erasures.run_daily(),
                    deliveries.run(),
                )
            ]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await turns.stop()
                database.close()

    return Litestar(
        [
            ChatApi,
            chat_page,
            health,
            create_static_files_router(
                "/static",
                directories=[_PAGES / "static"],
                include_in_schema=False,
                # The script and its texts belong together: the browser asks whether what it has is still the same.
                cache_control=CacheControlHeader(no_cache=True),
            ),
        ],
        lifespan=[running],
        request_max_body_size=_LARGEST_BODY,
        exception_handlers={
            Problem: answer_problem,
            HTTPException: answer_http_exception,
            UnicodeDecodeError: answer_unreadable,
            Exception: answer_unforeseen,
        },
        before_send=[_secure],
        openapi_config=OpenAPIConfig(
            title="Personvern chat API",
            version="1",
            path="/api",
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        ),
        logging_config=None,
    )


def serve() -> None:
    import uvicorn

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = Settings.load()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    serve()
