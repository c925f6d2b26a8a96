"""Waking the streams of a conversation inside this process. The database is the truth; this only wakes."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from personvern.conversations.store import Event


class Broadcaster:
    def __init__(self) -> None:
        self._queues: dict[str, set[asyncio.Queue[Event]]] = defaultdict(set)

    def publish(self, conversation_id: str, events: Sequence[Event]) -> None:
        for queue in self._queues.get(conversation_id, ()):
            for event in events:
                queue.put_nowait(event)

    def listeners(self, conversation_id: str) -> int:
        return len(self._queues.get(conversation_id, ()))

    @contextmanager
    def subscribed(self, conversation_id: str) -> Iterator[asyncio.Queue[Event]]:
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self._queues[conversation_id].add(queue)
        try:
            yield queue
        finally:
            self._queues[conversation_id].discard(queue)
            if not self._queues[conversation_id]:
                del self._queues[conversation_id]


def as_server_sent(event: Event) -> bytes:
    """A numbered event can be resumed from; one with number 0 (`typing`) is passing."""
    number = f"id: {event.number}\n" if event.number else ""
    data = msgspec.json.encode(event.data).decode()
    return f"{number}event: {event.kind}\ndata: {data}\n\n".encode()


async def keep_alive(events: AsyncIterator[Event], seconds: float) -> AsyncIterator[bytes]:
    """The events as bytes, with a comment whenever nothing was sent for a while, so that proxies hold the line."""
    iterator = events.__aiter__()
    pending: asyncio.Task[Event] | None = None
    try:
        while True:
            pending = pending or asyncio.ensure_future(anext(iterator))  # type: ignore[arg-type]
            done, _ = await asyncio.wait({pending}, timeout=seconds)
            if not done:
                yield b": still here\n\n"
                continue
            try:
                event = pending.result()
            except StopAsyncIteration:
                return
            pending = None
            yield as_server_sent(event)
    finally:
        if pending:
            pending.cancel()
