"""Everything that is said to people stands in personvern/languages/texts, in three languages, and nowhere else."""

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import ROOT
from jinja2 import Environment, meta

from personvern.languages.texts import has_text, text, texts
from personvern.statements.reading import LANGUAGES, RIGHTS, TOPICS

FOLDER = ROOT / "personvern" / "languages" / "texts"
CODE = sorted(path for room in ("app", "actions", "personvern") for path in (ROOT / room).rglob("*.py"))
LONGEST_BUTTON = 20

_JINJA = Environment(autoescape=True)
_JINJA.filters["quoted"] = str


def document(language: str) -> dict[str, Any]:
    found = yaml.safe_load((FOLDER / f"{language}.yml").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def leaves(branch: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(branch, dict):
        for name, inner in branch.items():
            yield from leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(branch, list):
        for index, inner in enumerate(branch):
            yield from leaves(inner, f"{key}[{index}]")
    else:
        yield key, branch


ALL = {language: dict(leaves(document(language))) for language in LANGUAGES}
KEYS = set(ALL["nb"])


# The three files


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_everything(language: str) -> None:
    assert set(ALL[language]) ^ KEYS == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_words(language: str) -> None:
    """YAML reads a bare `No` as false and `22:30` as a number."""
    odd = {key: said for key, said in ALL[language].items() if not isinstance(said, str) or said != said.strip()}
    assert odd == {}
    assert [key for key, said in ALL[language].items() if not said] == []


def placeholders(key: str, said: str) -> set[str]:
    if key.startswith("mails."):
        return meta.find_undeclared_variables(_JINJA.parse(said))
    return {name for _, name, _, _ in string.Formatter().parse(said) if name is not None}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_has_the_same_places_to_fill_in_every_language(language: str) -> None:
    differing = {
        key: placeholders(key, said) ^ placeholders(key, ALL["nb"].get(key, ""))
        for key, said in ALL[language].items()
        if placeholders(key, said) != placeholders(key, ALL["nb"].get(key, ""))
    }
    assert differing == {}
    assert all(name.isidentifier() for key, said in ALL[language].items() for name in placeholders(key, said))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_button_fits_the_narrowest_channel(language: str) -> None:
    buttons = {key: said for key, said in ALL[language].items() if key.startswith("buttons.")}
    assert buttons
    assert {key: said for key, said in buttons.items() if len(said) > LONGEST_BUTTON} == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_two_buttons_never_read_the_same(language: str) -> None:
    labels = list(texts(language, "buttons.topic").values())
    assert len(set(labels)) == len(labels)


def test_the_two_norwegian_languages_are_two() -> None:
    """A nynorsk text that was only copied would be the same as the bokmål one."""
    long = [key for key in KEYS if len(ALL["nb"][key]) > 60]
    same = [key for key in long if ALL["nb"][key] == ALL["nn"][key]]
    assert long
    assert same == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_vocabulary_is_covered(language: str) -> None:
    assert set(texts(language, "topics")) == set(TOPICS)
    assert set(texts(language, "rights")) == set(RIGHTS)
    assert set(texts(language, "law")) <= set(TOPICS)
    assert set(texts(language, "buttons.topic")) <= set(TOPICS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_greeting_says_that_it_is_a_chatbot(language: str) -> None:
    assert "chatbot" in text(language, "greeting", company="Acme")
    assert 3 <= len(texts(language, "suggestions")) <= 4


def test_a_text_is_filled_in_and_a_missing_one_is_an_error() -> None:
    assert "Acme" in text("nb", "greeting", company="Acme")
    assert has_text("en", "law.access")
    assert not has_text("en", "law.cookies")
    assert not has_text("en", "law")
    assert not has_text("en", "law.access.deeper")
    with pytest.raises(KeyError):
        text("nb", "there.is.no.such.text")
    with pytest.raises(KeyError):
        text("nb", "greeting", wrong="Acme")


# The texts and the code


def parents(tree: ast.AST) -> dict[ast.AST, ast.AST]:
    return {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}


def literals(tree: ast.AST) -> Iterator[ast.Constant]:
    """String literals that are no docstrings."""
    above = parents(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not isinstance(above[node], ast.Expr):
            yield node


def as_pattern(node: ast.JoinedStr) -> str:
    """`f"law.{topic}"` as a regular expression with one group a hole."""
    return "".join(
        re.escape(part.value) if isinstance(part, ast.Constant) and isinstance(part.value, str) else "([^.]+)"
        for part in node.values
    )


def intents() -> set[str]:
    return set(yaml.safe_load((ROOT / "domain.yml").read_text(encoding="utf-8"))["intents"])


HOLES = {
    "topics": set(TOPICS),
    "law": set(TOPICS),
    "rights": set(RIGHTS),
    "converse": intents() | {"not_understood"},
}
"""What the code may put into `f"section.{...}"`; in another section the whole of it counts as used."""
SECTIONS = set(document("nb"))
KEY = re.compile(r"[a-z_]+(?:\.[a-z_-]+)*")
DOTTED = re.compile(r"[a-z_]+(?:\.[a-z_-]+)+")


def subtree(key: str) -> set[str]:
    return {known for known in KEYS if known == key or known.startswith((f"{key}.", f"{key}["))}


def references() -> Iterator[tuple[str, str, set[str]]]:
    """Where, what is written there, and which texts it means."""
    for path in CODE:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        place = str(path.relative_to(ROOT))
        asked: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("text", "texts", "has_text"):
                asked |= {
                    inner.value
                    for argument in node.args[1:2]
                    for inner in ast.walk(argument)
                    if isinstance(inner, ast.Constant) and isinstance(inner.value, str) and KEY.fullmatch(inner.value)
                    if not any(isinstance(outer, ast.JoinedStr) for outer in ast.walk(argument))
                }
            if isinstance(node, ast.JoinedStr):
                pattern = as_pattern(node)
                section = pattern.partition("\\.")[0]
                if section in SECTIONS and pattern != section:
                    yield place, pattern, {key for key in KEYS if matches(pattern, key, HOLES.get(section))}
        for literal in literals(tree):
            if literal.value in asked or (
                DOTTED.fullmatch(literal.value) and literal.value.partition(".")[0] in SECTIONS
            ):
                yield place, literal.value, subtree(literal.value)


def matches(pattern: str, key: str, allowed: set[str] | None) -> bool:
    found = re.fullmatch(pattern, key)
    return found is not None and (allowed is None or all(hole in allowed for hole in found.groups()))


def test_no_text_is_asked_for_that_is_not_there() -> None:
    missing = [f"{place}: {written}" for place, written, meant in references() if not meant]
    assert missing == []


# Written for what is being built; whoever uses one takes it off this list.
NOT_YET_USED: set[str] = set()


def test_no_text_is_there_that_nobody_asks_for() -> None:
    used = {key for _, _, meant in references() for key in meant}
    assert len(used) > 100
    assert KEYS - used - NOT_YET_USED == set()


SQL = re.compile(r"(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|PRAGMA|BEGIN|SET)\b")
FOR_DEVELOPERS = re.compile(
    r"(logger|logging)\.\w+|re\.\w+|sys\.exit|\w+\.(add_argument|add_parser)|argparse\.ArgumentParser|OpenAPIConfig"
)
DESCRIBES_THE_API = {"summary", "description", "title", "help", "media_type"}
ALLOWED = {
    ("app/main.py", "default-src"),  # the Content-Security-Policy
    ("personvern/answers/answering.py", "(meg|mæ|"),  # understood, not said
    ("personvern/privacy/masking.py", "[fødselsnummer]"),  # the token that stands for what was masked
    ("personvern/statements/passages.py", "æ"),  # letters, for ids
    ("personvern/statements/passages.py", "ø"),
    ("personvern/statements/passages.py", "å"),
    ("personvern/answers/overview.py", ""),  # a page of the documentation, which is in English
    ("personvern/requests/intake.py", "[^\\W"),  # understood, not said
    ("personvern/requests/deadline.py", "Second Day of Christmas"),  # the name in the library `holidays`
}


def is_prose(words: str) -> bool:
    """Norwegian letters, or so many English words that it can be nothing else."""
    return bool(re.search("[æøåÆØÅ]", words)) or (" " in words and len(re.findall(r"[A-Za-z]{2,}", words)) >= 4)


def is_for_developers(node: ast.AST, above: dict[ast.AST, ast.AST]) -> bool:
    while node in above:
        node = above[node]
        if isinstance(node, ast.Raise):
            return True
        if isinstance(node, ast.keyword) and node.arg in DESCRIBES_THE_API:
            return True
        if isinstance(node, ast.Call) and FOR_DEVELOPERS.fullmatch(ast.unparse(node.func)):
            return True
        if isinstance(node, ast.stmt):
            return False
    return False


def test_no_sentence_for_people_stands_in_the_code() -> None:
    found = []
    for path in CODE:
        place = str(path.relative_to(ROOT))
        if path.is_relative_to(ROOT / "personvern" / "languages"):
            continue  # where words are understood and kept
        tree = ast.parse(path.read_text(encoding="utf-8"))
        above = parents(tree)
        for literal in literals(tree):
            words = literal.value
            if not is_prose(words) or SQL.match(words) or is_for_developers(literal, above):
                continue
            if not any(place == file and start in words for file, start in ALLOWED):
                found.append(f"{place}:{literal.lineno} {words[:60]!r}")
    assert found == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('x = "Beklager, dette gikk ikke så bra."', True),
        ('x = f"You have {n} new messages from them"', True),
        ('"""A docstring that nobody else ever reads."""', False),
        ('raise ValueError("a time without a zone was given")', False),
        ('logger.info("turn.crashed conversation=%s error=%s")', False),
        ('x = "application/problem+json"', False),
    ],
)
def test_the_check_above_tells_sentences_from_code(code: str, expected: bool) -> None:
    tree = ast.parse(code)
    above = parents(tree)
    found = [one for one in literals(tree) if is_prose(one.value) and not is_for_developers(one, above)]
    assert bool(found) is expected


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_chat_page_says_everything_in_every_language(language: str) -> None:
    page = yaml.safe_load((ROOT / "app" / "pages" / "static" / "texts.json").read_text(encoding="utf-8"))
    said = {one: dict(leaves(page[one])) for one in LANGUAGES}
    assert set(said[language]) == set(said["nb"])
    assert all(placeholders(key, words) == placeholders(key, said["nb"][key]) for key, words in said[language].items())


def test_only_yaml_files_of_the_three_languages_are_there() -> None:
    assert {path.name for path in Path(FOLDER).iterdir()} == {f"{language}.yml" for language in LANGUAGES}
