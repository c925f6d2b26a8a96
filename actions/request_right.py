"""Somebody orders a right to be carried out: what the statement says of it, and where to send the request."""

from collections.abc import Sequence
from typing import Any

from rasa_sdk import Action, Tracker
from rasa_sdk.executor import CollectingDispatcher
from sqlalchemy import Connection

from actions.turn import Turn, reply
from personvern.conversations.messages import Draft
from personvern.languages.texts import text


class ActionRequestRight(Action):
    def name(self) -> str:
        return "action_request_right"

    async def run(
        self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: dict[str, Any]
    ) -> list[dict[str, Any]]:
        return await reply(dispatcher, tracker, self.name(), _request)


def _request(turn: Turn, connection: Connection | None) -> Sequence[Draft]:
    language, contact = turn.language, turn.company.contact
    if turn.intent == "request_status":
        first, right = text(language, "request.status"), None
    else:
        right = (turn.intent or "request_other").removeprefix("request_")
        first = text(language, "request.how", right=text(language, f"rights.{right}"))
    if contact.email:
        where = text(language, "request.where_email", email=contact.email)
    elif contact.phone:
        where = text(language, "request.where_phone", phone=contact.phone)
    else:
        where = text(language, "request.where_none")
    return [Draft("notice", language, f"{first} {where}", right=right)]
