import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from personvern.notifications.outbox import NotDelivered, Outgoing
from personvern.notifications.webhook import SIGNATURE, Webhook, is_genuine, secrets_of
from personvern.privacy.keys import Keys

NOW = datetime(2026, 3, 2, 11, 0, tzinfo=UTC)
BODY = {"event": "request.opened", "reference": "PV-7KQ2-M9XD", "typed": {"name": "Kåre 🦊"}}


def outgoing(address: str) -> Outgoing:
    return Outgoing("b" * 32, "webhook", "notice_opened", "acme", {"address": address, "body": BODY}, NOW)


def send(keys: Keys, address: str) -> None:
    Webhook(keys, lambda: NOW).send(outgoing(address))


def refused(keys: Keys, address: str) -> NotDelivered:
    with pytest.raises(NotDelivered) as error:
        send(keys, address)
    assert not error.value.for_good  # whoever runs the receiver may set it right within the day
    return error.value


def test_the_receiver_gets_the_notice_and_can_check_it(receiver: Any, keys: Keys) -> None:
    send(keys, receiver.address)
    ((path, headers, body),) = receiver.got
    assert path == "/requests"
    assert json.loads(body) == BODY
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == "b" * 32
    (secret,) = secrets_of(keys, "acme")
    assert is_genuine(secret, headers[SIGNATURE], body, NOW)
    assert is_genuine(secret, headers[SIGNATURE], body, NOW + timedelta(minutes=5))
    assert not is_genuine(secret, headers[SIGNATURE], body, NOW + timedelta(minutes=6))  # replayed
    assert not is_genuine(secret, headers[SIGNATURE], body + b" ", NOW)
    assert not is_genuine("another", headers[SIGNATURE], body, NOW)
    assert not is_genuine(secret, headers[SIGNATURE].replace("t=1", "t=2"), body, NOW + timedelta(days=11574))
    for broken in ("", "t=,v1=", "v1=abc", "t=1,t=2,v1=abc"):
        assert not is_genuine(secret, broken, body, NOW)


def test_a_company_knows_only_its_own_secret(keys: Keys) -> None:
    assert secrets_of(keys, "acme") != secrets_of(keys, "jackon")


def test_while_keys_are_changed_both_secrets_fit(receiver: Any) -> None:
    old, new = Keys("d" * 43, "h" * 43), Keys("d" * 43, "j" * 42 + "g")
    send(Keys("d" * 43, f"{'j' * 42}g,{'h' * 43}"), receiver.address)
    ((_, headers, body),) = receiver.got
    for keys in (old, new):
        assert is_genuine(secrets_of(keys, "acme")[0], headers[SIGNATURE], body, NOW)


def test_tried_again_it_has_the_same_idempotency_key(receiver: Any, keys: Keys) -> None:
    receiver.status = 503
    assert refused(keys, receiver.address).code == "http_503"
    receiver.status = 200
    send(keys, receiver.address)
    assert {headers["Idempotency-Key"] for _, headers, _ in receiver.got} == {"b" * 32}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(receiver: Any, keys: Keys, status: int) -> None:
    receiver.status, receiver.headers = status, {"Location": receiver.address + "/elsewhere"}
    assert refused(keys, receiver.address).code == f"http_{status}"
    assert [path for path, _, _ in receiver.got] == ["/requests"]


@pytest.mark.parametrize("status", [400, 401, 404, 410, 429, 500])
def test_anything_but_2xx_is_tried_again(receiver: Any, keys: Keys, status: int) -> None:
    receiver.status = status
    assert refused(keys, receiver.address).code == f"http_{status}"


def test_a_receiver_that_is_down_is_tried_again(keys: Keys) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert refused(keys, f"http://127.0.0.1:{unused.getsockname()[1]}/").code == "ConnectionError"


def test_a_receiver_that_says_nothing_is_given_up_in_time(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personvern.notifications.webhook._READ_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert refused(keys, f"http://127.0.0.1:{silent.getsockname()[1]}/").code == "ReadTimeout"


def test_no_credentials_of_this_machine_are_sent_along(
    receiver: Any, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    send(keys, receiver.address)
    assert "Authorization" not in receiver.got[0][1]
