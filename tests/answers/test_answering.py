"""What the bot says to a question: proven by the statement, or plainly nothing."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cache
from itertools import product
from pathlib import Path

import pytest
from helpers import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from personvern.answers.answering import LONGEST_TEXT, MOST_QUOTES, Question, answer, contact_line
from personvern.conversations.messages import Draft
from personvern.languages.texts import has_text, text, texts
from personvern.statements.company import Company, Contact, load_company
from personvern.statements.library import Library
from personvern.statements.passages import split_passages
from personvern.statements.reading import LANGUAGES, TOPICS, quote_only
from personvern.statements.search import SearchIndex

COMPANIES = sorted(path.parent.name for path in (ROOT / "policies").glob("*/company.yml"))
NORWEGIAN = [company for company in COMPANIES if company != "jobbkort"]
NAMES = {
    "jackon": ["Jackon"],
    "jobbkort": ["Jobbkort", "21 08 05 70"],
    "norsk-fagutdanning": ["Norsk Fagutdanning", "fagutdanning.no"],
    "se-gruppen": ["SE-Gruppen", "se-gruppen.no"],
    "unnamed": [],
}
RIGHTS_IN_LAW = [topic for topic in TOPICS if has_text("nb", f"law.{topic}")]


def on_one_line(words: str) -> str:
    return " ".join(words.split())


def ask(
    company: Company, topic: str, language: str, *, question: str | None = None, offered: tuple[str, ...] = ()
) -> Draft:
    asked = question if question is not None else f"{text(language, f'topics.{topic}')}?"
    if topic == "other" and question is None and topic in company.reading.topics:
        # What is under no other topic is found by its own words only.
        asked = company.reading.topics[topic].passages[0].text
    return answer(company, Question(asked, language, ((topic, 1.0),)), offered)


@pytest.fixture(params=COMPANIES)
def company(request: pytest.FixtureRequest, library: Library) -> Company:
    return library.company(request.param)


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def drafts(company: Company, language: str) -> dict[str, Draft]:
    """One answer on every topic there is."""
    return {topic: ask(company, topic, language) for topic in TOPICS}


def test_a_question_is_answered_with_proof_or_not_at_all(
    company: Company, language: str, drafts: dict[str, Draft]
) -> None:
    for topic, draft in drafts.items():
        assert draft.topic == topic
        assert draft.language == language
        if topic in company.reading.topics:
            assert draft.act == "answer", topic
            assert 1 <= len(draft.quotes) <= MOST_QUOTES, topic
            assert draft.source is not None
            assert draft.source.title == company.reading.title
            assert draft.source.version == company.reading.updated
        else:
            assert draft.act == "silent", topic
            assert draft.quotes == ()
            assert draft.source is None
    assert {draft.act for draft in drafts.values()} == {"answer", "silent"}


def test_a_quote_stands_word_for_word_in_the_statement(company: Company, drafts: dict[str, Draft]) -> None:
    passages = {passage.id: passage for passage in company.passages}
    for topic, draft in drafts.items():
        quoted = [passage_id for quote in draft.quotes for passage_id in quote.passages]
        assert len(set(quoted)) == len(quoted), topic
        if quoted:
            # One that the question's own words point to may join those of the topic.
            beyond = set(quoted) - {passage.id for passage in company.reading.topics[topic].passages}
            assert len(beyond) <= 1, topic
        for quote in draft.quotes:
            first, last = passages[quote.passages[0]], passages[quote.passages[-1]]
            assert quote.passage == first.id
            # A list is quoted from its first bullet.
            assert quote.text in company.source
            assert quote.text.endswith(company.source[first.start : last.end])
            assert len(quote.text) - (last.end - first.start) <= len("12) ")
            assert all(passages[passage_id].text in quote.text for passage_id in quote.passages)
            assert quote.heading in company.source
            assert quote.language == company.reading.language


def test_a_text_fits_a_chat_window(drafts: dict[str, Draft]) -> None:
    for topic, draft in drafts.items():
        assert 0 < len(draft.text) <= LONGEST_TEXT, topic
        assert draft.text == on_one_line(draft.text), topic


def test_nothing_of_another_company_is_ever_said(
    company: Company, language: str, drafts: dict[str, Draft], library: Library
) -> None:
    for topic, draft in drafts.items():
        said = json.dumps(asdict(draft), ensure_ascii=False)
        for other in COMPANIES:
            if other == company.id:
                continue
            assert [name for name in NAMES[other] if name.lower() in said.lower()] == [], (topic, other)
            entry = library.company(other).reading.topics.get(topic)
            if entry and entry.answer:
                assert on_one_line(entry.answer[language]) not in draft.text, (topic, other)


def test_a_silent_reply_names_the_company_the_topic_and_how_to_ask(
    company: Company, language: str, drafts: dict[str, Draft]
) -> None:
    for topic, draft in drafts.items():
        if draft.act == "silent":
            assert company.name[language] in draft.text, topic
            assert topic == "other" or text(language, f"topics.{topic}") in draft.text, topic
            for given in (company.contact.email, company.contact.phone):
                assert given is None or given in draft.text, topic


# Where the words come from


def known_sentences(company: Company, language: str) -> set[str]:
    """Everything that may be said, as it would be said."""
    said = {on_one_line(entry.answer[language]) for entry in company.reading.topics.values() if entry.answer}
    said |= {on_one_line(reading.gist[language]) for reading in company.reading.passages.values() if reading.gist}
    said |= {on_one_line(law) for law in texts(language, "law").values()}
    values = {
        "company": company.name[language],
        "email": company.contact.email,
        "phone": company.contact.phone,
    }
    for topic in TOPICS:
        for sentence in texts(language, "answer").values():
            said.add(on_one_line(sentence.format(topic=text(language, f"topics.{topic}"), **values)))
    return said


def test_every_sentence_stands_in_the_reading_or_in_the_texts(
    company: Company, language: str, drafts: dict[str, Draft]
) -> None:
    known = sorted(known_sentences(company, language), key=len, reverse=True)
    asked = [ask(company, topic, language, question="Hva har dere på meg? What do you have on me?") for topic in TOPICS]
    for draft in [*drafts.values(), *asked]:
        left = draft.text
        for sentence in known:
            left = left.replace(sentence, "")
        assert left.strip() == "", draft


# Questions about the person herself

ABOUT_ME = {
    "nb": [
        "Hva lagrer dere om meg?",
        "Hvilke av opplysningene mine har dere?",
        "Kan jeg se navnet mitt hos dere?",
        "MEG?",
    ],
    "nn": ["Kva lagrar de om meg?", "Kan eg få sjå opplysningane mine?", "ka har dokker om mæ?"],
    "en": ["What do you store about me?", "Do you have my name?", "What can I see?", "which of these are mine"],
}
NOT_ABOUT_ME = {
    "nb": ["Hva lagrer dere?", "Hvilke opplysninger behandles?", "Hvilke kategorier finnes?"],
    "nn": ["Kva lagrar de?", "Kva opplysningar blir behandla?"],
    "en": ["What do you store?", "Which kinds of data are processed?", "How is data from members of staff treated?"],
}


@pytest.mark.parametrize("topic", ["what_data", "access"])
def test_a_question_about_me_is_told_first_that_the_bot_cannot_see_me(
    company: Company, language: str, topic: str
) -> None:
    cannot_see = text(language, "answer.cannot_see_you")
    if topic not in company.reading.topics:
        pytest.skip(f"{company.id} does not speak of {topic}")
    for question in ABOUT_ME[language]:
        said = ask(company, topic, language, question=question).text
        assert said.startswith(cannot_see), question
        assert said.count(cannot_see) == 1
        assert len(said) > len(cannot_see) + 20
    for question in NOT_ABOUT_ME[language]:
        assert cannot_see not in ask(company, topic, language, question=question).text, question


@pytest.mark.parametrize("topic", ["what_data", "access"])
def test_a_question_about_me_is_told_so_where_the_statement_is_silent_too(library: Library, topic: str) -> None:
    silent = [name for name in COMPANIES if topic not in library.company(name).reading.topics]
    company = library.company(silent[0]) if silent else without(library.company("jackon"), topic)
    for language in LANGUAGES:
        said = ask(company, topic, language, question=ABOUT_ME[language][0]).text
        assert said.startswith(text(language, "answer.cannot_see_you"))


@pytest.mark.parametrize(
    ("language", "question"),
    [("nb", "Hva lagres i systemene deres?"), ("nn", "Kva blir lagra i registera dykkar?")],
)
def test_a_preposition_is_no_person(library: Library, language: str, question: str) -> None:
    said = ask(library.company("jackon"), "what_data", language, question=question).text
    assert text(language, "answer.cannot_see_you") not in said


def without(company: Company, topic: str) -> Company:
    topics = {name: entry for name, entry in company.reading.topics.items() if name != topic}
    return replace(company, reading=replace(company.reading, topics=topics))


# General law


def laws_in(said: str, language: str) -> list[str]:
    return [topic for topic in RIGHTS_IN_LAW if on_one_line(text(language, f"law.{topic}")) in said]


def test_a_right_is_followed_by_one_sentence_of_law_where_the_statement_says_too_little(
    company: Company, language: str, drafts: dict[str, Draft]
) -> None:
    for topic, draft in drafts.items():
        entry = company.reading.topics.get(topic)
        too_little = entry is None or entry.narrow
        expected = [topic] if too_little and topic in RIGHTS_IN_LAW else []
        assert laws_in(draft.text, language) == expected, topic
        if expected:
            law = on_one_line(text(language, f"law.{topic}"))
            assert draft.text.count(law) == 1
            # It is never put into the company's mouth.
            assert "GDPR" in law
            assert company.name[language] not in law


def test_law_is_there_for_every_right_there_is_to_ask_about() -> None:
    assert set(RIGHTS_IN_LAW) == {
        "rights", "access", "rectification", "erasure", "restriction", "portability", "objection",
        "withdraw_consent", "automated_decisions", "complaint",
    }  # fmt: skip


# Buttons


def test_at_most_two_ways_on_are_offered_and_each_leads_to_an_answer(
    company: Company, language: str, drafts: dict[str, Draft]
) -> None:
    for topic, draft in drafts.items():
        assert len(draft.offers) <= 2, topic
        assert len({offer.intent for offer in draft.offers}) == len(draft.offers)
        for offer in draft.offers:
            assert offer.intent == f"ask_{offer.topic}"
            assert offer.kind == "topic"
            assert offer.topic != topic
            assert offer.label == texts(language, "buttons.topic")[offer.topic]
            assert not offer.acts
            assert drafts[str(offer.topic)].act == "answer", topic
    assert any(draft.offers for draft in drafts.values())


def test_nothing_is_offered_again_that_was_offered_just_now(
    company: Company, language: str, drafts: dict[str, Draft]
) -> None:
    for topic, draft in drafts.items():
        offered = tuple(offer.intent for offer in draft.offers)
        again = ask(company, topic, language, offered=offered)
        assert not {offer.intent for offer in again.offers} & set(offered), topic
        assert again.text == draft.text
        nothing_left = ask(company, topic, language, offered=tuple(f"ask_{name}" for name in TOPICS))
        assert nothing_left.offers == (), topic


# Other languages than the statement's


def test_only_the_statement_that_says_so_is_marked_as_not_binding(
    company: Company, language: str, drafts: dict[str, Draft]
) -> None:
    for draft in drafts.values():
        if draft.source:
            note = text(language, "answer.source_not_binding") if company.id == "jobbkort" else None
            assert draft.source.note == note


@pytest.mark.parametrize(
    ("company_id", "language", "translated_to"),
    [
        *((company, "en", "en") for company in NORWEGIAN),
        *((company, language, None) for company, language in product(NORWEGIAN, ("nb", "nn"))),
        ("jobbkort", "nb", "nb"),
        ("jobbkort", "nn", "nb"),
        ("jobbkort", "en", None),
    ],
)
def test_a_quote_in_a_foreign_language_bears_a_reviewed_translation(
    library: Library, company_id: str, language: str, translated_to: str | None
) -> None:
    company = library.company(company_id)
    seen = 0
    for topic in company.reading.topics:
        for quote in ask(company, topic, language).quotes:
            seen += 1
            if translated_to is None:
                assert quote.translation is None, (topic, quote.passage)
                continue
            assert quote.translation is not None, (topic, quote.passage)
            assert quote.translation.language == translated_to
            assert quote.translation.reviewed
            assert quote.translation.text.strip() == quote.translation.text
            assert quote.translation.text != quote.text
            for passage_id in quote.passages:
                part = company.reading.passages[passage_id].translation[translated_to].strip()
                assert part in quote.translation.text
    assert seen > 10


def test_a_translation_that_nobody_has_reviewed_is_marked_so(library: Library) -> None:
    company = library.company("jackon")
    drafted = {name: replace(known, reviewed=False) for name, known in company.reading.passages.items()}
    unread = replace(company, reading=replace(company.reading, passages=drafted))
    for quote in ask(unread, "what_data", "en").quotes:
        assert quote.translation is not None
        assert not quote.translation.reviewed


# The passage that speaks of what was asked comes first


@pytest.mark.parametrize(
    ("company_id", "topic", "language", "question", "evidence"),
    [
        ("unnamed", "what_data", "nb", "Lagrer dere faksnummeret?", "Faksnummer"),
        ("unnamed", "what_data", "en", "Do you keep bank details?", "Bankrelatert informasjon"),
        (
            "norsk-fagutdanning",
            "rights",
            "nb",
            "Kan jeg få en kopi?",
            "Rett til å be om en kopi av personopplysningene.",
        ),
        ("norsk-fagutdanning", "rights", "nn", "Kan eg trekkje tilbake samtykket?", "trekke tilbake et samtykke"),
        ("jobbkort", "what_data", "nb", "Lagrer dere fødselsnummer eller D-nummer?", "D-number"),
        ("se-gruppen", "what_data", "nb", "Hva gjør dere med IP-adresser?", "IP adresser"),
    ],
)
def test_the_nearest_passage_is_quoted_first(
    library: Library, company_id: str, topic: str, language: str, question: str, evidence: str
) -> None:
    draft = ask(library.company(company_id), topic, language, question=question)
    assert draft.act == "answer"
    assert evidence in draft.quotes[0].text


@pytest.mark.parametrize(
    ("question", "topics", "chosen"),
    [
        ("Bruker dere cookies til noe?", (("purpose", 0.41), ("cookies", 0.38)), "cookies"),
        ("Bruker dere cookies til noe?", (("purpose", 0.99), ("cookies", 0.0001)), "purpose"),
        ("Hva er formålet?", (("purpose", 0.6), ("cookies", 0.3)), "purpose"),
        ("Hva er formålet?", (), "other"),
    ],
)
def test_of_topics_that_are_close_the_one_nearer_to_the_words_is_answered(
    library: Library, question: str, topics: tuple[tuple[str, float], ...], chosen: str
) -> None:
    assert answer(library.company("norsk-fagutdanning"), Question(question, "nb", topics)).topic == chosen


def test_what_is_under_no_topic_is_answered_only_where_the_words_point_to_it(company: Company, language: str) -> None:
    draft = ask(company, "other", language, question="xyzzy?")
    assert draft.act == "silent"
    assert text(language, "answer.silent_detail", company=company.name[language]) in draft.text
    assert laws_in(draft.text, language) == []


# Statements that nobody has read yet, or that have changed since


@cache
def unread(folder: Path) -> Company:
    company = load_company(folder)
    passages = split_passages(company.source)
    return replace(
        company,
        reading=quote_only(company.reading.title, company.reading.language),
        index=SearchIndex(passages, {}),
    )


@pytest.mark.parametrize("company_id", COMPANIES)
def test_a_statement_without_a_reading_is_quoted_and_nothing_is_added(company_id: str, language: str) -> None:
    company = unread(ROOT / "policies" / company_id)
    for topic in TOPICS:
        draft = ask(company, topic, language)
        assert draft.act in ("answer", "silent")
        if draft.act == "answer":
            assert draft.text == text(language, "answer.quote_found")
            assert 1 <= len(draft.quotes) <= 2
            assert all(quote.text in company.source for quote in draft.quotes)
            assert all(quote.translation is None for quote in draft.quotes)
            assert draft.source is not None


def test_a_question_that_shares_nothing_with_an_unread_statement_is_met_with_silence(language: str) -> None:
    company = unread(ROOT / "policies" / "jackon")
    blank = replace(company, index=SearchIndex([], {}))
    draft = ask(blank, "cookies", language, question="xyzzy")
    assert draft.act == "silent"
    assert draft.quotes == ()


def test_an_entry_without_an_answer_is_quoted(library: Library, language: str) -> None:
    company = library.company("jackon")
    stale = replace(company.reading.topics["cookies"], answer={}, narrow=False)
    changed = replace(company, reading=replace(company.reading, topics={**company.reading.topics, "cookies": stale}))
    draft = ask(changed, "cookies", language)
    assert draft.text == text(language, "answer.quote_only", topic=text(language, "topics.cookies"))
    assert draft.quotes


# How to ask the company itself


@pytest.mark.parametrize(
    ("contact", "key"),
    [
        (Contact("a@acme.example", "22 00 00 00"), "contact_both"),
        (Contact("a@acme.example", None), "contact_email"),
        (Contact(None, "22 00 00 00"), "contact_phone"),
        (Contact(), "contact_none"),
    ],
)
def test_the_contact_is_what_the_statement_gives(library: Library, language: str, contact: Contact, key: str) -> None:
    company = replace(library.company("unnamed"), contact=contact)
    expected = texts(language, "answer")[key].format(email=contact.email, phone=contact.phone)
    assert contact_line(company, language) == expected
    assert "None" not in expected


# Whatever is asked

WORDS = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from(["meg", "i", "cookies", "navn", "data", "\u202e", "😀", "slett", "{x}", "%s"])).map(
        " ".join
    ),
)


def problems(company: Company, draft: Draft, offered: tuple[str, ...]) -> Iterator[str]:
    if draft.act not in ("answer", "silent"):
        yield "act"
    if bool(draft.quotes) != (draft.act == "answer"):
        yield "an answer has quotes and a silent reply has none"
    if any(quote.text not in company.source for quote in draft.quotes):
        yield "a quote that is not in the statement"
    if not 0 < len(draft.text) <= LONGEST_TEXT:
        yield "length"
    if len(draft.offers) > 2 or {offer.intent for offer in draft.offers} & set(offered):
        yield "offers"


@settings(max_examples=150)
@given(
    company_id=st.sampled_from(COMPANIES),
    question=WORDS,
    language=st.sampled_from(LANGUAGES),
    topics=st.lists(st.tuples(st.sampled_from(TOPICS), st.floats(0, 1)), max_size=6),
    offered=st.lists(st.sampled_from([f"ask_{topic}" for topic in TOPICS]), max_size=6),
    read_yet=st.booleans(),
)
def test_whatever_is_asked_the_reply_is_proven_or_silent(
    library: Library,
    company_id: str,
    question: str,
    language: str,
    topics: list[tuple[str, float]],
    offered: list[str],
    read_yet: bool,
) -> None:
    company = library.company(company_id) if read_yet else unread(ROOT / "policies" / company_id)
    draft = answer(company, Question(question, language, tuple(topics)), offered)
    assert list(problems(company, draft, tuple(offered))) == []
    assert question == "" or len(question) < 12 or question not in draft.text
