"""Which schema the database has, for what only a later one has: a version serves the one before, too."""

from sqlalchemy import Connection

from miss_protocol.errors import Code, Refused
from miss_server.storage.sql import settings

UPGRADE_SECONDS = 60.0
"""After so long a caller may ask again: the operator takes the step once every node is new."""


def has(connection: Connection, schema: int) -> bool:
    """Whether the database has reached a schema."""
    return int(settings.get(connection, "schema") or b"0") >= schema


def require(connection: Connection, schema: int) -> None:
    """Refuse what needs a later schema than the database has.

    Raises:
        Refused: `busy`, until `db upgrade`.
    """
    if not has(connection, schema):
        raise Refused(
            Code.BUSY,
            f"the database has not reached schema {schema}: run miss-server db upgrade",
            retry_after=UPGRADE_SECONDS,
        )
