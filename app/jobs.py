"""Work that goes on by itself: erasures at once, retention once a day."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from app.engine_client import EngineClient
from personvern.conversations import erasure, store
from personvern.database.connection import Database
from personvern.notifications import caps, outbox
from personvern.privacy.keys import Keys
from personvern.requests import drafts, retention, verification
from personvern.statements.library import Library, UnknownCompany

logger = logging.getLogger(__name__)

PROOF_KEPT = timedelta(days=365)
OUTBOX_KEPT = timedelta(days=30)
_ENGINE_MEMORY_SECONDS = 24 * 3600.0
_RETENTION_EVERY_SECONDS = 24 * 3600.0


class Deliveries:
    """What lies in the outbox goes out, at least once."""

    def __init__(
        self,
        database: Database,
        keys: Keys,
        transports: Mapping[str, outbox.Transport],
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._keys = keys
        self._transports = transports
        self._clock = clock

    async def run(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.deliver)
            except SQLAlchemyError as error:
                logger.error("outbox.failed error=%s", type(error).__name__)
            await asyncio.sleep(1.0)

    def deliver(self) -> int:
        with self._database.read() as connection:
            if not outbox.waiting_count(connection, self._clock()):
                return 0
        return outbox.deliver_due(self._database, self._keys, self._transports, self._clock)

    def failed(self) -> int:
        """How much could not be delivered and was given up."""
        with self._database.read() as connection:
            return outbox.failed_count(connection)


class Erasures:
    def __init__(
        self,
        database: Database,
        engine: EngineClient,
        library: Library,
        keys: Keys,
        *,
        retention_days: int,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._engine = engine
        self._library = library
        self._keys = keys
        self._retention_days = retention_days
        self._clock = clock
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Carry out what is due, again and again: it must be done even if it cannot be done now."""
        while True:
            try:
                await self.finish_due()
            except SQLAlchemyError as error:
                logger.error("erasure.failed error=%s", type(error).__name__)
            try:
                async with asyncio.timeout(5.0):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def finish_due(self) -> int:
        loop = asyncio.get_running_loop()

        def forget_in_engine(conversation_id: str) -> None:
            asyncio.run_coroutine_threadsafe(self._engine.forget(conversation_id), loop).result(30)

        def work() -> int:
            with self._database.read() as connection:
                jobs = erasure.due(connection, self._clock())
            return erasure.finish(self._database, jobs, forget_in_engine, self._clock()) if jobs else 0

        return await asyncio.to_thread(work)

    async def run_daily(self) -> None:
        """Retention, at start-up and then once a day."""
        while True:
            try:
                await asyncio.to_thread(self.erase_expired)
                self.wake()
                await self._engine.forget_older_than(_ENGINE_MEMORY_SECONDS)
            except Exception as error:  # a day's job that fails is tried again, it does not end the loop
                logger.error("retention.failed error=%s", type(error).__name__)
                await asyncio.sleep(60.0)
                continue
            await asyncio.sleep(_RETENTION_EVERY_SECONDS)

    def erase_expired(self) -> int:
        now = self._clock()
        erased = erasure.erase_expired(self._database, now, self._keep)
        with self._database.write() as connection:
            erasure.forget_old_erasures(connection, now - PROOF_KEPT)
            for conversation_id, typed in drafts.stale(connection, self._keys, now):
                # A form that nobody came back to: what was typed into it goes from the transcript too.
                store.redact(connection, conversation_id, typed)
                store.ask_for(connection, conversation_id, None)
            drafts.purge(connection, now)
            verification.purge(connection, now)
            caps.purge(connection, now)
            outbox.purge(connection, now - OUTBOX_KEPT)
        retention.purge_all(self._database, self._keys, now, self._keeping)
        return erased

    def _keeping(self, company_id: str) -> retention.Keeping:
        try:
            return retention.Keeping(months=self._library.company(company_id).request_targets.keep_months)
        except UnknownCompany:
            return retention.Keeping()

    def days_kept(self, company_id: str, channel: str) -> int:
        """How long a conversation is kept after its last message."""
        try:
            days = self._library.company(company_id).retention_days
        except UnknownCompany:
            days = {}
        return days.get(channel, days.get("default", self._retention_days))

    def _keep(self, company_id: str, channel: str) -> timedelta:
        return timedelta(days=self.days_kept(company_id, channel))
