"""Two repairs of Rasa 3.6.21, and three places where it does needless work on every message.

1. `RemoteAction` checks every result against a schema that jsonschema first checks against its own metaschema, on every
   call: about 15 of 23 ms of a turn. A validator made once does the same work.
2. `MessageProcessor` swallows whatever goes wrong in an action, records the action as done and answers with nothing. A
   message that came through our channel must fail instead, so that nothing is saved and it can be sent again.
3. `RemoteAction` sends the whole tracker, every event of it; our actions read the latest message, the slots and the
   active loop, and the place of the action in its turn, which makes a repeated call recognisable.
4. `DaskGraphRunner` plans the same few nodes anew with dask on every run, three times a message: they are run in order.
5. `Event.resolve_by_type` walks through all classes of events for each event that is loaded: it is remembered.
"""

import asyncio
import contextlib
import contextvars
import functools
from typing import Any, Dict, Iterator, List, Optional

import aiohttp
import jsonschema
from rasa.core.actions import action as rasa_action
from rasa.engine.exceptions import GraphRunError
from rasa.engine.runner.dask import DaskGraphRunner
from rasa.shared.core.events import ActionExecuted, Event, UserUttered
from rasa.shared.core.trackers import DialogueStateTracker

from engine.settings import setting

_fails = contextvars.ContextVar("fails", default=False)


class ActionFailed(BaseException):
    """Not an `Exception`, because `MessageProcessor` swallows every one of those."""

    def __init__(self, action: str, unavailable: bool) -> None:
        super().__init__(action)
        self.action = action
        self.unavailable = unavailable


@contextlib.contextmanager
def failing_actions() -> Iterator[None]:
    """Inside, an action that cannot be run raises ActionFailed."""
    token = _fails.set(True)
    try:
        yield
    finally:
        _fails.reset(token)


_validator: Any = None
_session: Optional[aiohttp.ClientSession] = None


def _validate_action_result(self: rasa_action.RemoteAction, result: Any) -> bool:
    global _validator
    if _validator is None:
        schema = rasa_action.RemoteAction.action_response_format_spec()
        _validator = jsonschema.validators.validator_for(schema)(schema)
    _validator.validate(result)
    return True


def _place_in_turn(tracker: DialogueStateTracker) -> int:
    """How many actions have run since the visitor's message: the same number when the turn is run again."""
    count = 0
    for event in reversed(tracker.events):
        if isinstance(event, UserUttered):
            break
        if isinstance(event, ActionExecuted):
            count += 1
    return count


def _action_call_format(self: rasa_action.RemoteAction, tracker: DialogueStateTracker, domain: Any) -> dict:
    message = tracker.latest_message
    latest = message.parse_data.copy() if message and message.parse_data else {}
    latest["metadata"] = (message.metadata if message else None) or {}
    latest["text"] = message.text if message else None
    call = {
        "next_action": self._name,
        "sender_id": tracker.sender_id,
        "version": "3.6.21",
        "tracker": {
            "sender_id": tracker.sender_id,
            "slots": tracker.current_slot_values(),
            "latest_message": latest,
            "latest_action_name": tracker.latest_action_name,
            "active_loop": tracker.active_loop.__dict__ if tracker.active_loop else {},
            "paused": False,
            "events": [],
            "latest_event_time": 0,
            "followup_action": None,
            "latest_input_channel": message.input_channel if message else None,
            "action_number": _place_in_turn(tracker),
        },
        "domain": {},
    }
    if domain.does_custom_action_explicitly_need_domain(self.name()):
        call["domain"] = domain.as_dict()
    call["tracker"]["slots"]["action_number"] = call["tracker"].pop("action_number")
    return call


async def _request(self: rasa_action.EndpointConfig, **kwargs: Any) -> Any:
    """One kept-alive session for all calls to the action server, with its token."""
    global _session
    if _session is None or _session.closed:
        _session = aiohttp.ClientSession(
            headers={"Authorization": "Bearer " + setting("ACTIONS_TOKEN", "")},
            timeout=aiohttp.ClientTimeout(total=30),
        )
    async with _session.post(setting("ACTIONS_URL", self.url), json=kwargs["json"]) as response:
        if response.status >= 400:
            raise rasa_action.ClientResponseError(
                response.status, response.reason, (await response.read()).decode(errors="replace")
            )
        return await response.json()


def _run_in_order(
    self: DaskGraphRunner, inputs: Optional[Dict[str, Any]] = None, targets: Optional[List[str]] = None
) -> Dict[str, Any]:
    """What `DaskGraphRunner.run` returns, each node run once, after those it needs."""
    wanted = targets or self._graph_schema.target_names
    done: Dict[str, Any] = {name: (name, value) for name, value in (inputs or {}).items()}

    def result(name: str) -> Any:
        if name not in done:
            needed = [result(parent) for parent in self._graph_schema.nodes[name].needs.values()]
            done[name] = self._instantiated_nodes[name](*needed)
        return done[name]

    try:
        return dict(result(name) for name in wanted)
    except RuntimeError as error:
        raise GraphRunError("Error running runner.") from error


def apply() -> None:
    remote = rasa_action.RemoteAction
    if getattr(remote, "repaired", False):
        return
    run = remote.run

    async def run_or_fail(self: Any, output_channel: Any, nlg: Any, tracker: Any, domain: Any) -> List[Event]:
        try:
            return await run(self, output_channel, nlg, tracker, domain)
        except rasa_action.ActionExecutionRejection:
            raise
        except Exception as error:
            if not _fails.get():
                raise
            cause = error.__cause__ or error.__context__ or error
            status = getattr(cause, "status", None)
            # Rasa's own error of an answer is an aiohttp.ClientError too, but it has a status.
            away = status is None and isinstance(cause, (aiohttp.ClientError, asyncio.TimeoutError, OSError))
            raise ActionFailed(self.name(), unavailable=away or status in (401, 502, 503)) from None

    class ActionEndpoint:
        """The endpoint as `RemoteAction.run` uses it."""

        def __init__(self, endpoint: Any) -> None:
            self.url = endpoint.url
            self.kwargs = endpoint.kwargs

        request = _request

    initialise = remote.__init__

    def initialise_with_session(self: Any, name: str, action_endpoint: Any) -> None:
        initialise(self, name, ActionEndpoint(action_endpoint) if action_endpoint else None)

    remote.__init__ = initialise_with_session
    remote.run = run_or_fail
    remote._validate_action_result = _validate_action_result
    remote._action_call_format = _action_call_format
    remote.repaired = True
    DaskGraphRunner.run = _run_in_order
    Event.resolve_by_type = staticmethod(functools.lru_cache(maxsize=None)(Event.resolve_by_type))
