import re
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personvern.database.connection import Database
from personvern.notifications.mail import EmlFolder, Smtp, UnusableMailSettings, build_message
from personvern.notifications.outbox import LEASE, NotDelivered, Outgoing, deliver_due, enqueue
from personvern.notifications.transports import transports_of
from personvern.notifications.webhook import Webhook
from personvern.privacy.keys import Keys
from personvern.settings import Settings

FROM = "assistant@example.org"
PAYLOAD = {
    "to": "kari@example.no",
    "from_name": "Personvern hos Blåbær, «AS»",
    "reply_to": "privacy@example.com",
    "language": "nn",
    "subject": "Vi har fått førespurnaden din (PV-7KQ2-M9XD)",
    "text": "Hei!\n\nKåre 🦊\n.\nFrom oss\n",
}
MAIL = Outgoing("a" * 32, "mail", "receipt", "acme", PAYLOAD, datetime(2026, 3, 2, 11, 0, tzinfo=UTC))


def with_payload(**changes: Any) -> Outgoing:
    return replace(MAIL, payload={**PAYLOAD, **changes})


def parsed(written: bytes) -> EmailMessage:
    found = BytesParser(policy=policy.default).parsebytes(written)
    assert isinstance(found, EmailMessage)
    return found


def sent(smtp: Smtp, outgoing: Outgoing = MAIL) -> NotDelivered:
    with pytest.raises(NotDelivered) as refused:
        smtp.send(outgoing)
    return refused.value


# The message


def test_the_message_says_who_and_that_a_machine_wrote_it() -> None:
    message = parsed(build_message(MAIL, FROM).as_bytes())
    assert message["To"] == "kari@example.no"
    assert message["From"].addresses[0].addr_spec == FROM
    assert message["From"].addresses[0].display_name == "Personvern hos Blåbær, «AS»"
    assert message["Reply-To"] == "privacy@example.com"
    assert message["Subject"] == PAYLOAD["subject"]
    assert message["Message-ID"] == f"<{MAIL.id}@example.org>"
    assert message["Date"].datetime == MAIL.created_at
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Content-Language"] == "nn"
    assert message.get_content_type() == "text/plain"
    assert message.get_content().splitlines() == PAYLOAD["text"].splitlines()
    assert not message.is_multipart()


def test_the_same_mail_once_more_is_the_same_to_the_last_byte() -> None:
    assert build_message(MAIL, FROM).as_bytes() == build_message(MAIL, FROM).as_bytes()


def test_without_an_address_to_reply_to_there_is_none() -> None:
    assert build_message(with_payload(reply_to=None), FROM)["Reply-To"] is None


def test_a_domain_with_norwegian_letters_is_written_as_servers_want_it() -> None:
    message = build_message(with_payload(reply_to="post@blåbær.example.no"), FROM)
    assert message["Reply-To"] == "post@xn--blbr-roah.example.no"


@pytest.mark.parametrize("field", ["subject", "from_name"])
@pytest.mark.parametrize("injected", ["Hei\r\nBcc: victim@example.no", "Hei\nBcc: victim@example.no", "Hei\x00\u2028x"])
def test_no_header_comes_out_of_a_line_break(field: str, injected: str) -> None:
    message = parsed(build_message(with_payload(**{field: injected}), FROM).as_bytes())
    assert message["Bcc"] is None
    assert message["To"] == "kari@example.no"
    assert "Hei" in str(message["Subject" if field == "subject" else "From"])


@pytest.mark.parametrize("field", ["to", "reply_to"])
@pytest.mark.parametrize(
    "injected", ["kari@example.no\r\nBcc: victim@example.no", "kari@example.no, victim@example.no", "kari", "kåri@x.no"]
)
def test_an_address_that_is_none_is_refused(field: str, injected: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"."):
        build_message(with_payload(**{field: injected}), FROM)
    with pytest.raises(NotDelivered) as refused:
        EmlFolder(folder, FROM).send(with_payload(**{field: injected}))
    assert refused.value.for_good
    assert str(refused.value) == "bad_address"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_whatever_somebody_typed_is_body_and_no_header(typed: str) -> None:
    message = parsed(build_message(with_payload(text=typed, subject=typed, from_name=typed), FROM).as_bytes())
    assert set(message.keys()) == {
        "From",
        "To",
        "Reply-To",
        "Subject",
        "Date",
        "Message-ID",
        "Content-Language",
        "Auto-Submitted",
        "X-Auto-Response-Suppress",
        "Content-Type",
        "Content-Transfer-Encoding",
        "MIME-Version",
    }
    assert message["From"].addresses[0].addr_spec == FROM


# Files


def test_a_mail_is_a_file_that_its_owner_can_read(folder: Path) -> None:
    EmlFolder(folder, FROM).send(MAIL)
    (path,) = folder.iterdir()
    assert path.name == f"20260302T110000000000-receipt-{'a' * 32}.eml"
    assert path.stat().st_mode & 0o777 == 0o600
    assert parsed(path.read_bytes())["Subject"] == PAYLOAD["subject"]


def test_the_same_mail_once_more_is_the_same_file(folder: Path) -> None:
    EmlFolder(folder, FROM).send(MAIL)
    EmlFolder(folder, FROM).send(MAIL)
    assert len(list(folder.iterdir())) == 1


def test_a_folder_that_cannot_be_written_to_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotDelivered) as refused:
        EmlFolder(tmp_path / "file", FROM).send(MAIL)
    assert not refused.value.for_good


# A mail server


def plain(post: Any, **options: Any) -> Smtp:
    return Smtp("127.0.0.1", post.port, FROM, security="none", **options)


def test_a_mail_arrives_as_it_was_written(post: Any) -> None:
    plain(post).send(MAIL)
    (mail,) = post.taken
    assert post.recipients == [["kari@example.no"]]
    assert mail["Subject"] == PAYLOAD["subject"]
    assert mail.get_content().splitlines() == PAYLOAD["text"].splitlines()  # a point alone on a line too
    assert mail["Message-ID"] == f"<{MAIL.id}@example.org>"


@pytest.mark.parametrize(
    ("command", "answer", "code", "for_good"),
    [
        ("RCPT", "550 5.1.1 kari@example.no: no such mailbox", "recipient_550", True),
        ("RCPT", "450 4.2.0 greylisted, kari@example.no", "recipient_450", False),
        ("DATA", "554 5.7.1 we do not like this", "data_554", True),
        ("DATA", "451 4.3.0 try later", "data_451", False),
        ("MAIL", "451 4.3.2 try later", "smtp_451", False),
        ("MAIL", "550 5.7.1 you may not send", "smtp_550", False),  # ours to set right
    ],
)
def test_what_the_server_says_decides_whether_to_try_again(
    post: Any, command: str, answer: str, code: str, for_good: bool
) -> None:
    post.answers[command] = answer
    error = sent(plain(post))
    assert (error.code, error.for_good) == (code, for_good)
    assert "kari" not in str(error)  # servers repeat the address in what they say
    post.answers.clear()
    plain(post).send(MAIL)
    assert len(post.taken) == 1


def test_a_server_that_is_down_is_tried_again() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = sent(Smtp("127.0.0.1", unused.getsockname()[1], FROM, security="none"))
    assert (error.code, error.for_good) == ("ConnectionRefusedError", False)


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        error = sent(Smtp("127.0.0.1", silent.getsockname()[1], FROM, security="none", timeout_seconds=0.2))
    assert not error.for_good


def test_a_password_goes_over_starttls(guarded_post: Any, certificate: Any) -> None:
    smtp = Smtp(
        "127.0.0.1", guarded_post.port, FROM, user="assistant", password="secret", tls=lambda: certificate.client
    )
    smtp.send(MAIL)
    assert len(guarded_post.taken) == 1


def test_a_wrong_password_is_tried_again_because_somebody_may_set_it_right(guarded_post: Any, certificate: Any) -> None:
    smtp = Smtp(
        "127.0.0.1", guarded_post.port, FROM, user="assistant", password="wrong", tls=lambda: certificate.client
    )
    error = sent(smtp)
    assert (error.code, error.for_good) == ("smtp_535", False)
    assert guarded_post.taken == []


def test_a_server_whose_certificate_is_not_trusted_gets_nothing(guarded_post: Any) -> None:
    error = sent(Smtp("127.0.0.1", guarded_post.port, FROM, user="assistant", password="secret"))
    assert error.code == "SSLCertVerificationError"
    assert guarded_post.taken == []


def test_a_server_without_starttls_gets_nothing(post: Any) -> None:
    error = sent(Smtp("127.0.0.1", post.port, FROM, security="starttls"))
    assert error.code == "SMTPNotSupportedError"
    assert post.taken == []


def test_tls_from_the_first_byte(tls_post: Any, certificate: Any) -> None:
    Smtp("127.0.0.1", tls_post.port, FROM, security="tls", tls=lambda: certificate.client).send(MAIL)
    assert len(tls_post.taken) == 1
    assert sent(Smtp("127.0.0.1", tls_post.port, FROM, security="tls")).code == "SSLCertVerificationError"


def test_personal_data_is_not_sent_unencrypted_to_another_machine() -> None:
    with pytest.raises(UnusableMailSettings, match="same machine"):
        Smtp("mail.example.com", 25, FROM, security="none")
    with pytest.raises(UnusableMailSettings, match="starttls, tls or none"):
        Smtp("mail.example.com", 25, FROM, security="ssl")


# What the settings ask for


def test_without_a_mail_server_mails_are_files(folder: Path, keys: Keys) -> None:
    transports = transports_of(Settings(outbox_folder=folder), keys, lambda: datetime.now(UTC))
    assert isinstance(transports["webhook"], Webhook)
    transports["mail"].send(MAIL)
    (path,) = folder.iterdir()
    assert re.search("Message-ID: <a{32}@localhost>", path.read_text())


def test_with_a_mail_server_they_go_there(post: Any, keys: Keys, folder: Path) -> None:
    settings = Settings(
        smtp_host="127.0.0.1", smtp_port=post.port, smtp_security="none", mail_from=FROM, outbox_folder=folder
    )
    transports_of(settings, keys, lambda: datetime.now(UTC))["mail"].send(MAIL)
    assert len(post.taken) == 1
    assert not folder.exists()


# A worker that is killed


_KILLED_WORKER = """
import os, signal, sys
from datetime import UTC, datetime, timedelta
from personvern.database.connection import Database
from personvern.notifications.mail import Smtp
from personvern.notifications.outbox import deliver_due
from personvern.privacy.keys import Keys

url, port, when = sys.argv[1:]

class Killed:
    def send(self, outgoing):
        if when == "after":
            Smtp("127.0.0.1", int(port), "assistant@example.org", security="none").send(outgoing)
        os.kill(os.getpid(), signal.SIGKILL)

deliver_due(Database(url), Keys("d" * 43, "h" * 43), {"mail": Killed()}, lambda: datetime(2026, 3, 2, 11, tzinfo=UTC))
"""


@pytest.mark.parametrize(("when", "arrived"), [("before", 1), ("after", 2)])
def test_a_worker_that_is_killed_loses_no_mail_and_sends_one_more_at_most(
    post: Any, keys: Keys, database_url: str, when: str, arrived: int
) -> None:
    database = Database(database_url)
    with database.write() as connection:
        enqueue(connection, keys, kind="mail", purpose="receipt", company="acme", payload=PAYLOAD, now=MAIL.created_at)
    died = subprocess.run([sys.executable, "-c", _KILLED_WORKER, database_url, str(post.port), when], check=False)
    assert died.returncode == -signal.SIGKILL
    later = MAIL.created_at + LEASE + timedelta(seconds=1)
    assert deliver_due(database, keys, {"mail": plain(post)}, lambda: later) == 1
    assert deliver_due(database, keys, {"mail": plain(post)}, lambda: later) == 0
    database.close()
    assert len(post.taken) == arrived
    assert len({mail["Message-ID"] for mail in post.taken}) == 1
    assert len({mail.as_bytes() for mail in post.taken}) == 1
