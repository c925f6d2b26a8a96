"""What a person can ask to have done: the rights of `contracts.md`, and what each needs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Right = Literal[
    "access",
    "rectification",
    "erasure",
    "restriction",
    "portability",
    "objection",
    "withdraw_consent",
    "human_review",
    "complaint",
    "other",
]
RIGHTS: tuple[Right, ...] = get_args(Right)


@dataclass(frozen=True, slots=True)
class Kind:
    """One right as the law has it."""

    right: Right
    article: str | None
    """Of the GDPR: "15", "7(3)"; None where there is none."""
    lawful_deadline: bool
    """Whether the law sets the last date. Elsewhere the date is the company's own target and is never called more."""
    simple: bool
    """Only the address to be stopped may be demanded: no name, valid unconfirmed (arts. 7(3) and 21(2)-(3))."""
    marketing: bool = False
    """An objection to direct marketing, which is absolute."""

    @property
    def needs_name(self) -> bool:
        return not self.simple

    @property
    def needs_confirmation(self) -> bool:
        return not self.simple


_KINDS = {
    kind.right: kind
    for kind in (
        Kind("access", "15", lawful_deadline=True, simple=False),
        Kind("rectification", "16", lawful_deadline=True, simple=False),
        Kind("erasure", "17", lawful_deadline=True, simple=False),
        Kind("restriction", "18", lawful_deadline=True, simple=False),
        Kind("portability", "20", lawful_deadline=True, simple=False),
        Kind("objection", "21", lawful_deadline=True, simple=False),
        # Withdrawal works at once; the month is for saying what was done, as for the erasure that follows it.
        Kind("withdraw_consent", "7(3)", lawful_deadline=True, simple=True),
        Kind("human_review", "22(3)", lawful_deadline=True, simple=False),
        Kind("complaint", None, lawful_deadline=False, simple=False),
        Kind("other", None, lawful_deadline=False, simple=False),
    )
}
_MARKETING_OBJECTION = Kind("objection", "21(2)", lawful_deadline=True, simple=True, marketing=True)


def kind_of(right: str, *, marketing: bool = False) -> Kind:
    """The right's kind, KeyError where there is none; with `marketing` an objection is one to direct marketing."""
    if marketing and right == "objection":
        return _MARKETING_OBJECTION
    return _KINDS[right]  # type: ignore[index]


def all_simple(rights: Iterable[str], *, marketing: bool = False) -> bool:
    """Whether nothing but the address is needed for all of these."""
    return all(kind_of(right, marketing=marketing).simple for right in rights)
