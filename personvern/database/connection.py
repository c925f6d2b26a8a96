"""Opening the database: SQLite in WAL mode on one machine, PostgreSQL for several."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from sqlite3 import OperationalError
from threading import Lock
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url


class Database:
    """One database. `read` and `write` give a connection inside a transaction; `write` commits at its end."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        # Text of a conversation must not reach a log through an exception's parameters.
        options: dict[str, Any] = {"hide_parameters": True}
        if self.is_sqlite:
            options["connect_args"] = {"timeout": 10}
        else:
            options["pool_pre_ping"] = True
        self.engine: Engine = create_engine(self.url, **options)
        # SQLite's own waiting for the write lock sleeps in steps; a queue inside the process does not.
        self._one_writer = Lock() if self.is_sqlite else nullcontext()
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with (
            self._one_writer,
            self.engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    def forget_deleted(self) -> bool:
        """Take what was deleted out of the file; False when somebody was in the way: try again later.

        `secure_delete` overwrites deleted rows, but not the copies that stay behind when SQLite moves rows from page
        to page: only rewriting the file does. What PostgreSQL keeps lies with whoever runs it (docs/operations.md).
        """
        return self._without_waiting("VACUUM") and self.empty_log()

    def empty_log(self) -> bool:
        """Empty the write-ahead log, which holds rows as they were; False when somebody was in the way."""
        return self._without_waiting("PRAGMA wal_checkpoint(TRUNCATE)")

    def _without_waiting(self, statement: str) -> bool:
        if not self.is_sqlite:
            return True
        with self._one_writer, self.engine.connect() as connection:
            raw = connection.connection.dbapi_connection
            assert raw is not None
            cursor = raw.cursor()
            # Whoever waits here holds the lock that writers need.
            cursor.execute("PRAGMA busy_timeout=0")
            try:
                busy = (cursor.execute(statement).fetchone() or (0,))[0]
            except OperationalError:
                return False
            finally:
                cursor.execute("PRAGMA busy_timeout=10000")
        return not busy

    def close(self) -> None:
        self.engine.dispose()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's own BEGIN below is the only one
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # an acknowledged message survives a power cut
        "foreign_keys=ON",
        "secure_delete=ON",  # erased means overwritten
        "busy_timeout=10000",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that will write takes the lock at once: one that upgrades half-way fails instead of waiting.
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
