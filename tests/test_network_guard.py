import socket
import urllib.error
import urllib.request
from collections.abc import Callable

import aiohttp
import pytest
from helpers import NetworkReached


def _connect(family: int, address: tuple[object, ...]) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(0.2)
        one.connect(address)


def _send_datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"hello", ("192.0.2.1", 53))


@pytest.mark.parametrize(
    "leave",
    [
        lambda: _connect(socket.AF_INET, ("192.0.2.1", 80)),
        lambda: _connect(socket.AF_INET6, ("2001:db8::1", 80, 0, 0)),
        lambda: _connect(socket.AF_INET, ("example.org", 80)),
        lambda: socket.create_connection(("example.org", 80), 0.2),
        lambda: urllib.request.urlopen("http://example.org", timeout=0.2),
        _send_datagram,
    ],
)
def test_no_test_can_leave_this_machine(leave: Callable[[], object]) -> None:
    with pytest.raises((NetworkReached, urllib.error.URLError)) as refused:
        leave()
    assert "a test" in str(refused.value)


async def test_no_test_can_leave_this_machine_through_aiohttp() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(NetworkReached):
            await session.get("http://192.0.2.1/")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_loopback_can_be_reached(family: int) -> None:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.bind((host, 0))
        listening.listen()
        with socket.create_connection((host, listening.getsockname()[1]), 1) as connected:
            assert connected.getpeername()[0] == host
        listening.accept()[0].close()
