"""References: PV-7KQ2-M9XD, from letters and digits that nobody mistakes for one another."""

import re
import secrets
from collections.abc import Callable

ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Without 0 and O, 1 and I and L, and U, which is heard as V and spells words."""

_LETTERS = re.compile("[A-Z]")
_WRITTEN = re.compile(rf"(?<![A-Z0-9])PV[\s\-–—_.]*([{ALPHABET}]{{4}})[\s\-–—_.]*([{ALPHABET}]{{4}})(?![A-Z0-9])")


def new_reference(choice: Callable[[str], str] = secrets.choice) -> str:
    """Eight random signs. A letter in each half, so that no mask takes it for somebody's number."""

    def half() -> str:
        while True:
            made = "".join(choice(ALPHABET) for _ in range(4))
            if _LETTERS.search(made):
                return made

    return f"PV-{half()}-{half()}"


def find_reference(text: str) -> str | None:
    """The first reference in a text, however it was typed: "pv 7kq2 m9xd" is PV-7KQ2-M9XD."""
    found = _WRITTEN.search(text.upper())
    return f"PV-{found[1]}-{found[2]}" if found else None
