"""A conversation as plain text, for the person who takes it with her."""

from collections.abc import Sequence

from personvern.conversations.messages import Message
from personvern.languages.texts import texts


def as_text(messages: Sequence[Message], company: str, language: str) -> str:
    words = texts(language, "transcript")
    lines = [words["title"].format(company=company), ""]
    for message in messages:
        lines.append(f"{message.created_at:%Y-%m-%d %H:%M} UTC  {words[message.author]}: {message.text}")
        for quote in message.data.get("quotes", ()):
            lines.append("    " + words["quote"].format(heading=quote["heading"]))
            lines += [f"    > {line}" for line in quote["text"].splitlines()]
            if quote.get("translation"):
                lines.append("    " + words["translation"])
                lines += [f"    > {line}" for line in quote["translation"]["text"].splitlines()]
        lines.append("")
    return "\n".join(lines)
