"""Where an identifier's entry is, on SQLite.

Entries are in the order of names, so that an index of theirs by identifier would be changed in another
place for each of them, and each place is a page of the server's log: a nation's index, 40 MB, wrote
6 GB. Kept apart, it is written in its own order when a slot is filled.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, inspect

from miss_server.storage.directory_tables import persons
from miss_server.storage.sql.directory_filling import Numbered

_FROM_ENTRIES = """
    INSERT INTO directory_persons_SLOT
    SELECT person, id, digest FROM directory_entries_SLOT ORDER BY person
"""
_PUT = "INSERT INTO directory_persons_SLOT VALUES (?, ?, ?)"
_DROP = """
    DELETE FROM directory_persons_SLOT
    WHERE person IN (SELECT person FROM directory_entries_SLOT WHERE id = ?)
"""
EMPTY = """
    DELETE FROM directory_persons_SLOT
    WHERE person IN (SELECT person FROM directory_persons_SLOT LIMIT ?)
"""
ENTRIES = (
    """
    CREATE TABLE directory_entries_SLOT (
        id INTEGER NOT NULL PRIMARY KEY,
        person VARCHAR NOT NULL,
        name_key VARCHAR NOT NULL,
        digest BLOB NOT NULL,
        entry BLOB NOT NULL
    )
    """,
    "CREATE INDEX ix_directory_entries_SLOT_name_key ON directory_entries_SLOT (name_key)",
)
"""The table of entries without an index by identifier."""


def create(connection: Connection) -> None:
    """Create the tables if they are missing, with what a version before kept in an index of the entries; in
    the caller's transaction."""
    there = inspect(connection).get_table_names()
    for slot, table in enumerate(persons):
        if table.name not in there:
            table.create(connection)
            connection.exec_driver_sql(_FROM_ENTRIES.replace("_SLOT", f"_{slot}"))


def put(connection: Connection, slot: int, rows: Sequence[Numbered]) -> None:
    """Say where new entries are, in the caller's transaction."""
    connection.exec_driver_sql(
        _PUT.replace("_SLOT", f"_{slot}"),
        [(record.person, number, record.digest) for number, record in rows],
    )


def drop(connection: Connection, slot: int, ids: Sequence[int]) -> None:
    """Before entries are taken out, in the same transaction."""
    connection.exec_driver_sql(_DROP.replace("_SLOT", f"_{slot}"), [(number,) for number in ids])
