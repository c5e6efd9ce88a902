"""Counts what a restore must not undo, for witnesses outside the database to remember.

A count goes up, in the same transaction, with each start of a server, each new epoch and each claim
that takes a one-time prekey. SQLite has one witness and one count; each node of PostgreSQL has its
own, so that nodes do not wait for one another.
"""

from sqlalchemy import Connection, bindparam, select

from miss_server.storage.schema import settings as table
from miss_server.storage.sql import settings
from miss_server.storage.witness import Testimony

ALONE = "witnessed"
"""The name of the count of a database with one server."""

_STANDS = select(table.c.name, table.c.value).where(
    table.c.name.in_(("epoch", bindparam("count_")))
)
_LOCKED = select(table.c.value).where(table.c.name == bindparam("name_")).with_for_update()


def stands(connection: Connection, witness: str = ALONE) -> Testimony:
    """Where this database stands; a count of 0 if it never had that witness."""
    found = dict(connection.execute(_STANDS, {"count_": witness}).all())
    return Testimony(found["epoch"], int.from_bytes(found.get(witness, b""), "big"))


def count_up(connection: Connection, witness: str = ALONE, *, beyond: int = 0) -> int:
    """Count, in the transaction of what is counted, to above `beyond`; returns the count.

    Last of all locks: the count of a node is locked by its own transactions only.
    """
    value: bytes | None = connection.execute(_LOCKED, {"name_": witness}).scalar_one_or_none()
    count = max(int.from_bytes((value or b""), "big"), beyond) + 1
    settings.put(connection, witness, count.to_bytes(8, "big"))
    return count
