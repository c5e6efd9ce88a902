"""Puts each person's lines together and sorts the persons, in bounded memory.

It all happens in a temporary SQLite file of its own, so that nothing of the server's database is
touched (and no lock of it held) until the whole input was read and found good.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from types import TracebackType
from typing import Self

from miss_server.importers.activities import Activity
from miss_server.importers.layout import SEPARATOR
from miss_server.importers.merging import merge
from miss_server.storage.directory import Record


class Staging:
    """A temporary file for one import: `add` all activities, `merge` once, then read.

    SQLite makes the file in SQLITE_TMPDIR, TMPDIR or /var/tmp and it vanishes on `__exit__`; it
    takes about as much room as the input.
    """

    def __init__(self) -> None:
        self.people = 0
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32768;"
            "CREATE TABLE activities (person TEXT, line TEXT);"
            "CREATE TABLE people (person TEXT PRIMARY KEY, sort TEXT, name_key TEXT, words TEXT,"
            " digest BLOB, entry BLOB) WITHOUT ROWID;"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()

    def add(self, activities: Iterable[Activity]) -> None:
        """Keep a file's activities; call it once a file."""
        self._db.execute("BEGIN")
        # A field never holds the separator: the file knows no quoting.
        self._db.executemany(
            "INSERT INTO activities VALUES (?, ?)",
            ((activity.national, SEPARATOR.join(activity)) for activity in activities),
        )
        self._db.execute("COMMIT")

    def merge(self) -> None:
        """Make the records of all persons."""
        lines = self._db.execute("SELECT person, line FROM activities ORDER BY person, rowid")
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO people VALUES (?, ?, ?, ?, ?, ?)", self._merged(lines))
        self._db.execute("COMMIT")

    def _merged(
        self, lines: Iterable[tuple[str, str]]
    ) -> Iterator[tuple[str, str, str, str, bytes, bytes]]:
        for person, group in groupby(lines, key=lambda row: row[0]):
            sort, record = merge([Activity(*line.split(SEPARATOR)) for _, line in group])
            self.people += 1
            yield person, sort, record.name_key, record.words, record.digest, record.entry

    def digests(self) -> Iterator[tuple[str, bytes]]:
        """(national identifier, digest), by identifier."""
        return iter(self._db.execute("SELECT person, digest FROM people ORDER BY person"))

    def records(self) -> Iterator[Record]:
        """All records, in the order of names."""
        rows = self._db.execute(
            "SELECT person, name_key, words, digest, entry FROM people ORDER BY sort"
        )
        return (Record(*row) for row in rows)
