"""The forms: a rights request, a message to a human, a report of a breach.

Where a form stands is in the database alone: the draft, and what the conversation is asked for. The dialogue engine
need not know it, so nothing that anybody types can move a form: only what the door has taken out of a message, a yes, a
no, or the words asked for.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from actions.turn import Turn, keys
from personvern.conversations import store
from personvern.conversations.messages import Draft, Offer
from personvern.languages.dates import day_in_words
from personvern.languages.texts import text, texts
from personvern.notifications.letters import queue_message
from personvern.requests import drafts
from personvern.requests import store as requests
from personvern.requests.cues import has_cue
from personvern.requests.drafts import RequestDraft
from personvern.requests.verification import TooManyCodes

REQUEST, MESSAGE, BREACH = "request", "message", "breach"
_MOST_DETAILS = 2_000
_SURE = 0.6
_CLEAR = -0.1
"""The margin of a clear yes, no or stop; of letters at random it is lower."""


def begin_request(turn: Turn, connection: Connection, right: str) -> Sequence[Draft]:
    """Open the form for a right; a form that is open already goes over to this right and keeps what was given."""
    if not requests.can_receive(turn.company):
        return [no_receiver(turn, right)]
    draft = _draft(turn, connection)
    marketing = right == "objection" and has_cue("marketing", turn.text)
    draft = _save(connection, replace(draft, rights=(right,), marketing=marketing, stage=REQUEST))
    return _next(
        turn, connection, draft, first=text(turn.language, "request.started", **_names(turn, _label(right, marketing)))
    )


def begin_message(turn: Turn, connection: Connection, stage: str) -> Sequence[Draft]:
    """Open the form for a message to a human (`message`) or a report of a breach (`breach`)."""
    draft = _draft(turn, connection)
    draft = _save(connection, replace(draft, rights=(), stage=stage))
    return _next(turn, connection, draft, first=text(turn.language, f"request.{stage}_start", **_names(turn)))


def step(turn: Turn, connection: Connection) -> Sequence[Draft] | None:
    """The form's reply to this message; None where the message is not for the form."""
    taken = turn.taken
    if taken.get("code") in ("confirmed", "already_confirmed"):
        # Filed at the door, whatever another message has done to the form meanwhile: it must be told.
        return _after_right_code(turn, connection)
    asking = store.asked_for(connection, turn.conversation_id)
    if asking is None:
        return None
    draft = drafts.find(connection, keys(), turn.conversation_id)
    if draft is None or not draft.stage:
        store.ask_for(connection, turn.conversation_id, None)
        return None
    if _means(turn, "cancel"):
        return [_cancel(turn, connection, draft)]
    if "code" in taken:
        return _after_other_code(turn, connection, draft)
    if "email_fault" in taken:
        return [_ask(turn, connection, draft, "email", text(turn.language, "request.email_invalid"), act="reprompt")]
    if "name" in taken or "email" in taken:
        return _next(turn, connection, draft)
    if asking in ("name", "email", "code") and has_cue("why", turn.text):
        why = text(turn.language, f"request.why.{asking}", **_names(turn))
        return [_ask(turn, connection, draft, asking, why)]
    if asking in ("confirm", "correction"):
        return _after_read_back(turn, connection, draft)
    if asking == "details" and not turn.is_tapped and not _is_question(turn):
        draft = _save(connection, replace(draft, details=turn.text[:_MOST_DETAILS]))
        return _next(turn, connection, draft)
    return None


def pending(turn: Turn, connection: Connection) -> Sequence[Draft]:
    """After a question in between: what the form still waits for, asked again."""
    asking = store.asked_for(connection, turn.conversation_id)
    draft = drafts.find(connection, keys(), turn.conversation_id) if asking else None
    if draft is None or asking is None:
        return []
    if asking == "confirm":
        return [_read_back(turn, connection, draft)]
    return [_ask(turn, connection, draft, asking)]


def _next(turn: Turn, connection: Connection, draft: RequestDraft, first: str = "") -> Sequence[Draft]:
    """Ask for what is missing; with all of it, read back or send."""
    if draft.stage in (MESSAGE, BREACH):
        if not draft.details:
            return [_ask(turn, connection, draft, "details", first)]
        if not draft.email:
            return [_ask(turn, connection, draft, "email", first)]
        return [_send_message(turn, connection, draft)]
    if not draft.name and not draft.is_simple:
        return [_ask(turn, connection, draft, "name", first)]
    if not draft.email:
        return [_ask(turn, connection, draft, "email", first)]
    return [_read_back(turn, connection, draft)]


def _ask(
    turn: Turn, connection: Connection, draft: RequestDraft, slot: str, first: str = "", act: str = "ask_slot"
) -> Draft:
    store.ask_for(connection, turn.conversation_id, slot)
    key = slot
    if slot == "details":
        key = f"details_{draft.stage}"
    elif slot == "email" and draft.stage != REQUEST:
        key = "email_message"
    elif slot == "email" and draft.is_simple:
        key = "email_simple"
    question = text(turn.language, f"request.ask.{key}", **_names(turn), email=draft.email or "")
    said = first if act == "reprompt" else f"{first} {question}".strip()
    shown = "details" if slot == "correction" else slot
    return Draft(act, turn.language, said, right=_right(draft), slot=shown, offers=(_cancel_offer(turn),))  # type: ignore[arg-type]


def _read_back(turn: Turn, connection: Connection, draft: RequestDraft) -> Draft:
    store.ask_for(connection, turn.conversation_id, "confirm")
    key = "confirm_simple" if draft.is_simple else "confirm"
    said = text(
        turn.language,
        f"request.{key}",
        **_names(turn, _label(_right(draft), draft.marketing)),
        name=draft.name,
        email=draft.email,
    )
    if turn.company.request_targets.demo:
        said += " " + text(turn.language, "request.demo", **_names(turn))
    said += " " + text(turn.language, "request.ask.confirm")
    labels = texts(turn.language, "request.buttons")
    offers = (Offer("affirm", labels["affirm"], "other", acts=True), Offer("deny", labels["deny"], "other", acts=True))
    return Draft("confirm", turn.language, said, right=_right(draft), offers=offers)


def _after_read_back(turn: Turn, connection: Connection, draft: RequestDraft) -> Sequence[Draft] | None:
    if _means(turn, "affirm"):
        return _file(turn, connection, draft)
    # «E-posten er feil»: that one is asked for again.
    if has_cue("email", turn.text):
        return [_ask(turn, connection, _save(connection, replace(draft, email=None)), "email")]
    if has_cue("name", turn.text):
        return [_ask(turn, connection, _save(connection, replace(draft, name=None)), "name")]
    if _means(turn, "deny"):
        return [_ask(turn, connection, draft, "correction")]
    return None


def _file(turn: Turn, connection: Connection, draft: RequestDraft) -> Sequence[Draft]:
    now = datetime.now(UTC)
    if draft.is_simple:
        opened = requests.open_unverified_simple(
            connection, keys(), company=turn.company, draft=draft, channel=turn.channel, now=now
        )
        return _opened(turn, connection, opened, (), typed=draft.typed)
    waiting = requests.open_unconfirmed(
        connection, keys(), company=turn.company, draft=draft, channel=turn.channel, now=now
    )
    store.ask_for(connection, turn.conversation_id, "code")
    if isinstance(waiting.code, TooManyCodes):
        return [Draft("notice", turn.language, text(turn.language, "request.code_too_many"), right=_right(draft))]
    said = text(turn.language, "request.code_sent", email=draft.email)
    return [Draft("code_sent", turn.language, said, right=_right(draft), slot="code", offers=(_cancel_offer(turn),))]


def _after_right_code(turn: Turn, connection: Connection) -> Sequence[Draft]:
    """The code was tried at the door, and the draft is gone; what is told comes from the database."""
    group = requests.requests_of_group(connection, turn.taken["group"], turn.company.id)
    opened = [request for request in group if request.same_as is None]
    before = [requests.request_of(connection, request.same_as) for request in group if request.same_as]
    person = requests.person_of(connection, keys(), group[0].id)
    return _opened(turn, connection, opened, before, typed=(person.name, person.email))


def _after_other_code(turn: Turn, connection: Connection, draft: RequestDraft) -> Sequence[Draft]:
    outcome = turn.taken["code"]
    if outcome == "wrong":
        said = text(turn.language, "request.code_wrong", tries=turn.taken.get("tries", 0))
        return [Draft("reprompt", turn.language, said, slot="code", offers=(_cancel_offer(turn),))]
    sent = (
        requests.send_code_again(
            connection, keys(), company=turn.company, group_id=draft.group_id, now=datetime.now(UTC)
        )
        if draft.group_id
        else None
    )
    if sent is None or isinstance(sent, TooManyCodes):
        return [Draft("notice", turn.language, text(turn.language, "request.code_too_many"), slot="code")]
    said = text(turn.language, "request.code_new", email=draft.email)
    return [Draft("code_sent", turn.language, said, right=_right(draft), slot="code")]


def _opened(
    turn: Turn,
    connection: Connection,
    opened: Iterable[requests.Request],
    before: Iterable[requests.Request],
    typed: Sequence[str | None],
) -> Sequence[Draft]:
    said = []
    for request in opened:
        key = "opened_one" if request.kind.lawful_deadline else "opened_target"
        said.append(_about(turn, "request_opened", request, key))
    said += [_about(turn, "request_opened", request, "open_before") for request in before]
    _forget(connection, turn.conversation_id, typed)
    return said


def _about(turn: Turn, act: str, request: requests.Request, key: str) -> Draft:
    said = text(
        turn.language,
        f"request.{key}",
        **_names(turn, _label(request.right, request.marketing)),
        reference=request.reference,
        latest=day_in_words(request.latest, turn.language),
        status=texts(turn.language, "request.status")[request.status],
    )
    return Draft(act, turn.language, said, right=request.right)  # type: ignore[arg-type]


def _send_message(turn: Turn, connection: Connection, draft: RequestDraft) -> Draft:
    targets = turn.company.request_targets
    assert targets.email
    assert draft.email
    assert draft.details
    reference = f"H-{secrets.token_hex(3).upper()}"
    queue_message(
        connection,
        keys(),
        to=targets.email,
        sender=requests.sender_of(turn.company),
        language=targets.language,
        urgent=draft.stage == BREACH,
        reference=reference,
        email=draft.email,
        message=draft.details,
        demo=targets.demo,
        key=f"handover:{turn.message_id}",
        now=datetime.now(UTC),
    )
    said = text(turn.language, f"request.{draft.stage}_sent", **_names(turn), reference=reference)
    if targets.demo:
        said += " " + text(turn.language, "request.demo_message", **_names(turn))
    _forget(connection, draft.conversation_id, (*draft.typed, draft.details))
    return Draft("handover_queued", turn.language, said)


def _cancel(turn: Turn, connection: Connection, draft: RequestDraft) -> Draft:
    if draft.group_id:
        requests.cancel_unconfirmed(connection, draft.group_id)
    _forget(connection, draft.conversation_id, (*draft.typed, draft.details))
    return Draft("request_cancelled", turn.language, text(turn.language, "request.cancelled"))


def _forget(connection: Connection, conversation_id: str, typed: Sequence[str | None]) -> None:
    """The form is over: all that was typed into it leaves the draft and the transcript."""
    store.redact(connection, conversation_id, [value for value in typed if value])
    drafts.delete_of(connection, conversation_id)
    store.ask_for(connection, conversation_id, None)


def status(turn: Turn, connection: Connection) -> Sequence[Draft]:
    """How the requests stand whose address was confirmed in this very conversation; of others nothing is told."""
    own = requests.confirmed_in(connection, turn.conversation_id)
    if own:
        return [_about(turn, "status", request, "status_one") for request in own]
    said = text(turn.language, "request.status_unknown", **_names(turn))
    return [Draft("notice", turn.language, said)]


def no_receiver(turn: Turn, right: str) -> Draft:
    language, contact = turn.language, turn.company.contact
    if contact.email:
        where = text(language, "request.where_email", email=contact.email)
    elif contact.phone:
        where = text(language, "request.where_phone", phone=contact.phone)
    else:
        where = text(language, "request.where_none")
    said = text(language, "request.no_receiver", **_names(turn, right))
    return Draft("notice", language, f"{said} {where}", right=right)


def _draft(turn: Turn, connection: Connection) -> RequestDraft:
    found = drafts.find(connection, keys(), turn.conversation_id)
    if found is not None:
        return replace(found, language=turn.language)
    return drafts.create(connection, keys(), turn.conversation_id, turn.language, datetime.now(UTC))


def _save(connection: Connection, draft: RequestDraft) -> RequestDraft:
    return drafts.save(connection, keys(), draft, datetime.now(UTC))


def _names(turn: Turn, right: str | None = None) -> dict[str, Any]:
    values = {"company": turn.company.name[turn.language]}
    if right:
        key = "request.marketing" if right == "marketing" else f"rights.{right}"
        values["right"] = text(turn.language, key)
    return values


def _right(draft: RequestDraft) -> str | None:
    return draft.rights[0] if draft.rights else None


def _label(right: str | None, marketing: bool) -> str | None:
    """The key of the right's words: an objection to marketing has its own."""
    return "marketing" if marketing and right == "objection" else right


def _cancel_offer(turn: Turn) -> Offer:
    return Offer("cancel", texts(turn.language, "request.buttons")["cancel"], "other", acts=True)


def _means(turn: Turn, intent: str) -> bool:
    """A tap, or words that can hardly be anything else: gibberish must not file or give up a request."""
    return turn.intent == intent and (
        turn.is_tapped or (turn.margin > _CLEAR and bool(turn.ranking) and turn.ranking[0][1] >= _SURE)
    )


def _is_question(turn: Turn) -> bool:
    """A question in the middle, not the words that were asked for."""
    likeliest, confidence = turn.ranking[0] if turn.ranking else ("", 0.0)
    return "?" in turn.text and likeliest.startswith("ask_") and confidence >= _SURE
