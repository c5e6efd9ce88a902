"""Takes a database from the schema it has to the one that this version knows (see `migrations`).

Everything runs in the caller's write transaction; a lock of the engine's keeps others out. The number
of the schema stands in `settings` as `schema`, where versions before Alembic looked and still look.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect

from miss_server.storage import (
    account_tables,
    audit_tables,
    directory_tables,
    invitation_tables,
    meeting_tables,
    organisation_tables,
    proof_tables,
    report_tables,
    search_tables,
    standing_tables,
)
from miss_server.storage.schema import SCHEMA_VERSION, metadata
from miss_server.storage.sql import settings

if TYPE_CHECKING:
    # Loaded where a step is taken only: it costs more than everything else that a command loads.
    from alembic.config import Config

OLDEST_SERVED = SCHEMA_VERSION - 1
"""A version runs on the schema before its own, too, until every node has it."""

BY_SUBJECT = (
    *directory_tables.tables,
    *meeting_tables.tables,
    *account_tables.tables,
    *organisation_tables.tables,
    *invitation_tables.tables,
    *audit_tables.tables,
    *proof_tables.tables,
    *search_tables.tables,
    *standing_tables.tables,
    *report_tables.tables,
)
"""The tables beside those of `schema`. Naming them makes `metadata` know them wherever a database is
made, checked or copied."""

STEPS = (Path(__file__).parent / "migrations" / "versions",)


class TooNewError(Exception):
    """A newer version wrote it; only that one may."""


def version(connection: Connection) -> int | None:
    """The number of the database's schema; None if there is none yet.

    Raises:
        ValueError: these are another program's tables.
    """
    tables = set(inspect(connection).get_table_names())
    if not tables - {"alembic_version"}:
        return None
    if "settings" not in tables:
        raise ValueError("another program's tables")
    return int(settings.get(connection, "schema") or b"")


def create(connection: Connection) -> None:
    """Make the tables of an empty database at once, as every step would leave them."""
    metadata.create_all(connection)
    _alembic.create(connection)
    connection.execute(_alembic.insert().values(version_num=f"{SCHEMA_VERSION:04}"))
    settings.put(connection, "schema", str(SCHEMA_VERSION).encode())


_alembic = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), primary_key=True, nullable=False),
)


def last(steps: Sequence[Path] = STEPS) -> int:
    """The number of the last step there is."""
    if steps is STEPS:
        return SCHEMA_VERSION
    from alembic.script import ScriptDirectory

    return int(ScriptDirectory.from_config(_config(None, steps)).get_current_head() or 0)


def upgrade(connection: Connection, *, steps: Sequence[Path] = STEPS) -> int:
    """Take every step that is missing, in the transaction of `connection`; returns how many.

    Args:
        steps: folders of steps; tests add a later one.

    Raises:
        TooNewError: the database is beyond the last step; nothing was changed.
        ValueError: these are another program's tables.
    """
    had = version(connection) or 0
    target = last(steps)
    if had > target:
        raise TooNewError
    if had == target:
        return 0
    from alembic import command
    from alembic.runtime.migration import MigrationContext

    config = _config(connection, steps)
    if had and MigrationContext.configure(connection).get_current_revision() is None:
        command.stamp(config, f"{had:04}")  # made before Alembic kept the number
    command.upgrade(config, "head")
    settings.put(connection, "schema", str(target).encode())
    return target - had


def _config(connection: Connection | None, steps: Sequence[Path]) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(map(str, steps)))
    config.attributes["connection"] = connection
    return config
