"""Requests in a database, each step in a transaction of its own."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

from helpers import Talk
from sqlalchemy import Table, select

from personvern.database.connection import Database
from personvern.notifications import outbox
from personvern.notifications.mail import EmlFolder
from personvern.notifications.outbox import Outgoing, Transport
from personvern.privacy.keys import Keys
from personvern.requests import drafts, store
from personvern.requests.drafts import RequestDraft
from personvern.requests.store import Confirmation, Request, Unconfirmed
from personvern.statements.company import Company

KARI = {"name": "Kari Nordmann", "email": "kari@example.no", "details": "Kundenummer 4471"}


def key(letter: str) -> str:
    return base64.urlsafe_b64encode(letter.encode() * 32).decode()


class Drawer:
    """Transport that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []

    def send(self, outgoing: Outgoing) -> None:
        self.sent.append(outgoing)


class Desk:
    """Requests in a database, as actions and app open and confirm them."""

    def __init__(self, database: Database, keys: Keys, clock: Callable[[], datetime], company: Company) -> None:
        self.database, self.keys, self.clock, self.company = database, keys, clock, company
        self.talk = Talk(database, clock)
        self.mails, self.webhooks = Drawer(), Drawer()

    def draft(
        self, *rights: str, conversation_id: str | None = None, language: str = "nb", **fields: Any
    ) -> RequestDraft:
        conversation_id = conversation_id or self.talk.begin(company=self.company.id)[0].id
        with self.database.write() as connection:
            draft = drafts.create(connection, self.keys, conversation_id, language, self.clock())
            return drafts.save(connection, self.keys, replace(draft, rights=rights, **{**KARI, **fields}), self.clock())

    def open(self, draft: RequestDraft, code: str = "123456") -> Unconfirmed:
        with self.database.write() as connection:
            return store.open_unconfirmed(
                connection,
                self.keys,
                company=self.company,
                draft=draft,
                channel="widget",
                now=self.clock(),
                make_code=lambda: code,
            )

    def open_simple(self, draft: RequestDraft) -> tuple[Request, ...]:
        with self.database.write() as connection:
            return store.open_unverified_simple(
                connection, self.keys, company=self.company, draft=draft, channel="widget", now=self.clock()
            )

    def confirm(self, group_id: str, code: str = "123456") -> Confirmation:
        with self.database.write() as connection:
            return store.confirm_email(
                connection, self.keys, company=self.company, group_id=group_id, code=code, now=self.clock()
            )

    def confirmed(self, *rights: str, **fields: Any) -> tuple[Request, ...]:
        """Requests all the way through."""
        opened = self.open(self.draft(*rights, **fields))
        found = self.confirm(opened.group_id)
        assert found.outcome == "confirmed"
        return found.requests

    def request(self, request_id: str) -> Request:
        with self.database.read() as connection:
            return store.request_of(connection, request_id)

    def deliver(self) -> list[Outgoing]:
        """Everything that is due now; returns the mails of this time."""
        before = len(self.mails.sent)
        transports: dict[str, Transport] = {"mail": self.mails, "webhook": self.webhooks}
        outbox.deliver_due(self.database, self.keys, transports, self.clock)
        return self.mails.sent[before:]

    def rows(self, table: Table) -> Sequence[dict[str, Any]]:
        with self.database.read() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]

    def everything(self) -> str:
        """All that the database holds, as a text to search in."""
        from personvern.database.tables import metadata

        return "\n".join(str(self.rows(table)) for table in metadata.sorted_tables)


def files_of(desk: Desk, folder: Path) -> list[EmailMessage]:
    """Deliver into a folder and read what lies there."""
    transports: dict[str, Transport] = {"mail": EmlFolder(folder, "assistant@example.org"), "webhook": desk.webhooks}
    outbox.deliver_due(desk.database, desk.keys, transports, desk.clock)
    parser = BytesParser(policy=policy.default)
    return [parser.parsebytes(path.read_bytes()) for path in sorted(folder.glob("*.eml"))]
