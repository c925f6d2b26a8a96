import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from desk import Desk
from helpers import Clock
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from personvern.database.tables import email_codes, mail_sendings, outbox
from personvern.notifications.letters import Sender
from personvern.requests import verification
from personvern.requests.verification import Checked, CodeSent, TooManyCodes, extract_code, random_code

SENDER = Sender("acme", {"nb": "Acme", "nn": "Acme", "en": "Acme"})
CASE, OTHER = "a" * 32, "b" * 32


def send(desk: Desk, subject: str = CASE, code: str = "123456", **given: Any) -> CodeSent | TooManyCodes:
    with desk.database.write() as connection:
        return verification.send_code(
            connection,
            desk.keys,
            purpose="confirm_requests",
            subject=subject,
            sender=SENDER,
            language="nb",
            now=desk.clock(),
            make_code=lambda: code,
            **{"address": "kari@example.no", **given},
        )


def check(desk: Desk, code: str, subject: str = CASE) -> Checked:
    with desk.database.write() as connection:
        return verification.check_code(
            connection, desk.keys, purpose="confirm_requests", subject=subject, code=code, now=desk.clock()
        )


def test_the_right_code_is_right_once(desk: Desk) -> None:
    send(desk)
    assert check(desk, "123456") == Checked("right")
    assert check(desk, "123456") == Checked("none")
    assert desk.rows(email_codes) == []


def test_five_wrong_tries_destroy_it(desk: Desk) -> None:
    send(desk)
    assert [check(desk, "000000") for _ in range(5)] == [
        Checked("wrong", 4),
        Checked("wrong", 3),
        Checked("wrong", 2),
        Checked("wrong", 1),
        Checked("used_up"),
    ]
    assert check(desk, "123456") == Checked("none")
    assert desk.rows(email_codes) == []


def test_the_fifth_try_can_still_be_right(desk: Desk) -> None:
    send(desk)
    for _ in range(4):
        check(desk, "000000")
    assert check(desk, "123456").outcome == "right"


def test_a_code_is_good_for_fifteen_minutes(desk: Desk, clock: Clock) -> None:
    send(desk)
    clock.advance(minutes=14, seconds=59)
    with desk.database.read() as connection:
        assert verification.is_awaited(connection, "confirm_requests", CASE, clock())
    assert check(desk, "000000").outcome == "wrong"
    clock.advance(seconds=1)
    with desk.database.read() as connection:
        assert not verification.is_awaited(connection, "confirm_requests", CASE, clock())
    assert check(desk, "123456") == Checked("expired")
    assert check(desk, "123456") == Checked("none")


def test_a_code_opens_only_what_it_was_sent_for(desk: Desk) -> None:
    send(desk, code="111111")
    send(desk, subject=OTHER, code="222222", address="ola@example.no")
    assert check(desk, "222222").outcome == "wrong"
    with desk.database.write() as connection:
        other_purpose = verification.check_code(
            connection, desk.keys, purpose="request_status", subject=CASE, code="111111", now=desk.clock()
        )
    assert other_purpose.outcome == "none"
    assert check(desk, "222222", OTHER).outcome == "right"


def test_a_new_code_makes_the_old_one_worthless_and_takes_back_its_mail(desk: Desk) -> None:
    send(desk, code="111111")
    send(desk, code="222222")
    assert [mail.payload["text"] for mail in desk.deliver() if "222222" in mail.payload["text"]]
    assert "111111" not in str([mail.payload for mail in desk.mails.sent])
    assert check(desk, "111111").outcome == "wrong"
    assert check(desk, "222222").outcome == "right"


def test_three_codes_an_hour_for_an_address_however_it_is_written(desk: Desk, clock: Clock) -> None:
    for address in ("kari@example.no", "Kari@Example.no", "KARI@example.no"):
        assert isinstance(send(desk, address=address), CodeSent)
        clock.advance(minutes=1)
    refused = send(desk)
    assert refused == TooManyCodes(clock() + timedelta(minutes=57))
    assert check(desk, "123456").outcome == "right"  # the last one sent still opens
    assert isinstance(send(desk, subject=OTHER, address="ola@example.no"), CodeSent)
    clock.advance(minutes=57)
    assert isinstance(send(desk), CodeSent)
    assert isinstance(send(desk), TooManyCodes)


def test_the_answer_is_the_same_for_an_address_that_is_known(desk: Desk, clock: Clock) -> None:
    desk.confirmed("erasure")
    clock.advance(hours=2)
    known = desk.open(desk.draft("access"))
    unknown = desk.open(desk.draft("access", email="nobody@example.no"))
    assert known.code == unknown.code


def test_several_at_once_are_no_more_than_one_after_the_other(desk: Desk) -> None:
    sent: list[CodeSent | TooManyCodes] = []
    gate = threading.Barrier(6)

    def run(number: int) -> None:
        gate.wait()
        sent.append(send(desk, subject=f"{number:032x}"))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [isinstance(one, CodeSent) for one in sent].count(True) == 3
    assert len(sent) == 6


def test_one_conversation_cannot_write_to_many_strangers(desk: Desk, clock: Clock) -> None:
    sent = [
        send(desk, subject=f"{number:032x}", address=f"stranger{number}@example.no", conversation_id=OTHER)
        for number in range(11)
    ]
    assert [type(one) for one in sent] == [CodeSent] * 10 + [TooManyCodes]


def test_a_network_address_is_capped_by_the_hour(desk: Desk) -> None:
    sent = [
        send(desk, subject=f"{number:032x}", address=f"stranger{number}@example.no", network="192.0.2.7")
        for number in range(31)
    ]
    assert [type(one) for one in sent] == [CodeSent] * 30 + [TooManyCodes]


def test_neither_the_code_nor_the_address_lies_anywhere(desk: Desk) -> None:
    send(desk, network="192.0.2.7", code="918273")
    stored = str(desk.rows(email_codes)) + str(desk.rows(mail_sendings)) + str(desk.rows(outbox))
    for secret in ("918273", "kari", "example.no", "192.0.2.7"):
        assert secret not in stored


def test_the_mail_holds_the_code_and_nothing_that_was_typed(desk: Desk) -> None:
    typed = {"name": "Kari VISIT evil.example", "details": "BUY NOW http://evil.example", "email": "kari@example.no"}
    desk.open(desk.draft("erasure", **typed), code="004711")
    (mail,) = desk.deliver()
    assert mail.purpose == "code"
    assert "004711" in mail.payload["text"]
    assert mail.payload["to"] == "kari@example.no"
    for word in ("Kari", "evil", "BUY", "http"):
        assert word not in mail.payload["text"] + mail.payload["subject"] + mail.payload["from_name"]


def test_a_code_mail_that_comes_too_late_is_not_sent(desk: Desk, clock: Clock) -> None:
    send(desk)
    clock.advance(minutes=16)
    assert desk.deliver() == []
    assert [row["state"] for row in desk.rows(outbox)] == ["failed"]


def test_expired_codes_are_purged(desk: Desk, clock: Clock) -> None:
    send(desk)
    clock.advance(minutes=16)

    def purge(connection: Connection) -> int:
        return verification.purge(connection, clock())

    with desk.database.write() as connection:
        assert purge(connection) == 1
    assert desk.rows(email_codes) == []


def test_codes_are_random_and_may_begin_with_zero() -> None:
    made = [random_code() for _ in range(20_000)]
    assert all(len(code) == 6 and code.isdecimal() for code in made)
    first = Counter(code[0] for code in made)
    assert min(first.values()) > 1700  # a tenth each, with room for chance


@pytest.mark.parametrize(
    "typed",
    [
        "123456",
        " 123456 ",
        "123 456",
        "123-456",
        "12 34 56",
        "1 2 3 4 5 6",
        "123.456",
        "123\u00a0456",
        "koden er 123456",
        "Koden er 123456.",
        "koden er: 123 456!",
        "123456 takk for 2 mailer",
        "１２３４５６",
        "١٢٣٤٥٦",
        "en to tre fire fem seks",
        "En, to, tre, fire, fem og seks",
        "koden er én to tre fire fem seks",
        "ein to tre fire fem seks",
        "éin to tre fire fem seks takk",
        "one two three four five six",
        "the code is one, two, three, four, five, six",
        "one-two-three-four-five-six",
        "1 to 3 fire 5 six",
        "ett to tre firе fem seks".replace("е", "e"),
    ],
)
def test_a_code_is_understood_however_it_is_said(typed: str) -> None:
    assert extract_code(typed) == "123456"


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("null null sju åtte ni null", "007890"),
        ("null null syv åtte ni null", "007890"),
        ("zero oh seven eight nine o", "007890"),
        ("000000", "000000"),
    ],
)
def test_zeros_are_kept(typed: str, code: str) -> None:
    assert extract_code(typed) == code


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "12345",
        "1234567",
        "22 39 69 00",
        "ring meg på 22396900",
        "123456 eller 654321",
        "jeg har ikke fått noen kode",
        "en to tre",
        "en to tre fire fem seks sju",
        "jeg vil ha en ny",
        "PV-7KQ2-M9XD",
        "I want to see one of them",
        "12.03.2026",
    ],
)
def test_what_holds_no_one_code_is_none(typed: str) -> None:
    assert extract_code(typed) is None


@given(st.text(max_size=200))
def test_looking_for_a_code_never_fails(typed: str) -> None:
    found = extract_code(typed)
    assert found is None or (len(found) == 6 and found.isdecimal() and found.isascii())


@given(st.integers(0, 999_999), st.sampled_from(["{}", "koden er {}", "{} takk", "Code: {}."]))
def test_every_code_is_found_in_a_sentence(number: int, sentence: str) -> None:
    code = f"{number:06d}"
    assert extract_code(sentence.format(code)) == code
    assert extract_code(sentence.format(f"{code[:3]} {code[3:]}")) == code
