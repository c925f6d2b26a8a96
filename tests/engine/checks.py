"""What is checked of the engine inside its own environment (Python 3.10, no pytest): run by test_engine.py.

    engine/.venv/bin/python tests/engine/checks.py FOLDER

Every coroutine `check_...` is one check. A line of JSON is printed for each: its name, and what was wrong.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
import time
import traceback
import types
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
FOLDER = Path(sys.argv[1])
ROOT = Path(__file__).resolve().parent.parent.parent
TOKEN, ACTIONS_TOKEN = "the-engine's", "the-actions'"
os.environ.update(
    ENGINE_TOKEN=TOKEN,
    ACTIONS_TOKEN=ACTIONS_TOKEN,
    ENGINE_DATABASE_URL=f"sqlite:///{FOLDER}/engine.db",
    RASA_TELEMETRY_ENABLED="false",
    SQLALCHEMY_SILENCE_UBER_WARNING="1",
    TF_CPP_MIN_LOG_LEVEL="3",
)

import aiohttp  # noqa: E402
import jsonschema  # noqa: E402
import sqlalchemy as sa  # noqa: E402
import yaml  # noqa: E402
from aiohttp import web  # noqa: E402
from rasa.core.actions import action as rasa_action  # noqa: E402
from rasa.core.agent import load_agent  # noqa: E402
from rasa.core.channels.channel import register  # noqa: E402
from rasa.core.utils import AvailableEndpoints  # noqa: E402
from rasa.model_training import train  # noqa: E402
from rasa.shared.core.domain import Domain  # noqa: E402
from rasa.shared.core.events import ActionExecuted, ActiveLoop, BotUttered, SlotSet, UserUttered  # noqa: E402
from rasa.shared.core.trackers import DialogueStateTracker  # noqa: E402
from sanic import Sanic  # noqa: E402

from engine import repairs  # noqa: E402
from engine.channel import PersonvernChannel  # noqa: E402
from engine.working_memory import TURNS_KEPT, WorkingMemory  # noqa: E402

NEEDLE = "Naalen i hoystakken"
DOMAIN = """
version: "3.1"
intents: [greet, ask, secret]
actions: [action_one, action_two]
slots:
  draft: {type: any, influence_conversation: false, mappings: [{type: custom}]}
  action_number: {type: any, influence_conversation: false, mappings: [{type: custom}]}
forms:
  request_form: {required_slots: [draft]}
session_config: {session_expiration_time: 0, carry_over_slots_to_new_session: true}
"""
DATA = """
version: "3.1"
nlu:
  - {intent: greet, examples: "- hello\\n"}
  - {intent: ask, examples: "- question\\n"}
  - {intent: secret, examples: "- never typed by anybody\\n"}
rules:
  - {rule: greeting, steps: [{intent: greet}, {action: action_one}]}
  - {rule: asking, steps: [{intent: ask}, {action: action_one}, {action: action_two}]}
  - {rule: secretly, steps: [{intent: secret}, {action: action_two}]}
"""
CONFIG = """
recipe: default.v1
assistant_id: checks
language: nb
pipeline:
  - {name: KeywordIntentClassifier, case_sensitive: false}
"""
"""The policies are the product's own, with `action_one` for its fallback: see `written`."""
ENDPOINTS = """
action_endpoint: {url: "http://127.0.0.1:1/webhook"}
tracker_store: {type: engine.working_memory.WorkingMemory}
"""


class Actions:
    """The action server, as a check wants it: `plan` is one status or answer a call."""

    def __init__(self):
        self.port, self.plan, self.calls, self.tokens = 0, [], [], []
        self.at_work = self.most_at_work = 0
        self.seconds = 0.0
        self._runner = None

    async def up(self):
        application = web.Application()
        application.router.add_post("/webhook", self._run)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        os.environ["ACTIONS_URL"] = f"http://127.0.0.1:{self.port}/webhook"

    async def down(self):
        await self._runner.cleanup()

    async def _run(self, request):
        self.calls.append(await request.json())
        self.tokens.append(request.headers.get("Authorization"))
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        await asyncio.sleep(self.seconds)
        self.at_work -= 1
        planned = self.plan.pop(0) if self.plan else {"events": [], "responses": []}
        if isinstance(planned, int):
            return web.json_response({"error": NEEDLE}, status=planned)
        return web.json_response(planned)

    def forget(self):
        self.plan, self.calls, self.tokens, self.seconds, self.most_at_work = [], [], [], 0.0, 0

    def run(self):
        """Which actions were called, and their places in the turn."""
        return [(call["next_action"], call["tracker"]["slots"]["action_number"]) for call in self.calls]


class Bench:
    def __init__(self, agent, actions, url, session):
        self.agent, self.actions, self.url, self.session = agent, actions, url, session
        self.conversation = ""
        self.count = 0

    async def ask(self, method, path, token=TOKEN, **options):
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with self.session.request(method, self.url + path, headers=headers, **options) as response:
            return response.status, await response.json(content_type=None)

    async def say(self, text, message_id=None, intent=None, conversation=None):
        self.count += 1
        body = {
            "conversation_id": conversation or self.conversation,
            "message_id": message_id or f"m{self.count}",
            "text": text,
            "intent": intent,
            "metadata": {"company": "jackon", "language": "nb"},
        }
        status, answer = await self.ask("POST", "/messages", json=body)
        return status, answer["outcome"]

    @property
    def memory(self):
        store = self.agent.tracker_store
        while not isinstance(store, WorkingMemory):
            store = store._tracker_store
        return store

    def row(self, conversation=None):
        with self.memory.database.connect() as connection:
            return connection.execute(
                sa.text("SELECT memory, last_message FROM working_memory WHERE conversation_id = :id"),
                {"id": conversation or self.conversation},
            ).fetchone()

    async def tracker(self):
        return await self.memory.retrieve(self.conversation)


def equal(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


# The working memory


def turn(number, text="question number"):
    return [
        ActionExecuted("action_listen"),
        UserUttered(f"{text} {number:03}", {"name": "ask", "confidence": 1.0}, message_id=f"m{number}"),
        ActionExecuted("action_one"),
        BotUttered("an answer"),
        ActionExecuted("action_two"),
    ]


async def remembered(bench, events):
    """What is there again after saving and loading."""
    tracker = DialogueStateTracker.from_events(bench.conversation, events, bench.memory.domain.slots)
    await bench.memory.save(tracker)
    return await bench.tracker()


def said(tracker):
    return [event.text for event in tracker.events if isinstance(event, UserUttered)]


async def check_the_memory_keeps_the_slots_and_the_last_turns(bench):
    events = [*turn(1), SlotSet("draft", "id-of-a-draft")]
    for number in range(2, 12):
        events += turn(number)
    tracker = await remembered(bench, events)
    equal(tracker.get_slot("draft"), "id-of-a-draft")
    equal(said(tracker), [f"question number {number:03}" for number in range(12 - TURNS_KEPT, 12)])
    equal(tracker.latest_message.message_id, "m11")
    equal(tracker.latest_action_name, "action_two")


async def check_the_memory_keeps_a_short_conversation_whole(bench):
    events = turn(1)
    tracker = await remembered(bench, events)
    equal([type(event) for event in tracker.events], [type(event) for event in events])


async def check_the_memory_keeps_the_form_that_a_conversation_is_in(bench):
    events = [*turn(1), ActiveLoop("request_form")]
    for number in range(2, 12):
        events += turn(number)
    equal((await remembered(bench, events)).active_loop_name, "request_form")
    equal((await remembered(bench, [*events, ActiveLoop(None), *turn(12)])).active_loop_name, None)


async def check_the_memory_forgets_a_slot_that_was_emptied(bench):
    events = [*turn(1), SlotSet("draft", "one"), *turn(2), SlotSet("draft", None)]
    for number in range(3, 9):
        events += turn(number)
    equal((await remembered(bench, events)).get_slot("draft"), None)


async def check_the_memory_is_as_large_after_fifty_turns_as_after_five(bench):
    sizes = []
    tracker = await bench.memory.create_tracker(bench.conversation, append_action_listen=False)
    for number in range(50):
        for event in [*turn(number), SlotSet("draft", f"{number:03}")]:
            tracker.update(event)
        await bench.memory.save(tracker)
        tracker = await bench.tracker()
        sizes.append(len(bench.row()[0]))
    assert max(sizes[4:]) <= 1.05 * min(sizes[4:]), sizes
    equal(tracker.get_slot("draft"), "049")


async def check_the_memory_has_seen_only_what_it_answered_last(bench):
    assert not bench.memory.has_seen(bench.conversation, "m1")
    await remembered(bench, turn(1))
    assert bench.memory.has_seen(bench.conversation, "m1")
    assert not bench.memory.has_seen(bench.conversation, "m2")
    assert not bench.memory.has_seen("another", "m1")
    await remembered(bench, [*turn(1), *turn(2)])
    assert bench.memory.has_seen(bench.conversation, "m2")


def files_with_the_needle():
    return [path.name for path in FOLDER.glob("engine.db*") if NEEDLE.encode() in path.read_bytes()]


async def check_what_is_forgotten_is_gone_from_the_file_too(bench):
    await remembered(bench, turn(1, NEEDLE))
    assert files_with_the_needle(), "the check proves nothing"
    bench.memory.forget(bench.conversation)
    equal(await bench.tracker(), None)
    equal(files_with_the_needle(), [])
    bench.memory.forget(bench.conversation)  # twice is no error


async def check_what_is_old_is_forgotten(bench):
    await remembered(bench, turn(1, NEEDLE))
    equal(bench.memory.forget_older_than(time.time() - 100), 0)
    assert bench.row()
    assert bench.memory.forget_older_than(time.time() + 1) >= 1
    equal(bench.row(), None)
    equal(files_with_the_needle(), [])


async def check_a_tracker_that_is_made_is_not_saved(bench):
    tracker = await bench.memory.create_tracker(bench.conversation)
    equal([event.action_name for event in tracker.events], ["action_listen"])
    equal(bench.row(), None)
    equal(await bench.tracker(), None)
    assert bench.conversation not in await bench.memory.keys()
    await bench.memory.save(tracker)
    assert bench.conversation in await bench.memory.keys()


# The channel


async def check_only_who_has_the_token_is_let_in(bench):
    body = {"conversation_id": bench.conversation, "message_id": "m", "text": "hello", "metadata": {}}
    calls = [
        ("GET", "/", {}),
        ("POST", "/messages", {"json": body}),
        ("DELETE", f"/conversations/{bench.conversation}", {}),
        ("DELETE", "/conversations?older_than_seconds=0", {}),
    ]
    for token in (None, "", "wrong", TOKEN + "x", TOKEN[:-1], "nøkkel"):
        for method, path, options in calls:
            status, answer = await bench.ask(method, path, token=token, **options)
            equal((status, answer), (401, {"outcome": "unauthorised"}))
    equal(bench.actions.calls, [])


async def check_without_a_token_in_the_settings_nobody_is_let_in(bench):
    os.environ["ENGINE_TOKEN"] = ""
    try:
        for token in ("", None, TOKEN):
            equal((await bench.ask("GET", "/", token=token))[0], 401)
    finally:
        os.environ["ENGINE_TOKEN"] = TOKEN


async def check_it_says_when_it_is_ready(bench):
    equal(await bench.ask("GET", "/"), (200, {"ready": True}))


async def check_a_message_runs_its_actions_and_is_remembered(bench):
    equal(await bench.say("question", "m1"), (200, "done"))
    equal(bench.actions.run(), [("action_one", 0), ("action_two", 1)])
    call = bench.actions.calls[0]
    equal(call["sender_id"], bench.conversation)
    equal(call["tracker"]["latest_message"]["text"], "question")
    equal(call["tracker"]["latest_message"]["intent"]["name"], "ask")
    told = call["tracker"]["latest_message"]["metadata"]
    equal((told["company"], told["language"], told["message_id"]), ("jackon", "nb", "m1"))
    equal(call["tracker"]["events"], [])
    equal(set(bench.actions.tokens), {f"Bearer {ACTIONS_TOKEN}"})
    assert bench.memory.has_seen(bench.conversation, "m1")


async def check_a_repeated_message_is_not_run_again(bench):
    equal(await bench.say("hello", "m1"), (200, "done"))
    before = bench.row()
    for _ in range(3):
        equal(await bench.say("hello", "m1"), (200, "repeated"))
    equal(len(bench.actions.calls), 1)
    equal(bench.row(), before)
    equal(await bench.say("hello", "m2"), (200, "done"))
    equal(len(bench.actions.calls), 2)


async def check_a_message_sent_twice_at_once_is_run_once(bench):
    bench.actions.seconds = 0.05
    outcomes = await asyncio.gather(*(bench.say("hello", "m1") for _ in range(3)))
    equal(sorted(outcome for _, outcome in outcomes), ["done", "repeated", "repeated"])
    equal(len(bench.actions.calls), 1)


async def check_messages_of_a_conversation_wait_for_each_other(bench):
    bench.actions.seconds = 0.02
    await asyncio.gather(*(bench.say("question", f"m{number}") for number in range(4)))
    equal(bench.actions.most_at_work, 1)
    equal(len(bench.actions.calls), 8)
    await asyncio.gather(*(bench.say("hello", conversation=f"{bench.conversation}-{n}") for n in range(3)))
    assert bench.actions.most_at_work > 1, "conversations waited for each other"


async def check_what_begins_with_a_slash_is_never_a_command(bench):
    for number, (typed, kept) in enumerate(
        {
            "/secret": "secret",
            '/secret{"draft": "stolen"}': 'secret{"draft": "stolen"}',
            "//secret": "secret",
            " /\t/secret": "secret",
            "/restart": "restart",
            "/session_start": "session_start",
            "/": "?",
        }.items()
    ):
        bench.conversation = f"slash-{number}"
        await bench.say("hello")
        equal(await bench.say(typed), (200, "done"))
        tracker = await bench.tracker()
        equal(said(tracker), ["hello", kept])
        assert (tracker.latest_message.intent or {}).get("name") != "secret", typed
        equal(tracker.get_slot("draft"), None)
        equal(await bench.say("hello"), (200, "done"))
    equal([name for name, _ in bench.actions.run() if name == "action_two"], [])


async def check_a_button_is_not_guessed_again(bench):
    equal(await bench.say("hello", intent="secret"), (200, "done"))
    equal([name for name, _ in bench.actions.run()], ["action_two"])
    equal(bench.actions.calls[0]["tracker"]["latest_message"]["intent"], {"name": "secret", "confidence": 1.0})


async def check_what_no_rule_is_for_runs_no_action_twice_and_the_next_message_is_heard(bench):
    """At most one action: an empty turn is told as a failure by the app. Ten, and then silence, would be worse."""
    for text, intent in (("what is this", None), ("tapped", "of_no_rule")):
        bench.actions.forget()
        equal(await bench.say(text, intent=intent), (200, "done"))
        before = bench.actions.run()
        assert before in ([], [("action_one", 0)]), before
        equal(await bench.say("hello"), (200, "done"))
        equal(bench.actions.run(), [*before, ("action_one", 0)])


async def check_a_text_is_not_longer_than_the_app_lets_through(bench):
    await bench.say("hello " + "x" * 5_000)
    equal(len(bench.actions.calls[0]["tracker"]["latest_message"]["text"]), 2_000)


async def nothing_was_kept(bench, message_id):
    assert not bench.memory.has_seen(bench.conversation, message_id)
    equal(bench.row(), None)


async def check_with_the_action_server_down_nothing_is_saved(bench):
    await bench.actions.down()
    try:
        equal(await bench.say("question", "m1"), (503, "unavailable"))
        await nothing_was_kept(bench, "m1")
    finally:
        await bench.actions.up()
    equal(await bench.say("question", "m1"), (200, "done"))
    equal(bench.actions.run(), [("action_one", 0), ("action_two", 1)])


async def check_an_action_that_fails_fails_the_message(bench):
    for status, expected in {
        500: (500, "failed"),
        400: (500, "failed"),
        401: (503, "unavailable"),
        502: (503, "unavailable"),
        503: (503, "unavailable"),
    }.items():
        bench.actions.plan = [status]
        equal(await bench.say("question", "m1"), expected)
        await nothing_was_kept(bench, "m1")
    bench.actions.forget()
    equal(await bench.say("question", "m1"), (200, "done"))


async def check_an_answer_that_no_action_gives_fails_the_message(bench):
    bench.actions.plan = [{"events": "none", "responses": []}]
    equal((await bench.say("hello", "m1"))[0], 500)
    await nothing_was_kept(bench, "m1")


async def check_what_failed_in_the_middle_is_run_again_at_the_same_places(bench):
    slot = {"events": [{"event": "slot", "name": "draft", "value": "made"}], "responses": []}
    bench.actions.plan = [slot, 500]
    equal(await bench.say("question", "m1"), (500, "failed"))
    await nothing_was_kept(bench, "m1")
    equal(await bench.say("question", "m1"), (200, "done"))
    equal(bench.actions.run(), [("action_one", 0), ("action_two", 1)] * 2)
    equal(bench.actions.calls[2]["tracker"]["slots"]["draft"], None)


async def check_a_failure_takes_nothing_of_what_was_before(bench):
    bench.actions.plan = [{"events": [{"event": "slot", "name": "draft", "value": "made"}], "responses": []}]
    await bench.say("hello", "m1")
    before = bench.row()
    bench.actions.plan = [500]
    equal(await bench.say("hello", "m2"), (500, "failed"))
    equal(bench.row(), before)
    equal((await bench.tracker()).get_slot("draft"), "made")


async def check_a_conversation_can_be_forgotten(bench):
    await bench.say("hello", "m1")
    other = bench.conversation + "-other"
    await bench.say("hello", "m1", conversation=other)
    equal(await bench.ask("DELETE", f"/conversations/{bench.conversation}"), (200, {"outcome": "done"}))
    equal(bench.row(), None)
    assert bench.row(other)
    equal(await bench.ask("DELETE", f"/conversations/{bench.conversation}"), (200, {"outcome": "done"}))
    status, answer = await bench.ask("DELETE", "/conversations?older_than_seconds=-1")
    equal(status, 200)
    assert answer["count"] >= 1
    equal(bench.row(other), None)


async def check_the_log_holds_no_words_of_anybody(bench):
    lines = []

    class Keep(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage() + str(record.exc_info or ""))

    keeping = Keep(logging.INFO)
    logging.getLogger().addHandler(keeping)
    try:
        bench.actions.plan = [500, {"events": NEEDLE, "responses": []}, 503]
        for _ in range(4):
            await bench.say(f"hello {NEEDLE}", "m1")
    finally:
        logging.getLogger().removeHandler(keeping)
    assert any("action.failed" in line for line in lines), lines
    equal([line for line in lines if NEEDLE in line], [])


# The repairs of Rasa


async def check_a_result_is_checked_against_the_schema_without_checking_the_schema(bench):
    remote = rasa_action.RemoteAction("action_one", None)
    checked = []
    validator = jsonschema.validators.validator_for(rasa_action.RemoteAction.action_response_format_spec())
    check_schema = validator.check_schema
    validator.check_schema = classmethod(lambda cls, schema: checked.append(schema))
    try:
        for _ in range(3):
            equal(remote._validate_action_result({"events": [], "responses": []}), True)
    finally:
        validator.check_schema = check_schema
    equal(checked, [])
    for wrong in ({"events": "x"}, {"responses": {}}, []):
        try:
            remote._validate_action_result(wrong)
        except jsonschema.ValidationError:
            continue
        raise AssertionError(f"{wrong!r} was taken")


async def check_an_actions_place_is_counted_from_the_message(bench):
    events = [ActionExecuted("action_listen")]
    tracker = DialogueStateTracker.from_events("c", events, [])
    equal(repairs._place_in_turn(tracker), 1)
    for number in range(3):
        tracker.update(UserUttered("hello", {"name": "greet"}))
        equal(repairs._place_in_turn(tracker), 0)
        for place in range(number):
            tracker.update(ActionExecuted("action_one"))
            tracker.update(SlotSet("draft", place))
            equal(repairs._place_in_turn(tracker), place + 1)


async def check_outside_our_channel_an_action_fails_as_rasas_own(bench):
    remote = rasa_action.RemoteAction("action_one", types.SimpleNamespace(url="http://127.0.0.1:1/", kwargs={}))
    bench.actions.plan = [500, 500]
    domain = bench.memory.domain
    tracker = DialogueStateTracker.from_events("c", turn(1), domain.slots, domain=domain)
    for failing, expected in ((contextlib.nullcontext, "RasaException"), (repairs.failing_actions, "ActionFailed")):
        with failing():
            try:
                await remote.run(None, None, tracker, domain)
            except BaseException as error:
                kinds = [kind.__name__ for kind in type(error).__mro__]
                assert expected in kinds, kinds
                continue
        raise AssertionError("nothing was raised")


async def check_an_action_may_refuse_to_be_run(bench):
    """A form's way of saying that the text is not for it: no failure."""
    bench.actions.plan = [400]
    remote = rasa_action.RemoteAction("action_one", types.SimpleNamespace(url="http://127.0.0.1:1/", kwargs={}))

    async def refused(self, **_):
        raise rasa_action.ClientResponseError(400, "Bad Request", json.dumps({"action_name": "action_one"}))

    remote.action_endpoint.request = types.MethodType(refused, remote.action_endpoint)
    domain = bench.memory.domain
    tracker = DialogueStateTracker.from_events("c", turn(1), domain.slots, domain=domain)
    with repairs.failing_actions():
        try:
            await remote.run(None, None, tracker, domain)
        except rasa_action.ActionExecutionRejection:
            return
    raise AssertionError("nothing was raised")


def written():
    """The files of a small bot whose policies, and rule for what no other rule is for, are the product's."""
    policies = yaml.safe_load((ROOT / "config.yml").read_text())["policies"]
    fallback = next((policy.get("core_fallback_action_name") for policy in policies), None)
    data = yaml.safe_load(DATA)
    for path in sorted((ROOT / "data" / "rules").glob("*.yml")):
        for rule in yaml.safe_load(path.read_text()).get("rules", []):
            if fallback and rule["steps"] == [{"action": fallback}]:
                data["rules"].append({"rule": rule["rule"], "steps": [{"action": "action_one"}]})
    for policy in policies:
        if "core_fallback_action_name" in policy:
            policy["core_fallback_action_name"] = "action_one"
    config = {**yaml.safe_load(CONFIG), "policies": policies}
    return {"domain": DOMAIN, "data": yaml.safe_dump(data), "config": yaml.safe_dump(config), "endpoints": ENDPOINTS}


async def serve():
    for name, text in written().items():
        (FOLDER / f"{name}.yml").write_text(text)
    Domain.load(str(FOLDER / "domain.yml"))
    trained = train(
        str(FOLDER / "domain.yml"),
        str(FOLDER / "config.yml"),
        [str(FOLDER / "data.yml")],
        output=str(FOLDER),
        force_training=True,
        fixed_model_name="checks",
    )
    endpoints = AvailableEndpoints.read_endpoints(str(FOLDER / "endpoints.yml"))
    agent = await load_agent(model_path=trained.model, endpoints=endpoints)
    actions = Actions()
    await actions.up()
    application = Sanic("checks", configure_logging=False)
    application.ctx.agent = agent
    register([PersonvernChannel()], application, "/webhooks/")
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = await application.create_server(sock=listening, return_asyncio_server=True, access_log=False)
    await server.startup()
    await server.start_serving()
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/webhooks/personvern"
        bench = Bench(agent, actions, url, session)
        for name, check in [one for one in globals().items() if one[0].startswith("check_")]:
            actions.forget()
            bench.conversation, bench.count = name, 0
            wrong = None
            try:
                await asyncio.wait_for(check(bench), 20)
            except BaseException:
                wrong = traceback.format_exc()
            print("CHECK " + json.dumps({"name": name, "wrong": wrong}), flush=True)
    await actions.down()
    if repairs._session:
        await repairs._session.close()
    server.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(serve())
    os._exit(0)  # Sanic's and TensorFlow's threads wait for nothing
