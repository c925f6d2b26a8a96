"""Rights requests from the read-back to the end: opened unconfirmed, confirmed by a code, told to the company.

Every function takes a connection inside a transaction (`Database.read` or `Database.write`), the keys of the
installation and the present time. A `Request` holds no personal data; `person_of` is the one door to that.
"""

import json
import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, and_, delete, insert, or_, select

from personvern.database.locking import lock
from personvern.database.tables import request_log, requests
from personvern.languages.dates import day_in_words
from personvern.languages.texts import text
from personvern.notifications import outbox
from personvern.notifications.letters import Sender, queue_mail
from personvern.privacy.keys import Keys
from personvern.requests import drafts, life
from personvern.requests.deadline import Deadline, deadline, next_working_day, reasons_in_words
from personvern.requests.drafts import OnBehalf, RequestDraft
from personvern.requests.fields import same_address
from personvern.requests.kinds import Kind, kind_of
from personvern.requests.life import Status
from personvern.requests.reference import new_reference
from personvern.requests.verification import (
    CodeSent,
    TooManyCodes,
    check_code,
    forget_code,
    is_awaited,
    lock_code,
    random_code,
    send_code,
)
from personvern.statements.company import Company

logger = logging.getLogger(__name__)


class RequestError(Exception):
    """A request cannot be opened or found."""


class NoReceiver(RequestError):
    """The company's `company.yml` names nobody who receives requests: none can be opened."""


class IncompleteDraft(RequestError):
    """The draft lacks something that its rights need; the text names the field."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the database has it, without what the person typed."""

    id: str
    reference: str
    """Not told to anybody while the request is unconfirmed."""
    group_id: str
    company: str
    right: str
    marketing: bool
    status: Status
    language: str
    channel: str
    received_at: datetime
    received_on: date
    due_plain: date | None
    due_rolled: date | None
    target: date | None
    needs_human: bool
    email_confirmed_at: datetime | None
    identity_established_at: datetime | None
    read_at: datetime | None
    closed_at: datetime | None
    purged_at: datetime | None
    same_as: str | None
    conversation_id: str | None

    @property
    def kind(self) -> Kind:
        return kind_of(self.right, marketing=self.marketing)

    @property
    def latest(self) -> date:
        """The last day for an answer: the law's, or the company's own target where the law sets none."""
        found = self.due_rolled or self.target
        assert found is not None
        return found

    @property
    def work_by(self) -> date:
        """The earliest date there is: what staff work, remind, extend and refuse by."""
        return min(day for day in (self.due_plain, self.target) if day is not None)

    @property
    def deadline(self) -> Deadline | None:
        """With the reasons why the last day was moved; None where the law sets none."""
        return deadline(self.received_on) if self.kind.lawful_deadline else None


@dataclass(frozen=True, slots=True)
class Person:
    """What somebody typed about herself. Gone when the request has been kept long enough."""

    name: str | None
    email: str | None
    details: str | None
    on_behalf: OnBehalf | None


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """Requests that wait for the code. Nothing of them is told before it is right."""

    group_id: str
    requests: tuple[Request, ...]
    code: CodeSent | TooManyCodes


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What became of a code."""

    outcome: Literal["confirmed", "already_confirmed", "wrong", "expired", "used_up", "none"]
    requests: tuple[Request, ...] = ()
    """The cases to tell of, in the order they were asked for."""
    open_before: tuple[Request, ...] = ()
    """Those among them that were open already: the same person asked for the same again."""
    tries_left: int = 0


def can_receive(company: Company) -> bool:
    """Whether a request to this company can be opened at all."""
    return bool(company.request_targets)


def sender_of(company: Company) -> Sender:
    return Sender(company.id, company.name, company.contact.email or company.request_targets.email)


def open_unconfirmed(
    connection: Connection,
    keys: Keys,
    *,
    company: Company,
    draft: RequestDraft,
    channel: str,
    network: str | None = None,
    now: datetime,
    make_code: Callable[[], str] = random_code,
) -> Unconfirmed:
    """At the yes: one row for each right of the draft that needs a code, and one code for all of them.

    Rows that the draft opened before it was corrected are used again, and the draft remembers its group. Raises
    NoReceiver, IncompleteDraft.
    """
    _require_receiver(company)
    rights = [right for right in draft.rights if not kind_of(right, marketing=draft.marketing).simple]
    if not rights:
        raise IncompleteDraft("rights")
    for field in ("name", "email"):
        if not getattr(draft, field):
            raise IncompleteDraft(field)
    assert draft.email is not None
    lock(connection, "open_request", draft.conversation_id)
    group_id = draft.group_id or secrets.token_hex(16)
    lock_code(connection, "confirm_requests", group_id)
    # The draft's own rows, and what the same conversation left unconfirmed for the same address.
    earlier = connection.execute(
        select(requests.c.id, requests.c.right, requests.c.group_id, requests.c.email_hash)
        .where(
            requests.c.conversation_id == draft.conversation_id,
            requests.c.company == company.id,
            requests.c.status == "unconfirmed",
            or_(
                requests.c.group_id == group_id,
                and_(
                    requests.c.email_hash.in_(email_hashes(keys, draft.email)),
                    requests.c.right.in_(rights),
                ),
            ),
        )
        .order_by(requests.c.received_at.desc())
    ).all()
    if any(row.email_hash not in email_hashes(keys, draft.email) for row in earlier):
        # A code that went to another address proves nothing of this one, even where no new code may be sent now.
        forget_code(connection, "confirm_requests", group_id)
    # Of two for the same right the oldest stays: its clock has run longest.
    again = {row.right: row.id for row in earlier if row.right in rights}
    for row in earlier:
        if row.id not in again.values():
            connection.execute(delete(requests).where(requests.c.id == row.id))
    opened = []
    for position, right in enumerate(dict.fromkeys(rights)):
        if right not in again:
            again[right] = _insert(
                connection,
                keys,
                company=company,
                draft=draft,
                right=right,
                group_id=group_id,
                position=position,
                channel=channel,
                status="unconfirmed",
                why="read_back",
                now=now,
            )
        else:
            changes = {**_personal(keys, draft), "group_id": group_id, "position": position}
            life.note(connection, keys, again[right], who="visitor", why="corrected", now=now, changes=changes)
        opened.append(again[right])
    with suppress(KeyError):
        drafts.save(connection, keys, replace(draft, group_id=group_id), now)
    code = send_code(
        connection,
        keys,
        purpose="confirm_requests",
        subject=group_id,
        address=draft.email,
        sender=sender_of(company),
        language=draft.language,
        conversation_id=draft.conversation_id,
        network=network,
        now=now,
        make_code=make_code,
    )
    return Unconfirmed(group_id, tuple(request_of(connection, request_id) for request_id in opened), code)


def send_code_again(
    connection: Connection,
    keys: Keys,
    *,
    company: Company,
    group_id: str,
    network: str | None = None,
    now: datetime,
    make_code: Callable[[], str] = random_code,
) -> CodeSent | TooManyCodes | None:
    """A new code for requests that still wait for one; the old one opens nothing. None where none wait."""
    row = connection.execute(
        select(requests.c.email, requests.c.language, requests.c.conversation_id)
        .where(requests.c.group_id == group_id, requests.c.company == company.id, requests.c.status == "unconfirmed")
        .limit(1)
    ).one_or_none()
    if row is None or row.email is None:
        return None
    return send_code(
        connection,
        keys,
        purpose="confirm_requests",
        subject=group_id,
        address=keys.decrypt(row.email),
        sender=sender_of(company),
        language=row.language,
        conversation_id=row.conversation_id,
        network=network,
        now=now,
        make_code=make_code,
    )


def confirm_email(
    connection: Connection, keys: Keys, *, company: Company, group_id: str, code: str, now: datetime
) -> Confirmation:
    """Try the code for a group. Where it is right: its requests are confirmed, the person and the company are told.

    Commit whatever the outcome: a wrong try counts. Two at once with the right code make one confirmation.
    """
    lock_code(connection, "confirm_requests", group_id)
    group = requests_of_group(connection, group_id, company.id)
    if not group:
        return Confirmation("none")
    checked = check_code(connection, keys, purpose="confirm_requests", subject=group_id, code=code, now=now)
    if checked.outcome != "right":
        if checked.outcome == "none" and all(request.status != "unconfirmed" for request in group):
            return _confirmation(connection, "already_confirmed", group)
        return Confirmation(checked.outcome, tries_left=checked.tries_left)
    person = person_of(connection, keys, group[0].id)
    assert person.email is not None
    # Two conversations of one person that confirm at the same time: the second sees what the first has opened.
    lock(connection, "open_same", company.id, same_address(person.email))
    opened = []
    confirmed = {"email_confirmed_at": now}
    for request in group:
        if request.status != "unconfirmed":
            # Staff took it up before the code came.
            if request.email_confirmed_at is None:
                life.note(connection, keys, request.id, who="visitor", why="code_right", now=now, changes=confirmed)
            continue
        same = find_open_same(
            connection, keys, company=company.id, right=request.right, marketing=request.marketing, email=person.email
        )
        if same is not None:
            _close_repeated(connection, keys, request.id, same, now, confirmed)
            continue
        life.move(
            connection, keys, request.id, "confirmed", who="visitor", why="code_right", now=now, changes=confirmed
        )
        opened.append(request_of(connection, request.id))
        _tell_company(connection, keys, company, opened[-1], person_of(connection, keys, request.id), "opened", now)
    if opened:
        _send_receipt(connection, keys, company, opened, "receipt", now)
    if group[0].conversation_id:
        drafts.delete_of(connection, group[0].conversation_id)
    return _confirmation(connection, "confirmed", requests_of_group(connection, group_id, company.id))


def open_unverified_simple(
    connection: Connection, keys: Keys, *, company: Company, draft: RequestDraft, channel: str, now: datetime
) -> tuple[Request, ...]:
    """Open those of the draft's rights that need only the address, valid unconfirmed; receipt and notice go out.

    What is open for this address already is not opened twice, and what comes back looks the same: nobody who only
    types an address learns whether there is a case. Raises NoReceiver, IncompleteDraft.
    """
    _require_receiver(company)
    rights = [right for right in draft.rights if kind_of(right, marketing=draft.marketing).simple]
    if not rights:
        raise IncompleteDraft("rights")
    if not draft.email:
        raise IncompleteDraft("email")
    lock(connection, "open_same", company.id, same_address(draft.email))
    group_id = secrets.token_hex(16)
    opened: dict[str, Request | None] = {}
    for position, right in enumerate(dict.fromkeys(rights)):
        marketing = draft.marketing and right == "objection"
        same = find_open_same(connection, keys, company=company.id, right=right, marketing=marketing, email=draft.email)
        request_id = _insert(
            connection,
            keys,
            company=company,
            draft=draft,
            right=right,
            group_id=group_id,
            position=position,
            channel=channel,
            status="confirmed",
            why="valid_unconfirmed",
            now=now,
        )
        opened[request_id] = same
        if same is None:
            request = request_of(connection, request_id)
            _tell_company(connection, keys, company, request, person_of(connection, keys, request_id), "opened", now)
    shown = requests_of_group(connection, group_id, company.id)
    _send_receipt(connection, keys, company, shown, "receipt_simple", now)
    for request_id, same in opened.items():
        if same is not None:
            _close_repeated(connection, keys, request_id, same, now, {})
    if draft.is_simple:
        if draft.group_id:
            cancel_unconfirmed(connection, draft.group_id)
        drafts.delete_of(connection, draft.conversation_id)
    return shown


def cancel_unconfirmed(connection: Connection, group_id: str) -> int:
    """Forget what was opened and never confirmed, as if it had not been typed; returns how many rows."""
    lock_code(connection, "confirm_requests", group_id)
    forget_code(connection, "confirm_requests", group_id)
    return connection.execute(
        delete(requests).where(requests.c.group_id == group_id, requests.c.status == "unconfirmed")
    ).rowcount


def withdraw(
    connection: Connection, keys: Keys, *, company: Company, request_id: str, who: str = "visitor", now: datetime
) -> Request:
    """The person takes her request back. Raises ForbiddenMove where it has been answered already."""
    life.move(connection, keys, request_id, "withdrawn", who=who, why="withdrawn_by_person", now=now)
    request = request_of(connection, request_id)
    _tell_company(connection, keys, company, request, person_of(connection, keys, request_id), "withdrawn", now)
    return request


def find_open_same(
    connection: Connection, keys: Keys, *, company: str, right: str, marketing: bool = False, email: str
) -> Request | None:
    """The case of this address that is open for the same right. An overdue one is: a second would hide that it is.

    For whoever has proved the mailbox, or for what is not told.
    """
    row = connection.execute(
        select(*_REQUEST)
        .where(
            requests.c.email_hash.in_(email_hashes(keys, email)),
            requests.c.company == company,
            requests.c.right == right,
            requests.c.marketing == marketing,
            requests.c.status.in_(life.OPEN),
        )
        .order_by(requests.c.received_at)
        .limit(1)
    ).one_or_none()
    return None if row is None else Request(*row)


def request_of(connection: Connection, request_id: str) -> Request:
    row = connection.execute(select(*_REQUEST).where(requests.c.id == request_id)).one_or_none()
    if row is None:
        raise life.UnknownRequest(request_id)
    return Request(*row)


def request_by_reference(connection: Connection, reference: str) -> Request | None:
    row = connection.execute(select(*_REQUEST).where(requests.c.reference == reference)).one_or_none()
    return None if row is None else Request(*row)


def requests_of_group(connection: Connection, group_id: str, company: str) -> tuple[Request, ...]:
    rows = connection.execute(
        select(*_REQUEST)
        .where(requests.c.group_id == group_id, requests.c.company == company)
        .order_by(requests.c.position)
    )
    return tuple(Request(*row) for row in rows)


def requests_by_email(connection: Connection, keys: Keys, email: str) -> list[Request]:
    """For staff: every request of this address that still holds it, newest first."""
    rows = connection.execute(
        select(*_REQUEST)
        .where(requests.c.email_hash.in_(email_hashes(keys, email)))
        .order_by(requests.c.received_at.desc())
    )
    return [Request(*row) for row in rows]


def awaited_group(connection: Connection, conversation_id: str, now: datetime) -> str | None:
    """The group of this conversation that waits for its code, where one is good: what comes next may be the code."""
    groups = connection.execute(
        select(requests.c.group_id)
        .where(requests.c.conversation_id == conversation_id, requests.c.status == "unconfirmed")
        .order_by(requests.c.received_at.desc())
    ).scalars()
    return next((group for group in list(groups) if is_awaited(connection, "confirm_requests", group, now)), None)


def confirmed_in(connection: Connection, conversation_id: str) -> list[Request]:
    """The requests whose address was confirmed in this very conversation, oldest first."""
    rows = connection.execute(
        select(*_REQUEST)
        .where(
            requests.c.conversation_id == conversation_id,
            requests.c.email_confirmed_at.is_not(None),
        )
        .order_by(requests.c.received_at, requests.c.position)
    ).all()
    found = [Request(*row) for row in rows]
    # One that only repeated an open case stands as that case stands.
    cases = [request_of(connection, request.same_as) if request.same_as else request for request in found]
    return list({request.id: request for request in cases}.values())


def person_of(connection: Connection, keys: Keys, request_id: str) -> Person:
    """What the person typed: for the company's staff and for mails to her own confirmed address, nobody else."""
    row = connection.execute(
        select(requests.c.name, requests.c.email, requests.c.details, requests.c.on_behalf).where(
            requests.c.id == request_id
        )
    ).one_or_none()
    if row is None:
        raise life.UnknownRequest(request_id)
    name, email, details, on_behalf = (None if value is None else keys.decrypt(value) for value in row)
    return Person(name, email, details, OnBehalf(**json.loads(on_behalf)) if on_behalf else None)


def mark_read(connection: Connection, keys: Keys, request_id: str, *, who: str, now: datetime) -> None:
    """The privacy lead has opened it. The first time counts."""
    read = connection.execute(select(requests.c.read_at).where(requests.c.id == request_id)).one_or_none()
    if read is None:
        raise life.UnknownRequest(request_id)
    if read.read_at is None:
        life.note(connection, keys, request_id, who=who, why="read", now=now, changes={"read_at": now})


def email_hashes(keys: Keys, email: str) -> tuple[str, ...]:
    return keys.hashes("request_email", same_address(email))


_REQUEST = tuple(requests.c[field.name] for field in fields(Request))


def _require_receiver(company: Company) -> None:
    if not can_receive(company):
        raise NoReceiver(f"{company.id} names no receiver of requests in its company.yml")


def _personal(keys: Keys, draft: RequestDraft) -> dict[str, Any]:
    assert draft.email is not None
    on_behalf = json.dumps(asdict(draft.on_behalf), ensure_ascii=False) if draft.on_behalf else None
    return {
        "name": keys.encrypt(draft.name) if draft.name else None,
        "email": keys.encrypt(draft.email),
        "details": keys.encrypt(draft.details) if draft.details else None,
        "on_behalf": keys.encrypt(on_behalf) if on_behalf else None,
        "email_hash": keys.hash("request_email", same_address(draft.email)),
        "needs_human": draft.on_behalf is not None,
        "language": draft.language,
    }


def _insert(
    connection: Connection,
    keys: Keys,
    *,
    company: Company,
    draft: RequestDraft,
    right: str,
    group_id: str,
    position: int,
    channel: str,
    status: Status,
    why: str,
    now: datetime,
) -> str:
    request_id = secrets.token_hex(16)
    marketing = draft.marketing and right == "objection"
    kind, found = kind_of(right, marketing=marketing), deadline(now)
    entry = life.first_entry(keys, request_id, status=status, who="visitor", why=why, now=now)
    connection.execute(
        insert(requests).values(
            id=request_id,
            reference=_unused_reference(connection),
            group_id=group_id,
            position=position,
            company=company.id,
            right=right,
            marketing=marketing,
            status=status,
            channel=channel,
            received_at=now,
            received_on=found.received,
            due_plain=found.plain if kind.lawful_deadline else None,
            due_rolled=found.due if kind.lawful_deadline else None,
            target=_target(company, kind, found),
            conversation_id=draft.conversation_id,
            **_personal(keys, draft),
            **entry["head"],
        )
    )
    connection.execute(insert(request_log).values(entry["row"]))
    return request_id


def _unused_reference(connection: Connection) -> str:
    while True:
        reference = new_reference()
        if request_by_reference(connection, reference) is None:
            return reference


def _target(company: Company, kind: Kind, found: Deadline) -> date | None:
    """The company's own date: never later than the law's, and the month where neither law nor company sets one."""
    days = company.request_targets.target_days
    if days is None:
        return None if kind.lawful_deadline else found.due
    own = next_working_day(found.received + timedelta(days=days))[0]
    return min(own, found.plain) if kind.lawful_deadline else own


def _close_repeated(
    connection: Connection, keys: Keys, request_id: str, same: Request, now: datetime, changes: dict[str, Any]
) -> None:
    changes = {**changes, "same_as": same.id}
    life.move(connection, keys, request_id, "closed", who="system", why="same_as_open", now=now, changes=changes)


def _confirmation(
    connection: Connection, outcome: Literal["confirmed", "already_confirmed"], group: Sequence[Request]
) -> Confirmation:
    """What to tell of a group: the open case in place of what only repeated it."""
    told = [request_of(connection, request.same_as) if request.same_as else request for request in group]
    before = {request.same_as for request in group}
    return Confirmation(outcome, tuple(told), tuple(request for request in told if request.id in before))


def _send_receipt(
    connection: Connection, keys: Keys, company: Company, opened: Sequence[Request], purpose: str, now: datetime
) -> None:
    first = opened[0]
    person = person_of(connection, keys, first.id)
    assert person.email is not None
    sender = sender_of(company)
    queue_mail(
        connection,
        keys,
        purpose=purpose,
        to=person.email,
        sender=sender,
        language=first.language,
        values={
            "cases": [_case(request, first.language) for request in opened],
            "can_reply": sender.reply_to is not None,
            "demo": company.request_targets.demo,
        },
        subject=first.group_id,
        key=f"{purpose}:{first.group_id}",
        now=now,
    )


def _case(request: Request, language: str) -> dict[str, Any]:
    found = request.deadline
    name = "marketing" if request.marketing else request.right
    return {
        "reference": request.reference,
        "right": text(language, f"mails.rights.{name}"),
        "article": request.kind.article,
        "withdraws": request.right == "withdraw_consent",
        "received": day_in_words(request.received_on, language),
        "plain": day_in_words(request.due_plain, language) if request.due_plain else None,
        "latest": day_in_words(request.latest, language),
        "moved_because": reasons_in_words(found, language) if found else "",
        "lawful": request.kind.lawful_deadline,
        "target": day_in_words(request.target, language) if request.target else None,
    }


def _tell_company(
    connection: Connection,
    keys: Keys,
    company: Company,
    request: Request,
    person: Person,
    event: Literal["opened", "withdrawn"],
    now: datetime,
) -> None:
    """To every target that `company.yml` names: a mail, a webhook, or both."""
    targets = company.request_targets
    key = f"{event}:{request.id}"
    if targets.email:
        queue_mail(
            connection,
            keys,
            purpose=f"notice_{event}",
            to=targets.email,
            sender=sender_of(company),
            language=targets.language,
            values={
                "case": _case(request, targets.language),
                "work_by": day_in_words(request.work_by, targets.language),
                "name": person.name,
                "email": person.email,
                "details": person.details,
                "on_behalf": person.on_behalf,
                "confirmed": request.email_confirmed_at is not None,
                "language": text(targets.language, f"mails.languages.{request.language}"),
                "demo": targets.demo,
            },
            subject=request.id,
            key=f"mail:{key}",
            now=now,
            capped=False,
        )
    if targets.webhook:
        outbox.enqueue(
            connection,
            keys,
            kind="webhook",
            purpose=f"notice_{event}",
            company=company.id,
            subject=request.id,
            key=f"webhook:{key}",
            payload={"address": targets.webhook, "body": _as_json(request, person, event)},
            now=now,
        )
    if not targets:
        logger.error("request.no_receiver request=%s company=%s", request.id, company.id)


def _as_json(request: Request, person: Person, event: str) -> dict[str, Any]:
    def day(value: date | None) -> str | None:
        return value.isoformat() if value else None

    return {
        "event": f"request.{event}",
        "reference": request.reference,
        "company": request.company,
        "right": request.right,
        "article": request.kind.article,
        "marketing": request.marketing,
        "status": request.status,
        "language": request.language,
        "channel": request.channel,
        "received_at": request.received_at.isoformat(),
        "received_on": day(request.received_on),
        "due_plain": day(request.due_plain),
        "due_latest": day(request.due_rolled),
        "target": day(request.target),
        "email_confirmed": request.email_confirmed_at is not None,
        "identity_established": request.identity_established_at is not None,
        "needs_human": request.needs_human,
        "typed": {
            "name": person.name,
            "email": person.email,
            "details": person.details,
            "on_behalf": asdict(person.on_behalf) if person.on_behalf else None,
        },
    }
