"""The pages in docs/answers are what the assistant says now."""

from pathlib import Path

import pytest

from personvern.answers.overview import overview
from personvern.statements.company import load_company

ROOT = Path(__file__).parent.parent.parent
COMPANIES = sorted(path.parent.name for path in (ROOT / "policies").glob("*/company.yml"))


@pytest.mark.parametrize("company", COMPANIES)
def test_the_page_of_answers_is_up_to_date(company: str) -> None:
    page = ROOT / "docs" / "answers" / f"{company}.md"
    assert page.read_text(encoding="utf-8") == overview(load_company(ROOT / "policies" / company)), (
        "run `personvern answers` and read what has changed"
    )
