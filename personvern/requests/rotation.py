"""After a new key was put first: everything encrypted and signed with it, so that the old one can be taken away."""

from sqlalchemy import Connection, Table, select, update

from personvern.database.connection import Database
from personvern.database.tables import outbox, request_drafts, requests
from personvern.privacy.keys import Keys
from personvern.requests.fields import same_address

_ENCRYPTED: tuple[tuple[Table, tuple[str, ...]], ...] = (
    (requests, ("name", "email", "details", "on_behalf")),
    (request_drafts, ("content",)),
    (outbox, ("payload",)),
)
_AT_A_TIME = 500


def rotate(database: Database, keys: Keys) -> int:
    """Returns how many rows were gone through. It can be broken off and begun again.

    Codes and caps are not: they are over within a day. So wait a day before the old key is taken away.
    """
    gone_through = 0
    for table, columns in _ENCRYPTED:
        last = ""
        while True:
            with database.write() as connection:
                ids = list(
                    connection.execute(
                        select(table.c.id).where(table.c.id > last).order_by(table.c.id).limit(_AT_A_TIME)
                    ).scalars()
                )
                for row_id in ids:
                    _rotate_row(connection, keys, table, columns, row_id)
            gone_through += len(ids)
            if len(ids) < _AT_A_TIME:
                break
            last = ids[-1]
    return gone_through


def _rotate_row(connection: Connection, keys: Keys, table: Table, columns: tuple[str, ...], row_id: str) -> None:
    row = connection.execute(select(table).where(table.c.id == row_id).with_for_update()).one_or_none()
    if row is None:
        return
    values = {
        column: keys.encrypt_again(getattr(row, column)) for column in columns if getattr(row, column) is not None
    }
    if table is requests:
        if row.email is not None:
            values["email_hash"] = keys.hash("request_email", same_address(keys.decrypt(row.email)))
        signed = ("request_log", row.id, str(row.log_length), row.log_head)
        if keys.matches(row.log_signature, *signed):  # one that fits no key stays as it is, for `verify_log` to find
            values["log_signature"] = keys.hash(*signed)
    if values:
        connection.execute(update(table).where(table.c.id == row_id).values(values))
