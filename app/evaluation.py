"""`personvern evaluate`: put questions to the running assistant and compare the replies with what was expected.

The files are JSON Lines; docs/evaluation.md has the fields. Every line is the first message of a new conversation, sent
through the same public API as the widget uses.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import aiohttp

from app.client import Chat, ChatError

ACTS_OF_KIND: dict[str, tuple[str, ...]] = {
    "answer": ("answer",),
    "silent": ("silent",),
    "request": ("ask_slot", "confirm", "code_sent", "request_opened"),
    "status": ("status", "ask_slot"),
    "human": ("handover_queued", "ask_slot"),
    "breach": ("handover_queued", "ask_slot"),
    "chitchat": ("chitchat",),
    "out_of_scope": ("refuse",),
}
"""Which acts are right for a line's kind; a kind that is not here accepts any."""
_LAST = ("chitchat", "notice")


class EvaluationError(Exception):
    """The file or the assistant cannot be used; the text says why."""


def read_questions(path: Path) -> list[dict[str, Any]]:
    questions = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            question = json.loads(line)
        except ValueError:
            raise EvaluationError(f"{path}, line {number}: not valid JSON") from None
        missing = {"id", "company", "text"} - set(question if isinstance(question, dict) else ())
        if missing:
            raise EvaluationError(f"{path}, line {number}: lacks {', '.join(sorted(missing))}")
        questions.append(question)
    if not questions:
        raise EvaluationError(f"{path} holds no questions")
    return questions


async def ask_all(
    url: str,
    questions: Sequence[dict[str, Any]],
    *,
    at_once: int = 4,
    progress: Callable[[int], None] = lambda done: None,
) -> list[dict[str, Any]]:
    """One result for each question, in the same order."""
    gate = asyncio.Semaphore(at_once)
    done = 0

    async with aiohttp.ClientSession() as session:

        async def one(question: dict[str, Any]) -> dict[str, Any]:
            nonlocal done
            async with gate:
                try:
                    chat = await Chat.begin(session, url, question["company"])
                    try:
                        reply = await chat.ask(question["text"])
                    finally:
                        await chat.close()
                except ChatError as error:
                    result = _result(question["id"], [], 0.0) | {"error": str(error)}
                except (aiohttp.ClientError, TimeoutError) as error:
                    raise EvaluationError(
                        f"{url} does not answer ({type(error).__name__}). Is `make run` up?"
                    ) from None
                else:
                    result = _result(question["id"], reply.messages, reply.seconds)
            done += 1
            progress(done)
            return result

        return list(await asyncio.gather(*(one(question) for question in questions)))


def _result(question_id: str, messages: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
    ordered = sorted(messages, key=lambda message: message["act"] in _LAST)
    acts = _unique(message["act"] for message in ordered)
    topics = _unique(message.get("topic") for message in ordered)
    rights = _unique(message.get("right") for message in ordered)
    return {
        "id": question_id,
        "acts": acts,
        "topics": topics,
        "rights": rights,
        "act": acts[0] if acts else None,
        "topic": topics[0] if topics else None,
        "right": rights[0] if rights else None,
        "language": ordered[0]["language"] if ordered else None,
        "text": "\n".join(message["text"] for message in messages),
        "quotes": [quote for message in ordered for quote in message.get("quotes", ())],
        "offers": [
            {key: offer[key] for key in ("kind", "right", "topic", "label") if key in offer}
            for message in ordered
            for offer in message.get("offers", ())
        ],
        "latency_ms": round(seconds * 1000, 1),
    }


def _unique(values: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))


@dataclass(slots=True)
class Tally:
    right: float = 0
    of: int = 0

    def add(self, share: float) -> None:
        self.right += share
        self.of += 1

    def __str__(self) -> str:
        return f"{100 * self.right / self.of:.1f} % ({self.of})" if self.of else "-"


MEASURES = ("topic", "act", "right", "silent", "language", "evidence", "facts")


def judge(question: dict[str, Any], result: dict[str, Any]) -> dict[str, float]:
    """Share met of each expectation that the line holds, 0 to 1."""
    met: dict[str, float] = {}
    kind = question.get("kind")
    if question.get("topic") and kind in (None, "answer", "silent"):
        accepted = {question["topic"], *question.get("also_topics", ())}
        met["topic"] = float(bool(accepted & set(result["topics"])))
    if kind in ACTS_OF_KIND or question.get("also_acts"):
        accepted = {*ACTS_OF_KIND.get(kind or "", ()), *question.get("also_acts", ())}
        met["act"] = float(bool(accepted & set(result["acts"])))
        if kind == "silent":
            met["silent"] = met["act"]
    if question.get("right"):
        met["right"] = float(question["right"] in result["rights"])
    if question.get("lang"):
        met["language"] = float(question["lang"] == result["language"])
    if question.get("evidence") and kind in (None, "answer"):
        quoted = [_folded(quote["text"]) for quote in result["quotes"]]
        found = [any(_folded(piece) in text for text in quoted) for piece in question["evidence"]]
        met["evidence"] = sum(found) / len(found)
    if question.get("facts"):
        text = _folded(result["text"]).lower()
        found = [_folded(fact).lower() in text for fact in question["facts"]]
        met["facts"] = sum(found) / len(found)
    return met


def _folded(text: str) -> str:
    return " ".join(text.split())


def table(questions: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]]) -> str:
    """The shares met, in all, by language and by company, and the latencies; empty where nothing was expected."""
    tallies: dict[str, dict[str, Tally]] = defaultdict(lambda: {measure: Tally() for measure in MEASURES})
    judged = 0
    for question, result in zip(questions, results, strict=True):
        met = judge(question, result)
        judged += bool(met)
        groups = ["all", f"language {question.get('lang', '?')}", f"company {question['company']}"]
        for group in groups:
            for measure, share in met.items():
                tallies[group][measure].add(share)
    lines = []
    if judged:
        lines += ["| | " + " | ".join(MEASURES) + " |", "|---" * (len(MEASURES) + 1) + "|"]
        order = sorted(tallies, key=lambda group: (group != "all", not group.startswith("language"), group))
        lines += [f"| {group} | " + " | ".join(str(tallies[group][m]) for m in MEASURES) + " |" for group in order]
    times = [result["latency_ms"] for result in results if result["latency_ms"]]
    if len(times) > 1:
        lines.append(f"\nlatency p50 {median(times):.0f} ms, p95 {quantiles(times, n=20)[-1]:.0f} ms ({len(times)})")
    return "\n".join(lines)
