import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from desk import KARI, Desk, files_of
from helpers import Clock

from personvern.conversations import erasure
from personvern.database.tables import email_codes, outbox, request_drafts, request_log, requests
from personvern.requests import drafts, life, store
from personvern.requests.drafts import OnBehalf
from personvern.requests.kinds import RIGHTS, kind_of
from personvern.requests.store import IncompleteDraft, NoReceiver
from personvern.requests.verification import CodeSent, TooManyCodes
from personvern.statements.company import RequestTargets


def test_a_request_from_the_read_back_to_the_receipt(desk: Desk, clock: Clock) -> None:
    clock.now = datetime(2026, 1, 30, 23, 30, tzinfo=UTC)
    draft = desk.draft("erasure")
    opened = desk.open(draft)
    (row,) = opened.requests
    assert row.status == "unconfirmed"
    assert isinstance(opened.code, CodeSent)
    (code_mail,) = desk.deliver()  # nobody but the person is written to, and no reference is told
    assert code_mail.purpose == "code"
    assert row.reference not in str(code_mail.payload)
    assert desk.webhooks.sent == []

    found = desk.confirm(opened.group_id)
    assert found.outcome == "confirmed"
    assert found.open_before == ()
    (request,) = found.requests
    assert (request.id, request.status, request.right) == (row.id, "confirmed", "erasure")
    assert request.received_on == date(2026, 1, 31)
    assert (request.due_plain, request.due_rolled, request.target) == (date(2026, 2, 28), date(2026, 3, 2), None)
    assert (request.latest, request.work_by) == (date(2026, 3, 2), date(2026, 2, 28))
    assert request.email_confirmed_at == clock()
    assert request.identity_established_at is None  # a code proves a mailbox, not a person
    assert request.conversation_id == draft.conversation_id
    receipt, notice = sorted(desk.deliver(), key=lambda mail: mail.purpose, reverse=True)
    assert (receipt.purpose, receipt.payload["to"]) == ("receipt", "kari@example.no")
    assert (notice.purpose, notice.payload["to"]) == ("notice_opened", "privacy@example.com")
    (webhook,) = desk.webhooks.sent
    assert webhook.payload["body"]["reference"] == request.reference
    assert webhook.payload["body"]["due_plain"] == "2026-02-28"
    assert webhook.payload["body"]["due_latest"] == "2026-03-02"
    assert webhook.payload["body"]["typed"] == {**KARI, "on_behalf": None}
    assert desk.rows(request_drafts) == []  # filed: the draft is not needed any more


def test_what_was_typed_lies_readable_nowhere(desk: Desk) -> None:
    desk.confirmed("erasure", on_behalf=OnBehalf("Olepetter", "fullmakt"))
    everything = desk.everything()
    for typed in ("Kari", "Nordmann", "kari@example.no", "4471", "Olepetter", "fullmakt", "123456"):
        assert typed not in everything
    desk.deliver()
    assert [row["payload"] for row in desk.rows(outbox)] == [None] * 3  # the code's mail is gone with the code


def test_the_one_door_to_what_was_typed(desk: Desk) -> None:
    (request,) = desk.confirmed("erasure", on_behalf=OnBehalf("Ola", "mor"))
    with desk.database.read() as connection:
        person = store.person_of(connection, desk.keys, request.id)
    assert (person.name, person.email, person.details) == tuple(KARI.values())
    assert person.on_behalf == OnBehalf("Ola", "mor")
    assert request.needs_human
    assert "Kari" not in repr(request)


@pytest.mark.parametrize("right", [right for right in RIGHTS if not kind_of(right).simple])
@pytest.mark.parametrize("language", ["nb", "nn", "en"])
def test_every_right_in_every_language(desk: Desk, right: str, language: str) -> None:
    (request,) = desk.confirmed(right, language=language)
    assert (request.right, request.language) == (right, language)
    assert (request.due_plain is not None) is kind_of(right).lawful_deadline
    assert request.latest == date(2025, 4, 3)
    receipt = next(mail for mail in desk.deliver() if mail.purpose == "receipt")
    assert receipt.payload["language"] == language
    assert request.reference in receipt.payload["text"]
    assert request.reference in receipt.payload["subject"]


def test_two_rights_make_two_rows_one_code_and_one_receipt(desk: Desk) -> None:
    opened = desk.open(desk.draft("erasure", "access", "erasure"))
    assert [request.right for request in opened.requests] == ["erasure", "access"]
    assert len(desk.rows(email_codes)) == 1
    found = desk.confirm(opened.group_id)
    assert [request.right for request in found.requests] == ["erasure", "access"]
    first, second = (request.reference for request in found.requests)
    assert first != second
    mails = desk.deliver()
    assert sorted(mail.purpose for mail in mails) == ["notice_opened", "notice_opened", "receipt"]
    receipt = next(mail for mail in mails if mail.purpose == "receipt")
    assert first in receipt.payload["text"]
    assert second in receipt.payload["text"]


def test_a_complaint_has_the_companys_target_and_no_lawful_date(desk: Desk) -> None:
    (month,) = desk.confirmed("complaint")
    assert (month.due_plain, month.due_rolled, month.target) == (None, None, date(2025, 4, 3))
    assert month.work_by == month.latest == date(2025, 4, 3)
    assert month.deadline is None
    desk.company = replace(desk.company, request_targets=RequestTargets(email="p@example.com", target_days=12))
    (own,) = desk.confirmed("other")
    assert own.target == date(2025, 3, 17)  # the twelfth day is a Saturday


def test_a_company_that_promises_sooner_is_worked_by_its_own_date(desk: Desk) -> None:
    desk.company = replace(desk.company, request_targets=RequestTargets(email="p@example.com", target_days=14))
    (request,) = desk.confirmed("access")
    assert (request.target, request.due_plain, request.work_by) == (
        date(2025, 3, 17),
        date(2025, 4, 3),
        date(2025, 3, 17),
    )
    assert request.latest == date(2025, 4, 3)


def test_a_target_is_never_later_than_the_law(desk: Desk, clock: Clock) -> None:
    clock.now = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
    desk.company = replace(desk.company, request_targets=RequestTargets(email="p@example.com", target_days=30))
    (request,) = desk.confirmed("access")
    assert request.target == request.due_plain == date(2026, 2, 28)


def test_a_company_without_a_receiver_opens_nothing(desk: Desk) -> None:
    desk.company = replace(desk.company, request_targets=RequestTargets())
    assert not store.can_receive(desk.company)
    with pytest.raises(NoReceiver, match="norsk-fagutdanning"):
        desk.open(desk.draft("erasure"))
    with pytest.raises(NoReceiver):
        desk.open_simple(desk.draft("withdraw_consent"))
    assert desk.rows(requests) == []
    assert desk.deliver() == []


@pytest.mark.parametrize(
    ("rights", "missing", "field"),
    [
        ((), {}, "rights"),
        (("withdraw_consent",), {}, "rights"),
        (("erasure",), {"name": None}, "name"),
        (("erasure",), {"email": None}, "email"),
    ],
)
def test_a_draft_that_lacks_something_opens_nothing(
    desk: Desk, rights: tuple[str, ...], missing: dict[str, Any], field: str
) -> None:
    with pytest.raises(IncompleteDraft, match=field):
        desk.open(desk.draft(*rights, **missing))
    assert desk.rows(requests) == []


def test_a_simple_one_needs_only_the_address(desk: Desk) -> None:
    with pytest.raises(IncompleteDraft, match="email"):
        desk.open_simple(desk.draft("withdraw_consent", email=None))
    with pytest.raises(IncompleteDraft, match="rights"):
        desk.open_simple(desk.draft("objection"))  # not to marketing


# Corrections and second thoughts before the code


def test_a_correction_is_the_same_request(desk: Desk, clock: Clock) -> None:
    draft = desk.draft("erasure")
    first = desk.open(draft, code="111111")
    clock.advance(minutes=5)
    with desk.database.read() as connection:
        remembered = drafts.load(connection, desk.keys, draft.id)
    assert remembered is not None
    assert remembered.group_id == first.group_id
    second = desk.open(replace(remembered, email="kari.nordmann@example.no"), code="222222")
    assert second.group_id == first.group_id
    assert [request.id for request in second.requests] == [request.id for request in first.requests]
    assert desk.confirm(second.group_id, "111111").outcome == "wrong"
    (request,) = desk.confirm(second.group_id, "222222").requests
    assert request.received_at == first.requests[0].received_at  # her clock runs from the first time
    receipt = next(mail for mail in desk.deliver() if mail.purpose == "receipt")
    assert receipt.payload["to"] == "kari.nordmann@example.no"


def test_a_right_that_was_taken_out_is_gone_and_a_new_one_is_there(desk: Desk) -> None:
    draft = desk.draft("erasure", "access")
    first = desk.open(draft)
    again = replace(draft, rights=("access", "portability"), group_id=first.group_id)
    second = desk.open(again)
    assert [request.right for request in second.requests] == ["access", "portability"]
    assert {row["right"] for row in desk.rows(requests)} == {"access", "portability"}


def test_what_was_left_unconfirmed_stays_when_the_conversation_goes_on(desk: Desk) -> None:
    draft = desk.draft("erasure")
    left = desk.open(draft)
    opened = desk.open(desk.draft("access", conversation_id=draft.conversation_id, email="other@example.no"))
    assert opened.group_id != left.group_id
    assert {row["right"] for row in desk.rows(requests)} == {"erasure", "access"}


def test_the_same_again_in_one_conversation_is_one_row(desk: Desk) -> None:
    draft = desk.draft("erasure")
    left = desk.open(draft)
    opened = desk.open(desk.draft("erasure", conversation_id=draft.conversation_id))
    assert [request.id for request in opened.requests] == [request.id for request in left.requests]
    assert desk.confirm(left.group_id).outcome == "none"
    assert desk.confirm(opened.group_id).outcome == "confirmed"


def test_a_stranger_with_the_same_address_touches_nothing(desk: Desk) -> None:
    hers = desk.open(desk.draft("erasure"), code="111111")
    his = desk.open(desk.draft("erasure", name="Mallory"), code="222222")
    assert his.group_id != hers.group_id
    assert desk.confirm(his.group_id, "111111").outcome == "wrong"
    (request,) = desk.confirm(hers.group_id, "111111").requests
    with desk.database.read() as connection:
        assert store.person_of(connection, desk.keys, request.id).name == "Kari Nordmann"


def test_cancelling_forgets_all_that_was_typed(desk: Desk) -> None:
    opened = desk.open(desk.draft("erasure", "access"))
    with desk.database.write() as connection:
        assert store.cancel_unconfirmed(connection, opened.group_id) == 2
        assert store.cancel_unconfirmed(connection, opened.group_id) == 0
    for table in (requests, request_log, email_codes, outbox):
        assert desk.rows(table) == []
    assert desk.confirm(opened.group_id).outcome == "none"
    assert desk.deliver() == []


def test_cancelling_leaves_what_was_confirmed(desk: Desk) -> None:
    (request,) = desk.confirmed("erasure")
    with desk.database.write() as connection:
        assert store.cancel_unconfirmed(connection, request.group_id) == 0
    assert desk.request(request.id).status == "confirmed"
    assert "receipt" in {mail.purpose for mail in desk.deliver()}


def test_what_comes_next_in_this_conversation_may_be_the_code(desk: Desk, clock: Clock) -> None:
    draft = desk.draft("erasure")

    def awaited() -> str | None:
        with desk.database.read() as connection:
            return store.awaited_group(connection, draft.conversation_id, clock())

    assert awaited() is None
    opened = desk.open(draft)
    assert awaited() == opened.group_id
    clock.advance(minutes=15)
    assert awaited() is None
    with desk.database.write() as connection:
        again = store.send_code_again(
            connection,
            desk.keys,
            company=desk.company,
            group_id=opened.group_id,
            now=clock(),
            make_code=lambda: "654321",
        )
    assert isinstance(again, CodeSent)
    assert awaited() == opened.group_id
    assert desk.confirm(opened.group_id, "123456").outcome == "wrong"
    assert desk.confirm(opened.group_id, "654321").outcome == "confirmed"
    assert awaited() is None
    with desk.database.write() as connection:
        assert (
            store.send_code_again(connection, desk.keys, company=desk.company, group_id=opened.group_id, now=clock())
            is None
        )


def test_too_many_codes_leave_the_request_for_the_privacy_lead(desk: Desk) -> None:
    draft = desk.draft("erasure")
    for _ in range(3):
        opened = desk.open(replace(draft, group_id=None))
    assert isinstance(opened.code, CodeSent)
    opened = desk.open(replace(draft, group_id=opened.group_id))
    assert isinstance(opened.code, TooManyCodes)
    assert [row["status"] for row in desk.rows(requests)] == ["unconfirmed"]
    assert desk.confirm(opened.group_id).outcome == "confirmed"  # the last code that was sent still opens it


# The code


def test_a_wrong_code_counts_and_tells_nothing(desk: Desk) -> None:
    opened = desk.open(desk.draft("erasure"))
    found = desk.confirm(opened.group_id, "000000")
    assert (found.outcome, found.tries_left, found.requests) == ("wrong", 4, ())
    for _ in range(4):
        found = desk.confirm(opened.group_id, "000000")
    assert (found.outcome, found.requests) == ("used_up", ())
    assert desk.confirm(opened.group_id).outcome == "none"
    assert desk.request(opened.requests[0].id).status == "unconfirmed"


def test_a_code_of_another_case_opens_nothing(desk: Desk) -> None:
    hers = desk.open(desk.draft("erasure"), code="111111")
    his = desk.open(desk.draft("erasure", email="ola@example.no"), code="222222")
    assert desk.confirm(hers.group_id, "222222").outcome == "wrong"
    assert desk.confirm(his.group_id, "222222").outcome == "confirmed"


def test_a_group_of_another_company_opens_nothing(desk: Desk) -> None:
    opened = desk.open(desk.draft("erasure"))
    desk.company = replace(desk.company, id="jackon")
    assert desk.confirm(opened.group_id).outcome == "none"
    assert desk.confirm("f" * 32).outcome == "none"


def test_confirming_again_tells_the_same_and_does_nothing(desk: Desk) -> None:
    opened = desk.open(desk.draft("erasure"))
    first = desk.confirm(opened.group_id)
    log = desk.rows(request_log)
    second = desk.confirm(opened.group_id)
    assert (second.outcome, second.requests) == ("already_confirmed", first.requests)
    assert desk.rows(request_log) == log
    assert sorted(mail.purpose for mail in desk.deliver()) == ["notice_opened", "receipt"]


def at_once(*work: Callable[[], Any]) -> list[Any]:
    found: list[Any] = [None] * len(work)
    gate = threading.Barrier(len(work))

    def run(number: int) -> None:
        gate.wait()
        found[number] = work[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_two_tabs_that_confirm_at_once_make_one_request(desk: Desk) -> None:
    opened = desk.open(desk.draft("erasure", "access"))
    found = at_once(*[lambda: desk.confirm(opened.group_id)] * 4)
    assert sorted(one.outcome for one in found) == ["already_confirmed"] * 3 + ["confirmed"]
    assert len({one.requests for one in found}) == 1
    assert len(desk.rows(request_log)) == 4
    purposes = sorted(row["purpose"] for row in desk.rows(outbox))
    assert purposes == ["notice_opened"] * 4 + ["receipt"]  # two targets, two rights


def test_two_conversations_that_confirm_the_same_at_once_make_one_request(desk: Desk) -> None:
    first = desk.open(desk.draft("erasure", "access"), code="111111")
    second = desk.open(desk.draft("access", "erasure"), code="222222")
    found = at_once(
        lambda: desk.confirm(first.group_id, "111111"),
        lambda: desk.confirm(second.group_id, "222222"),
    )
    assert [one.outcome for one in found] == ["confirmed", "confirmed"]
    told = [{request.reference for request in one.requests} for one in found]
    assert told[0] == told[1]
    assert sorted(len(one.open_before) for one in found) == [0, 2]
    assert sorted(row["status"] for row in desk.rows(requests)) == ["closed", "closed", "confirmed", "confirmed"]


def test_two_wrong_codes_at_once_both_count(desk: Desk) -> None:
    opened = desk.open(desk.draft("erasure"))
    at_once(*[lambda: desk.confirm(opened.group_id, "000000")] * 4)
    assert desk.confirm(opened.group_id, "000000").outcome == "used_up"


# The same again


def test_the_same_again_is_shown_the_open_case(desk: Desk, clock: Clock) -> None:
    (first,) = desk.confirmed("erasure")
    desk.deliver()
    clock.advance(days=20)
    opened = desk.open(desk.draft("erasure", email="KARI@example.no"))
    assert opened.requests[0].id != first.id  # nothing is revealed before the code
    assert first.reference not in str([mail.payload for mail in desk.deliver()])
    found = desk.confirm(opened.group_id)
    assert found.requests == found.open_before == (desk.request(first.id),)
    assert desk.deliver() == []  # no second receipt and no second notice
    with desk.database.read() as connection:
        repeated = store.request_of(connection, opened.requests[0].id)
    assert (repeated.status, repeated.same_as) == ("closed", first.id)
    assert desk.confirm(opened.group_id).open_before == found.open_before


def test_another_right_or_an_answered_case_is_no_repetition(desk: Desk, clock: Clock) -> None:
    (first,) = desk.confirmed("erasure")
    clock.advance(hours=2)
    assert desk.confirmed("access")[0].id != first.id
    with desk.database.write() as connection:
        store.withdraw(connection, desk.keys, company=desk.company, request_id=first.id, now=clock())
    clock.advance(hours=2)
    again = desk.confirmed("erasure")[0]
    assert again.id != first.id
    assert again.status == "confirmed"


def test_of_two_rights_only_the_repeated_one_is_not_opened_again(desk: Desk, clock: Clock) -> None:
    (first,) = desk.confirmed("erasure")
    clock.advance(hours=2)
    opened = desk.open(desk.draft("access", "erasure"))
    found = desk.confirm(opened.group_id)
    assert [request.right for request in found.requests] == ["access", "erasure"]
    assert [request.id for request in found.open_before] == [first.id]


def test_an_open_case_is_found_by_right_address_and_company(desk: Desk, clock: Clock) -> None:
    (request,) = desk.confirmed("objection")

    def find(**given: Any) -> Any:
        wanted = {"company": desk.company.id, "right": "objection", "email": "kari@example.no", **given}
        with desk.database.read() as connection:
            return store.find_open_same(connection, desk.keys, **wanted)

    assert find() == request
    assert find(email="Kari@EXAMPLE.no") == request
    clock.advance(days=90)
    assert find() == request  # overdue is open
    assert find(marketing=True) is None
    assert find(right="access") is None
    assert find(company="jackon") is None
    assert find(email="ola@example.no") is None


# Withdrawing consent, objecting to marketing


@pytest.mark.parametrize(
    ("right", "marketing", "article"), [("withdraw_consent", False, "7(3)"), ("objection", True, "21(2)")]
)
def test_an_address_is_enough_and_it_is_valid_at_once(
    desk: Desk, clock: Clock, right: str, marketing: bool, article: str
) -> None:
    (request,) = desk.open_simple(desk.draft(right, marketing=marketing, name=None, details=None))
    assert (request.status, request.marketing) == ("confirmed", marketing)
    assert request.kind.article == article
    assert request.email_confirmed_at is None
    receipt, notice = sorted(desk.deliver(), key=lambda mail: mail.purpose, reverse=True)
    assert receipt.purpose == "receipt_simple"
    assert request.reference in receipt.payload["text"]
    assert notice.payload["to"] == "privacy@example.com"
    assert desk.webhooks.sent[0].payload["body"]["email_confirmed"] is False
    assert desk.webhooks.sent[0].payload["body"]["marketing"] is marketing
    assert desk.rows(request_drafts) == []


def test_a_simple_one_again_looks_the_same_and_is_not_opened_twice(desk: Desk, clock: Clock) -> None:
    (first,) = desk.open_simple(desk.draft("withdraw_consent"))
    desk.deliver()
    clock.advance(minutes=10)
    (second,) = desk.open_simple(desk.draft("withdraw_consent", name="Mallory"))
    assert second.reference != first.reference
    assert (
        replace(
            second,
            id=first.id,
            reference=first.reference,
            group_id=first.group_id,
            received_at=first.received_at,
            conversation_id=first.conversation_id,
        )
        == first
    )
    stored = desk.request(second.id)
    assert (stored.status, stored.same_as) == ("closed", first.id)
    assert [mail.purpose for mail in desk.deliver()] == ["receipt_simple"]  # the company has it already


def test_a_simple_receipt_holds_nothing_that_was_typed(desk: Desk) -> None:
    desk.open_simple(desk.draft("withdraw_consent", name="VISIT evil.example", details="BUY http://evil.example"))
    receipt = next(mail for mail in desk.deliver() if mail.purpose == "receipt_simple")
    assert "evil" not in str(receipt.payload)
    assert "BUY" not in str(receipt.payload)


def test_a_simple_right_beside_another_is_opened_at_once_and_the_other_waits(desk: Desk) -> None:
    draft = desk.draft("withdraw_consent", "erasure")
    (simple,) = desk.open_simple(draft)
    assert len(desk.rows(request_drafts)) == 1  # still needed
    opened = desk.open(draft)
    assert simple.right == "withdraw_consent"
    assert [request.right for request in opened.requests] == ["erasure"]
    assert desk.confirm(opened.group_id).requests[0].right == "erasure"


def test_an_objection_that_turns_out_to_be_to_marketing_is_one_request(desk: Desk) -> None:
    draft = desk.draft("objection")
    opened = desk.open(draft)
    desk.open_simple(replace(draft, marketing=True, group_id=opened.group_id))
    assert [(row["marketing"], row["status"]) for row in desk.rows(requests)] == [(True, "confirmed")]


# Withdrawing, finding, erasing


def test_withdrawing_tells_the_company(desk: Desk, clock: Clock) -> None:
    (request,) = desk.confirmed("erasure")
    desk.deliver()
    with desk.database.write() as connection:
        gone = store.withdraw(connection, desk.keys, company=desk.company, request_id=request.id, now=clock())
    assert gone.status == "withdrawn"
    (notice,) = desk.deliver()
    assert notice.purpose == "notice_withdrawn"
    assert request.reference in notice.payload["text"]
    assert desk.webhooks.sent[-1].payload["body"]["event"] == "request.withdrawn"
    with pytest.raises(life.ForbiddenMove), desk.database.write() as connection:
        store.withdraw(connection, desk.keys, company=desk.company, request_id=request.id, now=clock())


def test_a_request_is_found_by_reference_and_by_address(desk: Desk) -> None:
    (request,) = desk.confirmed("erasure")
    with desk.database.read() as connection:
        assert store.request_by_reference(connection, request.reference) == request
        assert store.request_by_reference(connection, "PV-2222-AAAA") is None
        assert store.requests_by_email(connection, desk.keys, "Kari@example.no") == [request]
        assert store.requests_by_email(connection, desk.keys, "ola@example.no") == []


@pytest.mark.parametrize("confirmed", [True, False])
def test_a_request_outlives_its_conversation(desk: Desk, clock: Clock, confirmed: bool) -> None:
    draft = desk.draft("erasure")
    opened = desk.open(draft)
    if confirmed:
        desk.confirm(opened.group_id)
    with desk.database.write() as connection:
        erasure.erase_record(connection, draft.conversation_id, "asked_for", clock())
    request = desk.request(opened.requests[0].id)
    assert request.conversation_id is None
    assert request.status == ("confirmed" if confirmed else "unconfirmed")
    if not confirmed:
        assert desk.confirm(opened.group_id).outcome == "confirmed"


def test_a_code_that_comes_after_staff_took_it_up_still_confirms_the_address(desk: Desk, clock: Clock) -> None:
    opened = desk.open(desk.draft("erasure"))
    request_id = opened.requests[0].id
    with desk.database.write() as connection:
        life.move(connection, desk.keys, request_id, "in_progress", who="staff:anne", why="known_person", now=clock())
    found = desk.confirm(opened.group_id)
    assert (found.outcome, found.requests[0].status) == ("confirmed", "in_progress")
    assert desk.request(request_id).email_confirmed_at == clock()


def test_the_targets_that_company_yml_names_are_told_and_no_others(desk: Desk) -> None:
    desk.company = replace(desk.company, request_targets=RequestTargets(email="p@example.com"))
    desk.confirmed("erasure")
    assert sorted(mail.purpose for mail in desk.deliver()) == ["notice_opened", "receipt"]
    assert desk.webhooks.sent == []
    desk.company = replace(desk.company, request_targets=RequestTargets(webhook="https://hooks.example.com/"))
    desk.confirmed("access")
    assert [mail.purpose for mail in desk.deliver()] == ["receipt"]
    assert [sent.payload["address"] for sent in desk.webhooks.sent] == ["https://hooks.example.com/"]


# What people type, all the way to the mail that is read


@pytest.mark.parametrize(
    "name",
    [
        "Kari\nBcc: victim@example.no",
        "<script>alert(1)</script>",
        "{{ 7 * 7 }}{% for x in y %}",
        "فاطمة الزهراء",
        "Kari 🦊 Nordmann",
        "%s {0} $USER",
    ],
)
def test_a_name_is_text_and_nothing_else(desk: Desk, tmp_path: Path, name: str) -> None:
    opened = desk.open(desk.draft("erasure", name=name))
    files_of(desk, tmp_path)
    desk.confirm(opened.group_id)
    mails = files_of(desk, tmp_path)
    assert len(mails) == 3
    for mail in mails:
        assert mail["Bcc"] is None
        assert mail["To"] in ("kari@example.no", "privacy@example.com")
        assert mail.get_content_type() == "text/plain"
    notice = next(mail for mail in mails if mail["To"] == "privacy@example.com")
    for line in name.splitlines():
        assert f"> {line}" in notice.get_content().splitlines()
    for mail in mails:
        if mail is not notice:
            assert name.splitlines()[0] not in mail.get_content()


def test_ten_thousand_characters_arrive_whole(desk: Desk, tmp_path: Path) -> None:
    details = ("å" * 4_999 + "\n") * 2
    desk.confirmed("erasure", details=details)
    notice = next(mail for mail in files_of(desk, tmp_path) if mail["To"] == "privacy@example.com")
    assert notice.get_content().count("å" * 4_999) == 2
    for path in tmp_path.glob("*.eml"):
        assert max(len(line) for line in path.read_bytes().splitlines()) < 998  # RFC 5322's longest line


def test_typed_text_cannot_pass_for_the_mails_own(desk: Desk) -> None:
    desk.confirmed("erasure", details="Hei\n\nSaken er avsluttet. Slett denne e-posten.\u2028Hilsen personvern")
    notice = next(mail for mail in desk.deliver() if mail.purpose == "notice_opened")
    for line in notice.payload["text"].splitlines():
        if "avsluttet" in line or "Hilsen" in line:
            assert line.startswith("> ")


def test_a_clock_change_does_not_lengthen_a_code(desk: Desk, clock: Clock) -> None:
    clock.now = datetime(2026, 10, 25, 0, 50, tzinfo=UTC)  # ten minutes before the hour that comes twice
    opened = desk.open(desk.draft("erasure"))
    clock.now += timedelta(minutes=16)
    assert desk.confirm(opened.group_id).outcome == "expired"
