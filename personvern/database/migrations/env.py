from typing import Any, Literal

from alembic import context
from sqlalchemy import text

from personvern.database.tables import UtcDateTime, metadata

database = context.config.attributes["database"]


def _type_as_written(kind: str, value: Any, _context: Any) -> str | Literal[False]:
    return "UtcDateTime()" if kind == "type" and isinstance(value, UtcDateTime) else False


with database.write() as connection:
    if not database.is_sqlite:
        # Two processes that start at once: the second waits, then finds nothing to do.
        connection.execute(text("SELECT pg_advisory_xact_lock(7291)"))
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_item=_type_as_written,
        transactional_ddl=True,
        render_as_batch=database.is_sqlite,
    )
    context.run_migrations()
