import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from helpers import ACTS_ONCE, ANSWER, ASKS, GREETING, SILENT, Clock, Talk
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from personvern.conversations import store
from personvern.conversations.messages import Draft
from personvern.conversations.store import (
    LEASE,
    Conversation,
    UnknownConversation,
    UnknownMessage,
    UnknownOffer,
)
from personvern.database.connection import Database
from personvern.database.tables import action_runs, conversations, events, feedback, messages, offers, turns

NOTICE = Draft("notice", "nb", "Det tar litt lengre tid.")


@pytest.fixture
def talk(database: Database, clock: Clock) -> Talk:
    return Talk(database, clock)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Each in a thread of its own, let loose together; an exception is a result too."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait(10)
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


# Beginning, and proving whose conversation it is


def test_a_token_opens_its_own_conversation_and_no_other(talk: Talk, database: Database) -> None:
    (mine, my_token), (other, other_token) = talk.begin(), talk.begin(company="jobbkort", language="en")
    with database.read() as connection:
        assert store.authenticate(connection, mine.id, my_token) == mine
        assert store.authenticate(connection, other.id, other_token) == other
    assert (mine.company, mine.channel, mine.language, mine.language_chosen) == ("jackon", "widget", "nb", False)
    assert (mine.state, mine.last_event) == ("bot", 0)
    assert mine.id != other.id
    assert my_token != other_token


@pytest.mark.parametrize("token", ["", "x", "another's"])
def test_a_wrong_token_and_an_unknown_conversation_look_the_same(talk: Talk, database: Database, token: str) -> None:
    mine, _ = talk.begin()
    _, others = talk.begin()
    token = others if token == "another's" else token
    refused = []
    for conversation_id in (mine.id, "0" * 32):
        with database.read() as connection, pytest.raises(UnknownConversation) as error:
            store.authenticate(connection, conversation_id, token)
        refused.append((type(error.value), error.value.args))
    assert refused[0] == (UnknownConversation, (mine.id,))
    assert refused[1] == (UnknownConversation, ("0" * 32,))


def test_the_token_itself_is_not_stored(talk: Talk) -> None:
    _, token = talk.begin()
    assert token not in json.dumps(talk.rows(conversations), default=str)


def test_the_greeting_is_the_first_events(talk: Talk) -> None:
    conversation, _ = talk.begin()
    told = talk.greet(conversation, GREETING, GREETING)
    assert [event.number for event in told] == [1, 2]
    assert told == talk.events(conversation)
    assert told[0].data["author"] == "bot"
    assert "in_reply_to" not in told[0].data
    assert talk.receive(conversation).events[0].number == 3


# Receiving


def test_a_message_is_stored_with_a_turn_that_waits(talk: Talk, clock: Clock) -> None:
    conversation, _ = talk.begin()
    clock.advance(minutes=5)
    received = talk.receive(conversation, "Kva lagrar de?", client_id="c1", language="nn", language_chosen=True)
    assert (received.repeated, received.claimed) == (False, True)
    assert [(event.number, event.kind) for event in received.events] == [(1, "message")]
    assert received.events[0].data == {
        "id": received.message.id,
        "author": "visitor",
        "language": "nn",
        "text": "Kva lagrar de?",
        "client_id": "c1",
        "created_at": clock.now.isoformat(),
    }
    turn = talk.waiting(conversation)
    assert turn.message_id == received.message.id
    assert (turn.text, turn.language, turn.client_id, turn.intent) == ("Kva lagrar de?", "nn", "c1", None)
    assert (turn.attempts, turn.told_of_delay, turn.received_at) == (0, False, clock.now)
    assert (turn.conversation.language, turn.conversation.language_chosen) == ("nn", True)
    assert talk.rows(conversations)[0]["last_message_at"] == clock.now


def test_the_same_client_id_again_changes_nothing(talk: Talk, clock: Clock) -> None:
    conversation, _ = talk.begin()
    first = talk.receive(conversation, "Hei", client_id="c1")
    tables = (conversations, messages, turns, events, offers)
    before = [talk.rows(table) for table in tables]
    clock.advance(seconds=3)
    again = talk.receive(conversation, "noe helt annet", client_id="c1", language="en", worker="two")
    assert (again.repeated, again.claimed, again.events) == (True, False, ())
    assert again.message == first.message
    assert [talk.rows(table) for table in tables] == before


def test_two_conversations_may_use_the_same_client_id(talk: Talk) -> None:
    one, two = talk.begin()[0], talk.begin()[0]
    assert not talk.receive(one, client_id="c1").repeated
    assert not talk.receive(two, client_id="c1").repeated


def test_a_double_click_is_one_message(talk: Talk) -> None:
    conversation, _ = talk.begin()
    results = at_once(*[lambda: talk.receive(conversation, client_id="same")] * 4)
    assert Counter(result.repeated for result in results) == {False: 1, True: 3}
    assert len({result.message.id for result in results}) == 1
    assert len(talk.rows(messages)) == 1


def test_nothing_is_received_in_a_conversation_that_is_not_there(talk: Talk) -> None:
    conversation, _ = talk.begin()
    with pytest.raises(UnknownConversation):
        talk.receive(replace(conversation, id="0" * 32))
    assert talk.rows(messages) == []


def offered(talk: Talk, conversation: Conversation, *of: Any) -> list[str]:
    """The ids of buttons under a new answer."""
    talk.receive(conversation)
    said = talk.answer(conversation, replace(ANSWER, offers=of))
    return [offer["id"] for offer in said[0].data["offers"]]


def test_a_button_says_its_own_label_and_brings_its_intent(talk: Talk) -> None:
    conversation, _ = talk.begin()
    [button] = offered(talk, conversation, ASKS)
    received = talk.receive(conversation, "forged", offer=button)
    assert received.message.text == ASKS.label
    turn = talk.waiting(conversation)
    assert (turn.text, turn.intent) == (ASKS.label, "ask_retention")


def test_a_button_tells_the_visitor_nothing_of_its_intent(talk: Talk) -> None:
    conversation, _ = talk.begin()
    offered(talk, conversation, ASKS, ACTS_ONCE)
    shown = talk.events(conversation)[1].data["offers"]
    assert [set(offer) for offer in shown] == [{"id", "label", "kind", "topic"}, {"id", "label", "kind", "right"}]
    assert "intent" not in json.dumps(shown)


def test_a_button_that_asks_can_be_tapped_again_and_one_that_acts_cannot(talk: Talk) -> None:
    conversation, _ = talk.begin()
    asks, acts = offered(talk, conversation, ASKS, ACTS_ONCE)
    for _ in range(2):
        talk.receive(conversation, offer=asks)
    talk.receive(conversation, offer=acts)
    before = talk.rows(messages), talk.rows(events)
    with pytest.raises(UnknownOffer):
        talk.receive(conversation, offer=acts)
    assert (talk.rows(messages), talk.rows(events)) == before


def test_the_same_tap_sent_twice_is_no_second_tap(talk: Talk) -> None:
    conversation, _ = talk.begin()
    [acts] = offered(talk, conversation, ACTS_ONCE)
    talk.receive(conversation, offer=acts, client_id="tap")
    assert talk.receive(conversation, offer=acts, client_id="tap").repeated


def test_two_taps_at_once_on_a_button_that_acts_do_it_once(talk: Talk) -> None:
    conversation, _ = talk.begin()
    [acts] = offered(talk, conversation, ACTS_ONCE)
    results = at_once(*[lambda: talk.receive(conversation, offer=acts)] * 4)
    assert sum(isinstance(result, UnknownOffer) for result in results) == 3
    assert len(talk.rows(turns)) == 2


@pytest.mark.parametrize("button", ["another's", "unknown", ""])
def test_only_what_this_conversation_was_offered_can_be_tapped(talk: Talk, button: str) -> None:
    conversation, other = talk.begin()[0], talk.begin()[0]
    [others] = offered(talk, other, ASKS)
    with pytest.raises(UnknownOffer):
        talk.receive(conversation, offer=others if button == "another's" else button)
    assert talk.next(conversation) is None
    assert talk.rows(offers)[0]["used_at"] is None


# Doing an action's work once


def test_a_second_call_returns_the_same_events_and_says_nothing_twice(talk: Talk) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation)
    turn = talk.waiting(conversation)
    slot = [{"event": "slot", "name": "topic", "value": "retention"}]
    calls = []

    def work(connection: Any) -> Any:
        calls.append(connection)
        return [ANSWER, SILENT], slot

    assert talk.act(turn, work=work) == slot
    said = talk.rows(messages)
    assert talk.act(turn, work=work) == slot
    assert len(calls) == 1
    assert talk.rows(messages) == said
    assert [row["text"] for row in said if row["author"] == "bot"] == [ANSWER.text, SILENT.text]


def test_the_same_action_at_another_place_of_the_turn_is_another_run(talk: Talk) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation)
    turn = talk.waiting(conversation)
    for number in (0, 1):
        talk.act(turn, SILENT, number=number)
    talk.act(turn, SILENT, action="action_converse")
    assert len(talk.rows(action_runs)) == 3
    assert len(talk.rows(messages)) == 4


def test_an_exception_in_the_work_leaves_nothing(talk: Talk) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation)
    turn = talk.waiting(conversation)
    before = [talk.rows(table) for table in (messages, offers, action_runs, conversations)]

    def work(connection: Any) -> Any:
        store.choose_language(connection, conversation.id, "en")
        raise RuntimeError("the work broke")

    with pytest.raises(RuntimeError, match="the work broke"):
        talk.act(turn, work=work)
    assert [talk.rows(table) for table in (messages, offers, action_runs, conversations)] == before
    talk.act(turn, ANSWER)  # and so it can be done again
    assert talk.finish(turn) is not None


def test_two_calls_at_once_say_it_once(talk: Talk) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation)
    turn = talk.waiting(conversation)
    results = at_once(*[lambda: talk.act(turn, ANSWER)] * 4)
    assert all(result == [] or isinstance(result, IntegrityError) for result in results)
    assert [] in results
    assert [row["author"] for row in talk.rows(messages)] == ["visitor", "bot"]


def test_the_language_that_a_person_chose_is_remembered(talk: Talk, database: Database) -> None:
    conversation, token = talk.begin()
    with database.write() as connection:
        store.choose_language(connection, conversation.id, "nn")
    with database.read() as connection:
        now = store.authenticate(connection, conversation.id, token)
    assert (now.language, now.language_chosen) == ("nn", True)


# Turns


def test_turns_come_in_the_order_of_their_messages(talk: Talk, clock: Clock) -> None:
    conversation, _ = talk.begin()
    assert talk.next(conversation) is None
    sent = []
    for number in range(4):
        clock.advance(seconds=-1)  # a clock that goes back must not change the order
        sent.append(talk.receive(conversation, f"Spørsmål {number}").message.text)
    answered = []
    while turn := talk.next(conversation):
        answered.append(turn.text)
        talk.answer(conversation)
    assert answered == sent


def test_a_turn_without_messages_is_no_reply(talk: Talk) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation)
    turn = talk.waiting(conversation)
    talk.act(turn)  # an action that says nothing
    before = talk.events(conversation)
    assert talk.finish(turn) is None
    assert talk.events(conversation) == before
    assert talk.next(conversation) == turn


def test_a_failed_turn_ends_even_without_messages(talk: Talk) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation, client_id="c1")
    finished = talk.finish(talk.waiting(conversation), failed=True)
    assert finished is not None
    assert [(event.number, event.kind, event.data) for event in finished[0]] == [
        (2, "turn_done", {"client_id": "c1", "failed": True})
    ]
    assert talk.rows(turns)[0]["failed"] is True


def test_a_reply_is_streamed_in_the_order_it_was_said_and_then_the_turn_is_done(talk: Talk, clock: Clock) -> None:
    conversation, _ = talk.begin()
    sent = talk.receive(conversation, client_id="c1").message
    turn = talk.waiting(conversation)
    drafts = [replace(SILENT, text=str(number)) for number in range(5)]
    talk.act(turn, *drafts[3:], action="action_a", number=1)  # whatever is written first, the places decide
    talk.act(turn, *drafts[:3], action="action_b", number=0)
    clock.advance(seconds=2)
    finished = talk.finish(turn)
    assert finished is not None
    streamed, more = finished
    assert not more
    assert [event.number for event in streamed] == [2, 3, 4, 5, 6, 7]
    assert [event.kind for event in streamed] == ["message"] * 5 + ["turn_done"]
    assert [event.data["text"] for event in streamed[:-1]] == ["0", "1", "2", "3", "4"]
    assert {event.data["in_reply_to"] for event in streamed[:-1]} == {sent.id}
    assert streamed[-1].data == {"client_id": "c1", "failed": False}
    assert list(streamed) == talk.events(conversation, after=1)


def test_what_an_action_says_is_not_seen_before_the_turn_is_finished(talk: Talk) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation)
    talk.act(talk.waiting(conversation), ANSWER)
    assert [event.data["author"] for event in talk.events(conversation)] == ["visitor"]
    assert [message.author for message in talk.transcript(conversation)] == ["visitor"]


def test_finishing_a_second_time_does_nothing(talk: Talk) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation)
    turn = talk.waiting(conversation)
    talk.act(turn, ANSWER)
    assert talk.finish(turn) is not None
    before = [talk.rows(table) for table in (conversations, messages, turns, events)]
    assert talk.finish(turn) == ((), False)
    assert talk.finish(turn, failed=True) == ((), False)
    assert [talk.rows(table) for table in (conversations, messages, turns, events)] == before


def test_two_processes_that_finish_at_once_stream_it_once(talk: Talk) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation)
    turn = talk.waiting(conversation)
    talk.act(turn, ANSWER)
    results = at_once(*[lambda: talk.finish(turn)] * 4)
    assert sorted(len(result[0]) for result in results) == [0, 0, 0, 2]
    assert [event.number for event in talk.events(conversation)] == [1, 2, 3]


def test_an_answer_carries_its_quotes_and_source(talk: Talk) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation)
    said = talk.answer(conversation)[0].data
    assert said["act"] == "answer"
    assert said["topic"] == "retention"
    assert said["language"] == "en"
    assert said["quotes"] == [
        {
            "passage": "lagring.1",
            "passages": ["lagring.1", "lagring.2"],
            "heading": "Lagring",
            "text": "Vi lagrer dem i ett år.",
            "language": "nb",
            "translation": {"text": "We keep them for one year.", "language": "en", "reviewed": True},
        }
    ]
    assert said["source"] == {
        "title": "Personvernerklæring",
        "address": None,
        "version": "2018-07-01",
        "note": None,
    }
    assert "offers" not in said


# Who works on a conversation


def lease(talk: Talk) -> tuple[Any, Any]:
    row = talk.rows(conversations)[0]
    return row["worker"], row["worker_until"]


def test_the_lease_is_taken_with_the_message_and_given_back_with_the_last_reply(talk: Talk, clock: Clock) -> None:
    conversation, _ = talk.begin()
    assert lease(talk) == (None, None)
    talk.receive(conversation)
    talk.receive(conversation)
    assert lease(talk) == ("one", clock.now + LEASE)
    clock.advance(seconds=20)
    turn = talk.waiting(conversation)
    talk.act(turn, ANSWER)
    finished = talk.finish(turn)
    assert finished is not None
    assert finished[1]  # another waits: the lease is kept, and longer
    assert lease(talk) == ("one", clock.now + LEASE)
    talk.answer(conversation)
    assert lease(talk) == (None, None)


@pytest.mark.parametrize(
    ("by", "after_seconds", "claimed"),
    [("one", 1, True), ("two", 1, False), ("two", 59, False), ("two", 61, True)],
)
def test_a_message_claims_the_conversation_unless_another_works_on_it(
    talk: Talk, clock: Clock, by: str, after_seconds: int, claimed: bool
) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation)
    until = clock.now + LEASE
    clock.advance(seconds=after_seconds)
    assert talk.receive(conversation, worker=by).claimed is claimed
    assert lease(talk) == ((by, clock.now + LEASE) if claimed else ("one", until))


def test_what_nobody_works_on_is_claimed_oldest_first(talk: Talk, clock: Clock, database: Database) -> None:
    with database.read() as connection:
        assert not store.any_waiting(connection)
    assert talk.claim("two") == []
    waiting = []
    for _ in range(3):
        conversation, _ = talk.begin()
        talk.receive(conversation)
        clock.advance(seconds=1)
        talk.receive(conversation)
        waiting.append(conversation.id)
    answered, _ = talk.begin()
    talk.receive(answered)
    talk.answer(answered)
    talk.begin()
    with database.read() as connection:
        assert store.any_waiting(connection)
    assert talk.claim("two") == []  # "one" is at them
    assert talk.claim("one") == waiting  # which died and is back
    clock.advance(seconds=61)
    assert talk.claim("two", limit=2) == waiting[:2]
    assert talk.claim("three") == waiting[2:]
    assert talk.claim("one") == []


def test_two_workers_at_once_share_what_waits_and_take_nothing_twice(talk: Talk, clock: Clock) -> None:
    for _ in range(5):
        ids = set()
        for _ in range(12):
            conversation, _ = talk.begin()
            talk.receive(conversation)
            ids.add(conversation.id)
        clock.advance(seconds=61)
        claimed = at_once(*[lambda name=name: talk.claim(name) for name in ("two", "three", "four")])  # type: ignore[misc]
        taken = [conversation_id for part in claimed for conversation_id in part]
        assert len(taken) == len(set(taken))
        assert ids <= set(taken)
        owners = {row["id"]: row["worker"] for row in talk.rows(conversations)}
        for name, part in zip(("two", "three", "four"), claimed, strict=True):
            assert {owners[conversation_id] for conversation_id in part} <= {name}


def test_a_lease_is_renewed_only_by_its_holder(talk: Talk, clock: Clock) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation)
    clock.advance(seconds=30)
    assert talk.renew(conversation, "one")
    assert lease(talk) == ("one", clock.now + LEASE)
    assert not talk.renew(conversation, "two")
    clock.advance(seconds=61)
    assert talk.claim("two") == [conversation.id]
    assert not talk.renew(conversation, "one")
    assert lease(talk) == ("two", clock.now + LEASE)


def test_an_attempt_that_failed_is_counted(talk: Talk, database: Database) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation)
    for count in (1, 2):
        with database.write() as connection:
            store.count_attempt(connection, talk.waiting(conversation).message_id)
        assert talk.waiting(conversation).attempts == count


# Telling that it takes longer


def test_a_delay_is_told_once(talk: Talk) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation)
    turn = talk.waiting(conversation)
    told = talk.tell(turn, NOTICE, about_delay=True)
    assert [(event.number, event.kind, event.data["author"], event.data["act"]) for event in told] == [
        (2, "message", "system", "notice")
    ]
    assert told[0].data["in_reply_to"] == turn.message_id
    assert talk.waiting(conversation).told_of_delay
    assert talk.tell(turn, NOTICE, about_delay=True) == ()
    assert [event.number for event in talk.events(conversation)] == [1, 2]


def test_a_notice_of_delay_is_no_reply(talk: Talk) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation)
    turn = talk.waiting(conversation)
    talk.tell(turn, NOTICE, about_delay=True)
    assert talk.finish(turn) is None
    talk.act(turn, ANSWER)
    finished = talk.finish(turn)
    assert finished is not None
    assert [event.data.get("text") for event in finished[0]] == [ANSWER.text, None]


def test_nothing_is_told_about_a_turn_that_is_over(talk: Talk) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation)
    turn = talk.waiting(conversation)
    talk.answer(conversation)
    assert talk.tell(turn, NOTICE) == ()
    assert talk.tell(turn, NOTICE, about_delay=True) == ()
    assert len(talk.events(conversation)) == 3


def test_a_conversation_that_was_deleted_meanwhile_says_so(talk: Talk, database: Database) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation)
    turn = talk.waiting(conversation)
    with database.write() as connection:
        connection.execute(conversations.delete())
    for late in (lambda: talk.finish(turn), lambda: talk.tell(turn), lambda: talk.receive(conversation)):
        with pytest.raises(UnknownConversation):
            late()
    with pytest.raises(IntegrityError):
        talk.act(turn, ANSWER)
    assert not talk.renew(conversation, "one")
    assert all(talk.rows(table) == [] for table in (messages, turns, events, action_runs, offers))


# Reading


def test_a_stream_resumes_after_any_event_without_a_gap(talk: Talk) -> None:
    conversation, other = talk.begin()[0], talk.begin()[0]
    talk.greet(conversation)
    for _ in range(3):
        talk.receive(conversation)
        talk.receive(other)
        talk.answer(conversation, ANSWER, SILENT)
        talk.answer(other)
    everything = talk.events(conversation)
    assert [event.number for event in everything] == list(range(1, 14))
    for after in range(15):
        assert talk.events(conversation, after) == everything[after:]
        assert talk.events(conversation, after, limit=2) == everything[after : after + 2]


def test_an_event_read_back_is_what_was_streamed(talk: Talk) -> None:
    conversation, _ = talk.begin()
    told = [*talk.greet(conversation), *talk.receive(conversation).events]
    told += talk.tell(talk.waiting(conversation), NOTICE)
    told += talk.answer(conversation, replace(ANSWER, offers=(ASKS,)), SILENT)
    read = talk.events(conversation)
    as_json = [(event.number, event.kind, json.loads(json.dumps(event.data))) for event in told]
    assert as_json == [(event.number, event.kind, event.data) for event in read]


def test_the_last_offers_are_those_under_the_latest_message_of_the_bot(talk: Talk, database: Database) -> None:
    conversation, _ = talk.begin()

    def last() -> tuple[str, ...]:
        with database.read() as connection:
            return store.last_offers(connection, conversation.id)

    assert last() == ()
    offered(talk, conversation, ASKS, ACTS_ONCE)
    assert set(last()) == {"ask_retention", "request_erasure"}
    talk.receive(conversation)
    assert set(last()) == {"ask_retention", "request_erasure"}
    talk.answer(conversation, SILENT)
    assert last() == ()


def test_the_transcript_is_what_was_said_in_order(talk: Talk) -> None:
    conversation, other = talk.begin()[0], talk.begin()[0]
    talk.greet(conversation)
    for text in ("en", "to"):
        talk.receive(conversation, text)
    talk.receive(other, "ikke min")
    talk.answer(conversation)
    talk.answer(conversation, SILENT)
    assert [(message.author, message.text) for message in talk.transcript(conversation)] == [
        ("bot", GREETING.text),
        ("visitor", "en"),
        ("visitor", "to"),
        ("bot", ANSWER.text),
        ("bot", SILENT.text),
    ]


# Feedback


def test_feedback_on_an_answer_is_kept_and_the_last_word_counts(talk: Talk, clock: Clock) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation)
    answer, silent, _ = talk.answer(conversation, ANSWER, SILENT)
    talk.feedback(conversation, answer.data["id"], True)
    talk.feedback(conversation, silent.data["id"], False)
    clock.advance(minutes=1)
    talk.feedback(conversation, answer.data["id"], False)
    kept = {row["message_id"]: (row["helpful"], row["given_at"]) for row in talk.rows(feedback)}
    assert kept[answer.data["id"]] == (False, clock.now)
    assert kept[silent.data["id"]][0] is False
    assert len(kept) == 2


@pytest.mark.parametrize("which", ["own question", "chitchat", "notice", "another's answer", "unknown"])
def test_feedback_is_taken_only_on_the_answers_of_this_conversation(talk: Talk, which: str) -> None:
    conversation, other = talk.begin()[0], talk.begin()[0]
    greeting = talk.greet(conversation)[0]
    question = talk.receive(conversation).events[0]
    notice = talk.tell(talk.waiting(conversation), NOTICE)[0]
    talk.answer(conversation)
    talk.receive(other)
    others = talk.answer(other)[0]
    message_id = {
        "own question": question.data["id"],
        "chitchat": greeting.data["id"],
        "notice": notice.data["id"],
        "another's answer": others.data["id"],
        "unknown": "0" * 32,
    }[which]
    with pytest.raises(UnknownMessage):
        talk.feedback(conversation, message_id, True)
    assert talk.rows(feedback) == []


# Whatever happens in whatever order

STEPS = st.lists(
    st.sampled_from(["receive", "repeat", "answer", "two messages", "fail", "empty", "tell", "delay", "finish again"]),
    max_size=25,
)


@settings(max_examples=40)
@given(steps=STEPS)
def test_events_are_numbered_without_gaps_and_answers_come_in_order(talk: Talk, steps: list[str]) -> None:
    conversation, _ = talk.begin()
    received: list[str] = []
    done: list[str] = []
    streamed = []
    last_turn = None
    for step in steps:
        turn = talk.next(conversation)
        if step == "receive":
            streamed += talk.receive(conversation, client_id=f"c{len(received)}").events
            received.append(f"c{len(received)}")
        elif step == "repeat" and received:
            assert talk.receive(conversation, client_id=received[-1]).events == ()
        elif step == "finish again" and last_turn:
            assert talk.finish(last_turn) == ((), False)
        elif turn is None:
            continue
        elif step in ("tell", "delay"):
            streamed += talk.tell(turn, NOTICE, about_delay=step == "delay")
        elif step == "empty":
            assert talk.finish(turn) is None
        elif step in ("answer", "two messages", "fail"):
            if step != "fail":
                talk.act(turn, *[ANSWER] * (2 if step == "two messages" else 1))
            finished = talk.finish(turn, failed=step == "fail")
            assert finished is not None
            assert finished[1] == (len(done) + 1 < len(received))
            streamed += finished[0]
            assert turn.client_id
            done.append(turn.client_id)
            last_turn = turn
    numbers = [event.number for event in streamed]
    assert numbers == list(range(1, len(streamed) + 1))
    assert [event.number for event in talk.events(conversation)] == numbers
    assert done == received[: len(done)]
    assert [event.data["client_id"] for event in streamed if event.kind == "turn_done"] == done
    waiting = talk.next(conversation)
    assert (waiting.client_id if waiting else None) == (received[len(done)] if len(received) > len(done) else None)


def test_eight_threads_that_receive_at_once_lose_nothing(talk: Talk) -> None:
    shared, _ = talk.begin()
    own = [talk.begin()[0] for _ in range(8)]
    each = 10

    def work(number: int) -> None:
        for index in range(each):
            talk.receive(shared, f"{number}.{index}", client_id=f"{number}.{index}")
            talk.receive(own[number], f"own {number}.{index}")

    assert at_once(*[lambda number=number: work(number) for number in range(8)]) == [None] * 8  # type: ignore[misc]
    told = talk.events(shared)
    assert [event.number for event in told] == list(range(1, 8 * each + 1))
    texts = [event.data["text"] for event in told]
    assert sorted(texts) == sorted(f"{number}.{index}" for number in range(8) for index in range(each))
    for number in range(8):
        mine = [text for text in texts if text.startswith(f"{number}.")]
        assert mine == [f"{number}.{index}" for index in range(each)]  # each thread's own order holds
        assert [event.number for event in talk.events(own[number])] == list(range(1, each + 1))
    last = {row["id"]: row["last_event"] for row in talk.rows(conversations)}
    assert last == {shared.id: 8 * each, **{conversation.id: each for conversation in own}}


def test_receiving_and_answering_at_once_lose_nothing(talk: Talk) -> None:
    conversation, _ = talk.begin()
    talk.receive(conversation)
    stop = threading.Event()

    def receive() -> None:
        for _ in range(20):
            talk.receive(conversation)
        stop.set()

    def answer() -> None:
        while talk.next(conversation) is not None or not stop.is_set():
            if talk.next(conversation) is not None:
                talk.answer(conversation)

    assert at_once(receive, answer) == [None, None]
    told = talk.events(conversation)
    assert [event.number for event in told] == list(range(1, 3 * 21 + 1))
    asked = [event.data["client_id"] for event in told if event.data.get("author") == "visitor"]
    assert [event.data["client_id"] for event in told if event.kind == "turn_done"] == asked


def test_a_message_that_was_acknowledged_is_in_the_file(sqlite_url: str, clock: Clock) -> None:
    """Whatever this process does next: another program reads it without our help."""
    database = Database(sqlite_url)
    talk = Talk(database, clock)
    conversation, _ = talk.begin()
    talk.receive(conversation, "Er den her?")
    reader = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    assert reader.execute("SELECT text FROM messages").fetchall() == [("Er den her?",)]
    reader.close()
    database.close()
