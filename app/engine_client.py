"""Asking the dialogue engine. It is told a message once; told again, it says so and does nothing."""

from typing import Any

import aiohttp


class EngineUnavailable(Exception):
    """The engine, or the action server behind it, cannot be reached: the same message will do later."""


class EngineFailed(Exception):
    """The engine answered, and could not do this message."""


class EngineClient:
    def __init__(self, url: str, token: str, timeout_seconds: float = 30.0) -> None:
        self._url = f"{url}/webhooks/personvern"
        self._token = token
        self._timeout = timeout_seconds
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "EngineClient":
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            connector=aiohttp.TCPConnector(limit=64),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()

    async def send(
        self, *, conversation_id: str, message_id: str, text: str, intent: str | None, metadata: dict[str, Any]
    ) -> None:
        await self._call(
            "POST",
            "/messages",
            {
                "conversation_id": conversation_id,
                "message_id": message_id,
                "text": text,
                "intent": intent,
                "metadata": metadata,
            },
        )

    async def forget(self, conversation_id: str) -> None:
        await self._call("DELETE", f"/conversations/{conversation_id}")

    async def forget_older_than(self, seconds: float) -> None:
        await self._call("DELETE", f"/conversations?older_than_seconds={seconds:.0f}")

    async def is_ready(self) -> bool:
        try:
            return bool((await self._call("GET", "/")).get("ready"))
        except (EngineUnavailable, EngineFailed):
            return False

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        assert self._session is not None
        try:
            async with self._session.request(method, self._url + path, json=body) as response:
                if response.status == 200:
                    answer: dict[str, Any] = await response.json()
                    return answer
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise EngineUnavailable(type(error).__name__) from None
        if status in (401, 404, 502, 503, 504):
            # A wrong token or a channel that is not loaded yet is for the operator to mend; the message waits.
            raise EngineUnavailable(str(status))
        raise EngineFailed(str(status))
