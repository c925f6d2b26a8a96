"""Every letter in every language, read."""

from datetime import timedelta
from typing import Any

import pytest
from helpers import Clock
from jinja2 import UndefinedError
from sqlalchemy import select

from personvern.database.connection import Database
from personvern.database.tables import mail_sendings, outbox
from personvern.languages.texts import texts
from personvern.notifications import caps, letters
from personvern.notifications.letters import Sender, quoted, write
from personvern.notifications.outbox import Outgoing, deliver_due
from personvern.privacy.keys import Keys

LANGUAGES = ("nb", "nn", "en")
LAWFUL = {
    "reference": "PV-7KQ2-M9XD",
    "right": "RIGHT",
    "article": "17",
    "withdraws": False,
    "received": "RECEIVED",
    "plain": "PLAIN",
    "latest": "LATEST",
    "moved_because": "MOVED",
    "lawful": True,
    "target": None,
}
OWN = {**LAWFUL, "reference": "PV-2345-ABCD", "article": None, "plain": None, "moved_because": "", "lawful": False}
NOTICE = {
    "company": "Acme",
    "case": LAWFUL,
    "work_by": "WORKBY",
    "name": "Kari",
    "email": "kari@example.no",
    "details": "one\ntwo",
    "on_behalf": None,
    "confirmed": True,
    "language": "LANGUAGE",
    "demo": False,
}
RECEIPT = {"company": "Acme", "cases": [LAWFUL], "can_reply": True, "demo": False}
VALUES: dict[str, dict[str, Any]] = {
    "code": {"company": "Acme", "code": "004711", "minutes": 15},
    "receipt": RECEIPT,
    "receipt_simple": RECEIPT,
    "notice_opened": NOTICE,
    "notice_withdrawn": NOTICE,
    "message": {
        "company": "Acme",
        "urgent": False,
        "reference": "H-7KQ2",
        "email": "kari@example.no",
        "message": "one\ntwo",
        "demo": False,
    },
    "handover": {"company": "Acme", "topic": "TOPIC", "link": "https://example.org/x"},
}


def said(purpose: str, language: str, **changes: Any) -> str:
    letter = write(purpose, language, {**VALUES[purpose], **changes})
    return f"{letter.subject}\n{letter.text}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_letter_there_is_is_read_here(language: str) -> None:
    mails = texts(language, "mails")
    assert {name for name in mails if "subject" in mails[name] and "text" in mails[name]} == set(VALUES)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("purpose", VALUES)
def test_a_letter_is_tidy(purpose: str, language: str) -> None:
    for changes in (
        {},
        {"demo": True},
        {"can_reply": False},
        {"cases": [LAWFUL, OWN]},
        {"case": OWN},
        {"topic": None},
        {"urgent": True},
    ):
        letter = write(purpose, language, {**VALUES[purpose], **changes})
        assert letter.subject == " ".join(letter.subject.split())
        assert len(letter.subject) < 100
        assert "\n\n\n" not in letter.text
        assert letter.text == letter.text.strip() + "\n"
        assert not [line for line in letter.text.splitlines() if line != line.rstrip()]
        assert not set("{}%") & set(letter.text)
        assert max(len(line) for line in letter.text.splitlines()) <= 90


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("purpose", VALUES)
def test_a_value_that_is_missing_is_an_error(purpose: str, language: str) -> None:
    with pytest.raises(UndefinedError):
        write(purpose, language, {})


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_code_letter_says_the_code_how_long_and_what_if_not_me(language: str) -> None:
    found = said("code", language)
    assert "004711" in found
    assert "15" in found
    assert "004711" not in write("code", language, VALUES["code"]).subject  # a locked screen shows subjects


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_receipt_says_what_the_law_wants_told(language: str) -> None:
    found = said("receipt", language)
    for word in ("PV-7KQ2-M9XD", "RIGHT", "RECEIVED", "LATEST", "PLAIN", "MOVED", "Datatilsynet", "22 39 69 00"):
        assert word in found
    undue = {"nb": "uten ugrunnet opphold, senest", "nn": "utan ugrunna opphald, seinast", "en": "without undue delay"}
    assert undue[language] in found
    assert {"nb": "trekke", "nn": "trekkje", "en": "withdraw"}[language] in found
    assert {"nb": "Svar på denne", "nn": "Svar på denne", "en": "Reply to this"}[language] in found
    assert "Acme" in said("receipt", language, can_reply=False)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_code_is_never_called_proof_of_who_somebody_is(language: str) -> None:
    assert {"nb": "ikke hvem du er", "nn": "ikkje kven du er", "en": "not who you are"}[language] in said(
        "receipt", language
    ).replace("\n", " ")
    for word in ("verifis", "identitet er", "verified", "identity is"):
        assert word not in said("receipt", language).lower() + said("notice_opened", language).lower()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_date_of_the_companys_own_is_not_called_the_laws(language: str) -> None:
    found = said("receipt", language, cases=[OWN])
    own = {"nb": "Vårt eget mål", "nn": "Vårt eige mål", "en": "Our own target"}[language]
    assert own in found
    for word in ("frist", "opphold", "opphald", "undue", "MOVED", "to måneder", "to månader", "two more months"):
        assert word not in found
    both = said("receipt", language, cases=[{**LAWFUL, "target": "TARGET"}])
    assert own in both
    assert both.index("TARGET") < both.index("LATEST")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_month_that_was_not_moved_is_said_in_one_line(language: str) -> None:
    found = said("receipt", language, cases=[{**LAWFUL, "moved_because": ""}])
    assert "LATEST" in found
    assert "PLAIN" not in found


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("withdraws", [True, False])
def test_the_simple_receipt_says_that_it_stops(language: str, withdraws: bool) -> None:
    found = said("receipt_simple", language, cases=[{**LAWFUL, "withdraws": withdraws}])
    assert "PV-7KQ2-M9XD" in found
    assert "LATEST" in found
    assert "Datatilsynet" in found
    marketing = {"nb": "markedsføring", "nn": "marknadsføring", "en": "marketing"}[language]
    assert (marketing in found) is not withdraws


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_notice_marks_everything_that_the_person_typed(language: str) -> None:
    typed = {"name": "NAME", "email": "MAIL", "details": "D1\nD2\n\nD3"}
    on_behalf = {"who": "WHO", "ground": "GROUND"}
    found = said("notice_opened", language, **typed, on_behalf=on_behalf)
    for word in ("NAME", "MAIL", "D1", "D2", "D3", "WHO", "GROUND"):
        assert [line for line in found.splitlines() if word in line] == [f"> {word}"]
    for word in ("PV-7KQ2-M9XD", "RIGHT", "WORKBY", "LATEST", "LANGUAGE", "17"):
        assert word in found
    bare = said("notice_opened", language, name=None, details=None, confirmed=False)
    assert bare.count(">") == 2  # the sentence that explains the mark, and the address


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_message_to_a_human_is_marked_as_the_persons_words(language: str) -> None:
    found = said("message", language)
    assert "> one\n> two" in found
    assert "H-7KQ2" in found
    assert "72" not in found
    assert "72" in said("message", language, urgent=True)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_demonstration_is_called_one(language: str) -> None:
    assert {"nb": "DEMONSTRASJON", "nn": "DEMONSTRASJON", "en": "DEMONSTRATION"}[language] in said(
        "receipt", language, demo=True
    )
    assert "[Demo]" in said("notice_opened", language, demo=True)
    assert "emonstra" not in said("receipt", language).lower()


def test_what_was_typed_is_never_a_template() -> None:
    found = said("notice_opened", "nb", name="{{ 7 * 7 }}", details="{% for x in y %}<b>&amp;</b>")
    assert "> {{ 7 * 7 }}" in found
    assert "> {% for x in y %}<b>&amp;</b>" in found


def test_every_line_of_a_quote_is_marked() -> None:
    assert quoted("a\n\nb\u2028c\x0bd") == "> a\n> \n> b\n> c\n> d"


# The caps


class Drawer:
    def __init__(self) -> None:
        self.sent: list[Outgoing] = []

    def send(self, outgoing: Outgoing) -> None:
        self.sent.append(outgoing)


SENDER = Sender("acme", {"nb": "Acme", "nn": "Acme", "en": "Acme"}, "privacy@example.com")


def queue(database: Database, keys: Keys, clock: Clock, number: int, **given: Any) -> bool:
    wanted = {"purpose": "receipt", "to": "kari@example.no", "language": "nb", "values": RECEIPT, **given}
    with database.write() as connection:
        return letters.queue_mail(connection, keys, sender=SENDER, key=f"mail:{number}", now=clock(), **wanted)


def test_the_eleventh_mail_of_a_day_waits_and_is_not_lost(database: Database, keys: Keys, clock: Clock) -> None:
    drawer = Drawer()
    for number in range(12):
        queue(database, keys, clock, number)
        clock.advance(minutes=1)
    assert deliver_due(database, keys, {"mail": drawer}, clock) == 10
    clock.advance(hours=23, minutes=48)
    assert deliver_due(database, keys, {"mail": drawer}, clock) == 1
    clock.advance(minutes=1)
    assert deliver_due(database, keys, {"mail": drawer}, clock) == 1
    assert len(drawer.sent) == 12


def test_mails_to_the_company_are_not_capped(database: Database, keys: Keys, clock: Clock) -> None:
    drawer = Drawer()
    for number in range(15):
        queue(database, keys, clock, number, capped=False)
    assert deliver_due(database, keys, {"mail": drawer}, clock) == 15
    with database.read() as connection:
        assert connection.execute(select(mail_sendings)).all() == []


def test_another_address_has_its_own_cap(database: Database, keys: Keys, clock: Clock) -> None:
    for number in range(10):
        queue(database, keys, clock, number)

    def free_at(address: str) -> Any:
        with database.read() as connection:
            return caps.free_at(connection, keys, purpose="receipt", address=address, now=clock())

    assert free_at("Kari@Example.no") == clock() + timedelta(days=1)
    assert free_at("ola@example.no") == clock()
    clock.advance(days=1)
    assert free_at("kari@example.no") == clock()
    clock.advance(seconds=1)
    with database.write() as connection:
        assert caps.purge(connection, clock()) == 10


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("topic", ["breach", None])
def test_the_company_is_told_that_somebody_waits(
    database: Database, keys: Keys, clock: Clock, language: str, topic: str | None
) -> None:
    drawer = Drawer()
    for expected in (True, False):
        with database.write() as connection:
            queued = letters.queue_handover_notice(
                connection,
                keys,
                to="help@example.com",
                sender=SENDER,
                language=language,
                topic=topic,
                link="https://example.org/console/abc",
                key="handover:abc",
                now=clock(),
            )
        assert queued is expected
    assert deliver_due(database, keys, {"mail": drawer}, clock) == 1
    payload = drawer.sent[0].payload
    assert payload["to"] == "help@example.com"
    assert "https://example.org/console/abc" in payload["text"]
    assert "Acme" in payload["text"]
    assert (texts(language, "topics")["breach"] in payload["text"]) is (topic is not None)
    with database.read() as connection:
        assert connection.execute(select(outbox.c.payload)).scalars().all() == [None]
