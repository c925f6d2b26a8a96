import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from helpers import Clock
from sqlalchemy import select, update

from personvern.database.connection import Database
from personvern.database.tables import outbox as table
from personvern.notifications import outbox
from personvern.notifications.outbox import GIVE_UP_AFTER, LEASE, NotDelivered, Outgoing
from personvern.privacy.keys import Keys

HELLO = {"to": "kari@example.no", "text": "Hei, Kåre 🦊"}


class Line:
    """A transport whose behaviour a test sets."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.fault: BaseException | None = None
        self.before: Callable[[Outgoing], None] = lambda outgoing: None

    def send(self, outgoing: Outgoing) -> None:
        self.before(outgoing)
        if self.fault is not None:
            raise self.fault
        self.sent.append(outgoing)


class Box:
    def __init__(self, database: Database, keys: Keys, clock: Clock) -> None:
        self.database, self.keys, self.clock, self.line = database, keys, clock, Line()

    def put(self, **given: Any) -> bool:
        wanted = {
            "kind": "mail",
            "purpose": "receipt",
            "company": "acme",
            "payload": HELLO,
            "now": self.clock(),
            **given,
        }
        with self.database.write() as connection:
            return outbox.enqueue(connection, self.keys, **wanted)

    def deliver(self, line: Line | None = None) -> int:
        return outbox.deliver_due(self.database, self.keys, {"mail": line or self.line}, self.clock)

    def row(self) -> Any:
        with self.database.read() as connection:
            return connection.execute(select(table)).one()

    def rows(self) -> int:
        with self.database.read() as connection:
            return len(connection.execute(select(table)).all())

    def failed(self) -> int:
        with self.database.read() as connection:
            return outbox.failed_count(connection)


@pytest.fixture
def box(database: Database, keys: Keys, clock: Clock) -> Box:
    return Box(database, keys, clock)


def test_what_is_put_in_is_sent_once_and_then_empty(box: Box, clock: Clock) -> None:
    assert box.put()
    assert "Kåre" not in str(box.row())
    assert "kari" not in str(box.row())
    assert box.deliver() == 1
    assert box.deliver() == 0
    (sent,) = box.line.sent
    assert (sent.payload, sent.purpose, sent.company, sent.created_at) == (HELLO, "receipt", "acme", clock())
    row = box.row()
    assert (row.state, row.payload, row.finished_at, row.last_error) == ("delivered", None, clock(), None)


def test_what_was_rolled_back_is_not_sent(box: Box) -> None:
    def broken() -> None:
        with box.database.write() as connection:
            outbox.enqueue(
                connection, box.keys, kind="mail", purpose="x", company="acme", payload=HELLO, now=box.clock()
            )
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert box.deliver() == 0


def test_the_same_key_is_put_in_once_even_after_delivery(box: Box) -> None:
    assert box.put(key="receipt:1")
    assert not box.put(key="receipt:1")
    box.deliver()
    assert not box.put(key="receipt:1")
    assert box.put(key="receipt:2")
    assert box.put()
    assert box.put()
    assert box.deliver() == 3


def test_what_is_not_due_waits(box: Box, clock: Clock) -> None:
    box.put(not_before=clock() + timedelta(hours=2))
    assert box.deliver() == 0
    clock.advance(hours=2)
    assert box.deliver() == 1


def test_it_is_tried_again_later_and_later_with_the_same_id(box: Box, clock: Clock) -> None:
    tried: list[tuple[str, datetime]] = []
    box.line.before = lambda outgoing: tried.append((outgoing.id, clock()))
    box.line.fault = NotDelivered("ConnectionRefusedError")
    box.put()
    for _ in range(15):
        box.deliver()
        clock.now = box.row().next_attempt_at - timedelta(seconds=1)
        assert box.deliver() == 0
        clock.advance(seconds=1)
    waits = [(later[1] - earlier[1]).total_seconds() for earlier, later in pairwise(tried)]
    assert waits[:5] == [10, 20, 40, 80, 160]
    assert waits == sorted(waits)
    assert max(waits) == 3600
    assert len({name for name, _ in tried}) == 1
    assert box.row().last_error == "ConnectionRefusedError"
    assert box.failed() == 0


def test_a_mail_server_that_is_down_for_a_day_loses_nothing(box: Box, clock: Clock) -> None:
    box.put()
    box.line.fault = NotDelivered("ConnectionRefusedError")
    up = clock() + timedelta(days=1)
    while clock() < up:
        box.deliver()
        clock.advance(minutes=5)
    box.line.fault = None
    for _ in range(13):
        box.deliver()
        clock.advance(minutes=5)
    assert len(box.line.sent) == 1
    assert box.failed() == 0


def test_after_more_than_a_day_it_is_given_up_and_counted_and_can_be_sent_again(box: Box, clock: Clock) -> None:
    box.put(subject="a" * 32)
    box.line.fault = NotDelivered("smtp_451")
    end = clock() + GIVE_UP_AFTER
    while clock() <= end:
        box.deliver()
        clock.advance(minutes=15)
    assert box.failed() == 1
    with box.database.read() as connection:
        (failure,) = outbox.failures(connection, subject="a" * 32)
        assert outbox.failures(connection, subject="b" * 32) == []
        assert [one.id for one in outbox.failures(connection)] == [failure.id]
    assert (failure.error, failure.purpose, failure.company) == ("smtp_451", "receipt", "acme")
    assert failure.attempts > 20
    box.line.fault = None
    assert box.deliver() == 0
    with box.database.write() as connection:
        assert outbox.send_again(connection, failure.id, clock())
        assert not outbox.send_again(connection, failure.id, clock())
        assert outbox.waiting_count(connection, clock()) == 1
    assert box.deliver() == 1
    assert box.failed() == 0
    assert box.line.sent[0].id == failure.id


def test_what_no_retry_helps_is_given_up_at_once(box: Box) -> None:
    box.put()
    box.line.fault = NotDelivered("recipient_550", for_good=True)
    box.deliver()
    assert box.failed() == 1
    assert box.row().last_error == "recipient_550"


def test_what_is_too_late_is_not_sent(box: Box, clock: Clock) -> None:
    box.put(give_up_at=clock() + timedelta(minutes=15))
    clock.advance(minutes=15, seconds=1)
    assert box.deliver() == 0
    assert box.line.sent == []
    assert (box.row().state, box.row().last_error) == ("failed", "too_late")


def test_one_that_cannot_be_read_does_not_stop_the_others(box: Box, clock: Clock) -> None:
    box.put()
    with box.database.write() as connection:
        connection.execute(update(table).values(payload="nonsense"))
    clock.advance(seconds=1)
    box.put()
    assert box.deliver() == 1
    assert box.failed() == 1


def test_a_broken_transport_loses_nothing_and_tells_no_personal_data(
    box: Box, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    box.put()
    box.line.fault = RuntimeError("kari@example.no could not be written to")
    assert box.deliver() == 0
    assert box.row().last_error == "RuntimeError"
    assert "kari" not in caplog.text
    box.line.fault = None
    clock.advance(seconds=10)
    assert box.deliver() == 1


def test_a_kind_without_a_transport_waits(box: Box, clock: Clock) -> None:
    box.put(kind="webhook")
    assert box.deliver() == 0
    assert box.row().state == "waiting"


class Killed(BaseException):
    """The process ends here."""


def test_killed_after_sending_it_is_sent_once_more_with_the_same_id(box: Box, clock: Clock) -> None:
    """Between the mail server's yes and our writing it down: at most one mail more, never none."""
    box.put()
    line = Line()

    def send_and_die(outgoing: Outgoing) -> None:
        line.sent.append(outgoing)
        raise Killed

    line.before = send_and_die
    with pytest.raises(Killed):
        box.deliver(line)
    assert box.deliver() == 0  # the dead one's lease still runs
    clock.advance(seconds=LEASE.total_seconds() + 1)
    assert box.deliver() == 1
    assert box.deliver() == 0
    assert [one.id for one in line.sent] == [one.id for one in box.line.sent]


def test_killed_before_sending_it_is_sent_once(box: Box, clock: Clock) -> None:
    box.put()
    line = Line()
    line.fault = Killed()
    with pytest.raises(Killed):
        box.deliver(line)
    clock.advance(seconds=LEASE.total_seconds() + 1)
    assert box.deliver() == 1
    assert len(box.line.sent) == 1


def test_a_worker_that_took_longer_than_its_lease_changes_nothing(box: Box, clock: Clock) -> None:
    box.put()
    slow = Line()

    def while_it_sleeps(outgoing: Outgoing) -> None:
        clock.advance(seconds=LEASE.total_seconds() + 1)
        assert box.deliver() == 1  # another took it over and was done first

    slow.before = while_it_sleeps
    slow.fault = NotDelivered("TimeoutError")
    assert box.deliver(slow) == 0
    assert box.row().state == "delivered"
    assert box.row().payload is None


def test_two_workers_never_send_the_same(box: Box) -> None:
    for number in range(40):
        box.put(key=f"mail:{number}")
    lines = [Line() for _ in range(4)]
    gate = threading.Barrier(len(lines))

    def work(line: Line) -> None:
        gate.wait()
        while box.deliver(line):
            pass

    threads = [threading.Thread(target=work, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent = [outgoing.id for line in lines for outgoing in line.sent]
    assert len(sent) == len(set(sent)) == 40


def test_no_transaction_is_open_while_something_is_sent(box: Box) -> None:
    """A mail server that takes a minute must not keep the database's lock."""
    box.put()

    def write_meanwhile(_: Outgoing) -> None:
        box.put(key="written meanwhile", not_before=box.clock() + timedelta(hours=1))

    box.line.before = write_meanwhile
    assert box.deliver() == 1
    assert box.rows() == 2


def test_what_was_not_sent_can_be_taken_back(box: Box) -> None:
    for purpose, subject in (("code", "a" * 32), ("receipt", "a" * 32), ("code", "b" * 32)):
        box.put(purpose=purpose, subject=subject)
    with box.database.write() as connection:
        assert outbox.take_back(connection, "a" * 32, "code") == 1
        assert outbox.take_back(connection, "b" * 32) == 1
    assert box.deliver() == 1
    with box.database.write() as connection:
        assert outbox.take_back(connection, "a" * 32) == 0  # it is gone


def test_what_was_sent_or_given_up_is_forgotten_after_a_while(box: Box, clock: Clock) -> None:
    box.put()
    box.deliver()
    box.line.fault = NotDelivered("recipient_550", for_good=True)
    box.put()
    box.deliver()
    box.put(not_before=clock() + timedelta(days=400))
    clock.advance(days=31)
    with box.database.write() as connection:
        assert outbox.purge(connection, clock() - timedelta(days=30)) == 2
    assert box.row().state == "waiting"
