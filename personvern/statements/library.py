"""All companies of an installation, kept up to date with their folders while it runs."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from personvern.statements.company import Company, CompanyError, load_company

logger = logging.getLogger(__name__)


class UnknownCompany(Exception):
    """No company of this id, or none whose folder could ever be read."""


class Library:
    """A changed folder replaces its company as a whole; one with a mistake keeps its last good version."""

    def __init__(self, folder: Path, poll_seconds: float = 2.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self.problems: dict[str, str] = {}
        """Company id to what is wrong with its folder now."""
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._companies: dict[str, Company] = {}
        self._states: dict[str, tuple[tuple[str, int, int], ...]] = {}
        self._checked_at: float | None = None
        self._lock = threading.Lock()
        self.refresh()

    def company(self, company_id: str) -> Company:
        self._refresh_if_due()
        try:
            return self._companies[company_id]
        except KeyError:
            raise UnknownCompany(company_id) from None

    def companies(self) -> list[Company]:
        self._refresh_if_due()
        return list(self._companies.values())

    def _refresh_if_due(self) -> None:
        checked = self._checked_at
        if checked is None or self._clock() - checked >= self._poll_seconds:
            self.refresh()

    def refresh(self) -> None:
        if not self._lock.acquire(blocking=False):
            return  # somebody else is at it; the last good snapshot serves meanwhile
        try:
            companies = dict(self._companies)
            found = {path.parent.name: path.parent for path in self.folder.glob("*/company.yml")}
            for company_id in set(companies) - set(found):
                del companies[company_id]
                self._states.pop(company_id, None)
            for company_id in set(self.problems) - set(found):
                del self.problems[company_id]
            for company_id, folder in sorted(found.items()):
                state = _state(folder)
                if self._states.get(company_id) == state:
                    continue
                self._states[company_id] = state
                try:
                    companies[company_id] = load_company(folder)
                    self.problems.pop(company_id, None)
                except Exception as error:  # one folder's mistake, whatever it is, must not take the others down
                    told = str(error) if isinstance(error, CompanyError) else f"{company_id}: {type(error).__name__}"
                    self.problems[company_id] = told
                    logger.error("company.unreadable company=%s problem=%s", company_id, told)
            self._companies = companies
            self._checked_at = self._clock()
        finally:
            self._lock.release()


def _state(folder: Path) -> tuple[tuple[str, int, int], ...]:
    files = []
    for path in folder.iterdir():
        try:
            status = path.stat()
        except FileNotFoundError:  # an editor's file, gone since it was listed
            continue
        files.append((path.name, status.st_mtime_ns, status.st_size))
    return tuple(sorted(files))
