"""Somebody orders a right to be carried out, or asks how her request stands."""

from collections.abc import Sequence
from typing import Any

from rasa_sdk import Action, Tracker
from rasa_sdk.executor import CollectingDispatcher
from sqlalchemy import Connection

from actions import form
from actions.conversing import reply
from actions.turn import Turn
from personvern.conversations.messages import Draft


class ActionRequestRight(Action):
    def name(self) -> str:
        return "action_request_right"

    async def run(
        self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: dict[str, Any]
    ) -> list[dict[str, Any]]:
        return await reply(dispatcher, tracker, self.name(), _request)


def _request(turn: Turn, connection: Connection | None) -> Sequence[Draft]:
    right = (turn.intent or "request_other").removeprefix("request_")
    if connection is None:
        # A form needs the app's door, which keeps what is typed out of the dialogue.
        return [form.no_receiver(turn, "other" if right == "status" else right)]
    if right == "status":
        return form.status(turn, connection)
    return form.begin_request(turn, connection, right)
