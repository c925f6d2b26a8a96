"""The cases are ours; how well it does on many texts is measured by benchmarks/language_identification.py."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personvern.languages import fit
from personvern.languages.identify import (
    Identified,
    Identifier,
    Language,
    identifier,
    pieces_of,
    requested_language,
    words_of,
)

LANGUAGES: tuple[Language, ...] = ("nb", "nn", "en")

CLEAR: list[tuple[str, Language]] = [
    ("delete my data", "en"),
    ("what do you know about me", "en"),
    ("who are you", "en"),
    ("can I see what you have on me?", "en"),
    ("DELETE MY DATA NOW", "en"),
    ("thank you", "en"),
    ("slett dataene mine", "nb"),
    ("hvilke opplysninger lagrer dere om meg", "nb"),
    ("hvem er dere", "nb"),
    ("hvordan sletter jeg kontoen min?", "nb"),
    ("kva lagrar de om meg", "nn"),
    ("kven er de?", "nn"),
    ("eg vil ikkje", "nn"),
    ("korleis slettar eg kontoen min?", "nn"),
    ("eg ønskjer innsyn i opplysningane mine", "nn"),
]


@pytest.mark.parametrize("current", [None, *LANGUAGES])
@pytest.mark.parametrize(("text", "language"), CLEAR)
def test_a_clear_text_is_followed(text: str, language: Language, current: Language | None) -> None:
    assert identifier().identify(text, current) == Identified(language, certain=True)


UNTELLING = [
    ("ok", "both languages have it"),
    ("OK!!", "the same, loud"),
    ("cookies?", "a word of the trade"),
    ("data", "a word of the trade"),
    ("GDPR", "an abbreviation"),
    ("👍", "emoji"),
    ("❤️🙂", "emoji"),
    ("", "nothing"),
    ("???", "signs"),
    ("12345678", "a number"),
    ("12.05.2026 13:45", "a date"),
    ("Kari Nordmann", "a name"),
    ("John Smith", "a name"),
    ("Storgata 5, 0150 Oslo", "an address"),
    ("kari@example.no", "an e-mail address"),
    ("https://example.com/privacy-policy", "an address on the net"),
    ("[fødselsnummer]", "what masking left"),
]


@pytest.mark.parametrize("current", LANGUAGES)
@pytest.mark.parametrize(("text", "reason"), UNTELLING, ids=[row[1] for row in UNTELLING])
def test_a_text_too_short_to_tell_keeps_the_language(text: str, reason: str, current: Language) -> None:
    assert identifier().identify(text, current).language == current
    assert identifier().identify(text).language == "nb"


@pytest.mark.parametrize(
    "name",
    ["Grace Stone", "Per Bakke", "Ola Normann Berg", "Sunniva Li", "Solveig", "james wilson", "bjørn tore lie"],
)
@pytest.mark.parametrize("current", LANGUAGES)
def test_other_names_keep_the_language(name: str, current: Language) -> None:
    assert identifier().identify(name, current).language == current


@pytest.mark.parametrize("text", ["thanks", "sorry", "nice", "privacy", "hello"])
def test_one_english_word_is_norwegian_chat_too(text: str) -> None:
    assert identifier().identify(text, "nb").language == "nb"
    assert identifier().identify(text, "nn").language == "nn"
    assert identifier().identify(text).language == "en"


@pytest.mark.parametrize("text", ["slett alt", "kan du hjelpe meg", "kontoen min", "hei, slett alt om meg"])
def test_what_is_right_in_both_forms_keeps_the_form(text: str) -> None:
    assert identifier().identify(text, "nn").language == "nn"
    assert identifier().identify(text, "nb").language == "nb"
    assert identifier().identify(text, "en").language == "nb"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ka lagre dokker om mæ", "dialect of the north"),
        ("æ vil slett alt", "dialect of Trøndelag"),
        ("åssen sletter jæ alt", "dialect of the east"),
        ("hva gjør du med my data og my account", "English words in a Norwegian sentence"),
        ("kan dere sende meg en kopi av The Privacy Policy and Terms of Service", "an English title"),
        ("Jeg vil gerne have slettet mine oplysninger", "Danish"),
        ("Jag vill att ni raderar mina uppgifter", "Swedish"),
    ],
)
def test_what_counts_as_bokmal(text: str, reason: str) -> None:
    assert identifier().identify(text).language == "nb", reason
    assert identifier().identify(text, "nb").language == "nb", reason


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("English please", "en"),
        ("in english pls", "en"),
        ("can you answer in English?", "en"),
        ("kan du svare på engelsk", "en"),
        ("I just moved here. Could you write English to me?", "en"),
        ("slett dataene mine og svar på engelsk takk", "en"),
        ("not Norwegian, English!", "en"),
        ("på norsk", "nb"),
        ("speak norwegian", "nb"),
        ("Norwegian please", "nb"),
        ("kan du svare på bokmål?", "nb"),
        ("bokmaal", "nb"),
        ("ikke engelsk, norsk", "nb"),
        ("heller bokmål enn nynorsk", "nb"),
        ("kan me ta det på norsk bokmål", "nb"),
        ("nynorsk takk", "nn"),
        ("på ny norsk", "nn"),
        ("eg skriv nynorsk, så svar på nynorsk", "nn"),
        ("Please use Nynorsk", "nn"),
        ("first in English. No, in Norwegian please", "nb"),
    ],
)
def test_a_language_that_is_asked_for(text: str, language: Language) -> None:
    assert requested_language(text) == language


@pytest.mark.parametrize(
    "text",
    [
        "do you share data with the English police",
        "deler dere data med engelsk politi",
        "is the statement also published in an English version",
        "kan jeg få personvernerklæringen på engelsk",
        "I don't speak Norwegian",
        "jeg forstår ikke engelsk",
        "hvorfor svarer du på engelsk?",
        "what does Norwegian law say",
        "can you answer in German",
        "which languages do you speak",
        "delete my data",
        "",
    ],
)
def test_a_language_that_is_only_spoken_of(text: str) -> None:
    assert requested_language(text) is None


@given(st.text(max_size=300), st.sampled_from([None, *LANGUAGES]))
def test_any_text_has_an_answer(text: str, current: Language | None) -> None:
    assert identifier().identify(text, current).language in LANGUAGES
    assert requested_language(text) in (None, *LANGUAGES)


@given(st.text(st.characters(exclude_categories=["L", "M"])), st.sampled_from(LANGUAGES))
def test_without_a_letter_the_language_is_kept(text: str, current: Language) -> None:
    assert identifier().identify(text, current) == Identified(current, certain=False)


def test_words() -> None:
    assert words_of("Heeeei, DON’T call kari@example.no or [kontonummer] 22334455!") == [
        "hei",
        "don't",
        "call",
        "or",
    ]


def test_pieces_of_a_word() -> None:
    assert pieces_of("eg") == ["<", "e", "g", ">", "<e", "eg", "g>", "<eg", "eg>", "<eg>"]


def test_a_message_takes_about_a_tenth_of_a_millisecond() -> None:
    texts = [text for text, _ in CLEAR]
    found = identifier()
    start = time.process_time()
    for text in texts * 10:
        found.identify(text)
    # Ten times the time that it may take at all, for a busy machine.
    assert (time.process_time() - start) / len(texts * 10) < 0.01


def test_a_long_text_is_cut() -> None:
    start = time.process_time()
    assert identifier().identify("delete my data " * 5_000).language == "en"
    assert requested_language("in english please " * 5_000) == "en"
    assert time.process_time() - start < 1


@pytest.fixture
def small_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, words in {"en": "the and", "nb": "jeg ikke", "nn": "eg ikkje", "neutral": "# none\nok"}.items():
        (tmp_path / f"{name}.txt").write_text(words, encoding="utf-8")
    monkeypatch.setattr(fit, "WORD_LISTS", tmp_path)
    return tmp_path


def test_the_training_data_is_read_without_its_markup(tmp_path: Path) -> None:
    (tmp_path / "nb").mkdir()
    (tmp_path / "nb" / "one.yml").write_text(
        "nlu:\n"
        '- intent: one\n  examples: |\n    - slett [kontoen](thing) min\n    - for [Kari]{"entity": "name"}\n'
        "- synonym: x\n  examples: |\n    - not an example\n",
        encoding="utf-8",
    )
    assert fit.read_examples(tmp_path) == [("nb", "slett kontoen min"), ("nb", "for Kari")]


def test_a_fitted_model_is_the_same_each_time_and_can_be_used(small_lists: Path, tmp_path: Path) -> None:
    examples = [
        ("en", "delete the account"),
        ("nb", "slett kontoen"),
        ("nn", "kven er de"),
        ("dialect", "æ e her"),
    ] * 3
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    fit.write(fit.fit(examples), first)
    fit.write(fit.fit(examples), second)
    assert first.read_bytes() == second.read_bytes()
    found = Identifier(json.loads(first.read_text(encoding="utf-8")))
    assert found.identify("delete the account", "nb").language == "en"
    assert found.identify("eg er ikkje her", "nb").language == "nn"
    assert found.identify("ok", "nn") == Identified("nn", certain=False)
