"""Builds a whole directory in a file of its own and copies it in.

An index that is filled beside a running server, a few rows in each transaction, is written many times over:
each commit ends a piece of the full-text index, and pieces are merged again and again, all of it through
the server's log. Built aside in large transactions and without a journal it is written once, and what the
server's database then takes are finished pages, in slices as short as one likes.

A full-text index keeps its pages in ordinary tables (SQLite's documentation of FTS5, section 9). They are
copied row by row into those of an empty index of the same definition; another connection reads its structure
anew whenever somebody else has written.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

SCHEMA = "scratch"
CACHE_KIB = 16_384
HASH_BYTES = 64 << 20
"""Words that the full-text index gathers before it writes a piece."""
PIECES_MAX = 1_900
"""Pieces that are not merged before the end, when all are at once."""

_KEPT_BY_THE_INDEX = "_config"
"""The table of an index's own settings: those of the empty one stay."""


class Scratch:
    """An attached file with empty tables of the same names as the connection's own; `scratch` opens it."""

    def __init__(self, connection: Connection, entries: str, words: str) -> None:
        self._connection = connection
        self._entries, self._words = entries, words

    @contextmanager
    def building(self) -> Iterator[None]:
        """A transaction that touches the attached file only."""
        self._do("BEGIN")
        yield
        self._do("COMMIT")

    def finish(self) -> None:
        """Make one piece of the index, which is read quickest."""
        with self.building():
            self._tell("optimize", None)

    def copy(
        self, slice_: Callable[[], AbstractContextManager[Any]], size: Callable[[], int]
    ) -> None:
        """Put everything into the connection's own tables, which are empty, `size` rows in a `slice_`.

        The index is not to be used between the slices. Afterwards this connection, too, reads its
        structure anew.
        """
        shadows = self._do(
            f"SELECT name FROM {SCHEMA}.sqlite_schema"  # noqa: S608  # our own name
            " WHERE type = 'table' AND substr(name, 1, ?) = ? ORDER BY name",
            len(self._words) + 1,
            self._words + "_",
        ).scalars()
        for table in (*shadows, self._entries):
            if table.endswith(_KEPT_BY_THE_INDEX):
                continue
            if table.endswith("_idx"):
                self._copy_by_key(table, slice_, size)
            else:
                self._copy_by_number(table, slice_, size)
        # Every table's description is read anew, and with it what the index remembers.
        self._do("PRAGMA writable_schema = RESET")

    def _copy_by_number(
        self, table: str, slice_: Callable[[], AbstractContextManager[Any]], size: Callable[[], int]
    ) -> None:
        last, copied = -1, 1
        while copied:
            with slice_():
                copied = self._do(
                    f"INSERT OR REPLACE INTO main.{table}"  # noqa: S608  # our own names
                    f" SELECT * FROM {SCHEMA}.{table} WHERE rowid > ? ORDER BY rowid LIMIT ?",
                    last,
                    size(),
                ).rowcount
                last = self._do("SELECT last_insert_rowid()").scalar_one() if copied else last

    def _copy_by_key(
        self, table: str, slice_: Callable[[], AbstractContextManager[Any]], size: Callable[[], int]
    ) -> None:
        rows = iter(self._do(f"SELECT * FROM {SCHEMA}.{table}").all())  # noqa: S608  # small
        while some := [tuple(row) for row in islice(rows, size())]:
            marks = ", ".join("?" * len(some[0]))
            with slice_():
                self._connection.exec_driver_sql(
                    f"INSERT INTO main.{table} VALUES ({marks})",  # noqa: S608  # our own names
                    some,
                )

    def _tell(self, command: str, value: int | None) -> None:
        self._do(
            f"INSERT INTO {SCHEMA}.{self._words}({self._words}, rank) VALUES (?, ?)",  # noqa: S608
            command,
            value,
        )

    def _do(self, statement: str, *values: Any) -> Any:
        return self._connection.exec_driver_sql(statement, values)


@contextmanager
def scratch(
    connection: Connection, beside: Path, *, entries: str, words: str, indexed: str
) -> Iterator[Scratch]:
    """Attach an empty file, with a table for entries and an index made by `indexed`.

    The file is in the database's folder, where there must be room for what is copied anyway. It has no
    name any more as soon as it is open, so that nothing is left of an import that died.
    """
    handle, name = tempfile.mkstemp(prefix=f"{beside.name}.import-", dir=beside.parent)
    os.close(handle)
    try:
        connection.exec_driver_sql(f"ATTACH ? AS {SCHEMA}", (name,))
        # The first look opens the file.
        connection.exec_driver_sql(f"PRAGMA {SCHEMA}.journal_mode = OFF")
        connection.exec_driver_sql(f"SELECT 1 FROM {SCHEMA}.sqlite_schema")  # noqa: S608
    finally:
        Path(name).unlink()
    made = Scratch(connection, entries, words)
    try:
        connection.exec_driver_sql(f"PRAGMA {SCHEMA}.synchronous = OFF")
        connection.exec_driver_sql(f"PRAGMA {SCHEMA}.cache_size = -{CACHE_KIB}")
        # By number only: what else is indexed, the database does when it takes them.
        connection.exec_driver_sql(
            f"CREATE TABLE {SCHEMA}.{entries}"
            " (id INTEGER PRIMARY KEY, person, name_key, digest, entry)"
        )
        connection.exec_driver_sql(indexed.replace(words, f"{SCHEMA}.{words}", 1))
        made._tell("hashsize", HASH_BYTES)
        made._tell("automerge", 0)
        made._tell("crisismerge", PIECES_MAX)
        yield made
    finally:
        connection.exec_driver_sql(f"DETACH {SCHEMA}")
