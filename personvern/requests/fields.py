"""What a person types into a request, made fit to keep: addresses that can be written to, names without tricks.

Nothing is changed that means something: HTML stays the text it is, since whatever shows it escapes it.
"""

import unicodedata
from dataclasses import dataclass
from typing import Literal

from email_validator import EmailNotValidError
from email_validator import validate_email as validate_syntax

NAME_LIMIT = 200
DETAILS_LIMIT = 10_000
_EMAIL_LIMIT = 254

Fault = Literal["empty", "not_an_address", "several", "look_alike", "too_long"]


class InvalidField(Exception):
    """What was typed cannot be used. Holds why, never what."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Email:
    address: str
    """As mail servers want it: a name of a domain with letters beyond ASCII in its xn-- form."""
    shown: str
    """The same for people."""
    suggestion: str | None = None
    """The address that was perhaps meant: the domain differs by one sign from a common one."""


def validate_email(text: str) -> Email:
    """The address in a text that holds nothing else; raises InvalidField.

    Only Latin letters are taken, and only ASCII before the @: a Cyrillic "а" looks the same and is somebody else's.
    """
    typed = text.strip().removeprefix("mailto:").strip(" \t<>()[]\"'«»“”.,;:!")
    if not typed:
        raise InvalidField("empty")
    if len(typed) > _EMAIL_LIMIT:
        raise InvalidField("too_long")
    if typed.count("@") > 1 or any(sign in typed for sign in ",;"):
        raise InvalidField("several" if typed.count("@") > 1 else "not_an_address")
    local, _, domain = typed.partition("@")
    if not local.isascii() or not all(_is_latin(sign) for sign in domain):
        raise InvalidField("look_alike" if _only_letters_differ(local, domain) else "not_an_address")
    try:
        found = validate_syntax(
            typed, check_deliverability=False, allow_smtputf8=False, allow_quoted_local=False, strict=True
        )
    except EmailNotValidError:
        raise InvalidField("not_an_address") from None
    if "." not in found.domain:
        raise InvalidField("not_an_address")
    if any(label.startswith("xn--") and not _is_latin_label(label) for label in found.ascii_domain.split(".")):
        raise InvalidField("look_alike")
    assert found.ascii_email is not None
    suggested = _common_domain_like(found.ascii_domain)
    return Email(
        f"{found.local_part}@{found.ascii_domain}",
        found.normalized,
        f"{found.local_part}@{suggested}" if suggested else None,
    )


def same_address(address: str) -> str:
    """The form in which two ways of writing one address are equal: what is hashed for search."""
    return address.strip().casefold()


def clean_name(text: str) -> str:
    """A name on one line, without signs that turn the direction of what follows; raises InvalidField."""
    name = " ".join(_visible(text, keep="").split())
    if not any(unicodedata.category(sign)[0] in "LNS" for sign in name):
        raise InvalidField("empty")
    if len(name) > NAME_LIMIT:
        raise InvalidField("too_long")
    return name


def clean_details(text: str) -> str:
    """A longer text with its lines; raises InvalidField where it is longer than can be kept."""
    details = _visible(text.replace("\r\n", "\n").replace("\r", "\n"), keep="\n\t").strip()
    if len(details) > DETAILS_LIMIT:
        raise InvalidField("too_long")
    return details


_JOINERS = "\u200c\u200d"  # Persian names and emoji are written with them


def _visible(text: str, keep: str) -> str:
    """Without control signs, signs of direction and halves of signs; a line break that is not kept is a space."""
    found = []
    for sign in unicodedata.normalize("NFC", text):
        category = unicodedata.category(sign)
        if sign in keep or sign in _JOINERS or category not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            found.append(sign)
        elif category in ("Cc", "Zl", "Zp"):
            found.append(" ")
    return "".join(found)


def _is_latin(sign: str) -> bool:
    return sign.isascii() or unicodedata.name(sign, "").startswith("LATIN ")


def _is_latin_label(label: str) -> bool:
    try:
        return all(_is_latin(sign) for sign in label.encode("ascii").decode("idna"))
    except UnicodeError:
        return False


def _only_letters_differ(local: str, domain: str) -> bool:
    return bool(local and domain) and all(sign.isascii() or sign.isalnum() for sign in local + domain)


_COMMON_DOMAINS = (
    "gmail.com",
    "hotmail.com",
    "hotmail.no",
    "outlook.com",
    "live.no",
    "icloud.com",
    "yahoo.com",
    "yahoo.no",
    "online.no",
    "proton.me",
)
# As near to one of these as a typing error, and real.
_ALSO_REAL = {"mail.com", "email.com", "ymail.com", "gmx.com", "hotmail.co", "live.co", "life.no"}


def _common_domain_like(domain: str) -> str | None:
    typed = domain.lower()
    if typed in _COMMON_DOMAINS or typed in _ALSO_REAL:
        return None
    return next((common for common in _COMMON_DOMAINS if _one_slip_apart(typed, common)), None)


def _one_slip_apart(typed: str, meant: str) -> bool:
    """One sign too many, too few, wrong, or two that changed places."""
    if abs(len(typed) - len(meant)) > 1 or typed == meant:
        return False
    start = next(
        (at for at, (a, b) in enumerate(zip(typed, meant, strict=False)) if a != b), min(len(typed), len(meant))
    )
    rest, wanted = typed[start:], meant[start:]
    return (
        rest[1:] == wanted[1:]
        or rest[1:] == wanted
        or rest == wanted[1:]
        or (rest[:2] == wanted[1::-1] and rest[2:] == wanted[2:])
    )
