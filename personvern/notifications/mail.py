"""Mails on their way out: the message, and where it goes: a mail server, or files where there is none."""

import os
import smtplib
import ssl
import unicodedata
from collections.abc import Callable
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

from personvern.notifications.outbox import NotDelivered, Outgoing

_CONNECT_SECONDS = 20.0


class UnusableMailSettings(Exception):
    """The mail settings contradict one another; the text says how."""


def build_message(outgoing: Outgoing, mail_from: str) -> EmailMessage:
    """The same message each time it is tried: same Message-ID, same date. ValueError where an address is none."""
    payload = outgoing.payload
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(_one_line(payload["from_name"]), addr_spec=_address(mail_from))
    message["To"] = Address(addr_spec=_address(payload["to"]))
    if payload.get("reply_to"):
        message["Reply-To"] = Address(addr_spec=_address(payload["reply_to"]))
    message["Subject"] = _one_line(payload["subject"])
    message["Date"] = outgoing.created_at
    message["Message-ID"] = f"<{outgoing.id}@{mail_from.rpartition('@')[2]}>"
    # No holiday notice answers it.
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    # Every server passes it on, however long a line somebody typed.
    message.set_content(payload["text"], cte="quoted-printable")
    message["Content-Language"] = payload["language"]
    return message


class EmlFolder:
    """Writes each mail into a file, for an installation without a mail server and for trying things out."""

    def __init__(self, folder: Path, mail_from: str) -> None:
        self._folder = folder
        self._mail_from = mail_from

    def send(self, outgoing: Outgoing) -> None:
        try:
            written = build_message(outgoing, self._mail_from).as_bytes()
        except ValueError:
            raise NotDelivered("bad_address", for_good=True) from None
        # Sorted by name they lie in the order they were written; the same mail once more takes the same file's place.
        path = self._folder / f"{outgoing.created_at:%Y%m%dT%H%M%S%f}-{outgoing.purpose}-{outgoing.id}.eml"
        unfinished = path.with_suffix(".part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(written)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError as error:
            raise NotDelivered(f"file_{error.errno}") from None


class Smtp:
    """Hands mails to a mail server, over TLS unless it is on this machine."""

    def __init__(
        self,
        host: str,
        port: int,
        mail_from: str,
        *,
        security: str = "starttls",
        user: str = "",
        password: str = "",
        timeout_seconds: float = _CONNECT_SECONDS,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        if security not in ("starttls", "tls", "none"):
            raise UnusableMailSettings(f"SMTP_SECURITY must be starttls, tls or none, not {security!r}")
        if security == "none" and host not in ("localhost", "127.0.0.1", "::1"):
            raise UnusableMailSettings("SMTP_SECURITY=none is only for a relay on the same machine")
        self._host, self._port, self._mail_from = host, port, mail_from
        self._security, self._user, self._password = security, user, password
        self._timeout_seconds, self._tls = timeout_seconds, tls

    def send(self, outgoing: Outgoing) -> None:
        try:
            message = build_message(outgoing, self._mail_from)
            sender, recipient = _address(self._mail_from), _address(outgoing.payload["to"])
        except ValueError:
            raise NotDelivered("bad_address", for_good=True) from None
        taken = False
        try:
            with self._connected() as server:
                server.sendmail(sender, [recipient], message.as_bytes())
                taken = True
        except smtplib.SMTPRecipientsRefused as error:
            code = next(iter(error.recipients.values()))[0]
            # Nothing will change the mind of a server that does not know this mailbox.
            raise NotDelivered(f"recipient_{code}", for_good=code >= 500) from None
        except smtplib.SMTPDataError as error:
            raise NotDelivered(f"data_{error.smtp_code}", for_good=error.smtp_code >= 500) from None
        except smtplib.SMTPResponseException as error:
            # Log-in or sender refused: somebody may set it right within the day.
            if not taken:
                raise NotDelivered(f"smtp_{error.smtp_code}") from None
        except (smtplib.SMTPException, OSError) as error:
            if not taken:  # a server that has taken it and then fails to say goodbye has taken it
                raise NotDelivered(type(error).__name__) from None

    def _connected(self) -> smtplib.SMTP:
        if self._security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self._host, self._port, timeout=self._timeout_seconds, context=self._tls()
            )
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=self._timeout_seconds)
        try:
            if self._security == "starttls":
                server.starttls(context=self._tls())
            if self._user:
                server.login(self._user, self._password)
        except BaseException:
            server.close()
            raise
        return server


def _one_line(text: str) -> str:
    """Without line breaks and control signs: what follows one in a header would be a header of its own."""
    return " ".join("".join(" " if unicodedata.category(sign)[0] in "CZ" else sign for sign in text).split())


def _address(address: str) -> str:
    """With the domain as mail servers want it; ValueError where a header cannot hold the address."""
    local, _, domain = address.rpartition("@")
    odd = any(sign.isspace() or unicodedata.category(sign)[0] == "C" for sign in address)
    if odd or not (local.isascii() and local and domain):
        raise ValueError("not an address that a header can hold")
    return f"{local}@{domain.encode('idna').decode('ascii')}"
