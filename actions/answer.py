"""Somebody asks: answer from the statement."""

from collections.abc import Sequence
from typing import Any

from rasa_sdk import Action, Tracker
from rasa_sdk.executor import CollectingDispatcher
from sqlalchemy import Connection

from actions.conversing import reply
from actions.turn import Turn
from personvern.answers.answering import Question, answer
from personvern.conversations import store
from personvern.conversations.messages import Draft
from personvern.languages.texts import text


class ActionAnswer(Action):
    def name(self) -> str:
        return "action_answer"

    async def run(
        self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: dict[str, Any]
    ) -> list[dict[str, Any]]:
        return await reply(dispatcher, tracker, self.name(), answer_question)


def likely_topics(turn: Turn) -> tuple[tuple[str, float], ...]:
    return tuple(
        (intent.removeprefix("ask_"), confidence) for intent, confidence in turn.ranking if intent.startswith("ask_")
    )


def answer_question(turn: Turn, connection: Connection | None) -> Sequence[Draft]:
    if not turn.is_understood:
        return [Draft("reprompt", turn.language, text(turn.language, "converse.not_understood"))]
    offered = store.last_offers(connection, turn.conversation_id) if connection else ()
    return [answer(turn.company, Question(turn.text, turn.language, likely_topics(turn)), offered)]
