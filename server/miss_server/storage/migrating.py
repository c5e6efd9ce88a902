"""Takes a database from the schema it has to the one that this version knows (see `migrations`).

Everything runs in the caller's write transaction; a lock of the engine's keeps others out. The number
of the schema stands in `settings` as `schema`, where versions before Alembic looked and still look.
"""

from collections.abc import Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from miss_server.storage.schema import SCHEMA_VERSION
from miss_server.storage.sql import settings

OLDEST_SERVED = SCHEMA_VERSION - 1
"""A version runs on the schema before its own, too, until every node has it."""

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


def last(steps: Sequence[Path] = STEPS) -> int:
    """The number of the last step there is."""
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
    config = _config(connection, steps)
    if had and MigrationContext.configure(connection).get_current_revision() is None:
        command.stamp(config, f"{had:04}")  # made before Alembic kept the number
    command.upgrade(config, "head")
    settings.put(connection, "schema", str(target).encode())
    return target - had


def _config(connection: Connection | None, steps: Sequence[Path]) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(map(str, steps)))
    config.attributes["connection"] = connection
    return config
