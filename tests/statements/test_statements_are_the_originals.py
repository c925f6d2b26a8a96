"""The statements are the companies' own words: nothing in them is ours to change, their faults neither."""

import hashlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT.parent / "shared" / "statements"
SUMS = {
    "jackon/statement.nb.txt": "842ee039514e185854b0db2016d2083c6c3ba79b862e6abe17b6811ba64c12d4",
    "jobbkort/statement.en.txt": "5b4f8d758ec667b823d505d7166b0705b3f57b5ca0091a275b06bde8c38b5880",
    "norsk-fagutdanning/statement.nb.txt": "d91431a53d4fa9fdc296c998e47b03c5966a4d39cbacae2116204f525a3cfb7d",
    "se-gruppen/statement.nb.txt": "58b7cda4d3e6c56f2acd5b2d976d8873df585cb42bed1906c19f82c3e8adc9d2",
    "unnamed/statement.nb.txt": "ebce120c382a71bbfc03c0bf6d933b2913d9b2ed1482b9011ec236442a41b1f0",
}


@pytest.mark.parametrize("name", SUMS)
def test_a_statement_is_byte_for_byte_what_the_company_published(name: str) -> None:
    shipped = (ROOT / "policies" / name).read_bytes()
    assert hashlib.sha256(shipped).hexdigest() == SUMS[name]


@pytest.mark.parametrize("name", SUMS)
def test_a_statement_equals_the_file_it_came_from(name: str) -> None:
    if not PUBLISHED.exists():
        pytest.skip(f"{PUBLISHED} is not on this machine")
    company, file = name.split("/")
    original = PUBLISHED / file.replace("statement", company)
    assert (ROOT / "policies" / name).read_bytes() == original.read_bytes()


def test_no_other_statement_ships() -> None:
    found = {str(path.relative_to(ROOT / "policies")) for path in (ROOT / "policies").glob("*/statement.*")}
    assert found == set(SUMS)
