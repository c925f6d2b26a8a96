import warnings
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.exc import IntegrityError, StatementError

from personvern.database.connection import Database
from personvern.database.migrate import _configuration, downgrade, upgrade
from personvern.database.tables import conversations, erasures, metadata

NOON = datetime(2025, 3, 3, 12, 0, tzinfo=UTC)


def _tables(database: Database) -> set[str]:
    return set(inspect(database.engine).get_table_names()) - {"alembic_version"}


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))


def _conversation(conversation_id: str, when: datetime = NOON) -> dict[str, object]:
    return {
        "id": conversation_id,
        "company": "jackon",
        "channel": "widget",
        "language": "nb",
        "language_chosen": False,
        "token_hash": "0" * 64,
        "state": "bot",
        "last_event": 0,
        "created_at": when,
        "last_message_at": when,
    }


def test_the_schema_goes_up_down_to_nothing_and_up_again(empty_database: Database) -> None:
    assert _tables(empty_database) == set()
    upgrade(empty_database)
    assert _tables(empty_database) == set(metadata.tables)
    downgrade(empty_database)
    assert _tables(empty_database) == set()
    upgrade(empty_database)
    assert _tables(empty_database) == set(metadata.tables)
    upgrade(empty_database)  # nothing to do is no error: every app process runs this when it starts
    assert _tables(empty_database) == set(metadata.tables)


def test_each_migration_can_be_undone_by_itself(empty_database: Database) -> None:
    revisions = list(ScriptDirectory.from_config(_configuration(empty_database)).walk_revisions())
    assert revisions
    for script in reversed(revisions):
        upgrade(empty_database, script.revision)
        after = _tables(empty_database)
        downgrade(empty_database, script.down_revision or "base")
        upgrade(empty_database, script.revision)
        assert _tables(empty_database) == after


def test_the_migrations_make_what_the_code_expects(empty_database: Database) -> None:
    upgrade(empty_database)
    with empty_database.read() as connection, warnings.catch_warnings():
        # SQLite has no comments nor expression indexes to compare, which it says in a warning.
        warnings.simplefilter("ignore")
        assert _differences(connection) == []


def test_a_difference_between_code_and_migrations_would_be_found(empty_database: Database) -> None:
    upgrade(empty_database)
    with empty_database.write() as connection:
        connection.execute(text("ALTER TABLE turns DROP COLUMN intent"))
    with empty_database.read() as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [difference[0] for difference in _differences(connection)] == ["add_column"]  # type: ignore[index]


def test_a_migration_that_fails_leaves_nothing_half_done(empty_database: Database) -> None:
    with empty_database.write() as connection:
        connection.execute(text("CREATE TABLE turns (id INTEGER)"))
    with pytest.raises(Exception, match="turns"):
        upgrade(empty_database)
    assert _tables(empty_database) == {"turns"}


@pytest.mark.parametrize("when", [datetime(2025, 3, 3, 12, 0), datetime.min])
def test_a_time_without_a_zone_is_refused(database: Database, when: datetime) -> None:
    with (
        pytest.raises(StatementError, match="without a zone"),
        database.write() as connection,
    ):
        connection.execute(conversations.insert().values(_conversation("a" * 32, when)))
    with database.read() as connection:
        assert connection.execute(select(conversations.c.id)).all() == []


def test_a_time_comes_back_as_the_same_moment_in_utc(database: Database) -> None:
    oslo = timezone(timedelta(hours=2))
    with database.write() as connection:
        connection.execute(
            conversations.insert().values(_conversation("a" * 32, datetime(2025, 7, 1, 14, 0, 0, 123456, tzinfo=oslo)))
        )
    with database.read() as connection:
        stored = connection.execute(select(conversations.c.created_at, conversations.c.worker_until)).one()
    assert stored == (datetime(2025, 7, 1, 12, 0, 0, 123456, tzinfo=UTC), None)
    assert stored[0].tzinfo is UTC


def test_what_belongs_to_no_conversation_is_refused(database: Database) -> None:
    orphan = {
        "conversation_id": "b" * 32,
        "number": 1,
        "kind": "message",
        "data": {},
    }
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(metadata.tables["events"].insert().values(orphan))


def test_every_table_of_a_conversation_goes_with_it(empty_database: Database) -> None:
    """By the database itself, so that no code can forget one. Only a filed request stays, under its own rule."""
    upgrade(empty_database)
    found = inspect(empty_database.engine)
    rules = {}
    for name, table in metadata.tables.items():
        if name == "erasures" or not {"conversation_id", "message_id"} & set(table.columns.keys()):
            continue
        keys = {key["constrained_columns"][0]: key["options"].get("ondelete") for key in found.get_foreign_keys(name)}
        for column in {"conversation_id", "message_id"} & set(table.columns.keys()):
            rules[name, column] = keys.get(column)
    assert len(rules) >= 9
    assert {place for place, rule in rules.items() if rule != "CASCADE"} <= {("requests", "conversation_id")}
    assert rules.get(("requests", "conversation_id"), "SET NULL") == "SET NULL"


def test_sqlite_is_durable_overwrites_what_is_deleted_and_checks_references(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    try:
        # Two connections at once, because settings of a connection must hold for each.
        with database.read() as first, database.read() as second:
            for connection in (first, second):
                settings = {
                    name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                    for name in ("journal_mode", "secure_delete", "foreign_keys", "synchronous", "busy_timeout")
                }
                assert settings == {
                    "journal_mode": "wal",
                    "secure_delete": 1,
                    "foreign_keys": 1,
                    "synchronous": 2,  # FULL
                    "busy_timeout": 10_000,
                }
    finally:
        database.close()


def test_the_folder_of_a_sqlite_file_is_made(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/not/there/yet/personvern.db")
    upgrade(database)
    assert _tables(database) == set(metadata.tables)
    database.close()


def test_an_exception_inside_a_transaction_undoes_it(database: Database) -> None:
    def broken() -> None:
        with database.write() as connection:
            connection.execute(conversations.insert().values(_conversation("c" * 32)))
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        broken()
    with database.read() as connection:
        assert connection.execute(select(conversations.c.id)).all() == []


def test_what_people_wrote_is_in_no_error_of_the_database(database: Database) -> None:
    values = {
        "conversation_id": "d" * 32,
        "reason": "SECRET",
        "requested_at": NOON,
        "next_attempt_at": NOON,
        "attempts": 0,
    }

    def twice() -> None:
        with database.write() as connection:
            for _ in range(2):
                connection.execute(erasures.insert().values(values))

    with pytest.raises(IntegrityError) as refused:
        twice()
    assert "SECRET" not in str(refused.value)
