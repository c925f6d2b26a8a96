"""Days in words: "2. mars 2026", "2 March 2026". The words lie in `dates.yml`."""

from collections.abc import Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).with_suffix(".yml")


@cache
def _words() -> dict[str, dict[str, Any]]:
    document = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def day_in_words(day: date, language: str, *, year: bool = True) -> str:
    words = _words()[language]
    pattern: str = words["day" if year else "day_without_year"]
    return pattern.format(number=day.day, month=words["months"][day.month - 1], year=day.year)


def weekday_in_words(day: date, language: str) -> str:
    name: str = _words()[language]["weekdays"][day.weekday()]
    return name


def holiday_in_words(holiday: str, language: str) -> str:
    """The name of a public holiday, by its key in `dates.yml`; KeyError where there is no such key."""
    name: str = _words()[language]["holidays"][holiday]
    return name


def day_off_in_words(day: date, holiday: str | None, language: str) -> str:
    """Why a day is no working day: "28. februar er en lørdag", "3. april er langfredag"."""
    words = _words()[language]
    written = day_in_words(day, language, year=False)
    if holiday is None:
        pattern: str = words["falls_on"]
        return pattern.format(day=written, weekday=weekday_in_words(day, language))
    pattern = words["is_holiday"]
    return pattern.format(day=written, name=holiday_in_words(holiday, language))


def list_in_words(parts: Sequence[str], language: str) -> str:
    """One part of a sentence: "a", "a og b", "a, b og c"."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {_words()[language]['and']} {parts[-1]}"
