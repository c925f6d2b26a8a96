"""A question, a company and a language to an answer that the statement proves, or to plain silence.

Every sentence has one of three origins: the reading (reviewed, pinned to its passages), the localised texts, and the
general law in them, marked as such. Nothing is generated.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from personvern.conversations.messages import Draft, Offer, Quote, Source, Translation
from personvern.languages.texts import has_text, text, texts
from personvern.statements.company import Company
from personvern.statements.passages import Passage
from personvern.statements.reading import TopicReading

LONGEST_TEXT = 600
MOST_QUOTES = 4
_CLOSE_TOPICS = 4
_CONFIDENCE_WEIGHT = 0.2
_SEARCH_WEIGHT = 0.6
_DECISIVE_SCORE = 0.65
_DECISIVE_LEAD = 1.7
_FEW_PASSAGES = 3
_SECOND_CHOICE = 0.12
"""Tried on the leave-one-out readings: docs/understanding.md."""

_WORD = re.compile(r"\w+")
_ABOUT_ME = {
    "nb": re.compile(r"\b(meg|mæ|mei|æ|jeg|eg|mine|mitt|min|mi)\b", re.IGNORECASE),
    "nn": re.compile(r"\b(meg|mæ|mej|meig|æ|jeg|eg|mine|mitt|min|mi)\b", re.IGNORECASE),
    "en": re.compile(r"\b(me|my|mine|i|myself)\b", re.IGNORECASE),
}

_RELATED = {
    "what_data": ("access", "retention", "purpose"),
    "purpose": ("legal_basis", "recipients", "objection"),
    "legal_basis": ("withdraw_consent", "purpose"),
    "source": ("what_data", "access"),
    "recipients": ("transfer", "what_data", "security"),
    "authorities": ("recipients", "security"),
    "transfer": ("recipients", "security"),
    "retention": ("erasure", "what_data"),
    "rights": ("access", "erasure"),
    "access": ("erasure", "what_data"),
    "rectification": ("erasure", "access"),
    "erasure": ("retention", "access"),
    "restriction": ("erasure", "objection"),
    "portability": ("access", "erasure"),
    "objection": ("erasure", "marketing"),
    "withdraw_consent": ("erasure", "rights"),
    "complaint": ("rights", "contact"),
    "security": ("recipients", "retention"),
    "cookies": ("what_data", "purpose"),
    "ip_logging": ("retention", "cookies"),
    "marketing": ("objection", "withdraw_consent"),
    "job_applicants": ("retention", "erasure"),
    "contact": ("rights", "complaint"),
}


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    language: str
    topics: tuple[tuple[str, float], ...]
    """The likeliest topics with their confidences, best first."""


def answer(company: Company, question: Question, already_offered: Sequence[str] = ()) -> Draft:
    """The reply to a question; `already_offered` are the intents of the buttons last shown."""
    scores = company.index.scores(question.text)
    topic = _topic(company, question, scores)
    entry = company.reading.topics.get(topic)
    if topic == "other" and entry is not None and not _is_near(entry.passages, scores):
        entry = None
    if entry is not None:
        draft = _from_reading(company, question, topic, entry, scores)
    elif not company.reading.topics:
        draft = _by_searching(company, question, topic, scores)
    else:
        draft = _silent(company, question, topic)
    return replace(draft, offers=_offers(company, question, topic, already_offered))


def _topic(company: Company, question: Question, scores: Mapping[str, float]) -> str:
    """The likeliest topic; where the first few are close, the one whose passages share more with the question."""
    best, best_weight = "other", -math.inf
    for topic, confidence in question.topics[:_CLOSE_TOPICS]:
        weight = math.log(max(confidence, 1e-6)) * _CONFIDENCE_WEIGHT
        entry = company.reading.topics.get(topic)
        if entry is not None:
            weight += _SEARCH_WEIGHT * max(scores.get(passage.id, 0.0) for passage in entry.passages)
        if weight > best_weight:
            best, best_weight = topic, weight
    return best


def _is_near(passages: Sequence[Passage], scores: Mapping[str, float]) -> bool:
    """Whether one of these is what the question's words point to."""
    highest = max(scores.values(), default=0.0)
    return max((scores.get(passage.id, 0.0) for passage in passages), default=0.0) >= max(0.8 * highest, 0.2)


def _from_reading(
    company: Company, question: Question, topic: str, entry: TopicReading, scores: Mapping[str, float]
) -> Draft:
    language = question.language
    sentences: list[str] = []
    if _is_about_me(question, topic):
        sentences.append(text(language, "answer.cannot_see_you"))
    decisive = _decisive(company, scores)
    if entry.answer:
        known = entry.answer[language].strip()
        gist = _gist(company, language, decisive, entry)
        if gist and not _says_already(known, gist):
            sentences.append(gist)
        sentences.append(known)
    else:
        sentences.append(text(language, "answer.quote_only", topic=text(language, f"topics.{topic}")))
    if entry.narrow and has_text(language, f"law.{topic}"):
        sentences.append(text(language, f"law.{topic}"))
    return Draft(
        "answer",
        language,
        _fit(sentences),
        topic=topic,
        quotes=_quotes(company, language, _chosen(entry, decisive, scores)),
        source=source(company, language),
    )


def _decisive(company: Company, scores: Mapping[str, float]) -> Passage | None:
    """The one passage that the question's words point to, where there is one."""
    ranked = sorted(company.passages, key=lambda passage: -scores.get(passage.id, 0.0))
    if not ranked:
        return None
    first = scores.get(ranked[0].id, 0.0)
    second = scores.get(ranked[1].id, 0.0) if len(ranked) > 1 else 0.0
    return ranked[0] if first >= _DECISIVE_SCORE and first >= _DECISIVE_LEAD * second else None


def _gist(company: Company, language: str, decisive: Passage | None, entry: TopicReading) -> str | None:
    """What the decisive passage alone says; of a topic with few passages the answer says it already."""
    if decisive is None or len(entry.passages) < _FEW_PASSAGES or decisive not in entry.passages:
        return None
    reading = company.reading.passages.get(decisive.id)
    return reading.gist.get(language) if reading and reading.reviewed else None


def _says_already(answer_text: str, gist: str) -> bool:
    words = {word for word in _WORD.findall(gist.lower()) if len(word) > 3}
    said = set(_WORD.findall(answer_text.lower()))
    return len(words & said) >= 0.8 * len(words)


def _chosen(entry: TopicReading, decisive: Passage | None, scores: Mapping[str, float]) -> list[Passage]:
    """The entry's passages, those nearest to the question's words first where they stand out.

    The decisive passage is quoted even where the entry does not name it: the question was about it.
    """
    place = {passage.id: index for index, passage in enumerate(entry.passages)}
    best = max((scores.get(passage.id, 0.0) for passage in entry.passages), default=0.0) or 1.0
    ranked = sorted(
        entry.passages,
        key=lambda passage: place[passage.id] / (len(place) or 1) - 1.5 * scores.get(passage.id, 0.0) / best,
    )
    if decisive is not None:
        ranked = [decisive, *(passage for passage in ranked if passage.id != decisive.id)]
    return ranked


def _by_searching(company: Company, question: Question, topic: str, scores: Mapping[str, float]) -> Draft:
    """Nobody has read this statement yet: the passages nearest to the question, and no word beside them."""
    language = question.language
    words = f"{question.text} {text(language, f'topics.{topic}')} {text(company.reading.language, f'topics.{topic}')}"
    scores = company.index.scores(words)
    ranked = sorted(company.passages, key=lambda passage: -scores.get(passage.id, 0.0))[:2]
    if not ranked or not scores:
        return _silent(company, question, topic)
    return Draft(
        "answer",
        language,
        text(language, "answer.quote_found"),
        topic=topic,
        quotes=_quotes(company, language, ranked),
        source=source(company, language),
    )


def _silent(company: Company, question: Question, topic: str) -> Draft:
    language = question.language
    name = company.name[language]
    sentences = [text(language, "answer.cannot_see_you")] if _is_about_me(question, topic) else []
    if topic == "other":
        sentences += [text(language, "answer.silent_detail", company=name)]
    else:
        sentences += [text(language, "answer.silent", company=name, topic=text(language, f"topics.{topic}"))]
    if has_text(language, f"law.{topic}"):
        sentences.append(text(language, f"law.{topic}"))
    sentences.append(contact_line(company, language, alone=topic not in ("contact", "dpo")))
    return Draft("silent", language, _fit(sentences), topic=topic)


def _is_about_me(question: Question, topic: str) -> bool:
    """What is registered about this very person: the assistant cannot see it."""
    return topic in ("what_data", "access") and _ABOUT_ME[question.language].search(question.text) is not None


def contact_line(company: Company, language: str, *, alone: bool = False) -> str:
    """How the statement says one can ask, or that it does not say."""
    contact = company.contact
    if contact.email and contact.phone:
        return text(language, "answer.contact_both", email=contact.email, phone=contact.phone)
    if contact.email:
        return text(language, "answer.contact_email", email=contact.email)
    if contact.phone:
        return text(language, "answer.contact_phone", phone=contact.phone)
    return text(language, "answer.contact_none_alone" if alone else "answer.contact_none")


def source(company: Company, language: str) -> Source:
    reading = company.reading
    note = None if reading.binding else text(language, "answer.source_not_binding")
    return Source(reading.title, company.statement_address, reading.updated, note)


def _quotes(company: Company, language: str, passages: Sequence[Passage]) -> tuple[Quote, ...]:
    """At most four quotes; passages that stand beside each other become one, as they stand in the statement."""
    order = {passage.id: index for index, passage in enumerate(company.passages)}
    groups: list[list[Passage]] = []
    for passage in passages:
        for group in groups:
            places = [order[member.id] for member in group]
            if order[passage.id] in (min(places) - 1, max(places) + 1) and member_of(group[0], passage):
                group.append(passage)
                break
        else:
            groups.append([passage])
    merged: list[list[Passage]] = []
    for group in groups:
        for other in merged:
            places = [order[member.id] for member in other]
            mine = [order[member.id] for member in group]
            if member_of(other[0], group[0]) and (max(mine) == min(places) - 1 or min(mine) == max(places) + 1):
                other.extend(group)
                break
        else:
            merged.append(group)
    return tuple(
        _quote(company, language, sorted(group, key=lambda member: member.start)) for group in merged[:MOST_QUOTES]
    )


def member_of(first: Passage, second: Passage) -> bool:
    """Whether two passages stand under the same heading; a list's lead-in is no heading of its own here."""
    shared = min(len(first.heading), len(second.heading))
    return first.heading[:shared] == second.heading[:shared] and abs(len(first.heading) - len(second.heading)) <= 1


def _quote(company: Company, language: str, passages: Sequence[Passage]) -> Quote:
    first, last = passages[0], passages[-1]
    start = first.start
    if len(passages) > 1 and first.kind == "item":
        # A list begins with its first bullet.
        line = company.source.rfind("\n", 0, start) + 1
        start = start - len(company.source[line:start].lstrip())
    statement_language = company.reading.language
    translation = None
    wanted = "en" if language == "en" else "nb"
    if {language, statement_language} - {"nb", "nn"} and language != statement_language:
        known = [company.reading.passages.get(passage.id) for passage in passages]
        parts = [reading.translation.get(wanted) if reading else None for reading in known]
        if all(parts):
            translation = Translation(
                "\n".join(part.strip() for part in parts if part),
                wanted,
                all(reading.reviewed for reading in known if reading),
            )
    return Quote(
        first.id,
        tuple(passage.id for passage in passages),
        first.heading[-1] if first.heading else company.reading.title,
        company.source[start : last.end],
        statement_language,
        translation,
    )


def _offers(company: Company, question: Question, topic: str, already_offered: Sequence[str]) -> tuple[Offer, ...]:
    """At most two topics to go on with: first the one that the question may have meant instead."""
    labels = texts(question.language, "buttons.topic")
    others = [other for other, confidence in question.topics if confidence >= _SECOND_CHOICE and other != topic]
    offered: dict[str, Offer] = {}
    for related in (*others[:1], *_RELATED.get(topic, ("rights", "contact"))):
        intent = f"ask_{related}"
        if related in company.reading.topics and related in labels and intent not in already_offered:
            offered[related] = Offer(intent, labels[related], "topic", topic=related)
    return tuple(offered.values())[:2]


def _fit(sentences: Sequence[str]) -> str:
    """As many of the parts as a chat window takes, in order; the first always stays."""
    kept = ""
    for sentence in sentences:
        longer = f"{kept} {' '.join(sentence.split())}".strip()
        if kept and len(longer) > LONGEST_TEXT:
            break
        kept = longer
    return kept
