"""A company that receives requests, and the keys of an installation."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest
from desk import Desk, key

from personvern.database.connection import Database
from personvern.privacy.keys import Keys
from personvern.statements.company import Company, RequestTargets
from personvern.statements.library import Library


@pytest.fixture
def keys() -> Keys:
    return Keys(key("d"), key("h"))


@pytest.fixture
def company(library: Library) -> Company:
    targets = RequestTargets(email="privacy@example.com", webhook="https://hooks.example.com/requests")
    return replace(library.company("norsk-fagutdanning"), request_targets=targets)


@pytest.fixture
def desk(database: Database, keys: Keys, clock: Callable[[], datetime], company: Company) -> Desk:
    return Desk(database, keys, clock, company)
