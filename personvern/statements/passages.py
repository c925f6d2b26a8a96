"""Split a statement's text into passages.

A passage is the smallest piece that is quoted: a paragraph, a list item with everything nested below it, or the line
that leads into a list. Its text is a verbatim slice of the source, so a quote can always be found again in the
company's own document.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["paragraph", "item", "lead_in"]

_BULLET = re.compile(r"^(?P<indent>[ \t]*)(?:[•●▪◦·‣∙*–—-]|\(?[a-zæøå]\)|\(?\d{1,2}\))[ \t]+(?=\S)")
_NUMBERED_HEADING = re.compile(r"^(?P<number>\d{1,2}(?:\.\d{1,2})*)\.?[ \t]+(?=\S)")
_MARKDOWN_HEADING = re.compile(r"^(?P<marks>#{1,6})[ \t]+(?P<text>.*?)[ \t]*#*$")
_SHORTEST_BODY = 60
"""What follows a heading that ends in a full stop is longer than this."""
_OPENS_A_SECTION = re.compile(r"\b(følgende|følgjande|the following|as follows)\b", re.IGNORECASE)
_LONGEST_HEADING = 140
_NORDIC: dict[str, str | int | None] = {"æ": "ae", "ø": "o", "å": "a"}
_LONGEST_UNNUMBERED_HEADING_WORDS = 14
# After another heading a line with more words than this is a sentence that lost its full stop.
_LONGEST_SUBHEADING_WORDS = 6


@dataclass(frozen=True, slots=True)
class Passage:
    """`text` is `source[start:end]`; `heading` the path from the outermost heading to the nearest one."""

    id: str
    heading: tuple[str, ...]
    text: str
    start: int
    end: int
    kind: Kind
    fingerprint: str


@dataclass(slots=True)
class _Block:
    start: int
    end: int
    kind: Literal["paragraph", "item"]
    blank_before: bool
    blank_after: bool


def fingerprint(text: str) -> str:
    """Twelve hexadecimal digits that change when the words do, not when white space or bullets do."""
    words = " ".join(" ".join(_BULLET.sub("", line) for line in text.splitlines()).split())
    return hashlib.sha256(unicodedata.normalize("NFC", words).encode()).hexdigest()[:12]


def split_passages(source: str) -> list[Passage]:
    """All passages of `source` in reading order. Headings are no passages: they are the others' `heading`."""
    passages: list[Passage] = []
    path: list[tuple[int, str]] = []
    lead_in: str | None = None
    previous: Literal["start", "heading", "paragraph", "item", "lead_in"] = "start"
    numbers: Counter[str] = Counter()
    slugs: dict[tuple[str, ...], str] = {}

    def slug() -> str:
        headings = tuple(text for _, text in path)
        if headings not in slugs:
            base = _slug(headings[-1]) if headings else "top"
            taken = set(slugs.values())
            name, counter = base, 2
            while name in taken:
                name, counter = f"{base}-{counter}", counter + 1
            slugs[headings] = name
        return slugs[headings]

    blocks = list(_blocks(source))
    for index, block in enumerate(blocks):
        text = source[block.start : block.end]
        following = blocks[index + 1].kind if index + 1 < len(blocks) else None
        following_length = blocks[index + 1].end - blocks[index + 1].start if following else 0
        if block.kind == "paragraph":
            lead_in = None
            level = _heading_level(text, block, following, following_length, previous)
            if level is not None:
                while path and path[-1][0] >= level:
                    path.pop()
                path.append((level, _heading_text(text)))
                previous = "heading"
                continue
        kind: Kind = block.kind
        heading = tuple(heading_text for _, heading_text in path)
        if block.kind == "paragraph" and following == "item" and text.rstrip().endswith(":"):
            kind = "lead_in"
            if "\n" not in text and len(text) <= _LONGEST_HEADING:
                lead_in = text.strip()
            stands_apart = previous == "item" or (previous == "paragraph" and _OPENS_A_SECTION.search(lead_in or ""))
            if lead_in and stands_apart and block.blank_before:
                # It leads away from what stood before: its items do not belong under the last heading.
                path = [entry for entry in path if entry[0] < 8 and _is_numbered(entry[1])]
                path.append((8, lead_in))
                heading = tuple(heading_text for _, heading_text in path)
                lead_in = None
        elif block.kind == "item" and lead_in and path:
            heading = (*heading, lead_in)
        name = slug()
        numbers[name] += 1
        passages.append(
            Passage(f"{name}.{numbers[name]}", heading, text, block.start, block.end, kind, fingerprint(text))
        )
        previous = kind
    return passages


def _blocks(source: str) -> Iterator[_Block]:
    """Paragraphs and top-level list items; a nested item and an indented line belong to the item above them."""
    current: _Block | None = None
    blank = True
    item_indent = 0
    position = 0
    for line in source.splitlines(keepends=True):
        start, position = position, position + len(line)
        content = line.rstrip()
        if not content.strip():
            if current:
                current.blank_after = True
            blank = True
            continue
        indent = len(content) - len(content.lstrip())
        text_start, text_end = start + indent, start + len(content)
        bullet = _BULLET.match(content)
        if bullet and current and current.kind == "item" and indent > item_indent:
            current.end, current.blank_after = text_end, False
        elif bullet:
            if current:
                yield current
            current = _Block(start + bullet.end(), text_end, "item", blank, False)
            item_indent = indent
        elif current and not blank and current.kind == "item" and indent >= item_indent:
            if indent == 0 and source[current.end - 1] in ".:?!" and content[:1].isupper():
                yield current
                current = _Block(text_start, text_end, "paragraph", blank, False)
            else:
                current.end = text_end
        elif current and not blank and current.kind == "paragraph" and not _stands_alone(content):
            if _stands_alone(source[current.start : current.end]) or source[current.end - 1] in ".:?!":
                # The statements put one paragraph on a line: a new line is a new one.
                yield current
                current = _Block(text_start, text_end, "paragraph", blank, False)
            else:
                current.end = text_end
        else:
            if current:
                yield current
            current = _Block(text_start, text_end, "paragraph", blank, False)
        blank = False
    if current:
        yield current


def _stands_alone(line: str) -> bool:
    return bool(_MARKDOWN_HEADING.match(line.strip()) or _NUMBERED_HEADING.match(line.strip()))


def _heading_level(text: str, block: _Block, following: str | None, following_length: int, previous: str) -> int | None:
    """The depth of a heading (1 is outermost), or None where the text is a passage."""
    line = text.strip()
    if "\n" in line or len(line) > _LONGEST_HEADING:
        return None
    if marks := _MARKDOWN_HEADING.match(line):
        return len(marks["marks"])
    if following is None:
        return None
    numbered = _NUMBERED_HEADING.match(line)
    if numbered and not line.endswith((".", ";", ":")):
        return 2 + numbered["number"].count(".")
    if line.endswith("."):
        # «Bruken av informasjonskapsler.» heads what follows; "Read more about cookies here." is the end of it.
        if len(line.split()) > 5 or not block.blank_before or following_length <= _SHORTEST_BODY:
            return None
    elif line.endswith((";", ",", ":", "!", "…", "»", '"')):
        return None
    words = len(line.split())
    if words > _LONGEST_UNNUMBERED_HEADING_WORDS or (block.kind == "paragraph" and not line[:1].isupper()):
        return None
    if previous == "start":
        return 1
    if previous == "heading" and words > _LONGEST_SUBHEADING_WORDS and not line.endswith("?"):
        return None
    if not block.blank_before and previous != "heading":
        return None
    return 2


def _is_numbered(heading: str) -> bool:
    return bool(_NUMBERED_HEADING.match(heading))


def _heading_text(line: str) -> str:
    marks = _MARKDOWN_HEADING.match(line.strip())
    return marks["text"] if marks else line.strip()


def _slug(heading: str) -> str:
    folded = heading.lower().translate(str.maketrans(_NORDIC))
    ascii_text = unicodedata.normalize("NFKD", folded).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", ascii_text)
    return "-".join(words[:5]) or "section"
