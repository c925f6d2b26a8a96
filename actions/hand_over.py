"""Somebody wants a human, or reports a breach."""

from collections.abc import Sequence
from typing import Any

from rasa_sdk import Action, Tracker
from rasa_sdk.executor import CollectingDispatcher
from sqlalchemy import Connection

from actions import form
from actions.conversing import reply
from actions.turn import Turn
from personvern.conversations.messages import Draft
from personvern.languages.texts import text


class ActionHandOver(Action):
    def name(self) -> str:
        return "action_hand_over"

    async def run(
        self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: dict[str, Any]
    ) -> list[dict[str, Any]]:
        return await reply(dispatcher, tracker, self.name(), _hand_over)


def _hand_over(turn: Turn, connection: Connection | None) -> Sequence[Draft]:
    if connection is not None and turn.company.request_targets.email:
        return form.begin_message(turn, connection, form.BREACH if turn.intent == "report_breach" else form.MESSAGE)
    language, contact = turn.language, turn.company.contact
    kind = (
        "both"
        if contact.email and contact.phone
        else "email"
        if contact.email
        else "phone"
        if contact.phone
        else "none"
    )
    name = turn.company.name[language]
    said = text(language, f"handover.{kind}", company=name, email=contact.email, phone=contact.phone)
    if turn.intent == "report_breach":
        said = f"{text(language, 'handover.breach', company=name)} {said}"
    return [Draft("notice", language, said)]
