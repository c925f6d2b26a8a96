"""A company's folder: who it is, its statement, and how the statement was read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from personvern.statements.passages import Passage, split_passages
from personvern.statements.reading import LANGUAGES, Reading, ReadingError, quote_only, read
from personvern.statements.search import SearchIndex


class CompanyError(Exception):
    """The folder cannot be used; the text says which file and why."""


@dataclass(frozen=True, slots=True)
class Contact:
    """What the statement itself gives, and nothing else."""

    email: str | None = None
    phone: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class RequestTargets:
    """Where a company's rights requests go. Without an address or a webhook it can receive none."""

    email: str | None = None
    webhook: str | None = None
    language: str = "nb"
    """What notices to the company are written in."""
    target_days: int | None = None
    """The company's own date, so many days after receipt; None where it sets none."""
    keep_months: int = 36
    """How long name, address and text are kept after a request was closed."""
    demo: bool = False
    """A receiver that only `make run` pretends: people are told that nobody reads it."""

    def __bool__(self) -> bool:
        return bool(self.email or self.webhook)


@dataclass(frozen=True, slots=True)
class Company:
    id: str
    name: Mapping[str, str]
    """By language: a company without a name is "denne virksomheten", "denne verksemda", "this company"."""
    contact: Contact
    statement_address: str | None
    retention_days: Mapping[str, int]
    """By channel, with "default"; empty where the installation's own setting holds."""
    widget_origins: tuple[str, ...]
    source: str
    passages: tuple[Passage, ...]
    reading: Reading
    index: SearchIndex
    request_targets: RequestTargets = RequestTargets()


def load_company(folder: Path) -> Company:
    """Read and check a whole folder; raises CompanyError with a sentence for whoever edits it."""
    settings = _yaml(folder / "company.yml")
    statements = sorted(folder.glob("statement.*"))
    if len(statements) != 1:
        raise CompanyError(f"{folder.name}: one file statement.<language>.<kind> is needed, found {len(statements)}")
    try:
        source = statements[0].read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise CompanyError(f"{statements[0]}: the text is not UTF-8") from None
    language = statements[0].name.split(".")[1]
    if language not in LANGUAGES:
        raise CompanyError(f"{statements[0].name}: the language must be nb, nn or en")
    passages = split_passages(source)
    if not passages:
        raise CompanyError(f"{statements[0].name}: holds no text")
    reading_file = folder / "reading.yml"
    try:
        if reading_file.exists():
            reading = read(_yaml(reading_file), passages, language)
        else:
            reading = quote_only(passages[0].heading[0] if passages[0].heading else "", language)
    except ReadingError as error:
        raise CompanyError(f"{reading_file}: {error}") from None
    names = settings.get("name")
    if isinstance(names, str):
        names = dict.fromkeys(LANGUAGES, names)
    if (
        not isinstance(names, dict)
        or set(names) != set(LANGUAGES)
        or not all(isinstance(name, str) and name.strip() for name in names.values())
    ):
        raise CompanyError(f"{folder.name}/company.yml: 'name' must be a text, or one for each of nb, nn and en")
    contact = settings.get("contact") or {}
    if not isinstance(contact, dict):
        raise CompanyError(f"{folder.name}/company.yml: 'contact' must be a mapping of email, phone and address")
    retention = settings.get("retention_days") or {}
    if isinstance(retention, int):
        retention = {"default": retention}
    if not isinstance(retention, dict) or not all(type(days) is int and days > 0 for days in retention.values()):
        raise CompanyError(f"{folder.name}/company.yml: 'retention_days' must be a number of days, or one a channel")
    return Company(
        folder.name,
        names,
        Contact(contact.get("email"), contact.get("phone"), contact.get("address")),
        settings.get("statement_address"),
        retention,
        tuple(settings.get("widget_origins") or ()),
        source,
        tuple(passages),
        reading,
        SearchIndex(passages, reading.passages),
        _request_targets(folder, settings.get("requests") or {}),
    )


_REQUEST_SETTINGS = {"email", "webhook", "language", "target_days", "keep_months", "demo"}


def _request_targets(folder: Path, settings: Any) -> RequestTargets:
    place = f"{folder.name}/company.yml: 'requests'"
    if not isinstance(settings, dict) or not set(settings) <= _REQUEST_SETTINGS:
        raise CompanyError(f"{place} may hold only {', '.join(sorted(_REQUEST_SETTINGS))}")
    email, webhook = settings.get("email"), settings.get("webhook")
    if email is not None and not (isinstance(email, str) and _EMAIL.fullmatch(email)):
        raise CompanyError(f"{place}: 'email' must be one e-mail address")
    if webhook is not None and not (isinstance(webhook, str) and _WEBHOOK.fullmatch(webhook)):
        raise CompanyError(f"{place}: 'webhook' must be an address that begins with https://")
    if settings.get("language", "nb") not in LANGUAGES:
        raise CompanyError(f"{place}: 'language' must be nb, nn or en")
    for name, longest in (("target_days", 30), ("keep_months", 240)):
        number = settings.get(name)
        if number is not None and (type(number) is not int or not 1 <= number <= longest):
            raise CompanyError(f"{place}: '{name}' must be a whole number from 1 to {longest}")
    if not isinstance(settings.get("demo", False), bool):
        raise CompanyError(f"{place}: 'demo' must be true or false")
    return RequestTargets(**{name: value for name, value in settings.items() if value is not None})


_EMAIL = re.compile(r"[^\s@<>,;:\"()]+@[^\s@<>,;:\"()]+")
# Unencrypted only to this machine itself: what is sent is personal data.
_WEBHOOK = re.compile(r"https://[^\s/]+\S*|http://(?:127\.0\.0\.1|localhost)(?::\d+)?(?:/\S*)?")


def _yaml(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - the C form of the safe loader
    except FileNotFoundError:
        raise CompanyError(f"{path.parent.name}: {path.name} is missing") from None
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        raise CompanyError(f"{path}{line}: not valid YAML") from None
    except UnicodeDecodeError:
        raise CompanyError(f"{path}: the text is not UTF-8") from None
    except ValueError as error:  # a date that is none, say
        raise CompanyError(f"{path}: {error}") from None
    if not isinstance(document, dict):
        raise CompanyError(f"{path}: must be a mapping")
    return document


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
