"""How a statement was read: for each topic the passages that speak of it and short answers, pinned to their words.

The file is `reading.yml` in the company's folder; docs/reading.md describes it. An entry holds as long as every passage
it leans on still has the fingerprint it had: a short answer never outlives its source.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from personvern.statements.passages import Passage

LANGUAGES = ("nb", "nn", "en")

TOPICS = (
    "controller", "what_data", "purpose", "legal_basis", "source", "recipients", "authorities", "transfer",
    "retention", "rights", "access", "rectification", "erasure", "restriction", "portability", "objection",
    "withdraw_consent", "automated_decisions", "complaint", "security", "breach", "cookies", "ip_logging",
    "sensitive_data", "marketing", "job_applicants", "employees", "children", "contact", "dpo", "changes",
    "definition", "credit_check", "camera_surveillance", "recordings", "profiling", "location", "other",
)  # fmt: skip

RIGHTS = (
    "access", "rectification", "erasure", "restriction", "portability", "objection", "withdraw_consent",
    "human_review", "complaint", "other",
)  # fmt: skip


class ReadingError(Exception):
    """The file cannot be used; the text says where and why."""


@dataclass(frozen=True, slots=True)
class TopicReading:
    """`answer` is empty where the entry is stale or not reviewed: then the bot quotes and says no more."""

    topic: str
    passages: tuple[Passage, ...]
    answer: Mapping[str, str]
    reviewed: bool
    narrow: bool


@dataclass(frozen=True, slots=True)
class PassageReading:
    gist: Mapping[str, str] = field(default_factory=dict)
    translation: Mapping[str, str] = field(default_factory=dict)
    reviewed: bool = True


@dataclass(frozen=True, slots=True)
class Reading:
    title: str
    language: str
    updated: str | None
    binding: bool
    topics: Mapping[str, TopicReading]
    passages: Mapping[str, PassageReading]
    stale: tuple[str, ...]
    """Topics whose passages have changed since they were read."""


def read(document: Mapping[str, Any], passages: list[Passage], file_language: str) -> Reading:
    """Fit a reading to the statement as it is now; raises ReadingError on what a person must mend."""
    statement = _mapping(document.get("statement"), "statement")
    recorded: Mapping[str, Mapping[str, Any]] = {
        name: _mapping(entry, f"passages: {name}")
        for name, entry in _mapping(document.get("passages"), "passages").items()
    }
    by_id = {passage.id: passage for passage in passages}
    by_fingerprint: dict[str, Passage] = {}
    for passage in passages:
        by_fingerprint.setdefault(passage.fingerprint, passage)

    def now(passage_id: str) -> Passage | None:
        """The passage that had this id when it was read: it may have moved, its words may not have changed."""
        entry = recorded.get(passage_id)
        if entry is None:
            raise ReadingError(f"passage {passage_id} is named but has no entry under 'passages'")
        wanted = str(entry.get("fingerprint"))
        here = by_id.get(passage_id)
        return here if here and here.fingerprint == wanted else by_fingerprint.get(wanted)

    readings: dict[str, PassageReading] = {}
    for passage_id, entry in recorded.items():
        current = now(passage_id)
        if current is not None:
            readings[current.id] = PassageReading(
                _texts(entry.get("gist"), f"the gist of {passage_id}"),
                _texts(entry.get("translation"), f"the translation of {passage_id}"),
                entry.get("status", "reviewed") == "reviewed",
            )
    topics: dict[str, TopicReading] = {}
    stale: list[str] = []
    for topic, given in _mapping(document.get("topics"), "topics").items():
        if topic not in TOPICS:
            raise ReadingError(f"topic {topic!r} is none of docs/topics.md")
        entry = _mapping(given, f"topic {topic}")
        answer = _texts(entry.get("answer"), f"the answer on {topic}")
        if answer and set(answer) != set(LANGUAGES):
            raise ReadingError(f"the answer on {topic} must be in nb, nn and en, or be left out")
        found = [now(passage_id) for passage_id in entry.get("passages") or []]
        if not found:
            raise ReadingError(f"topic {topic} names no passages")
        left = tuple(passage for passage in found if passage is not None)
        if len(left) < len(found):
            stale.append(topic)
            answer = {}
        if left:
            reviewed = entry.get("status") == "reviewed"
            if not reviewed:
                answer = {}  # a draft quotes and says no more
            topics[topic] = TopicReading(topic, left, answer, reviewed, bool(entry.get("narrow", False)))
    updated = statement.get("updated")
    language = statement.get("language") or file_language
    if language != file_language:
        raise ReadingError(f"the statement's language is {language!r}, its file says {file_language!r}")
    return Reading(
        statement.get("title") or "",
        language,
        str(updated) if updated else None,
        bool(statement.get("binding", True)),
        topics,
        readings,
        tuple(stale),
    )


def quote_only(title: str, language: str) -> Reading:
    """The reading of a statement that nobody has read yet."""
    return Reading(title, language, None, True, {}, {}, ())


def _mapping(given: Any, place: str) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ReadingError(f"{place} must be a mapping")
    return given


def _texts(given: Any, place: str) -> Mapping[str, str]:
    """By language; every language that is named has its text."""
    found = _mapping(given, place)
    for language, said in found.items():
        if language not in LANGUAGES or not isinstance(said, str) or not said.strip():
            raise ReadingError(f"{place} must be a text in each language that it names")
    return found
