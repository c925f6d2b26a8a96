"""Rate limits, in memory for one process or in Redis for several."""

import ipaddress
import time
from typing import Any

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from litestar import Request

from app.problems import Problem
from personvern.settings import Settings


class RateLimits:
    def __init__(self, settings: Settings) -> None:
        storage = RedisStorage(f"async+{settings.redis_url}") if settings.redis_url else MemoryStorage()
        self._limiter = MovingWindowRateLimiter(storage)
        self._conversation = parse(settings.rate_limit_conversation)
        self._address = parse(settings.rate_limit_address)
        self._conversations = parse(settings.rate_limit_conversations)
        self._trusted = frozenset(settings.trusted_proxies)

    async def new_conversation(self, request: Request[Any, Any, Any]) -> None:
        address = self.address_of(request)
        if address is not None:
            await self._hit(self._conversations, "conversations", address, None)

    async def message(self, request: Request[Any, Any, Any], conversation_id: str, language: str) -> None:
        await self._hit(self._conversation, "conversation", conversation_id, language)
        address = self.address_of(request)
        if address is not None:
            await self._hit(self._address, "address", address, language)

    async def _hit(self, limit: RateLimitItem, kind: str, key: str, language: str | None) -> None:
        if not await self._limiter.hit(limit, kind, key):
            reset = (await self._limiter.get_window_stats(limit, kind, key)).reset_time
            raise Problem("too-many-messages", language, retry_after=max(1, round(reset - time.time())))

    def address_of(self, request: Request[Any, Any, Any]) -> str | None:
        """The visitor's network address (IPv6 by its /64), or None for this machine itself, which has no limit."""
        peer = request.client.host if request.client else ""
        lines = request.headers.getall("x-forwarded-for", [])
        forwarded = ",".join(lines) if lines else None
        if forwarded is None:
            address = peer
        elif peer in self._trusted:
            address = next(
                (hop for hop in (part.strip() for part in reversed(forwarded.split(","))) if hop not in self._trusted),
                peer,
            )
        else:
            return f"untrusted {peer}"
        try:
            parsed = ipaddress.ip_address(_without_port(address))
        except ValueError:
            return address
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
            parsed = parsed.ipv4_mapped
        if parsed.is_loopback and forwarded is None:
            return None
        if parsed.version == 6:
            return str(ipaddress.ip_network((parsed, 64), strict=False))
        return str(parsed)


def _without_port(address: str) -> str:
    """Some proxies add the port: «192.0.2.1:4711», «[2001:db8::1]:4711»."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address
