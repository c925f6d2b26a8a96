"""Saying a reply once: into the record where there is one, else straight to whoever listens."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rasa_sdk import Tracker
from rasa_sdk.executor import CollectingDispatcher
from sqlalchemy import Connection

from actions import form
from actions.turn import Turn, Work, database
from personvern.conversations import store
from personvern.conversations.messages import Draft
from personvern.languages.texts import texts

_ENDS_A_FORM = ("request_opened", "request_cancelled", "handover_queued")
_OF_A_FORM = ("ask_slot", "confirm", "code_sent", "request_opened", "request_cancelled", "handover_queued")


async def reply(dispatcher: CollectingDispatcher, tracker: Tracker, action: str, work: Work) -> list[dict[str, Any]]:
    """Do `work` and say what it returns. A form that is open comes first, and is taken up again after a question."""
    turn = Turn.of(tracker)
    message_id = turn.message_id
    if message_id is None:
        for draft in work(turn, None):
            dispatcher.utter_message(text=as_text(draft))
        return []

    ended = False

    def work_inside(inside: Connection) -> tuple[Sequence[Draft], list[dict[str, Any]]]:
        nonlocal ended
        said = _with_form(turn, inside, work)
        ended = any(draft.act in _ENDS_A_FORM for draft in said)
        return said, []

    def once() -> list[dict[str, Any]]:
        with database().write() as connection:
            events = store.run_once(
                connection,
                conversation_id=turn.conversation_id,
                message_id=message_id,
                action=action,
                number=turn.action_number,
                work=work_inside,
                now=datetime.now(UTC),
            )
        if ended:
            database().empty_log()  # what was typed must not outlive the form in the write-ahead log
        return events

    return await asyncio.to_thread(once)


def _with_form(turn: Turn, connection: Connection, work: Work) -> Sequence[Draft]:
    of_the_form = form.step(turn, connection)
    if of_the_form is not None:
        return of_the_form
    said = list(work(turn, connection))
    if not any(draft.act in _OF_A_FORM or draft.slot for draft in said):
        said += form.pending(turn, connection)
    return said


def as_text(draft: Draft) -> str:
    """A message for a terminal, with its proof."""
    lines = [draft.text]
    words = texts(draft.language, "transcript")
    for quote in draft.quotes:
        lines.append(words["quote"].format(heading=quote.heading) + "\n    " + quote.text.replace("\n", "\n    "))
        if quote.translation:
            lines.append(words["translation"] + "\n    " + quote.translation.text.replace("\n", "\n    "))
    return "\n  ".join(lines)
