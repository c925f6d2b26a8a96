import time

import pytest
from litestar import Request

from app.limits import RateLimits
from app.problems import Problem
from personvern.settings import Settings

PROXY = "10.0.0.1"


def request(peer: str | None, *forwarded: str) -> Request:
    headers = [(b"x-forwarded-for", one.encode()) for one in forwarded]
    return Request({"type": "http", "headers": headers, "client": (peer, 4711) if peer else None})  # type: ignore[typeddict-item]


def limits(**given: str) -> RateLimits:
    return RateLimits(Settings(trusted_proxies=(PROXY, "10.0.0.2", "127.0.0.1"), **given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        pytest.param("203.0.113.9", [], "203.0.113.9", id="a visitor without a proxy"),
        pytest.param("127.0.0.1", [], None, id="this machine itself has no limit"),
        pytest.param("::1", [], None, id="this machine by IPv6"),
        pytest.param("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64", id="IPv6 counts by its network"),
        pytest.param(PROXY, ["203.0.113.9"], "203.0.113.9", id="behind a proxy"),
        pytest.param(PROXY, ["203.0.113.9, 10.0.0.2"], "203.0.113.9", id="behind two proxies"),
        pytest.param(PROXY, ["1.2.3.4, 203.0.113.9"], "203.0.113.9", id="what a visitor put before it is ignored"),
        pytest.param(PROXY, [" 203.0.113.9 ,10.0.0.2 "], "203.0.113.9", id="white space"),
        pytest.param(PROXY, ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64", id="IPv6 behind a proxy"),
        pytest.param(PROXY, ["127.0.0.1, 203.0.113.9"], "203.0.113.9", id="a visitor who says that she is loopback"),
        pytest.param("127.0.0.1", ["203.0.113.9"], "203.0.113.9", id="a proxy on this machine"),
        pytest.param(PROXY, [PROXY], PROXY, id="the proxy's own requests"),
        pytest.param("198.51.100.7", ["203.0.113.9"], "untrusted 198.51.100.7", id="a header that nobody vouches for"),
        pytest.param("198.51.100.7", ["127.0.0.1"], "untrusted 198.51.100.7", id="it makes nobody loopback"),
        pytest.param("::1", ["203.0.113.9"], "untrusted ::1", id="loopback with a header is somebody's proxy"),
        pytest.param(PROXY, ["unknown"], "unknown", id="what is no address counts as it is"),
        pytest.param(PROXY, [""], "", id="an empty header"),
        pytest.param(None, [], "", id="a peer without an address"),
        pytest.param(
            PROXY,
            ["1.2.3.4", "203.0.113.9"],
            "203.0.113.9",
            id="the proxy's own line comes after the visitor's",
        ),
        pytest.param(
            "::ffff:203.0.113.9",
            [],
            "203.0.113.9",
            id="IPv4 seen by a socket for IPv6",
        ),
        pytest.param(
            "::ffff:127.0.0.1",
            [],
            None,
            id="loopback seen by a socket for IPv6",
        ),
    ],
)
def test_whose_address_a_request_counts_for(peer: str | None, forwarded: list[str], address: str | None) -> None:
    assert limits().address_of(request(peer, *forwarded)) == address


async def test_a_header_cannot_buy_another_allowance() -> None:
    limited = limits(rate_limit_conversations="2/minute")
    for spoofed in ("1.1.1.1", "2.2.2.2"):
        await limited.new_conversation(request("198.51.100.7", spoofed))
    with pytest.raises(Problem) as refused:
        await limited.new_conversation(request("198.51.100.7", "3.3.3.3"))
    assert refused.value.kind == "too-many-messages"
    await limited.new_conversation(request("198.51.100.8", "3.3.3.3"))


async def test_two_addresses_of_one_ipv6_network_share_an_allowance() -> None:
    limited = limits(rate_limit_conversations="1/minute")
    await limited.new_conversation(request("2001:db8:1:2::1"))
    with pytest.raises(Problem):
        await limited.new_conversation(request("2001:db8:1:2:ffff::1"))
    await limited.new_conversation(request("2001:db8:1:3::1"))


async def test_this_machine_is_limited_by_the_conversation_only() -> None:
    limited = limits(
        rate_limit_conversations="1/minute", rate_limit_address="1/minute", rate_limit_conversation="3/minute"
    )
    for _ in range(3):
        await limited.new_conversation(request("127.0.0.1"))
        await limited.message(request("127.0.0.1"), "one", "nb")
    with pytest.raises(Problem) as refused:
        await limited.message(request("127.0.0.1"), "one", "nn")
    assert refused.value.language == "nn"
    await limited.message(request("127.0.0.1"), "two", "nb")


async def test_the_three_limits_count_apart() -> None:
    limited = limits(
        rate_limit_conversations="1/minute", rate_limit_address="2/minute", rate_limit_conversation="9/minute"
    )
    await limited.new_conversation(request("203.0.113.9"))
    for conversation in ("one", "two"):
        await limited.message(request("203.0.113.9"), conversation, "nb")
    with pytest.raises(Problem):
        await limited.message(request("203.0.113.9"), "three", "nb")
    await limited.message(request("203.0.113.10"), "three", "nb")


async def test_the_time_to_wait_is_within_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    limited = limits(rate_limit_conversation="2/minute")
    monkeypatch.setattr(time, "time", lambda: now)
    await limited.message(request("127.0.0.1"), "one", "nb")
    monkeypatch.setattr(time, "time", lambda: now + 20)
    await limited.message(request("127.0.0.1"), "one", "nb")
    with pytest.raises(Problem) as refused:
        await limited.message(request("127.0.0.1"), "one", "nb")
    assert refused.value.retry_after == pytest.approx(40, abs=1)
    monkeypatch.setattr(time, "time", lambda: now + 61)
    await limited.message(request("127.0.0.1"), "one", "nb")
