"""Working on turns: one message of a conversation at a time, each until it has its reply."""

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from app.engine_client import EngineClient, EngineFailed, EngineUnavailable
from app.streams import Broadcaster
from personvern.conversations import store
from personvern.conversations.messages import Draft
from personvern.conversations.store import Event, Turn, UnknownConversation
from personvern.database.connection import Database
from personvern.languages.texts import text

logger = logging.getLogger(__name__)

MOST_FAILURES = 4
"""After so many errors of a living engine the person is told that this message cannot be answered."""
LONGEST_OUTAGE = timedelta(hours=24)
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 2.0
_NO_NUMBER = 0


class TurnWorker:
    def __init__(
        self,
        database: Database,
        engine: EngineClient,
        broadcaster: Broadcaster,
        *,
        name: str,
        delay_notice_seconds: float,
        clock: Callable[[], datetime],
    ) -> None:
        self.database = database
        self.engine = engine
        self.broadcaster = broadcaster
        self.name = name
        self.delay_notice_seconds = delay_notice_seconds
        self.clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()

    def work_on(self, conversation_id: str) -> None:
        """Answer what waits in this conversation, unless this process is at it already."""
        if conversation_id in self._tasks:
            # It may have looked for the last time already: look once more when it ends.
            self._again.add(conversation_id)
            return
        task = asyncio.create_task(self._conversation(conversation_id))
        self._tasks[conversation_id] = task
        task.add_done_callback(lambda done: self._ended(conversation_id, done))

    def _ended(self, conversation_id: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(conversation_id, None)
        if not task.cancelled() and (error := task.exception()):
            logger.error("turn.crashed conversation=%s error=%s", conversation_id, type(error).__name__)
        if conversation_id in self._again:
            self._again.discard(conversation_id)
            if not task.cancelled():
                self.work_on(conversation_id)

    async def recover(self) -> None:
        """Take up what another process, or this one before it died, has left waiting."""
        while True:
            try:
                ids = await asyncio.to_thread(self._claim_waiting)
            except SQLAlchemyError as error:
                logger.error("recovery.failed error=%s", type(error).__name__)
                ids = []
            for conversation_id in ids:
                self.work_on(conversation_id)
            await asyncio.sleep(1.0)

    def _claim_waiting(self) -> list[str]:
        with self.database.read() as connection:
            if not store.any_waiting(connection):
                return []
        with self.database.write() as connection:
            return store.claim_waiting(connection, self.name, self.clock())

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _conversation(self, conversation_id: str) -> None:
        while turn := await asyncio.to_thread(self._next, conversation_id):
            try:
                if not await self._turn(turn):
                    return
            except UnknownConversation:
                return  # deleted while it was answered

    def _next(self, conversation_id: str) -> Turn | None:
        with self.database.read() as connection:
            return store.next_turn(connection, conversation_id)

    async def _turn(self, turn: Turn) -> bool:
        """Answer one message; tells whether another waits."""
        self.broadcaster.publish(turn.conversation.id, (Event(_NO_NUMBER, "typing", {}),))
        failures, wait = turn.attempts, _FIRST_WAIT
        told = turn.told_of_delay
        started = asyncio.get_running_loop().time()
        while True:
            sending = asyncio.create_task(self._send(turn))
            try:
                if not told:
                    left = self.delay_notice_seconds - (asyncio.get_running_loop().time() - started)
                    await asyncio.wait({sending}, timeout=max(left, 0.0))
                    if not sending.done():
                        told = await self._tell_of_delay(turn)
                await sending
                finished = await asyncio.to_thread(self._finish, turn, False)
                if finished is None:
                    raise EngineFailed("empty")
                self.broadcaster.publish(turn.conversation.id, finished[0])
                return finished[1]
            except EngineUnavailable as error:
                logger.info("engine.unavailable message=%s reason=%s", turn.message_id, error)
                if self.clock() - turn.received_at > LONGEST_OUTAGE:
                    return await self._give_up(turn)
            except EngineFailed as error:
                failures += 1
                logger.warning("engine.failed message=%s failures=%d reason=%s", turn.message_id, failures, error)
                await asyncio.to_thread(self._count_attempt, turn)
                if failures >= MOST_FAILURES:
                    return await self._give_up(turn)
            finally:
                sending.cancel()
            if not told and asyncio.get_running_loop().time() - started + wait > self.delay_notice_seconds:
                told = await self._tell_of_delay(turn)
            await asyncio.sleep(wait * random.uniform(0.7, 1.0))  # noqa: S311 - spreads the retries, guards nothing
            wait = min(wait * 2, _LONGEST_WAIT)
            if not await asyncio.to_thread(self._renew, turn):
                return False

    async def _send(self, turn: Turn) -> None:
        conversation = turn.conversation
        await self.engine.send(
            conversation_id=conversation.id,
            message_id=turn.message_id,
            text=turn.text,
            intent=turn.intent,
            metadata={
                "company": conversation.company,
                "channel": conversation.channel,
                "language": turn.language,
                "taken": turn.taken,
                "tapped": turn.intent is not None,
            },
        )

    def _finish(self, turn: Turn, failed: bool) -> tuple[tuple[Event, ...], bool] | None:
        with self.database.write() as connection:
            return store.finish(connection, turn, failed=failed, now=self.clock())

    def _count_attempt(self, turn: Turn) -> None:
        with self.database.write() as connection:
            store.count_attempt(connection, turn.message_id)

    def _renew(self, turn: Turn) -> bool:
        with self.database.write() as connection:
            return store.renew(connection, turn.conversation.id, self.name, self.clock())

    async def _tell_of_delay(self, turn: Turn) -> bool:
        await self._tell(turn, "notice.delay", about_delay=True)
        return True

    async def _give_up(self, turn: Turn) -> bool:
        await self._tell(turn, "notice.failed")
        finished = await asyncio.to_thread(self._finish, turn, True)
        assert finished is not None
        self.broadcaster.publish(turn.conversation.id, finished[0])
        return finished[1]

    async def _tell(self, turn: Turn, key: str, about_delay: bool = False) -> None:
        draft = Draft("notice", turn.language, text(turn.language, key))

        def say() -> tuple[Event, ...]:
            with self.database.write() as connection:
                return store.tell(connection, turn, draft, about_delay=about_delay, now=self.clock())

        self.broadcaster.publish(turn.conversation.id, await asyncio.to_thread(say))
