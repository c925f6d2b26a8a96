"""Greetings, thanks and all that is not about privacy."""

from collections.abc import Sequence
from typing import Any

from rasa_sdk import Action, Tracker
from rasa_sdk.executor import CollectingDispatcher
from sqlalchemy import Connection

from actions.answer import answer_question, likely_topics
from actions.conversing import reply
from actions.turn import Turn
from personvern.conversations.messages import Draft
from personvern.languages.identify import requested_language
from personvern.languages.texts import has_text, text


class ActionConverse(Action):
    def name(self) -> str:
        return "action_converse"

    async def run(
        self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: dict[str, Any]
    ) -> list[dict[str, Any]]:
        return await reply(dispatcher, tracker, self.name(), _converse)


def _converse(turn: Turn, connection: Connection | None) -> Sequence[Draft]:
    if turn.intent == "change_language" and requested_language(turn.text) is None and likely_topics(turn):
        # No language was asked for: it was about one, such as whether the statement is to be had in English.
        return answer_question(turn, connection)
    said = turn.intent if turn.intent and has_text(turn.language, f"converse.{turn.intent}") else "not_understood"
    act = "refuse" if said == "out_of_scope" else "reprompt" if said == "not_understood" else "chitchat"
    return [
        Draft(
            act,
            turn.language,
            text(turn.language, f"converse.{said}", company=turn.company.name[turn.language]),
        )
    ]
