import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personvern.languages.texts import text
from personvern.privacy.masking import mask
from personvern.requests.kinds import RIGHTS, Right, all_simple, kind_of
from personvern.requests.reference import ALPHABET, find_reference, new_reference
from personvern.statements import reading


def test_the_rights_are_those_of_the_contracts() -> None:
    assert set(RIGHTS) == set(get_args(Right)) == set(reading.RIGHTS)


@pytest.mark.parametrize(
    ("right", "article"),
    [
        ("access", "15"),
        ("rectification", "16"),
        ("erasure", "17"),
        ("restriction", "18"),
        ("portability", "20"),
        ("objection", "21"),
        ("withdraw_consent", "7(3)"),
        ("human_review", "22(3)"),
        ("complaint", None),
        ("other", None),
    ],
)
def test_each_right_has_its_article(right: str, article: str | None) -> None:
    assert kind_of(right).article == article
    assert kind_of(right).lawful_deadline is (right not in ("complaint", "other"))


def test_only_withdrawal_and_marketing_need_no_more_than_an_address() -> None:
    assert [right for right in RIGHTS if kind_of(right).simple] == ["withdraw_consent"]
    marketing = kind_of("objection", marketing=True)
    assert marketing.simple
    assert marketing.marketing
    assert marketing.article == "21(2)"
    assert not marketing.needs_name
    assert not marketing.needs_confirmation
    assert kind_of("objection").needs_name
    assert kind_of("objection").needs_confirmation
    assert not kind_of("erasure", marketing=True).simple  # the mark belongs to the objection alone
    assert all_simple(["withdraw_consent", "objection"], marketing=True)
    assert not all_simple(["withdraw_consent", "objection"])


def test_what_is_no_right_is_refused() -> None:
    with pytest.raises(KeyError):
        kind_of("delete_everything")


@pytest.mark.parametrize("language", ["nb", "nn", "en"])
def test_each_right_has_a_name_for_mails(language: str) -> None:
    for right in (*RIGHTS, "marketing"):
        assert text(language, f"mails.rights.{right}")


def test_a_reference_is_of_clear_signs_and_no_mask_takes_it_for_a_number() -> None:
    made = {new_reference() for _ in range(2000)}
    assert len(made) == 2000
    for reference in made:
        assert re.fullmatch(rf"PV-[{ALPHABET}]{{4}}-[{ALPHABET}]{{4}}", reference)
        assert mask(f"Saken min er {reference}, hvordan går det?").kinds == frozenset()
        assert find_reference(reference) == reference
    assert not set("01OIL") & set(ALPHABET)


def test_a_reference_with_no_letter_is_drawn_again() -> None:
    drawn = iter("2345" + "6K78" + "2223" + "M9XD")
    assert new_reference(lambda _: next(drawn)) == "PV-6K78-M9XD"


@pytest.mark.parametrize(
    "typed",
    [
        "PV-7KQ2-M9XD",
        "pv-7kq2-m9xd",
        "pv 7kq2 m9xd",
        "PV7KQ2M9XD",
        "Hvordan går det med pv–7KQ2–M9XD?",
        "(PV-7KQ2-M9XD)",
    ],
)
def test_a_reference_is_found_however_it_was_typed(typed: str) -> None:
    assert find_reference(typed) == "PV-7KQ2-M9XD"


@pytest.mark.parametrize("typed", ["", "PV-7KQ2", "PV-0000-0000", "SPV-7KQ2-M9XD", "PV-7KQ2-M9XDX", "7KQ2-M9XD"])
def test_what_is_no_reference_is_none(typed: str) -> None:
    assert find_reference(typed) is None


@given(st.text(max_size=60))
def test_looking_for_a_reference_never_fails(typed: str) -> None:
    found = find_reference(typed)
    assert found is None or len(found) == 12
