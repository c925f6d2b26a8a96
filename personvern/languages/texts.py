"""Everything that is said to people, in nb, nn and en: `texts/<language>.yml`, the same keys in each."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parent / "texts"


@cache
def _texts(language: str) -> dict[str, Any]:
    document = yaml.safe_load((_FOLDER / f"{language}.yml").read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def _find(language: str, key: str) -> Any:
    found: Any = _texts(language)
    for part in key.split("."):
        found = found[part]
    return found


def text(language: str, key: str, **values: object) -> str:
    """The text under a dotted key, its `{names}` filled in."""
    found = _find(language, key)
    assert isinstance(found, str)
    return found.format(**values) if values else found


def texts(language: str, key: str) -> Any:
    """A list or a mapping of texts."""
    return _find(language, key)


def has_text(language: str, key: str) -> bool:
    try:
        return isinstance(_find(language, key), str)
    except (KeyError, TypeError):
        return False
