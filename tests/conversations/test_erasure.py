import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers import ACTS_ONCE, ANSWER, ASKS, SILENT, Clock, Talk
from sqlalchemy import event, select

from personvern.conversations import erasure, store
from personvern.conversations.store import Conversation, UnknownConversation
from personvern.database.connection import Database
from personvern.database.tables import UtcDateTime, conversations, erasures, metadata, turns

NEEDLE = "Nålen i høystakken"


@pytest.fixture
def talk(database: Database, clock: Clock) -> Talk:
    return Talk(database, clock)


def full(talk: Talk, **begin: Any) -> Conversation:
    """A conversation with rows in every table, each text of it with the needle."""
    conversation, _ = talk.begin(**begin)
    talk.greet(conversation)
    talk.receive(conversation, f"{NEEDLE} en", client_id="nålen")
    said = talk.answer(
        conversation,
        replace(
            ANSWER,
            text=f"{NEEDLE} to",
            quotes=(replace(ANSWER.quotes[0], text=f"{NEEDLE} tre"),),
            offers=(replace(ASKS, label=f"{NEEDLE} fire"), ACTS_ONCE),
        ),
    )
    talk.feedback(conversation, said[0].data["id"], True)
    talk.receive(conversation, offer=said[0].data["offers"][0]["id"])
    talk.answer(conversation, SILENT)
    fill_the_rest(talk, conversation)
    return conversation


def fill_the_rest(talk: Talk, conversation: Conversation) -> None:
    """A row in every other table that holds something of a conversation: no new one can be forgotten."""
    made: dict[type, Any] = {
        str: NEEDLE,
        int: 1,
        bool: True,
        dict: {"text": NEEDLE},
        datetime: talk.clock(),
        date: talk.clock().date(),
    }
    for table in metadata.sorted_tables:
        if "conversation_id" not in table.columns or table is erasures:
            continue
        with talk.database.write() as connection:
            mine = select(table).where(table.c.conversation_id == conversation.id)
            if connection.execute(mine).first():
                continue
            row: dict[str, Any] = {"conversation_id": conversation.id}
            for column in table.columns:
                kind = datetime if isinstance(column.type, UtcDateTime) else column.type.python_type
                size = getattr(column.type, "length", None)
                if column.primary_key or (column.name != "conversation_id" and kind is str and size):
                    row[column.name] = store.new_id()[:size]
                else:
                    row.setdefault(column.name, made[kind])
            connection.execute(table.insert().values(row))


def erase(talk: Talk, conversation: Conversation) -> None:
    with talk.database.write() as connection:
        erasure.erase_record(connection, conversation.id, "asked_for", talk.clock())


def due(talk: Talk) -> list[erasure.Erasure]:
    with talk.database.read() as connection:
        return erasure.due(connection, talk.clock())


def contents(talk: Talk) -> dict[str, list[dict[str, Any]]]:
    return {name: talk.rows(table) for name, table in metadata.tables.items()}


def ids_in(rows: dict[str, list[dict[str, Any]]], conversation: Conversation) -> set[str]:
    """The conversation's own id and those of all that belongs to it."""
    mine = {conversation.id}
    for name in ("messages", "offers"):
        mine |= {row["id"] for row in rows[name] if row["conversation_id"] == conversation.id}
    return mine


def touching(rows: dict[str, list[dict[str, Any]]], ids: set[str]) -> dict[str, list[dict[str, Any]]]:
    return {name: [row for row in table if ids & set(map(str, row.values()))] for name, table in rows.items()}


def test_every_row_of_the_conversation_goes_and_only_a_line_that_it_went_stays(talk: Talk, clock: Clock) -> None:
    mine, other = full(talk), full(talk, company="jobbkort")
    before = contents(talk)
    ids, others_ids = ids_in(before, mine), ids_in(before, other)
    of_conversations = {
        name
        for name, table in metadata.tables.items()
        if {"conversation_id", "message_id"} & set(table.columns.keys()) or name == "conversations"
    }
    # Otherwise it would prove nothing that they are empty afterwards.
    assert {name for name, rows in touching(before, ids).items() if rows} == of_conversations - {"erasures"}

    erase(talk, mine)

    after = contents(talk)
    left = touching(after, ids)
    assert len(after.get("requests", [])) == len(before.get("requests", []))  # what was filed has its own rule
    assert left.pop("erasures") == [
        {
            "conversation_id": mine.id,
            "reason": "asked_for",
            "requested_at": clock.now,
            "next_attempt_at": clock.now,
            "attempts": 0,
            "finished_at": None,
        }
    ]
    assert all(rows == [] for rows in left.values()), left
    assert touching(after, others_ids) == touching(before, others_ids)
    assert NEEDLE in str(touching(after, others_ids))


def test_an_erased_conversation_is_gone_for_everybody_at_once(talk: Talk, database: Database) -> None:
    conversation, token = talk.begin()
    erase(talk, conversation)
    with database.read() as connection, pytest.raises(UnknownConversation):
        store.authenticate(connection, conversation.id, token)
    assert talk.events(conversation) == []
    assert talk.transcript(conversation) == []


@pytest.mark.parametrize("times", [0, 1])
def test_what_is_not_there_cannot_be_erased_and_leaves_no_line(talk: Talk, times: int) -> None:
    conversation, _ = talk.begin()
    for _ in range(times):
        erase(talk, conversation)
    lines = talk.rows(erasures)
    with pytest.raises(UnknownConversation):
        erase(talk, conversation if times else replace(conversation, id="0" * 32))
    assert talk.rows(erasures) == lines


def test_an_erasure_that_breaks_off_has_erased_nothing(talk: Talk) -> None:
    conversation = full(talk)
    before = contents(talk)

    def broken() -> None:
        with talk.database.write() as connection:
            erasure.erase_record(connection, conversation.id, "asked_for", talk.clock())
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        broken()
    assert contents(talk) == before


# The job in the other places


def test_a_job_that_works_is_done_once(talk: Talk, clock: Clock) -> None:
    conversation = full(talk)
    erase(talk, conversation)
    forgotten: list[str] = []
    clock.advance(seconds=1)
    jobs = due(talk)
    assert [(job.conversation_id, job.reason, job.attempts) for job in jobs] == [(conversation.id, "asked_for", 0)]
    assert erasure.finish(talk.database, jobs, forgotten.append, clock.now) == 1
    assert forgotten == [conversation.id]
    assert talk.rows(erasures)[0]["finished_at"] == clock.now
    clock.advance(days=3)
    assert due(talk) == []


def test_a_place_that_fails_is_asked_again_later_and_later_until_it_has_forgotten(talk: Talk, clock: Clock) -> None:
    conversation = full(talk)
    erase(talk, conversation)
    waits = []
    for _ in range(14):
        jobs = due(talk)
        assert len(jobs) == 1
        assert erasure.finish(talk.database, jobs, _fails, clock.now) == 0
        line = talk.rows(erasures)[0]
        assert line["finished_at"] is None
        waits.append(line["next_attempt_at"] - clock.now)
        assert due(talk) == []
        clock.now = line["next_attempt_at"]
    assert waits[0] == timedelta(seconds=5)
    assert all(later >= sooner for sooner, later in itertools.pairwise(waits))
    assert waits[3] == timedelta(seconds=40)
    assert waits[-1] == timedelta(hours=1)
    assert [job.attempts for job in due(talk)] == [14]
    assert erasure.finish(talk.database, due(talk), lambda _: None, clock.now) == 1
    assert due(talk) == []


def _fails(_: str) -> None:
    raise ConnectionError("nobody there")


def test_one_that_fails_does_not_hold_up_the_others(talk: Talk, clock: Clock) -> None:
    broken, whole = full(talk), full(talk)
    erase(talk, broken)
    erase(talk, whole)

    def forget(conversation_id: str) -> None:
        if conversation_id == broken.id:
            raise TimeoutError

    assert erasure.finish(talk.database, due(talk), forget, clock.now) == 1
    finished = {row["conversation_id"]: row["finished_at"] for row in talk.rows(erasures)}
    assert finished == {broken.id: None, whole.id: clock.now}


def test_the_log_of_an_erasure_names_no_words_of_it(talk: Talk, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    erase(talk, full(talk))

    def forget(_: str) -> None:
        raise ValueError(NEEDLE)

    erasure.finish(talk.database, due(talk), forget, clock.now)
    clock.advance(minutes=1)
    erasure.finish(talk.database, due(talk), lambda _: None, clock.now)
    assert "erasure.failed" in caplog.text
    assert "erasure.finished" in caplog.text
    assert NEEDLE not in caplog.text


# The file


def _bytes(url: str) -> Iterator[tuple[str, bytes]]:
    path = Path(url.removeprefix("sqlite:///"))
    for file in (path, *path.parent.glob(f"{path.name}-*")):
        yield file.name, file.read_bytes()


def test_nothing_of_an_erased_conversation_is_left_in_the_files(sqlite_url: str, clock: Clock) -> None:
    database = Database(sqlite_url)
    talk = Talk(database, clock)
    kept = full(talk)
    mine = []
    for number in range(30):  # enough that pages are split, merged and freed
        conversation, token = talk.begin()
        talk.receive(conversation, f"Hemmelighet {number} " + "lang " * number * 30, client_id=f"klient-{number}")
        talk.answer(conversation, replace(ANSWER, text=f"Hemmelighet {number}, svart"))
        mine.append((conversation, store.hash_of(token)))
    assert any(b"Hemmelighet" in content for _, content in _bytes(sqlite_url))
    for conversation, _ in mine:
        erase(talk, conversation)
    assert erasure.finish(database, due(talk), lambda _: None, clock.now) == 30
    needles = [b"Hemmelighet", b"klient-", b"lang lang", *(hashed.encode() for _, hashed in mine)]
    for name, content in _bytes(sqlite_url):
        assert not [needle for needle in needles if needle in content], name
    assert len(talk.transcript(kept)) == 5
    assert any(NEEDLE.encode() in content for _, content in _bytes(sqlite_url))
    database.close()


def test_with_a_reader_in_the_way_the_job_is_not_called_done(sqlite_url: str, clock: Clock) -> None:
    database = Database(sqlite_url)
    event.listen(database.engine, "connect", lambda raw, _: raw.execute("PRAGMA busy_timeout=50"))
    talk = Talk(database, clock)
    conversation, _ = talk.begin()
    talk.receive(conversation, NEEDLE)
    with database.read() as reader:
        reader.execute(conversations.select())  # its snapshot needs the log as it was
        erase(talk, conversation)
        assert erasure.finish(database, due(talk), lambda _: None, clock.now) == 0
        assert talk.rows(erasures)[0]["finished_at"] is None
    clock.advance(seconds=5)
    assert erasure.finish(database, due(talk), lambda _: None, clock.now) == 1
    assert not any(NEEDLE.encode() in content for _, content in _bytes(sqlite_url))
    database.close()


# Retention

DAYS = {("jackon", "widget"): 30, ("jackon", "messenger"): 7, ("jobbkort", "widget"): 90}


def keep(company: str, channel: str) -> timedelta:
    return timedelta(days=DAYS[company, channel])


def left(talk: Talk) -> set[str]:
    return {row["id"] for row in talk.rows(conversations)}


def expire(talk: Talk, now: datetime, keep: Callable[[str, str], timedelta] = keep) -> int:
    return erasure.erase_expired(talk.database, now, keep)


def test_each_company_and_channel_keeps_conversations_for_its_own_time(talk: Talk, clock: Clock) -> None:
    begun = clock.now
    ids = {pair: full(talk, company=pair[0], channel=pair[1]).id for pair in DAYS}
    gone: set[str] = set()
    for pair, days in sorted(DAYS.items(), key=lambda item: item[1]):
        assert expire(talk, begun + timedelta(days=days)) == 0  # to the very end of its last day
        assert expire(talk, begun + timedelta(days=days, seconds=1)) == 1
        gone.add(ids[pair])
        assert left(talk) == set(ids.values()) - gone
    assert {(row["conversation_id"], row["reason"], row["finished_at"]) for row in talk.rows(erasures)} == {
        (conversation_id, "retention", None) for conversation_id in gone
    }


def test_the_time_runs_from_the_last_message(talk: Talk, clock: Clock) -> None:
    conversation = full(talk)
    clock.advance(days=29)
    talk.receive(conversation)
    talk.answer(conversation)
    clock.advance(days=29)
    assert expire(talk, clock.now) == 0
    clock.advance(days=2)
    assert expire(talk, clock.now) == 1


@pytest.mark.parametrize(("state", "stays"), [("bot", False), ("closed", False), ("queued", True), ("human", True)])
def test_one_that_a_person_has_stays(talk: Talk, clock: Clock, state: str, stays: bool) -> None:
    conversation = full(talk)
    talk.set(conversations, conversation, state=state)
    clock.advance(days=100)
    assert expire(talk, clock.now) == (0 if stays else 1)
    assert (conversation.id in left(talk)) is stays


def test_one_that_still_owes_an_answer_stays_until_it_has_given_it(talk: Talk, clock: Clock) -> None:
    conversation = full(talk)
    talk.receive(conversation)
    clock.advance(days=100)
    assert expire(talk, clock.now) == 0
    talk.set(turns, conversation, finished_at=clock.now)
    assert expire(talk, clock.now) == 1


def test_more_than_one_batch_is_erased_in_one_go(talk: Talk, clock: Clock) -> None:
    kept = talk.begin(company="jobbkort")[0]
    for _ in range(205):
        talk.begin()
    clock.advance(days=31)
    assert expire(talk, clock.now) == 205
    assert left(talk) == {kept.id}
    assert len(talk.rows(erasures)) == 205


def test_the_proof_of_an_erasure_is_kept_for_a_while_and_an_unfinished_one_for_as_long_as_it_takes(
    talk: Talk, clock: Clock
) -> None:
    done, undone, young = (full(talk) for _ in range(3))
    erase(talk, done)
    erasure.finish(talk.database, due(talk), lambda _: None, clock.now)
    erase(talk, undone)
    clock.advance(days=300)
    erase(talk, young)
    erasure.finish(
        talk.database, [job for job in due(talk) if job.conversation_id == young.id], lambda _: None, clock.now
    )
    clock.advance(days=100)
    with talk.database.write() as connection:
        assert erasure.forget_old_erasures(connection, clock.now - timedelta(days=365)) == 1
    assert {row["conversation_id"] for row in talk.rows(erasures)} == {undone.id, young.id}


def test_an_erasure_that_must_wait_for_a_reader_holds_up_nobody_else(sqlite_url: str, clock: Clock) -> None:
    """Such as a backup: while it reads, messages must still be received at once."""
    database = Database(sqlite_url)
    event.listen(database.engine, "connect", lambda raw, _: raw.execute("PRAGMA busy_timeout=1500"))
    talk = Talk(database, clock)
    conversation, _ = talk.begin()
    erase(talk, full(talk))
    with database.read() as reader:
        reader.execute(conversations.select())
        talk.receive(conversation)
        waiting = threading.Thread(target=database.forget_deleted)
        waiting.start()
        deadline = time.monotonic() + 1.0
        took = 0.0
        while waiting.is_alive() and took < 0.7 and time.monotonic() < deadline:
            started = time.monotonic()
            talk.receive(conversation)
            took = time.monotonic() - started
        waiting.join()
    database.close()
    assert took < 0.7
