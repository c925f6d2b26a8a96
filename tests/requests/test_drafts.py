from dataclasses import replace
from typing import Any

import pytest
from desk import Desk
from helpers import Clock

from personvern.conversations import erasure
from personvern.database.tables import request_drafts
from personvern.privacy.keys import Keys, Unreadable
from personvern.requests import drafts
from personvern.requests.drafts import OnBehalf


def rows(desk: Desk) -> Any:
    return desk.rows(request_drafts)


def test_a_draft_comes_back_as_it_was_saved(desk: Desk) -> None:
    draft = desk.draft(
        "erasure", "access", marketing=True, on_behalf=OnBehalf("Ola, 9 år", "mor"), stage="confirm", language="nn"
    )
    with desk.database.read() as connection:
        assert drafts.load(connection, desk.keys, draft.id) == draft
        assert drafts.find(connection, desk.keys, draft.conversation_id) == draft
        assert drafts.load(connection, desk.keys, "0" * 32) is None
        assert drafts.find(connection, desk.keys, "0" * 32) is None
    assert draft.rights == ("erasure", "access")
    assert draft.on_behalf == OnBehalf("Ola, 9 år", "mor")


def test_nothing_that_was_typed_lies_readable_in_the_table(desk: Desk) -> None:
    desk.draft("erasure", on_behalf=OnBehalf("Olepetter", "fullmakt"))
    stored = str(rows(desk))
    for typed in ("Kari", "kari@example.no", "4471", "Olepetter", "fullmakt", "erasure"):
        assert typed not in stored


def test_another_key_reads_nothing_and_says_what_to_do(desk: Desk) -> None:
    draft = desk.draft("erasure")
    other = Keys("A" * 43, "A" * 43)
    with desk.database.read() as connection, pytest.raises(Unreadable, match="DATA_KEY"):
        drafts.load(connection, other, draft.id)


def test_a_conversation_has_one_draft(desk: Desk) -> None:
    first = desk.draft("erasure")
    second = desk.draft("access", conversation_id=first.conversation_id)
    with desk.database.read() as connection:
        assert drafts.load(connection, desk.keys, first.id) is None
        assert drafts.find(connection, desk.keys, first.conversation_id) == second
    assert len(rows(desk)) == 1


def test_a_draft_goes_with_its_conversation(desk: Desk, clock: Clock) -> None:
    draft = desk.draft("erasure")
    with desk.database.write() as connection:
        erasure.erase_record(connection, draft.conversation_id, "asked_for", clock())
    assert rows(desk) == []


def test_a_draft_can_be_forgotten_and_then_cannot_be_saved(desk: Desk, clock: Clock) -> None:
    draft = desk.draft("erasure")
    with desk.database.write() as connection:
        assert drafts.delete_of(connection, draft.conversation_id)
        assert not drafts.delete_of(connection, draft.conversation_id)
    with pytest.raises(KeyError), desk.database.write() as connection:
        drafts.save(connection, desk.keys, draft, clock())


def test_a_right_that_is_none_is_not_saved(desk: Desk, clock: Clock) -> None:
    draft = desk.draft("erasure")
    with pytest.raises(KeyError), desk.database.write() as connection:
        drafts.save(connection, desk.keys, replace(draft, rights=("verified",)), clock())


def test_identity_numbers_are_masked_before_they_are_kept(desk: Desk) -> None:
    draft = desk.draft(
        "erasure",
        name="Kari 010190 12345",
        details="Fødselsnummeret mitt er 01019012345",
        on_behalf=OnBehalf("Ola 01019012345", "mor"),
    )
    assert draft.name == "Kari [fødselsnummer]"
    assert draft.details == "Fødselsnummeret mitt er [fødselsnummer]"
    assert draft.on_behalf == OnBehalf("Ola [fødselsnummer]", "mor")


def test_a_draft_that_nobody_touched_for_a_day_is_forgotten(desk: Desk, clock: Clock) -> None:
    old = desk.draft("erasure")
    clock.advance(hours=23)
    kept = desk.draft("access")
    clock.advance(hours=2)
    with desk.database.write() as connection:
        assert drafts.purge(connection, clock()) == 1
        assert drafts.load(connection, desk.keys, old.id) is None
        assert drafts.load(connection, desk.keys, kept.id) == kept


@pytest.mark.parametrize(
    ("rights", "marketing", "simple"),
    [
        ((), False, False),
        (("withdraw_consent",), False, True),
        (("objection",), True, True),
        (("objection",), False, False),
        (("withdraw_consent", "erasure"), False, False),
    ],
)
def test_a_draft_knows_whether_the_address_is_enough(desk: Desk, rights: Any, marketing: bool, simple: bool) -> None:
    assert desk.draft(*rights, marketing=marketing).is_simple is simple
