import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from personvern.statements.company import CompanyError, load_company
from personvern.statements.library import Library
from personvern.statements.passages import fingerprint
from personvern.statements.reading import LANGUAGES, RIGHTS, TOPICS

ROOT = Path(__file__).resolve().parents[2]
POLICIES = ROOT / "policies"
COMPANIES = sorted(path.parent.name for path in POLICIES.glob("*/company.yml"))
LONGEST_ANSWER = 420

STATEMENT = """Personvernerklæring

Formål

Vi bruker navnet ditt for å levere varer, og bare til det.

Lagring

Vi lagrer navnet ditt i ett år. Deretter blir det slettet.

Kontakt

Skriv til oss hvis du lurer på noe om personvern.
"""
STORED = "Vi lagrer navnet ditt i ett år. Deretter blir det slettet."
USED = "Vi bruker navnet ditt for å levere varer, og bare til det."


def entry(text: str) -> dict[str, Any]:
    return {
        "fingerprint": fingerprint(text),
        "gist": dict.fromkeys(LANGUAGES, "Kort sagt"),
        "translation": {"en": f"In English: {text}"},
    }


def reading() -> dict[str, Any]:
    answer = {"nb": "I ett år.", "nn": "I eitt år.", "en": "For a year."}
    return {
        "version": 1,
        "statement": {"title": "Personvernerklæring", "language": "nb", "updated": None, "binding": True},
        "topics": {
            "retention": {"status": "reviewed", "passages": ["lagring.1"], "answer": answer},
            "erasure": {"status": "reviewed", "passages": ["lagring.1", "formal.1"], "answer": answer, "narrow": True},
            "purpose": {"status": "reviewed", "passages": ["formal.1"]},
        },
        "passages": {"lagring.1": entry(STORED), "formal.1": entry(USED)},
    }


class Folder:
    """A company's folder that a test edits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.write("company.yml", {"name": "Acme", "contact": {"email": "personvern@acme.example"}})
        self.write("reading.yml", reading())
        (path / "statement.nb.txt").write_text(STATEMENT, encoding="utf-8")

    def write(self, name: str, document: Any) -> None:
        (self.path / name).write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")

    def edit(self, name: str, *place_and_value: Any) -> None:
        """`edit("reading.yml", "topics", "purpose", None)` puts None at that place."""
        document = yaml.safe_load((self.path / name).read_text(encoding="utf-8"))
        *place, last, value = place_and_value
        inner = document
        for key in place:
            inner = inner[key]
        inner[last] = value
        self.write(name, document)

    def restate(self, old: str, new: str) -> None:
        path = self.path / "statement.nb.txt"
        before = path.read_text(encoding="utf-8")
        assert old in before
        path.write_text(before.replace(old, new), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "acme")


# The companies that ship


@pytest.mark.parametrize("company_id", COMPANIES)
def test_every_company_can_be_loaded_and_nothing_in_it_is_stale(library: Library, company_id: str) -> None:
    company = library.company(company_id)
    assert company.id == company_id
    assert set(company.name) == set(LANGUAGES)
    assert company.reading.stale == ()
    assert company.reading.topics
    [statement] = (POLICIES / company_id).glob("statement.*")
    assert company.reading.language == statement.name.split(".")[1]


@pytest.mark.parametrize("company_id", COMPANIES)
def test_every_fingerprint_is_that_of_its_passage(library: Library, company_id: str) -> None:
    passages = {passage.id: passage for passage in library.company(company_id).passages}
    document = yaml.safe_load((POLICIES / company_id / "reading.yml").read_text(encoding="utf-8"))
    assert document["passages"]
    for passage_id, recorded in document["passages"].items():
        assert passages[passage_id].fingerprint == recorded["fingerprint"], passage_id


@pytest.mark.parametrize("company_id", COMPANIES)
def test_every_topic_is_answered_in_all_three_languages_or_in_none(library: Library, company_id: str) -> None:
    document = yaml.safe_load((POLICIES / company_id / "reading.yml").read_text(encoding="utf-8"))
    assert set(document["topics"]) <= set(TOPICS)
    for topic, recorded in document["topics"].items():
        answer = recorded.get("answer") or {}
        assert set(answer) in (set(), set(LANGUAGES)), topic
        for language, said in answer.items():
            assert isinstance(said, str), (topic, language)
            assert 10 < len(said.strip()) <= LONGEST_ANSWER, (topic, language)
        assert recorded["status"] == "reviewed", topic
        assert len(set(recorded["passages"])) == len(recorded["passages"]), topic
    assert set(library.company(company_id).reading.topics) == set(document["topics"])


@pytest.mark.parametrize("company_id", COMPANIES)
def test_every_passage_is_translated(library: Library, company_id: str) -> None:
    company = library.company(company_id)
    wanted = "nb" if company.reading.language == "en" else "en"
    for passage in company.passages:
        known = company.reading.passages[passage.id]
        # A line that only leads into a list has nothing to sum up.
        assert set(known.gist) == set(LANGUAGES) or (not known.gist and passage.kind == "lead_in"), passage.id
        assert known.translation.get(wanted, "").strip(), passage.id
        assert known.reviewed, passage.id


@pytest.mark.parametrize("company_id", COMPANIES)
def test_a_contact_that_is_given_stands_in_the_statement(library: Library, company_id: str) -> None:
    company = library.company(company_id)
    for given in (company.contact.email, company.contact.phone):
        assert given is None or given in company.source.replace("\u00a0", " ")


def test_the_vocabulary_is_that_of_the_contracts_and_of_the_domain() -> None:
    domain = yaml.safe_load((ROOT / "domain.yml").read_text(encoding="utf-8"))
    intents = set(domain["intents"])
    assert {f"ask_{topic}" for topic in TOPICS} == {name for name in intents if name.startswith("ask_")}
    assert {f"request_{right}" for right in RIGHTS} | {"request_status"} == {
        name for name in intents if name.startswith("request_")
    }
    described = (ROOT / "docs" / "topics.md").read_text(encoding="utf-8")
    assert [topic for topic in TOPICS if f"`{topic}`" not in described] == []


# A statement that changes under its reading


def test_a_reading_fits_the_statement_it_was_made_for(folder: Folder) -> None:
    company = load_company(folder.path)
    retention = company.reading.topics["retention"]
    assert [passage.text for passage in retention.passages] == [STORED]
    assert retention.answer["en"] == "For a year."
    assert (retention.reviewed, retention.narrow) == (True, False)
    assert company.reading.topics["erasure"].narrow
    assert company.reading.topics["purpose"].answer == {}
    assert company.reading.passages["lagring.1"].translation == {"en": f"In English: {STORED}"}
    assert company.reading.stale == ()


def test_a_changed_passage_makes_its_topics_stale_and_takes_their_answers(folder: Folder) -> None:
    folder.restate("i ett år", "i to år")
    company = load_company(folder.path)
    assert set(company.reading.stale) == {"retention", "erasure"}
    # Nothing is left of what `retention` leaned on; `erasure` can still quote its other passage.
    assert "retention" not in company.reading.topics
    assert [passage.text for passage in company.reading.topics["erasure"].passages] == [USED]
    assert company.reading.topics["erasure"].answer == {}
    assert set(company.reading.passages) == {"formal.1"}


def test_a_passage_that_is_gone_makes_its_topics_stale(folder: Folder) -> None:
    folder.restate(STORED, "")
    company = load_company(folder.path)
    assert set(company.reading.stale) == {"retention", "erasure"}
    assert "retention" not in company.reading.topics


@pytest.mark.parametrize(
    ("old", "new", "now"),
    [
        ("Lagring\n", "Hvor lenge vi lagrer\n", "hvor-lenge-vi-lagrer.1"),
        (f"{STORED}\n", f"Dette er et helt nytt avsnitt som står foran.\n\n{STORED}\n", "lagring.2"),
        (STORED, STORED.replace("år. ", "år.   "), "lagring.1"),
        (STORED, f"- {STORED}", "lagring.1"),
    ],
    ids=["a new heading", "another place", "other white space", "a bullet"],
)
def test_a_moved_passage_is_followed(folder: Folder, old: str, new: str, now: str) -> None:
    folder.restate(old, new)
    company = load_company(folder.path)
    assert company.reading.stale == ()
    retention = company.reading.topics["retention"]
    assert [passage.id for passage in retention.passages] == [now]
    assert retention.answer["nb"] == "I ett år."
    assert company.reading.passages[now].translation["en"] == f"In English: {STORED}"


@pytest.mark.parametrize("status", ["draft", None])
def test_an_answer_that_nobody_has_reviewed_is_not_given(folder: Folder, status: str | None) -> None:
    folder.edit("reading.yml", "topics", "retention", "status", status)
    retention = load_company(folder.path).reading.topics["retention"]
    assert not retention.reviewed
    assert retention.answer == {}


def test_a_translation_that_nobody_has_reviewed_says_so(folder: Folder) -> None:
    folder.edit("reading.yml", "passages", "lagring.1", "status", "draft")
    known = load_company(folder.path).reading.passages
    assert (known["lagring.1"].reviewed, known["formal.1"].reviewed) == (False, True)


def test_a_statement_without_a_reading_can_be_quoted_at_once(folder: Folder) -> None:
    (folder.path / "reading.yml").unlink()
    company = load_company(folder.path)
    assert (company.reading.title, company.reading.language) == ("Personvernerklæring", "nb")
    assert company.reading.topics == {}
    assert company.index.scores("Hvor lenge lagrer dere navnet?")["lagring.1"] > 0


# Mistakes of whoever edits a folder

R, C = "reading.yml", "company.yml"


def replace_file(name: str, content: bytes) -> Callable[[Folder], object]:
    return lambda folder: (folder.path / name).write_bytes(content)


def copy(old: str, new: str) -> Callable[[Folder], object]:
    return lambda folder: shutil.copy(folder.path / old, folder.path / new)


def rename(old: str, new: str) -> Callable[[Folder], object]:
    return lambda folder: (folder.path / old).rename(folder.path / new)


def put(name: str, *place_and_value: Any) -> Callable[[Folder], object]:
    return lambda folder: folder.edit(name, *place_and_value)


MISTAKES = {
    # The statement
    "no statement": (lambda folder: (folder.path / "statement.nb.txt").unlink(), "found 0"),
    "two statements": (copy("statement.nb.txt", "statement.en.txt"), "found 2"),
    "a language we do not speak": (rename("statement.nb.txt", "statement.da.txt"), "statement.da.txt"),
    "no language": (rename("statement.nb.txt", "statement.txt"), "statement.txt"),
    "another encoding": (replace_file("statement.nb.txt", "Bjørn".encode("latin-1")), "UTF-8"),
    "an empty statement": (replace_file("statement.nb.txt", b"\n \n"), "no text"),
    # Both YAML files
    "company.yml is not YAML": (replace_file(C, b"name: [Acme\ncontact: {"), "line 2"),
    "reading.yml is not YAML": (replace_file(R, b"topics: [\npassages: }"), "line 2"),
    "a list instead of a mapping": (replace_file(R, b"- topics"), "mapping"),
    "an empty reading": (replace_file(R, b""), "mapping"),
    "an object of Python": (replace_file(R, b"a: !!python/object:os.system x"), "line 1"),
    # The company
    "no name": (put(C, "name", None), "name"),
    "a name in two languages": (put(C, "name", {"nb": "A", "en": "A"}), "name"),
    # The reading
    "a topic that does not exist": (put(R, "topics", "cats", {"passages": ["lagring.1"]}), "cats"),
    "a topic without passages": (put(R, "topics", "retention", "passages", []), "retention"),
    "a passage without an entry": (put(R, "topics", "retention", "passages", ["lagring.7"]), "lagring.7"),
    "an answer in two languages": (put(R, "topics", "retention", "answer", {"nb": "a", "en": "b"}), "retention"),
}
CRASHING = {
    "company.yml in another encoding": (replace_file(C, "name: Bjørn".encode("latin-1")), "company.yml"),
    "reading.yml in another encoding": (replace_file(R, "title: Bjørn".encode("latin-1")), "reading.yml"),
    "a date that is none": (replace_file(R, b"statement: {updated: 2020-99-99}"), "reading.yml"),
    "topics as a list": (put(R, "topics", ["retention"]), "topics"),
    "a topic without anything": (put(R, "topics", "retention", None), "retention"),
    "a topic as a text": (put(R, "topics", "retention", "lagring.1"), "retention"),
    "passages as a list": (put(R, "passages", ["lagring.1"]), "passages"),
    "a gist as a text": (put(R, "passages", "lagring.1", "gist", "Ett år"), "lagring.1"),
    "a translation as a text": (put(R, "passages", "lagring.1", "translation", "One year"), "lagring.1"),
    "an empty translation": (put(R, "passages", "lagring.1", "translation", {"en": None}), "lagring.1"),
    "the statement's facts as a text": (put(R, "statement", "Personvernerklæring"), "statement"),
    "a contact as a text": (put(C, "contact", "personvern@acme.example"), "contact"),
}
HARMFUL = {
    "an answer that was left empty": (
        put(R, "topics", "retention", "answer", {"nb": "I ett år.", "nn": None, "en": "For a year."}),
        "retention",
    ),
    "a retention time in words": (put(C, "retention_days", "a month"), "retention_days"),
    "a channel's retention time in words": (put(C, "retention_days", {"widget": "a month"}), "retention_days"),
    "a retention time below nothing": (put(C, "retention_days", -1), "retention_days"),
    "a name without words": (put(C, "name", {"nb": None, "nn": None, "en": None}), "name"),
    "another language than the file's": (put(R, "statement", "language", "en"), "language"),
}


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        *(pytest.param(*case, id=name) for name, case in MISTAKES.items()),
        *(pytest.param(*case, id=name) for name, case in CRASHING.items()),
        *(pytest.param(*case, id=name) for name, case in HARMFUL.items()),
    ],
)
def test_a_mistake_is_told_in_a_sentence_that_says_where(
    folder: Folder, mistake: Callable[[Folder], object], named: str
) -> None:
    mistake(folder)
    with pytest.raises(CompanyError) as told:
        load_company(folder.path)
    assert named in str(told.value)
    assert "acme" in str(told.value) or "statement." in str(told.value)
    assert "\n" not in str(told.value)


def test_a_folder_without_company_yml_is_told_in_a_sentence(folder: Folder) -> None:
    (folder.path / "company.yml").unlink()
    with pytest.raises(CompanyError, match=r"company\.yml is missing"):
        load_company(folder.path)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, {}), (10, {"default": 10}), ({"widget": 3, "default": 9}, {"widget": 3, "default": 9})],
)
def test_a_company_may_set_its_own_retention(folder: Folder, given: object, expected: dict[str, int]) -> None:
    folder.edit("company.yml", "retention_days", given)
    assert load_company(folder.path).retention_days == expected
