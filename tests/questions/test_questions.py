"""The question set itself: well formed, true to the statements, and never trained on."""

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from personvern.statements.company import load_company
from personvern.statements.reading import LANGUAGES, RIGHTS, TOPICS

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
QUESTIONS = {
    path.stem: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for path in sorted(HERE.glob("*.jsonl"))
}
ALL = [question for questions in QUESTIONS.values() for question in questions]
NEAR_COPY = 0.8
"""Share of letter pairs and triples that two texts have in common."""


def _trained_on() -> list[str]:
    texts = []
    for path in sorted((ROOT / "data" / "nlu").rglob("*.yml")):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["nlu"]:
            texts += re.findall(r"^- (.*)$", entry["examples"], re.MULTILINE)
    return texts


def _folded(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _pieces(text: str) -> frozenset[str]:
    padded = f" {_folded(text)} "
    return frozenset(padded[start : start + size] for size in (3, 4) for start in range(len(padded) - size + 1))


def test_no_question_is_trained_on_word_for_word_beyond_what_anybody_types() -> None:
    trained = {_folded(text) for text in _trained_on()}
    # One to three words («cookies?») belong to everybody: there is no other way to type them.
    same = [question["id"] for question in ALL if _folded(question["text"]) in trained]
    assert [name for name in same if len(_by_id(name)["text"].split()) > 3] == []


def test_no_question_is_a_near_copy_of_a_training_phrase() -> None:
    trained = [(text, _pieces(text)) for text in _trained_on() if len(text.split()) > 4]
    owners: dict[str, list[int]] = defaultdict(list)
    for number, (_, pieces) in enumerate(trained):
        for piece in pieces:
            owners[piece].append(number)
    copies = []
    for question in ALL:
        if len(question["text"].split()) <= 4:
            continue
        pieces = _pieces(question["text"])
        shared: dict[int, int] = defaultdict(int)
        for piece in pieces:
            if len(owners[piece]) < 4000:
                for number in owners[piece]:
                    shared[number] += 1
        for number, count in shared.items():
            if count > 0.5 * len(pieces):
                other = trained[number][1]
                if len(pieces & other) / len(pieces | other) >= NEAR_COPY:
                    copies.append((question["id"], trained[number][0]))
    assert copies == []


def _by_id(name: str) -> dict[str, str]:
    return next(question for question in ALL if question["id"] == name)


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_line_speaks_of_what_there_is(name: str) -> None:
    for question in QUESTIONS[name]:
        company = load_company(ROOT / "policies" / question["company"])
        assert question.get("lang") in (*LANGUAGES, None), question["id"]
        assert {question["topic"], *question.get("also_topics", ())} <= set(TOPICS) if "topic" in question else True
        assert question["right"] in RIGHTS if "right" in question else True
        for piece in question.get("evidence", ()):
            assert piece in company.source, question["id"]


def test_no_two_questions_are_alike() -> None:
    assert len({question["id"] for question in ALL}) == len(ALL)
    assert len({(question["company"], _folded(question["text"])) for question in ALL}) == len(ALL)
