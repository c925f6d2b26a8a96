import re
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personvern.statements.passages import Passage, fingerprint, split_passages

STATEMENTS = sorted((Path(__file__).resolve().parents[2] / "policies").glob("*/statement.*"))
HEADINGS_OVER_NOTHING = {"Behandling av personopplysninger"}
"""It stands under the title of `unnamed`, and the next heading follows at once."""
BULLET_ALONE = re.compile(r"[•●▪◦·‣∙*–—-]|\(?[a-zæøå]\)|\(?\d{1,2}\)")


def read(path: Path) -> str:
    return path.read_bytes().decode()


def split(text: str) -> list[tuple[str, tuple[str, ...], str]]:
    return [(passage.kind, passage.heading, passage.text) for passage in split_passages(text)]


def check_slices(source: str, passages: list[Passage]) -> None:
    """What must hold of any text at all."""
    for passage in passages:
        assert source[passage.start : passage.end] == passage.text
        assert passage.text.strip()
        assert passage.text == passage.text.strip()
        assert passage.fingerprint == fingerprint(passage.text)
        assert passage.kind in ("paragraph", "item", "lead_in")
    for before, after in pairwise(passages):
        assert before.end <= after.start
    ids = [passage.id for passage in passages]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9-]+\.\d+", passage_id) for passage_id in ids)


def left_over(source: str, passages: list[Passage]) -> list[str]:
    """The lines of what is in no passage, without white space."""
    pieces, done = [], 0
    for passage in passages:
        pieces.append(source[done : passage.start])
        done = passage.end
    pieces.append(source[done:])
    return [line.strip() for piece in pieces for line in piece.splitlines() if line.strip()]


# The statements that ship


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.parent.name)
def test_a_passage_is_a_slice_of_the_statement_with_an_id_of_its_own(path: Path) -> None:
    source = read(path)
    passages = split_passages(source)
    assert len(passages) >= 15
    check_slices(source, passages)


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.parent.name)
def test_everything_but_headings_and_bullets_is_in_a_passage(path: Path) -> None:
    source = read(path)
    passages = split_passages(source)
    headings = HEADINGS_OVER_NOTHING | {heading for passage in passages for heading in passage.heading}
    for line in left_over(source, passages):
        assert line in headings or BULLET_ALONE.fullmatch(line), line


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.parent.name)
def test_a_heading_stands_in_the_statement_above_its_passages(path: Path) -> None:
    source = read(path)
    for passage in split_passages(source):
        places = [source[: passage.end].rfind(heading) for heading in passage.heading]
        assert -1 not in places, passage.id
        assert places == sorted(places), passage.id


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.parent.name)
def test_splitting_is_the_same_every_time_and_whatever_ends_the_lines(path: Path) -> None:
    source = read(path)
    passages = split_passages(source)
    assert split_passages(source) == passages
    windows = split_passages(source.replace("\n", "\r\n"))
    assert [(passage.id, passage.fingerprint) for passage in windows] == [
        (passage.id, passage.fingerprint) for passage in passages
    ]


def in_statement(company: str, passage_id: str) -> Passage:
    [path] = [path for path in STATEMENTS if path.parent.name == company]
    return {passage.id: passage for passage in split_passages(read(path))}[passage_id]


def test_numbered_headings_nest_to_three_levels() -> None:
    passage = in_statement("se-gruppen", "4-1-2-kontaktskjema.1")
    assert passage.heading == (
        "Personvernerklæring",
        "4. Hvilke personopplysninger vi behandler, hvordan vi bruker personopplysningene, "
        "samt formålet med opplysningene",
        "4.1 Som besøkende på våre hjemmesider",
        "4.1.2 Kontaktskjema",
    )
    assert in_statement("se-gruppen", "4-2-1-kunde-og.1").heading[2:] == (
        "4.2 Som kunde eller leverandør hos oss",
        "4.2.1 Kunde- og leverandørregister",
    )
    assert in_statement("se-gruppen", "9-hvor-lenge-vi-oppbevarer.1").heading == (
        "Personvernerklæring",
        "9. Hvor lenge vi oppbevarer opplysninger om deg",
    )


def test_a_nested_list_belongs_to_its_item() -> None:
    item = in_statement("jackon", "hvordan-innhentes-informasjonen.3")
    assert item.kind == "item"
    assert item.text.splitlines()[-2:] == [
        "  • Kontakt- eller henvendelsesskjema",
        "  • Skjema du fyller ut når du laster ned e-guide fra våre nettsider",
    ]
    vendors = in_statement("norsk-fagutdanning", "deler-vi-opplysningene-dine-med.2")
    assert len(vendors.text.splitlines()) == 6


def test_a_line_that_leads_into_a_list_is_quoted_itself_and_heads_its_items() -> None:
    assert in_statement("jackon", "rettigheter.1").kind == "lead_in"
    assert in_statement("jackon", "rettigheter.1").text == "Du har rett til å:"
    assert in_statement("jackon", "rettigheter.2").heading[-2:] == ("Rettigheter", "Du har rett til å:")


def test_a_line_that_leads_to_the_following_begins_a_section_of_its_own() -> None:
    """Its items do not belong under the heading that happens to stand before it."""
    lead_in = in_statement("norsk-fagutdanning", "norsk-fagutdanning-vil-bruke-dine.1")
    assert lead_in.kind == "lead_in"
    item = in_statement("norsk-fagutdanning", "norsk-fagutdanning-vil-bruke-dine.2")
    assert item.heading[-1] == lead_in.text
    assert "Når kan dine opplysninger deles?" not in item.heading


def test_a_heading_may_end_in_a_full_stop() -> None:
    assert in_statement("norsk-fagutdanning", "bruken-av-informasjonskapsler.1").heading[-1] == (
        "Bruken av informasjonskapsler."
    )


@pytest.mark.parametrize(
    ("passage_id", "text"),
    [
        ("where-does-jobbkort-gather-personal.5", "Read more about cookies here."),
        ("what-personal-data-does-jobbkort.2", "Read the Data Processing Agreement here."),
    ],
)
def test_a_short_sentence_that_ends_a_section_is_no_heading(passage_id: str, text: str) -> None:
    passage = in_statement("jobbkort", passage_id)
    assert (passage.kind, passage.text) == ("paragraph", text)


def test_a_sentence_that_lost_its_full_stop_is_no_heading() -> None:
    passage = in_statement("jackon", "hvilke-personopplysninger-behandler-vi.1")
    assert passage.text == "Jackon behandler ikke noen form for sensitive personopplysninger"


# Small texts, one rule each

LONG = "Vi behandler personopplysninger for å levere det du har bestilt, og for å følge opp avtalen vår med deg."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param(" \n\t\n", [], id="white space"),
        pytest.param(LONG, [("paragraph", (), LONG)], id="a paragraph without a heading"),
        pytest.param("Kort", [("paragraph", (), "Kort")], id="the last line is no heading: nothing follows it"),
        pytest.param(
            f"Erklæring\n\n{LONG}\n{LONG}",
            [("paragraph", ("Erklæring",), LONG)] * 2,
            id="a paragraph a line",
        ),
        pytest.param(
            "Erklæring\n\nVi lagrer navn\nog adresse.",
            [("paragraph", ("Erklæring",), "Vi lagrer navn\nog adresse.")],
            id="a sentence over two lines",
        ),
        pytest.param(
            f"# Erklæring\n\n## Formål ##\n\n{LONG}\n\n## Lagring\n\n{LONG}",
            [("paragraph", ("Erklæring", "Formål"), LONG), ("paragraph", ("Erklæring", "Lagring"), LONG)],
            id="Markdown headings",
        ),
        pytest.param(
            f"# Erklæring\n\n### Dypt\n\n{LONG}\n\n## Grunnere\n\n{LONG}",
            [("paragraph", ("Erklæring", "Dypt"), LONG), ("paragraph", ("Erklæring", "Grunnere"), LONG)],
            id="a shallower heading ends a deeper one",
        ),
        pytest.param(
            f"Erklæring\n\n1. Formål\n\n{LONG}\n\n1.1 Kunder\n\n{LONG}\n\n2 Lagring\n\n{LONG}",
            [
                ("paragraph", ("Erklæring", "1. Formål"), LONG),
                ("paragraph", ("Erklæring", "1. Formål", "1.1 Kunder"), LONG),
                ("paragraph", ("Erklæring", "2 Lagring"), LONG),
            ],
            id="numbered headings",
        ),
        pytest.param(
            f"Erklæring\n\nFormål\n\n• Navn\n• Adresse\n\n{LONG}",
            [
                ("item", ("Erklæring", "Formål"), "Navn"),
                ("item", ("Erklæring", "Formål"), "Adresse"),
                ("paragraph", ("Erklæring", "Formål"), LONG),
            ],
            id="a list",
        ),
        pytest.param(
            "Erklæring\n\nVi lagrer:\n - Navn\n   - Fornavn\n   - Etternavn\n - Adresse",
            [
                ("lead_in", ("Erklæring",), "Vi lagrer:"),
                ("item", ("Erklæring", "Vi lagrer:"), "Navn\n   - Fornavn\n   - Etternavn"),
                ("item", ("Erklæring", "Vi lagrer:"), "Adresse"),
            ],
            id="a nested list after a line that leads into it",
        ),
        pytest.param(
            "Erklæring\n\na) Navn\nb) Adresse\n(c) Alder\n1) Kjønn",
            [("item", ("Erklæring",), name) for name in ("Navn", "Adresse", "Alder", "Kjønn")],
            id="lettered and numbered items",
        ),
        pytest.param(
            f"Erklæring\n\nInformasjonskapsler.\n\n{LONG}",
            [("paragraph", ("Erklæring", "Informasjonskapsler."), LONG)],
            id="a heading with a full stop",
        ),
        pytest.param(
            f"Erklæring\n\nFormål\n\n{LONG}\n\nLes mer her.",
            [("paragraph", ("Erklæring", "Formål"), LONG), ("paragraph", ("Erklæring", "Formål"), "Les mer her.")],
            id="a short sentence at the end",
        ),
        pytest.param(
            f"Erklæring\n\n{LONG}\n\n«Vi bryr oss om deg»\n\n{LONG}",
            [("paragraph", ("Erklæring",), text) for text in (LONG, "«Vi bryr oss om deg»", LONG)],
            id="a saying in quotation marks is no heading",
        ),
    ],
)
def test_a_text_is_split_as_people_read_it(text: str, expected: list[tuple[str, tuple[str, ...], str]]) -> None:
    assert split(text) == expected
    check_slices(text, split_passages(text))


def test_two_headings_of_the_same_words_give_different_ids() -> None:
    text = f"# A\n\n## Formål\n\n{LONG}\n\n# B\n\n## Formål\n\n{LONG}"
    assert [passage.id for passage in split_passages(text)] == ["formal.1", "formal-2.1"]


# Fingerprints

WORDS = "Vi lagrer navn, adresse og e-post."


@pytest.mark.parametrize(
    "same",
    [
        f"  {WORDS}\n",
        WORDS.replace(" ", "\n   "),
        WORDS.replace(" ", "\u00a0"),
        *[f"{bullet} {WORDS}" for bullet in "•●▪◦·‣∙*–—-"],
        f"a) {WORDS}",
        unicodedata.normalize("NFD", WORDS),
    ],
)
def test_a_fingerprint_ignores_white_space_and_bullets(same: str) -> None:
    assert fingerprint(same) == fingerprint(WORDS)


def test_a_fingerprint_ignores_the_bullets_of_a_nested_list() -> None:
    assert fingerprint("Vi deler med:\n  • Banken\n  • Posten") == fingerprint("Vi deler med:\n  - Banken\n  - Posten")


@pytest.mark.parametrize(
    "other", [WORDS.replace("navn", "Navn"), WORDS.removesuffix("."), f"{WORDS} Ikke mer.", WORDS.replace(",", "")]
)
def test_a_fingerprint_changes_with_the_words(other: str) -> None:
    assert fingerprint(other) != fingerprint(WORDS)
    assert re.fullmatch(r"[0-9a-f]{12}", fingerprint(other))


# Any text

PIECES = st.sampled_from(
    [
        "Formål",
        "1. Innledning",
        "4.1.2 Kontaktskjema",
        "## Lagring ##",
        "#",
        "Bruken av informasjonskapsler.",
        "Vi lagrer:",
        "Du har følgende rettigheter:",
        LONG,
        LONG.removesuffix("."),
        " • Navn",
        "• Navn",
        "  • Nested",
        "\t- Nested",
        "a) Navn",
        "-",
        "1)",
        "   innrykket linje",
        "Les mer her.",
        "Æ Ø Å?",
        "…",
        "",
        "",
        "   ",
    ]
)
ENDS = st.sampled_from(["\n", "\n", "\n\n", "\r\n", "\r", "\x0b", "\u2028", "\x85"])


@st.composite
def documents(draw: st.DrawFn) -> str:
    return "".join(draw(PIECES) + draw(ENDS) for _ in range(draw(st.integers(0, 20))))


@settings(max_examples=300)
@given(text=st.one_of(documents(), st.text(max_size=400), st.text(alphabet=" \n\t•-#1.)aÅ:?", max_size=200)))
def test_any_text_can_be_split_and_every_passage_is_a_slice_of_it(text: str) -> None:
    passages = split_passages(text)
    check_slices(text, passages)
    assert split_passages(text) == passages


@settings(max_examples=300)
@given(text=documents())
def test_nothing_long_is_ever_lost(text: str) -> None:
    """What is in no passage is a bullet or fits the longest heading there can be."""
    for line in left_over(text, split_passages(text)):
        assert len(line) <= 140
