"""Settings from the environment, from `.env` in the working folder, and from `var/tokens.env`, in this order.

docs/settings.md lists them; a test compares the list with this file.
"""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv import dotenv_values


@dataclass(frozen=True, slots=True)
class Settings:
    database_url: str = "sqlite:///var/personvern.db"
    """`sqlite:///...` or `postgresql+psycopg://...`."""
    policies: Path = Path("policies")
    default_company: str = "jackon"
    """Whom `rasa shell` speaks for, which has no app to say it."""
    host: str = "127.0.0.1"
    port: int = 8000
    engine_url: str = "http://127.0.0.1:5005"
    engine_token: str = ""
    actions_url: str = "http://127.0.0.1:5055/webhook"
    actions_token: str = ""
    redis_url: str = ""
    worker_name: str = ""
    """Names this app process among several; what it left half-done is taken up again under the same name."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses whose X-Forwarded-For is believed."""
    rate_limit_conversation: str = "40/minute"
    """Messages of one conversation."""
    rate_limit_address: str = "120/minute"
    """Messages from one network address."""
    rate_limit_conversations: str = "30/minute"
    """New conversations from one network address."""
    retention_days: int = 30
    """Where a company's own `company.yml` says nothing."""
    delay_notice_seconds: float = 2.0
    """How long a visitor waits before she is told that the answer takes longer."""
    public_url: str = "http://127.0.0.1:8000"
    """Where people reach the app from outside: what links in mails begin with."""
    data_key: str = field(default="", repr=False)
    """Encrypts what people type into requests: 32 random bytes in URL-safe base64. Several, separated by commas, while
    keys are changed: the first one encrypts, all decrypt."""
    hash_key: str = field(default="", repr=False)
    """Makes keyed hashes for search, codes and signatures; the same form, the same rule for several."""
    smtp_host: str = ""
    """The mail server; without one mails are written as files into `outbox_folder`."""
    smtp_port: int = 587
    smtp_security: str = "starttls"
    """`starttls`, `tls`, or `none` for a relay on the same machine."""
    smtp_user: str = ""
    smtp_password: str = field(default="", repr=False)
    mail_from: str = "personvern@localhost"
    """The address that mails come from; its domain ends their Message-ID."""
    outbox_folder: Path = Path("var/outbox")

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        if environment is None:
            files = {**dotenv_values("var/tokens.env"), **dotenv_values(".env")}
            environment = {**{name: value for name, value in files.items() if value is not None}, **os.environ}
        given: dict[str, Any] = {}
        for name, known in cls.__dataclass_fields__.items():
            raw = environment.get(name.upper())
            if raw is None:
                continue
            kind: Any = type(known.default)
            if kind is tuple:
                given[name] = tuple(part.strip() for part in raw.split(",") if part.strip())
            else:
                try:
                    given[name] = kind(raw)
                except ValueError:
                    raise SettingsError(f"{name.upper()} must be a number of the kind {known.default!r}.") from None
        return cls(**given)


class SettingsError(Exception):
    """A setting that cannot be used; the text says which and what it should be."""


_TOKENS = ("ENGINE_TOKEN", "ACTIONS_TOKEN", "DATA_KEY", "HASH_KEY")


def make_tokens(path: Path = Path("var/tokens.env")) -> None:
    """The tokens and keys of an installation, each made once and readable by its owner only.

    What is there stays: without its DATA_KEY nothing that people typed can be read again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    known = dotenv_values(path) if path.exists() else {}
    text = "".join(f"{name}={secrets.token_urlsafe(32)}\n" for name in _TOKENS if not known.get(name))
    if not text:
        return
    if known and not path.read_text(encoding="utf-8").endswith("\n"):
        text = "\n" + text
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


if __name__ == "__main__":
    make_tokens()
