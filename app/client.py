"""Speaking with the public chat API as a visitor does: for the terminal, the evaluation and the benchmarks."""

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from typing import Any

import aiohttp


class ChatError(Exception):
    """The API refused; the text is its own, for people."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or status))
        self.status = status
        self.problem = problem


@dataclass(slots=True)
class Reply:
    """The messages of one turn, in order; `failed` as its `turn_done` says; seconds from sending to `turn_done`."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    failed: bool = False
    seconds: float = 0.0


class Chat:
    """One conversation. Its stream stays open and is resumed where it broke off."""

    def __init__(self, session: aiohttp.ClientSession, url: str, begun: dict[str, Any]) -> None:
        self._session = session
        self._url = f"{url}/api/v1/conversations/{begun['id']}"
        self._headers = {"Authorization": f"Bearer {begun['token']}"}
        self.id: str = begun["id"]
        self.greeting: list[dict[str, Any]] = begun["messages"]
        self.last_event: int = begun["last_event"]
        self.events: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self._stream = asyncio.create_task(self._listen())

    @classmethod
    async def begin(cls, session: aiohttp.ClientSession, url: str, company: str, language: str | None = None) -> "Chat":
        body = {"company": company, "language": language}
        async with session.post(f"{url}/api/v1/conversations", json=body) as response:
            answer = await response.json(content_type=None)
            if response.status != 201:
                raise ChatError(response.status, answer)
        return cls(session, url, answer)

    async def close(self) -> None:
        self._stream.cancel()
        await asyncio.gather(self._stream, return_exceptions=True)

    async def say(self, text: str | None = None, *, offer: str | None = None, client_id: str | None = None) -> str:
        """Send once; returns the client id that its `turn_done` will bear."""
        body = {"client_id": client_id or str(uuid.uuid4())}
        body |= {"text": text} if text is not None else {"offer": offer or ""}
        async with self._session.post(f"{self._url}/messages", json=body, headers=self._headers) as response:
            if response.status != 202:
                raise ChatError(response.status, await response.json(content_type=None))
        return body["client_id"]

    async def ask(self, text: str | None = None, *, offer: str | None = None, timeout: float = 60.0) -> Reply:
        """Send and wait for the whole reply."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        client_id = await self.say(text, offer=offer)
        reply = Reply()
        async with asyncio.timeout(timeout):
            while True:
                kind, data = await self.events.get()
                if kind == "message" and data["author"] != "visitor":
                    reply.messages.append(data)
                elif kind == "turn_done" and data["client_id"] == client_id:
                    reply.failed, reply.seconds = data["failed"], loop.time() - started
                    return reply

    async def erase(self) -> None:
        async with self._session.delete(self._url, headers=self._headers) as response:
            if response.status != 204:
                raise ChatError(response.status, await response.json(content_type=None))

    async def _listen(self) -> None:
        while True:
            try:
                headers = {**self._headers, "Last-Event-ID": str(self.last_event)}
                timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
                async with self._session.get(f"{self._url}/events", headers=headers, timeout=timeout) as stream:
                    if stream.status == 401:
                        await self.events.put(("closed", {}))
                        return
                    kind = ""
                    async for line in stream.content:
                        if line.startswith(b"id: "):
                            self.last_event = int(line[4:])
                        elif line.startswith(b"event: "):
                            kind = line[7:].strip().decode()
                        elif line.startswith(b"data: "):
                            await self.events.put((kind, json.loads(line[6:])))
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(0.2)
