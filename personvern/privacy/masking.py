"""Mask national identity numbers, account numbers and card numbers before a text is stored or logged.

Masking too much costs little here and masking too little costs much: no check digit and no date is demanded of a run
of eleven digits, since typing errors, synthetic, FH and coming numbers must not leak either. What people may well
write in a chat is left alone: telephone and organisation numbers, references, dates, times, IP addresses, amounts.

Formats: skatteetaten.no (fødselsnummer, D-number, synthetic numbers), ehelse.no (H- and FH-numbers), ISO 13616
(IBAN), ISO/IEC 7812 (cards, Luhn).
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Literal

Kind = Literal["national_identity_number", "account_number", "card_number"]

_TOKENS: dict[Kind, str] = {
    "national_identity_number": "[fødselsnummer]",
    "account_number": "[kontonummer]",
    "card_number": "[kortnummer]",
}

# Every expression below is bounded and unambiguous, so that no input makes it slower than linear.
_DIGITS = re.compile(r"\d+")
_RUN = re.compile(r"\d+(?:[ ./_-]{1,3}\d+)*")
_BIRTH_DATE_APART = re.compile(r"(?<!\d)(?:\d{6}|\d\d[. ]\d\d[. ]\d\d)[^\w+]{1,3}\d{5}(?!\d)")
_IBAN_PREFIX = re.compile(r"no[ .:-]{0,2}\Z", re.IGNORECASE)
_PHONE_PREFIX = re.compile(r"(?:\A|[^\w+])\+\Z")
_ACCOUNT = re.compile(r"\d{4}[. ]\d\d[. ]\d{5}")
_FOURS = re.compile(r"\d{4}(?:[ .-]\d{4}){3}")
_BIRTH_DATE_IN_FULL = re.compile(r"(?:0[1-9]|[1-7]\d)\d\d(?:18|19|20)\d{7}")

_REFERENCE = re.compile(
    r"(?<![^\W_])[a-z]{2,4}-20[23]\d-\d{4,8}(?!\d)"  # ours: the letters keep it apart from a number with a hyphen
    r"|(?<![^\W_])1Z[0-9A-Z]{16}(?![^\W_])",  # a parcel of UPS, which can end in eleven digits
    re.IGNORECASE,
)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IP_ADDRESS = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_AMOUNT = re.compile(r"\d{1,3}(?:[ .]\d{3}){2,4}")
_CURRENCY_BEFORE = re.compile(r"(?:\b(?:kr|nok|eur|usd)\.?|[€$£]) ?\Z", re.IGNORECASE)
_CURRENCY_AFTER = re.compile(r"(?:,\d\d\b|,-)?(?: ?(?:kr|nok|kroner|euro|eur|usd)\b| ?[€$£])|,-", re.IGNORECASE)
_DATE = r"(?:\d{1,2}[./-]\d{1,2}[./-](?:19|20)\d\d|(?:19|20)\d\d-\d\d-\d\d)"
_HARMLESS = re.compile(
    r"(?:(?:00)?47[ -]?)?[2-9](?:\d{7}|\d(?:[ .-]\d\d){3}|\d\d[ .-]\d\d[ .-]\d{3})"  # a telephone number
    r"|[89]\d\d[ .]?\d{3}[ .]?\d{3}"  # an organisation number
    rf"|{_DATE}(?: [012]?\d\.[0-5]\d)?"
)
_MOST_GROUPS_OF_A_HARMLESS_NUMBER = 6

_BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"  # no spaces to Unicode, but nothing is seen
_DOTS = ".\u00b7\u2022\u2024\u2219\u22c5\u3002"


@dataclass(frozen=True, slots=True)
class Masked:
    """`text` with tokens in place of identifiers, and which `kinds` of them there were."""

    text: str
    kinds: frozenset[Kind]


@dataclass(frozen=True, slots=True)
class _Span:
    start: int
    end: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class _Group:
    start: int
    end: int


def mask(text: str) -> Masked:
    """Masking what is masked already changes nothing; the time grows linearly with the text."""
    plain, positions = _plain(text)
    if sum(map(str.isdecimal, plain)) < 11:
        return Masked(text, frozenset())
    readable = _REFERENCE.sub(lambda match: "\0" * len(match[0]), plain)
    spans = [span for run in _RUN.finditer(readable) for span in _in_run(readable, run)]
    apart = [_Span(*match.span(), "national_identity_number") for match in _BIRTH_DATE_APART.finditer(readable)]
    pieces: list[str] = []
    done = 0
    found = _merged([*spans, *apart])
    for span in found:
        pieces += [text[done : positions[span.start]], _TOKENS[span.kind]]
        done = positions[span.end]
    return Masked("".join([*pieces, text[done:]]), frozenset(span.kind for span in found))


def _plain(text: str) -> tuple[str, list[int]]:
    """The text as it reads, in ASCII digits and separators, and where in `text` each of its characters stands."""
    characters: list[str] = []
    positions: list[int] = []
    for position, character in enumerate(text):
        if plain := _plain_character(character):
            characters.append(plain)
            positions.append(position)
    return "".join(characters), [*positions, len(text)]


@lru_cache(maxsize=4096)
def _plain_character(character: str) -> str:
    """One character, or none for what takes no room on the screen."""
    if character.isascii():
        return " " if character == "\t" else character
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    if character.isdigit():  # a footnote's raised number does not belong to the number that it follows
        return "\0"
    compatible = unicodedata.normalize("NFKC", character)
    character = compatible if len(compatible) == 1 else character
    category = unicodedata.category(character)
    if category in ("Cf", "Mn", "Me"):
        return ""
    if category == "Zs" or character in _BLANK_LETTERS:
        return " "
    if category == "Pd" or character == "\u2212":
        return "-"
    return "." if character in _DOTS else character


def _in_run(plain: str, run: re.Match[str]) -> list[_Span]:
    """What to mask in a run of groups of digits between which there are only separators."""
    groups = [_Group(*match.span()) for match in _DIGITS.finditer(plain, run.start(), run.end())]
    # How many digits stand before each group, so that the size of a window is one subtraction.
    before = list(accumulate((group.end - group.start for group in groups), initial=0))
    if before[-1] < 11 or _is_harmless(plain, groups, before):
        return []
    sure: list[_Span] = []
    likely: list[_Span] = []
    digits = "".join(plain[group.start : group.end] for group in groups)
    iban = _IBAN_PREFIX.search(plain[max(0, run.start() - 4) : run.start()])
    for first, group in enumerate(groups):
        for last in range(first, min(first + 11, len(groups))):
            size = before[last + 1] - before[first]
            if size < 11:
                continue
            if size > 19 and last > first:
                break
            number = digits[before[first] : before[last + 1]]
            start, end = group.start, groups[last].end
            if iban and first == 0 and size == 13:
                sure.append(_Span(start - len(iban[0]), end, "account_number"))
            elif size == 11:
                kind = _kind_of_eleven(number, plain[start:end])
                certain = kind == "national_identity_number" and _is_valid_identity(number)
                (sure if certain else likely).append(_Span(start, end, kind))
            elif 13 <= size <= 19 and _is_card(number, plain[start:end]):
                # Pairs are a telephone number's way too, and one run of digits in ten passes Luhn by chance.
                certain = before[first + 1] - before[first] > 2
                (sure if certain else likely).append(_Span(start, end, "card_number"))
            elif _BIRTH_DATE_IN_FULL.fullmatch(number) or (first == last and _hides_identity(number)):
                sure.append(_Span(start, end, "national_identity_number"))
    # Where two identifiers stand side by side, a window over the halves of both is none.
    covered = _merged(sure)
    ends = [span.end for span in covered]
    next_covered = [bisect_right(ends, span.start) for span in likely]
    return covered + [
        span
        for span, index in zip(likely, next_covered, strict=True)
        if index == len(covered) or span.end <= covered[index].start
    ]


def _is_harmless(plain: str, groups: list[_Group], before: list[int]) -> bool:
    """Whether the whole run reads as telephone or organisation numbers, dates, an amount or an IP address."""
    start, end = groups[0].start, groups[-1].end
    written = plain[start:end] if end - start <= 24 else ""
    if _IP_ADDRESS.fullmatch(written):
        return True
    if _AMOUNT.fullmatch(written) and (
        _CURRENCY_BEFORE.search(plain[max(0, start - 6) : start]) or _CURRENCY_AFTER.match(plain[end : end + 10])
    ):
        return True
    reached = {0, *_ends_of_foreign_number(plain, groups, before)}
    for first in range(len(groups)):
        if first not in reached:
            continue
        for end in range(first + 1, min(first + _MOST_GROUPS_OF_A_HARMLESS_NUMBER, len(groups)) + 1):
            if _HARMLESS.fullmatch(plain, groups[first].start, groups[end - 1].end):
                reached.add(end)
    return len(groups) in reached


def _ends_of_foreign_number(plain: str, groups: list[_Group], before: list[int]) -> Iterable[int]:
    """After how many groups a telephone number with a country code may end. No country's code begins with 0."""
    start, end = groups[0].start, groups[0].end
    if _PHONE_PREFIX.search(plain[max(0, start - 2) : start]) and plain[start] != "0":
        sizes = range(10, 11) if plain.startswith("47", start) else range(7, 16)
    elif plain.startswith("00", start) and end - start > 2:
        sizes = range(12, 17)
    else:
        return []
    counts = [count for count in range(1, min(len(groups), 16) + 1) if before[count] in sizes]
    # What follows the code may be an identity number all the same.
    for first in range(1, counts[-1] if counts else 0):
        eleven = re.sub(r"\D", "", plain[groups[first].start : groups[counts[-1] - 1].end])[:11]
        if len(eleven) == 11 and before[first] + 11 in before and _is_valid_identity(eleven):
            return []
    return counts


def _kind_of_eleven(number: str, written: str) -> Kind:
    if _ACCOUNT.fullmatch(written) or (_is_valid_account(number) and not _is_valid_identity(number)):
        return "account_number"
    return "national_identity_number"


def _is_card(number: str, written: str) -> bool:
    if _FOURS.fullmatch(written):
        return True
    sizes = [len(group) for group in _DIGITS.findall(written)]
    return (min(sizes[:-1], default=4) >= 3 or set(sizes) == {2}) and _passes_luhn(number)


def _passes_luhn(number: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in number[-2::-2])
    return (sum(doubled) + sum(map(int, number[-1::-2]))) % 10 == 0


def _passes_modulo_11(number: str, weights: tuple[int, ...]) -> bool:
    return sum(int(digit) * weight for digit, weight in zip(number, weights, strict=True)) % 11 == 0


def _is_valid_account(number: str) -> bool:
    return _passes_modulo_11(number, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1))


def _is_valid_identity(number: str) -> bool:
    return _passes_modulo_11(number[:10], (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) and _is_valid_account(number)


def _hides_identity(number: str) -> bool:
    """Whether a longer row of digits holds a valid identity number with a date: one digit too many was typed."""
    windows = (number[start : start + 11] for start in range(len(number) - 10))
    return any(
        1 <= int(window[:2]) % 40 <= 31 and int(window[2:4]) % 40 in {*range(1, 13), *range(26, 38)}
        for window in windows
        if int(window[:2]) < 72 and _is_valid_identity(window)
    )


def _merged(spans: Iterable[_Span]) -> list[_Span]:
    """Spans in order, overlapping ones made one, of the longest one's kind."""
    merged: list[_Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if merged and span.start < merged[-1].end:
            last = merged.pop()
            kind = last.kind if last.end - last.start >= span.end - span.start else span.kind
            span = _Span(last.start, max(last.end, span.end), kind)
        merged.append(span)
    return merged
