from typing import Any, get_args

import pytest
from desk import Desk
from helpers import Clock
from sqlalchemy import Connection, delete, update

from personvern.database.tables import request_log, requests
from personvern.privacy.keys import Keys
from personvern.requests import life, store
from personvern.requests.life import FIRST, MOVES, ForbiddenMove, LogFault, Status, UnknownRequest

STATUSES: tuple[Status, ...] = get_args(Status)
WAYS: dict[Status, tuple[Status, ...]] = {
    "unconfirmed": (),
    "confirmed": (),
    "in_progress": ("in_progress",),
    "extended": ("in_progress", "extended"),
    "fulfilled": ("in_progress", "fulfilled"),
    "partly_fulfilled": ("in_progress", "partly_fulfilled"),
    "refused": ("in_progress", "refused"),
    "withdrawn": ("withdrawn",),
    "closed": ("withdrawn", "closed"),
}


def at(desk: Desk, status: Status) -> str:
    """A request that has got to this status."""
    if status == "unconfirmed":
        return desk.open(desk.draft("erasure")).requests[0].id
    (request,) = desk.confirmed("erasure")
    for step in WAYS[status]:
        move(desk, request.id, step)
    return request.id


def move(desk: Desk, request_id: str, to: Status, who: str = "staff:anne", why: str = "worked_on") -> None:
    with desk.database.write() as connection:
        life.move(connection, desk.keys, request_id, to, who=who, why=why, now=desk.clock())


def faults(desk: Desk, keys: Keys | None = None) -> list[LogFault]:
    with desk.database.read() as connection:
        return list(life.verify_log(connection, keys or desk.keys))


@pytest.mark.parametrize("before", STATUSES)
def test_exactly_the_moves_of_the_table_are_allowed(desk: Desk, clock: Clock, before: Status) -> None:
    for after in STATUSES:
        request_id = at(desk, before)
        clock.advance(days=30)
        if after in MOVES[before]:
            move(desk, request_id, after)
            assert desk.request(request_id).status == after
        else:
            rows = desk.rows(request_log)
            with pytest.raises(ForbiddenMove, match=f"from {before} to {after}"):
                move(desk, request_id, after)
            assert desk.request(request_id).status == before
            assert desk.rows(request_log) == rows
        with desk.database.write() as connection:  # the next one is no repetition of this
            connection.execute(update(requests).values(email_hash=None))
    assert faults(desk) == []


def test_every_status_can_be_reached_and_only_closed_cannot_be_left() -> None:
    assert set(MOVES) == set(STATUSES)
    assert FIRST | {after for moves in MOVES.values() for after in moves} == set(STATUSES)
    assert [status for status in STATUSES if not MOVES[status]] == ["closed"]


def test_each_move_is_written_down_with_who_when_and_why(desk: Desk, clock: Clock) -> None:
    (request,) = desk.confirmed("erasure")
    later = clock.advance(days=3)
    move(desk, request.id, "in_progress")
    with desk.database.read() as connection:
        log = life.log_of(connection, request.id)
    assert [(row.number, row.who, row.status_before, row.status_after, row.why) for row in log] == [
        (1, "visitor", None, "unconfirmed", "read_back"),
        (2, "visitor", "unconfirmed", "confirmed", "code_right"),
        (3, "staff:anne", "confirmed", "in_progress", "worked_on"),
    ]
    assert log[-1].at == later
    assert "Kari" not in str(log)


@pytest.mark.parametrize(
    ("who", "why"),
    [("kari@example.no", "worked_on"), ("staff:kari@example.no", "worked_on"), ("visitor", "Kari ringte"), ("", "x")],
)
def test_no_personal_data_gets_into_the_log(desk: Desk, who: str, why: str) -> None:
    (request,) = desk.confirmed("erasure")
    with pytest.raises(ValueError, match="nothing else"):
        move(desk, request.id, "in_progress", who, why)
    assert desk.request(request.id).status == "confirmed"


def test_a_move_and_its_row_are_one_transaction(desk: Desk) -> None:
    (request,) = desk.confirmed("erasure")
    before = desk.rows(request_log)

    def broken() -> None:
        with desk.database.write() as connection:
            life.move(
                connection, desk.keys, request.id, "in_progress", who="staff:anne", why="worked_on", now=desk.clock()
            )
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert desk.request(request.id).status == "confirmed"
    assert desk.rows(request_log) == before


def test_an_unknown_request_is_an_error(desk: Desk) -> None:
    with pytest.raises(UnknownRequest):
        move(desk, "f" * 32, "closed")
    with pytest.raises(UnknownRequest), desk.database.read() as connection:
        store.request_of(connection, "f" * 32)
    with pytest.raises(UnknownRequest), desk.database.read() as connection:
        store.person_of(connection, desk.keys, "f" * 32)
    with pytest.raises(UnknownRequest), desk.database.write() as connection:
        store.mark_read(connection, desk.keys, "f" * 32, who="staff:anne", now=desk.clock())


def test_closing_sets_the_time(desk: Desk, clock: Clock) -> None:
    request_id = at(desk, "fulfilled")
    later = clock.advance(days=1)
    move(desk, request_id, "closed")
    assert desk.request(request_id).closed_at == later


def tamper(desk: Desk, statement: Any) -> None:
    with desk.database.write() as connection:
        assert connection.execute(statement).rowcount == 1


def three_rows(desk: Desk) -> str:
    (request,) = desk.confirmed("erasure")
    move(desk, request.id, "in_progress")
    assert faults(desk) == []
    return request.id


def test_a_changed_row_shows(desk: Desk) -> None:
    request_id = three_rows(desk)
    mine = (request_log.c.request_id == request_id, request_log.c.number == 2)
    tamper(desk, update(request_log).where(*mine).values(who="staff:someone_else"))
    assert faults(desk) == [LogFault(request_id, 2, "changed")]


def test_a_row_that_was_taken_out_shows(desk: Desk) -> None:
    request_id = three_rows(desk)
    tamper(desk, delete(request_log).where(request_log.c.request_id == request_id, request_log.c.number == 2))
    assert faults(desk) == [LogFault(request_id, 2, "missing")]


def test_a_last_row_that_was_taken_away_shows(desk: Desk) -> None:
    request_id = three_rows(desk)
    tamper(desk, delete(request_log).where(request_log.c.request_id == request_id, request_log.c.number == 3))
    assert faults(desk) == [LogFault(request_id, 3, "missing")]


def test_a_whole_log_that_is_gone_shows(desk: Desk) -> None:
    request_id = desk.open(desk.draft("erasure")).requests[0].id
    tamper(desk, delete(request_log).where(request_log.c.request_id == request_id))
    assert faults(desk) == [LogFault(request_id, 1, "missing")]


def test_a_chain_made_anew_without_the_key_shows(desk: Desk) -> None:
    """Whoever can write to the database can chain the hashes, not sign the head."""
    request_id = three_rows(desk)
    stranger = Keys("A" * 43, "A" * 43)
    with desk.database.write() as connection:
        life.note(connection, stranger, request_id, who="staff:anne", why="added_later", now=desk.clock())
    assert faults(desk) == [LogFault(request_id, None, "head")]
    assert faults(desk, stranger) == []


def test_a_status_that_was_set_past_the_log_shows(desk: Desk) -> None:
    request_id = three_rows(desk)
    tamper(desk, update(requests).where(requests.c.id == request_id).values(status="closed"))
    assert faults(desk) == [LogFault(request_id, None, "status")]


def test_the_log_of_one_request_says_nothing_of_anothers(desk: Desk) -> None:
    first, second = three_rows(desk), desk.confirmed("access")[0].id
    tamper(
        desk, update(request_log).where(request_log.c.request_id == first, request_log.c.number == 1).values(why="x")
    )
    assert {fault.request_id for fault in faults(desk)} == {first}
    assert second != first


def test_read_is_written_down_once(desk: Desk, clock: Clock) -> None:
    (request,) = desk.confirmed("erasure")

    def read(connection: Connection) -> None:
        store.mark_read(connection, desk.keys, request.id, who="staff:anne", now=clock())

    first = clock()
    with desk.database.write() as connection:
        read(connection)
    clock.advance(hours=1)
    with desk.database.write() as connection:
        read(connection)
        assert [row.why for row in life.log_of(connection, request.id)].count("read") == 1
    assert desk.request(request.id).read_at == first
