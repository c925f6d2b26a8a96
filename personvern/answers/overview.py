"""What the assistant says on every topic, beside the passages that prove it: for a privacy lead to read."""

from personvern.answers.answering import Question, answer
from personvern.languages.texts import text
from personvern.statements.company import Company
from personvern.statements.reading import LANGUAGES, TOPICS


def overview(company: Company) -> str:
    """A page of Markdown, topic by topic, in nb, nn and en."""
    reading = company.reading
    spoken = [topic for topic in TOPICS if topic in reading.topics and topic != "other"]
    silent = [topic for topic in TOPICS if topic not in reading.topics and topic != "other"]
    lines = [
        f"# {company.name['en']}: what the assistant says",
        "",
        f"Statement: {reading.title}, {reading.language}, "
        + (f"dated {reading.updated}" if reading.updated else "without a date")
        + f". {len(spoken)} topics answered, {len(silent)} on which the statement is silent.",
        "",
        "Made by `personvern answers` from the company's folder; the tests compare it with the folder.",
    ]
    for topic in spoken:
        entry = reading.topics[topic]
        lines += ["", f"## {topic}" + ("" if entry.reviewed else " (draft)") + (" (narrow)" if entry.narrow else "")]
        drafts = {language: answer(company, Question("", language, ((topic, 1.0),))) for language in LANGUAGES}
        lines += ["", *(f"- **{language}**: {draft.text}" for language, draft in drafts.items())]
        for quote in drafts["nb"].quotes:
            lines += ["", f"> **{quote.heading}** (`{'`, `'.join(quote.passages)}`)", ">"]
            lines += [f"> {line}".rstrip() for line in quote.text.splitlines()]
    lines += ["", "## Silent", ""]
    for topic in silent:
        lines.append(f"- **{topic}**: {text('nb', f'topics.{topic}')}")
    return "\n".join(lines) + "\n"
