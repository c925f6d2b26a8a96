"""The channel between the app and the engine.

A message has an id. One that the working memory has seen is not run again: its outcome stands in the record already. An
action that could not be run fails the whole message, nothing is saved, and the app sends it again.
"""

import hmac
import logging
import re
import time
from typing import Any, Awaitable, Callable, Dict, Optional, Text

from rasa.core.channels.channel import CollectingOutputChannel, InputChannel, UserMessage
from sanic import Blueprint
from sanic.request import Request
from sanic.response import HTTPResponse, json

from engine.repairs import ActionFailed, failing_actions
from engine.settings import setting
from engine.working_memory import WorkingMemory

logger = logging.getLogger(__name__)

LONGEST_TEXT = 2_000
_COMMAND = re.compile(r"\A[\s/]+")


class PersonvernChannel(InputChannel):
    @classmethod
    def name(cls) -> Text:
        return "personvern"

    @classmethod
    def from_credentials(cls, credentials: Optional[Dict[Text, Any]]) -> InputChannel:
        return cls()

    def blueprint(self, on_new_message: Callable[[UserMessage], Awaitable[Any]]) -> Blueprint:
        channel = Blueprint("personvern_channel", type(self).__name__)

        @channel.middleware("request")
        async def only_the_app(request: Request) -> Optional[HTTPResponse]:
            token = setting("ENGINE_TOKEN", "")
            given = request.headers.get("authorization", "")
            if not token or not hmac.compare_digest(given.encode(), ("Bearer " + token).encode()):
                return json({"outcome": "unauthorised"}, status=401)
            return None

        @channel.get("/")
        async def ready(request: Request) -> HTTPResponse:
            return json({"ready": request.app.ctx.agent.is_ready()})

        @channel.post("/messages")
        async def receive(request: Request) -> HTTPResponse:
            agent, sent = request.app.ctx.agent, request.json
            if not agent or not agent.is_ready():
                return json({"outcome": "unavailable"}, status=503)
            conversation, message_id = sent["conversation_id"], sent["message_id"]
            async with agent.lock_store.lock(conversation):
                memory = _working_memory(agent)
                if memory.has_seen(conversation, message_id):
                    return json({"outcome": "repeated"})
                message = UserMessage(
                    _as_text(sent["text"]),
                    CollectingOutputChannel(),
                    conversation,
                    parse_data=_tapped(sent),
                    input_channel=self.name(),
                    message_id=message_id,
                    metadata={**sent["metadata"], "message_id": message_id},
                )
                try:
                    with failing_actions():
                        await agent.processor.handle_message(message)
                except ActionFailed as failure:
                    logger.warning("action.failed action=%s unavailable=%s", failure.action, failure.unavailable)
                    return json(
                        {"outcome": "unavailable" if failure.unavailable else "failed"},
                        status=503 if failure.unavailable else 500,
                    )
                except Exception as error:  # its text may hold the message's: only its kind is logged
                    logger.error("message.failed error=%s", type(error).__name__)
                    return json({"outcome": "failed"}, status=500)
            return json({"outcome": "done"})

        @channel.delete("/conversations/<conversation>")
        async def forget(request: Request, conversation: Text) -> HTTPResponse:
            agent = request.app.ctx.agent
            async with agent.lock_store.lock(conversation):
                _working_memory(agent).forget(conversation)
            return json({"outcome": "done"})

        @channel.delete("/conversations")
        async def forget_old(request: Request) -> HTTPResponse:
            seconds = float(request.args.get("older_than_seconds"))
            count = _working_memory(request.app.ctx.agent).forget_older_than(time.time() - seconds)
            return json({"outcome": "done", "count": count})

        return channel


def _working_memory(agent: Any) -> WorkingMemory:
    """The store itself. Rasa wraps it in one that turns to plain memory when saving fails, and says nothing."""
    store = agent.tracker_store
    while not isinstance(store, WorkingMemory):
        store = store._tracker_store
    agent.tracker_store = agent.processor.tracker_store = store
    return store


def _as_text(text: Text) -> Text:
    """What a person typed is never a command: Rasa would take `/intent{"slot": "value"}` for one."""
    return _COMMAND.sub("", text[:LONGEST_TEXT]) or "?"


def _tapped(sent: Dict[Text, Any]) -> Optional[Dict[Text, Any]]:
    """A button's meaning is known and is not guessed again."""
    intent = sent.get("intent")
    if not intent:
        return None
    return {
        "text": _as_text(sent["text"]),
        "intent": {"name": intent, "confidence": 1.0},
        "intent_ranking": [{"name": intent, "confidence": 1.0}],
        "entities": [],
    }
