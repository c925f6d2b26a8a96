from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
import yaml

from personvern.statements.company import CompanyError, RequestTargets, load_company


def load(tmp_path: Path, requests: Any) -> RequestTargets:
    folder = tmp_path / "acme"
    folder.mkdir()
    settings: dict[str, Any] = {"name": "Acme"}
    if requests is not None:
        settings["requests"] = requests
    (folder / "company.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    (folder / "statement.en.txt").write_text(indent("Privacy\n\nWe keep nothing.\n", ""), encoding="utf-8")
    return load_company(folder).request_targets


def test_a_company_that_names_nobody_has_no_receiver(tmp_path: Path) -> None:
    targets = load(tmp_path, None)
    assert targets == RequestTargets()
    assert not targets


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"email": "privacy@example.com"}, RequestTargets(email="privacy@example.com")),
        ({"webhook": "https://hooks.example.com/a?b=c"}, RequestTargets(webhook="https://hooks.example.com/a?b=c")),
        ({"webhook": "http://127.0.0.1:9000/in"}, RequestTargets(webhook="http://127.0.0.1:9000/in")),
        (
            {"email": "p@example.com", "language": "nn", "target_days": 14, "keep_months": 12, "demo": True},
            RequestTargets("p@example.com", None, "nn", 14, 12, True),
        ),
    ],
)
def test_the_receivers_are_read(tmp_path: Path, given: dict[str, Any], expected: RequestTargets) -> None:
    targets = load(tmp_path, given)
    assert targets == expected
    assert targets


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("privacy@example.com", "may hold only"),
        ({"mail": "privacy@example.com"}, "may hold only"),
        ({"email": "privacy"}, "email"),
        ({"email": "a@example.com, b@example.com"}, "email"),
        ({"email": "a@example.com\nBcc: b@example.com"}, "email"),
        ({"webhook": "http://hooks.example.com/"}, "https://"),
        ({"webhook": "http://localhost.example.com/"}, "https://"),
        ({"webhook": "ftp://example.com"}, "https://"),
        ({"webhook": "https://"}, "https://"),
        ({"email": "a@example.com", "language": "sv"}, "language"),
        ({"email": "a@example.com", "target_days": 0}, "target_days"),
        ({"email": "a@example.com", "target_days": 31}, "target_days"),
        ({"email": "a@example.com", "target_days": "14"}, "target_days"),
        ({"email": "a@example.com", "keep_months": True}, "keep_months"),
        ({"email": "a@example.com", "demo": "yes"}, "demo"),
    ],
)
def test_a_mistake_is_told_with_file_and_setting(tmp_path: Path, given: Any, named: str) -> None:
    with pytest.raises(CompanyError, match=f"acme/company.yml.*{named}"):
        load(tmp_path, given)
