"""Words by which the forms understand what is typed: `cues.yml`."""

import re
from functools import cache
from pathlib import Path

import yaml


@cache
def cues(kind: str) -> tuple[str, ...]:
    found = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))[kind]
    return tuple(str(word) for word in found)


def has_cue(kind: str, said: str) -> bool:
    """Whether one of the words, or a longer one that begins with it, stands in the text."""
    return _pattern(kind).search(said) is not None


@cache
def _pattern(kind: str) -> re.Pattern[str]:
    words = "|".join(re.escape(word) for word in cues(kind))
    return re.compile(rf"(?<!\w)(?:{words})", re.IGNORECASE)
