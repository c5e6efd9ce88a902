"""Copies a full-text index, and other tables, that were built in a file of their own into the connection's own.

A full-text index keeps its pages in ordinary tables (SQLite's documentation of FTS5, section 9). They are
copied row by row into those of an empty index of the same definition; another connection reads its structure
anew whenever somebody else has written.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection

SCHEMA = "scratch"

_KEPT_BY_THE_INDEX = "_config"
"""The table of an index's own settings: those of the empty one stay."""


class Slices(Protocol):
    """The short write transactions in which it is copied."""

    def slice(self) -> AbstractContextManager[Any]:
        """One of them."""

    def size(self) -> int:
        """Rows of the next one."""

    def begin_small(self) -> None:
        """Rows of another kind come next."""


class Scratch:
    """An attached file; `scratch` opens it. What is copied goes into empty tables, some rows in each slice."""

    def __init__(self, connection: Connection, slices: Slices) -> None:
        self._connection = connection
        self._slices = slices

    def copy_index(self, words: str) -> None:
        """Copy an index, which is not to be used between the slices. Afterwards this connection, too, reads its
        structure anew."""
        shadows = self._do(
            f"SELECT name FROM {SCHEMA}.sqlite_schema"  # noqa: S608  # our own name
            " WHERE type = 'table' AND substr(name, 1, ?) = ? ORDER BY name",
            len(words) + 1,
            words + "_",
        ).scalars()
        for table in list(shadows):
            if table.endswith(_KEPT_BY_THE_INDEX):
                continue
            if table.endswith("_idx"):
                self._copy_small(table)
            else:
                self.copy(table, table, key="id", after=-1)
        # Every table's description is read anew, and with it what the index remembers.
        self._do("PRAGMA writable_schema = RESET")

    def copy(self, source: str, target: str, *, key: str, after: int | str) -> None:
        """Copy a table of the file, in the order of its key, all of which are above `after`."""
        self._slices.begin_small()
        while True:
            with self._slices.slice():
                last = self._do(
                    f"SELECT max({key}) FROM (SELECT {key} FROM {SCHEMA}.{source}"  # noqa: S608  # our own names
                    f" WHERE {key} > ? ORDER BY {key} LIMIT ?)",
                    after,
                    self._slices.size(),
                ).scalar_one()
                if last is None:
                    return
                self._do(
                    f"INSERT OR REPLACE INTO main.{target}"  # noqa: S608  # our own names
                    f" SELECT * FROM {SCHEMA}.{source} WHERE {key} > ? AND {key} <= ? ORDER BY {key}",
                    after,
                    last,
                )
            after = last

    def _copy_small(self, table: str) -> None:
        rows = iter(self._do(f"SELECT * FROM {SCHEMA}.{table}").all())  # noqa: S608
        while some := [tuple(row) for row in islice(rows, self._slices.size())]:
            marks = ", ".join("?" * len(some[0]))
            with self._slices.slice():
                self._connection.exec_driver_sql(
                    f"INSERT INTO main.{table} VALUES ({marks})",  # noqa: S608  # our own names
                    some,
                )

    def _do(self, statement: str, *values: Any) -> Any:
        return self._connection.exec_driver_sql(statement, values)


@contextmanager
def scratch(connection: Connection, file: Path, slices: Slices) -> Iterator[Scratch]:
    """Attach a file that is complete; it loses its name, so that nothing is left of an import that dies."""
    connection.exec_driver_sql(f"ATTACH ? AS {SCHEMA}", (str(file),))
    try:
        connection.exec_driver_sql(f"SELECT 1 FROM {SCHEMA}.sqlite_schema")  # noqa: S608  # opens it
        file.unlink()
        yield Scratch(connection, slices)
    finally:
        connection.exec_driver_sql(f"DETACH {SCHEMA}")
