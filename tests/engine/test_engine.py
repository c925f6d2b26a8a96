"""The engine's own code, run by the engine's own interpreter: see checks.py."""

import ast
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from helpers import ROOT

CHECKS = Path(__file__).parent / "checks.py"
PYTHON = ROOT / "engine" / ".venv" / "bin" / "python"
NAMES = [
    node.name
    for node in ast.parse(CHECKS.read_text(encoding="utf-8")).body
    if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("check_")
]


@pytest.fixture(scope="module")
def results(need: Callable[[bool, str], None], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """What was wrong with each check."""
    need(PYTHON.exists(), "engine/.venv is missing: make setup")
    folder = tmp_path_factory.mktemp("engine")
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "LC_ALL")}
    done = subprocess.run(
        [str(PYTHON), "-W", "ignore", str(CHECKS), str(folder)],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    found = [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("CHECK ")]
    assert done.returncode == 0, done.stderr[-3000:]
    return {check["name"]: check["wrong"] for check in found}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            id=name.removeprefix("check_"),
        )
        for name in NAMES
    ],
)
def test_engine(results: dict[str, str | None], name: str) -> None:
    assert results[name] is None, results[name]


def test_every_intent_has_a_rule() -> None:
    """So that what no rule is for stays what nobody meant."""
    domain = yaml.safe_load((ROOT / "domain.yml").read_text(encoding="utf-8"))
    heard, run = set(), set()
    for path in sorted((ROOT / "data" / "rules").glob("*.yml")):
        for rule in yaml.safe_load(path.read_text(encoding="utf-8"))["rules"]:
            heard |= {step["intent"] for step in rule["steps"] if "intent" in step}
            run |= {step["action"] for step in rule["steps"] if "action" in step}
    assert set(domain["intents"]) - heard == set()
    assert heard <= set(domain["intents"])
    assert run - {"action_listen"} <= set(domain["actions"]) | set(domain.get("forms", {}))


def test_every_check_has_a_name_of_its_own() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 25
