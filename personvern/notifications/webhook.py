"""Notices to a company's own systems: JSON by POST, signed, so that the receiver knows that it is ours and whole.

    Personvern-Signature: t=1767225600,v1=<HMAC-SHA256 of "1767225600." and the body, hexadecimal>
    Idempotency-Key: <the same each time the same notice is tried>

A receiver takes a notice whose `v1` fits (there are two while keys are changed) and whose `t` is a few minutes old at
most, answers 2xx, and does nothing for an Idempotency-Key that it has seen.
"""

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import datetime

import requests

from personvern.notifications.outbox import NotDelivered, Outgoing
from personvern.privacy.keys import Keys

SIGNATURE = "Personvern-Signature"
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 15.0


def secrets_of(keys: Keys, company: str) -> tuple[str, ...]:
    """What the company's receiver checks signatures with: the present secret, then those of earlier keys."""
    return keys.hashes("webhook_secret", company)


class Webhook:
    def __init__(self, keys: Keys, now: Callable[[], datetime]) -> None:
        self._keys = keys
        self._now = now

    def send(self, outgoing: Outgoing) -> None:
        body = json.dumps(outgoing.payload["body"], ensure_ascii=False, separators=(",", ":")).encode()
        at = int(self._now().timestamp())
        signatures = [sign(secret, at, body) for secret in secrets_of(self._keys, outgoing.company)]
        try:
            with requests.post(
                outgoing.payload["address"],
                data=body,
                headers={
                    "Content-Type": "application/json",
                    "User-Agent": "personvern",
                    "Idempotency-Key": outgoing.id,
                    SIGNATURE: ",".join([f"t={at}", *(f"v1={signature}" for signature in signatures)]),
                },
                timeout=(_CONNECT_SECONDS, _READ_SECONDS),
                allow_redirects=False,  # personal data goes where the company said, nowhere else
                auth=_no_netrc,
                stream=True,  # what it answers besides its status is not read
            ) as response:
                status = response.status_code
        except requests.RequestException as error:
            raise NotDelivered(type(error).__name__) from None
        if not 200 <= status < 300:
            raise NotDelivered(f"http_{status}")


def sign(secret: str, at: int, body: bytes) -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()


def is_genuine(secret: str, header: str, body: bytes, now: datetime, tolerance_seconds: int = 300) -> bool:
    """What a receiver does with `Personvern-Signature`; here for the tests and as the example in the docs."""
    parts = [part.partition("=")[::2] for part in header.split(",")]
    times = [value for name, value in parts if name == "t" and value.isdecimal()]
    if len(times) != 1 or abs(now.timestamp() - int(times[0])) > tolerance_seconds:
        return False
    wanted = sign(secret, int(times[0]), body)
    return any([hmac.compare_digest(wanted, value) for name, value in parts if name == "v1"])


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Credentials that lie on this machine for other purposes are not sent along."""
    return request
