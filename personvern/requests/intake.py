"""What the door takes out of a message before anything stores it: an address, a name, a one-time code.

The transcript and the dialogue engine hold a placeholder in its place; what was typed goes into the encrypted draft.
"""

import re
from dataclasses import dataclass
from functools import cache

from personvern.requests.cues import cues
from personvern.requests.fields import InvalidField, clean_name, validate_email
from personvern.requests.verification import extract_code

NAME, EMAIL, CODE = "[navn]", "[e-post]", "[kode]"

_EMAIL = re.compile(r"[^\s@<>()\[\],;:\"]{1,64}@[^\s@<>()\[\],;:\"]{1,190}")
_WORD = re.compile(r"[^\W\d_]+(?:[.'’-][^\W\d_]+)*\.?")
_MOST_NAME_WORDS = 5
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Intake:
    """`text` is what may be stored. A fault says that something like it was there and cannot be used."""

    text: str
    name: str | None = None
    email: str | None = None
    email_fault: str | None = None
    code: str | None = None


def take(text: str, asking: str | None) -> Intake:
    """Take out what the form asks for, and an address or a named name wherever they stand."""
    if asking == "code" and (code := extract_code(text)):
        return Intake(CODE, code=code)
    if asking == "details":
        # Free text for a human: an address in it may be anybody's.
        return Intake(text)
    email = fault = name = None
    found = _EMAIL.search(text)
    if found:
        try:
            email = validate_email(found[0].rstrip(".!?")).address
        except InvalidField as error:
            fault = error.fault
        text = _EMAIL.sub(EMAIL, text)
    elif asking == "email" and "@" in text:
        fault, text = "not_an_address", EMAIL
    named = _introduced().search(text)
    if named:
        given = _name_at_start(named["name"])
        name = _as_name(given) if given else None
        if name:
            start = named.start("name")
            text = text[:start] + NAME + text[start + len(given) :]
    elif asking in ("name", "correction") and email is None and fault is None:
        name = _bare_name(text)
        if name:
            text = NAME
    return Intake(text, name, email, fault)


def _name_at_start(words: str) -> str:
    """The words before the first one that sentences are made of: «kari nordmann og vil ...»."""
    end = 0
    for word in _WORD.finditer(words):
        if word[0].lower().strip(".") in cues("not_a_name") or not word[0][:1].isalpha():
            break
        end = word.end()
    return words[:end]


def _as_name(text: str) -> str | None:
    try:
        return clean_name(text)
    except InvalidField:
        return None


def _bare_name(text: str) -> str | None:
    """The text, where it can only be a name: a few words, none of them one that sentences are made of."""
    stripped = text.strip().strip(".,!")
    words = _WORD.findall(stripped)
    rest = _WORD.sub("", stripped).strip(" ,.-'’")
    if not words or rest or len(words) > _MOST_NAME_WORDS or len(stripped) > _LONGEST_NAME or "?" in text:
        return None
    if all(word[:1].isupper() for word in words) and len(words) > 1:
        return _as_name(stripped)
    if any(word.lower().strip(".") in cues("not_a_name") for word in words):
        return None
    return _as_name(stripped)


@cache
def _introduced() -> re.Pattern[str]:
    """«Jeg heter Kari Nordmann»: the words that introduce a name, then up to four."""
    opening = "|".join(re.escape(one) for one in sorted(cues("my_name_is"), key=len, reverse=True))
    word = r"[^\W\d_]+(?:[.'’-][^\W\d_]+)*\.?"
    return re.compile(rf"\b(?:{opening})\s+(?P<name>{word}(?: {word}){{0,3}})", re.IGNORECASE)
