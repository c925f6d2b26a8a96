"""Bringing a database to a version of the schema."""

from pathlib import Path

from alembic import command
from alembic.config import Config

from personvern.database.connection import Database


def _configuration(database: Database) -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    configuration.attributes["database"] = database
    return configuration


def upgrade(database: Database, revision: str = "head") -> None:
    command.upgrade(_configuration(database), revision)


def downgrade(database: Database, revision: str = "base") -> None:
    command.downgrade(_configuration(database), revision)
