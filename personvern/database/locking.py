"""Doing one thing at a time, for what no single row stands for."""

import hashlib

from sqlalchemy import Connection, text


def lock(connection: Connection, *names: str) -> None:
    """Wait until no other transaction holds the lock of this name; it is given back when this one ends.

    SQLite's transactions that write are one at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        digest = hashlib.sha256("\0".join(names).encode()).digest()
        number = int.from_bytes(digest[:8], "big", signed=True)
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})
