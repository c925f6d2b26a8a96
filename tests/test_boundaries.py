"""Imports run downwards only: docs and design/house.md, «Rooms»."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT

ROOMS = sorted(path.name for path in (ROOT / "personvern").iterdir() if (path / "__init__.py").exists())
GROUND = ("database", "languages", "privacy")
"""What every room of the domain may use, and what uses none of them."""
WEB_AND_DIALOGUE = {
    "rasa", "rasa_sdk", "litestar", "starlette", "sanic", "uvicorn", "aiohttp", "httpx", "msgspec", "limits", "redis",
}  # fmt: skip


def modules(room: str) -> list[Path]:
    return [path for path in sorted((ROOT / room).rglob("*.py")) if ".venv" not in path.parts]


def imported(path: Path) -> Iterator[str]:
    """Dotted names of what a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def offences(room: str, forbidden: set[str]) -> list[str]:
    """Imports of `room` that are, or are below, one of the forbidden names."""
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(room)
        for name in imported(path)
        if any(name == one or name.startswith(f"{one}.") for one in forbidden)
    ]


def test_the_domain_knows_neither_its_users_nor_the_web_nor_the_dialogue() -> None:
    assert offences("personvern", {"app", "actions", "engine", "tools", "tests", *WEB_AND_DIALOGUE}) == []


@pytest.mark.parametrize("room", GROUND)
def test_the_ground_floor_of_the_domain_uses_no_other_room(room: str) -> None:
    others = {f"personvern.{other}" for other in ROOMS if other != room}
    if room == "database":
        assert offences("personvern/database", others) == []
    else:
        assert offences(f"personvern/{room}", others - {f"personvern.{other}" for other in GROUND}) == []


def test_app_and_actions_do_not_know_each_other_nor_the_engine() -> None:
    assert offences("app", {"actions", "engine", "rasa", "rasa_sdk", "tools"}) == []
    assert offences("actions", {"app", "engine", "rasa", "litestar", "tools"}) == []


def test_the_engine_knows_nothing_of_the_rest() -> None:
    assert offences("engine", {"personvern", "app", "actions", "tools"}) == []


def test_only_the_engine_knows_rasa() -> None:
    for room in ("personvern", "app", "actions", "tools"):
        assert offences(room, {"rasa"}) == []


def test_only_the_database_room_and_those_who_keep_records_write_queries() -> None:
    """Repositories are the only code that touches a session: a page or an action calls them."""
    tables = {"personvern.database.tables"}
    assert offences("app", tables) == []
    assert offences("actions", tables) == []
    assert offences("personvern/answers", {"sqlalchemy", *tables}) == []
    assert offences("personvern/statements", {"sqlalchemy", *tables}) == []


def test_the_check_sees_every_way_of_importing(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("import a.b as c\nfrom d import e\ndef f():\n    from g.h import i, j\n")
    assert list(imported(path)) == ["a.b", "d", "d.e", "g.h", "g.h.i", "g.h.j"]
    assert all(modules(room) for room in ("personvern", "app", "actions", "engine"))


def test_nothing_connects_or_reads_the_environment_when_it_is_imported() -> None:
    """Calls at the top of a module of what opens, connects or looks into the environment."""
    opening = {"open", "os.getenv", "create_engine", "Database", "Settings.load", "Library", "connect", "load_dotenv"}
    found = []
    for room in ("personvern", "app", "actions"):
        for path in modules(room):
            if "migrations" in path.parts:
                continue  # Alembic runs these files as scripts
            for statement in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.If)):
                    continue
                for node in ast.walk(statement):
                    name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
                    if name in opening or (isinstance(node, ast.Attribute) and ast.unparse(node) == "os.environ"):
                        found.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}")
    assert found == []


def test_every_package_that_is_imported_is_declared() -> None:
    """What only comes along with something else may stop coming along."""
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = {"yaml": "pyyaml", "dotenv": "python-dotenv", "dateutil": "python-dateutil"}
    undeclared = set()
    for room in ("personvern", "app", "actions"):
        for path in modules(room):
            for name in imported(path):
                top = name.partition(".")[0]
                if top in sys.stdlib_module_names or top in ("personvern", "app", "actions"):
                    continue
                package = named.get(top, top).replace("_", "-")
                if f'"{package}' not in declared:
                    undeclared.add(f"{path.relative_to(ROOT)}: {top}")
    assert undeclared == set()
