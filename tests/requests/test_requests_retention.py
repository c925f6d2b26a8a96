from collections.abc import Callable
from typing import Any

import pytest
from desk import Desk
from helpers import Clock
from sqlalchemy import update

from personvern.database.tables import mail_sendings, outbox, request_drafts, requests
from personvern.requests import life, retention, store
from personvern.requests.life import Status
from personvern.requests.retention import Keeping

TYPED = ("name", "email", "details", "on_behalf", "email_hash")


def rule(**given: Any) -> Callable[[str], Keeping]:
    return lambda company: Keeping(**given)


def closed(desk: Desk) -> str:
    (request,) = desk.confirmed("erasure")
    steps: tuple[Status, ...] = ("in_progress", "fulfilled", "closed")
    for step in steps:
        with desk.database.write() as connection:
            life.move(connection, desk.keys, request.id, step, who="staff:anne", why="worked_on", now=desk.clock())
    return request.id


def unconfirmed(desk: Desk) -> str:
    return desk.open(desk.draft("erasure")).requests[0].id


def put(desk: Desk, request_id: str, **values: Any) -> None:
    with desk.database.write() as connection:
        connection.execute(update(requests).where(requests.c.id == request_id).values(**values))


def row(desk: Desk, request_id: str) -> dict[str, Any]:
    return next(row for row in desk.rows(requests) if row["id"] == request_id)


def purge_closed(desk: Desk, **given: Any) -> int:
    with desk.database.write() as connection:
        return retention.purge_closed(connection, desk.keys, desk.clock(), rule(**given))


def purge_unconfirmed(desk: Desk, **given: Any) -> int:
    with desk.database.write() as connection:
        return retention.purge_unconfirmed(connection, desk.keys, desk.clock(), rule(**given))


def read(desk: Desk, request_id: str) -> None:
    with desk.database.write() as connection:
        store.mark_read(connection, desk.keys, request_id, who="staff:anne", now=desk.clock())


def test_a_closed_request_loses_what_was_typed_after_36_months_and_keeps_its_figures(desk: Desk, clock: Clock) -> None:
    request_id = closed(desk)
    before = row(desk, request_id)
    clock.advance(days=1094)  # 3 March 2028 is the day after
    assert purge_closed(desk) == 0
    clock.advance(days=2)
    assert purge_closed(desk) == 1
    after = row(desk, request_id)
    assert [after[name] for name in TYPED] == [None] * 5
    assert after["conversation_id"] is None
    for kept in ("reference", "right", "status", "received_on", "due_plain", "due_rolled", "closed_at", "language"):
        assert after[kept] == before[kept]
    assert desk.request(request_id).purged_at == clock()
    with desk.database.read() as connection:
        assert life.log_of(connection, request_id)[-1].why == "kept_long_enough"
        assert list(life.verify_log(connection, desk.keys)) == []
        person = store.person_of(connection, desk.keys, request_id)
    assert (person.name, person.email, person.details, person.on_behalf) == (None, None, None, None)
    assert purge_closed(desk) == 0


def test_a_company_sets_its_own_period(desk: Desk, clock: Clock) -> None:
    closed(desk)
    clock.advance(days=100)
    assert purge_closed(desk, months=6) == 0
    assert purge_closed(desk, months=3) == 1


def test_what_is_held_is_kept(desk: Desk, clock: Clock) -> None:
    request_id = closed(desk)
    put(desk, request_id, held_at=clock())
    clock.advance(days=2000)
    assert purge_closed(desk) == 0
    put(desk, request_id, held_at=None)
    assert purge_closed(desk) == 1


def test_a_public_body_purges_nothing_that_is_not_exported(desk: Desk, clock: Clock) -> None:
    request_id = closed(desk)
    clock.advance(days=2000)
    assert purge_closed(desk, needs_export=True) == 0
    put(desk, request_id, exported_at=clock())
    assert purge_closed(desk, needs_export=True) == 1


@pytest.mark.parametrize("status", ["confirmed", "in_progress"])
def test_an_open_request_is_kept_however_old(desk: Desk, clock: Clock, status: Status) -> None:
    (request,) = desk.confirmed("erasure")
    if status != "confirmed":
        with desk.database.write() as connection:
            life.move(connection, desk.keys, request.id, status, who="staff:anne", why="worked_on", now=clock())
    clock.advance(days=5000)
    assert purge_closed(desk) == 0
    assert purge_unconfirmed(desk) == 0
    assert row(desk, request.id)["name"] is not None


def test_an_unconfirmed_request_is_never_purged_unread(desk: Desk, clock: Clock) -> None:
    request_id = unconfirmed(desk)
    clock.advance(days=5000)
    assert purge_unconfirmed(desk) == 0
    read(desk, request_id)
    assert purge_unconfirmed(desk) == 1
    after = row(desk, request_id)
    assert after["status"] == "closed"
    assert [after[name] for name in TYPED] == [None] * 5
    with desk.database.read() as connection:
        assert life.log_of(connection, request_id)[-1].why == "never_confirmed"
        assert list(life.verify_log(connection, desk.keys)) == []


def test_an_unconfirmed_request_that_was_read_is_kept_for_the_period(desk: Desk, clock: Clock) -> None:
    request_id = unconfirmed(desk)
    read(desk, request_id)
    clock.advance(days=1000)
    assert purge_unconfirmed(desk) == 0
    clock.advance(days=100)
    assert purge_unconfirmed(desk, needs_export=True) == 0
    assert purge_unconfirmed(desk) == 1


def test_a_repeated_request_goes_like_any_other_that_is_closed(desk: Desk, clock: Clock) -> None:
    desk.confirmed("erasure")
    opened = desk.open(desk.draft("erasure"))
    desk.confirm(opened.group_id)
    clock.advance(days=2000)
    assert purge_closed(desk) == 1
    assert row(desk, opened.requests[0].id)["email"] is None


def test_a_mail_that_was_never_sent_goes_too(desk: Desk, clock: Clock) -> None:
    closed(desk)
    assert len(desk.rows(outbox)) == 3
    clock.advance(days=2000)
    purge_closed(desk)
    assert desk.rows(outbox) == []


def test_the_daily_job_does_it_all(desk: Desk, clock: Clock) -> None:
    for number in range(3):
        closed(desk)
        clock.advance(hours=2 + number)
    desk.deliver()
    desk.draft("access", email="ola@example.no")
    clock.advance(days=2000)
    purged = retention.purge_all(desk.database, desk.keys, clock(), rule())
    assert purged == {"drafts": 1, "codes": 0, "sendings": 9, "sent": 9, "unconfirmed": 0, "closed": 3}
    for table in (request_drafts, mail_sendings, outbox):
        assert desk.rows(table) == []
    assert set(retention.purge_all(desk.database, desk.keys, clock(), rule()).values()) == {0}


def test_the_job_goes_on_until_nothing_is_left(desk: Desk, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_AT_A_TIME", 1)
    for _ in range(3):
        closed(desk)
        clock.advance(hours=2)
    clock.advance(days=2000)
    assert retention.purge_all(desk.database, desk.keys, clock(), rule())["closed"] == 3
