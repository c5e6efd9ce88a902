"""Puts the lines of each entry together and sorts what must be written, in bounded memory.

It all happens in a temporary SQLite file of its own, so that nothing of the server's database is
touched (and no lock of it held) until the whole input was read and found good.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import groupby
from operator import itemgetter
from types import TracebackType
from typing import NamedTuple, Self

from miss_server.importers.lines import Line
from miss_server.importers.merging import EDITION
from miss_server.storage.directory import Record


class Group(NamedTuple):
    """All lines of one entry: (source, packed line), and a digest over them."""

    person: str
    digest: bytes
    packed: Sequence[tuple[str, str]]

    def told(self) -> list[tuple[str, Line]]:
        """(source, line), as `merging.merge` takes them."""
        return [(source, Line.unpacked(self.person, text)) for source, text in self.packed]


class Staging:
    """A temporary file for one import: `add` every source's rows, read `groups`, `keep` what differs.

    `sources` come in the order in which they are believed. SQLite makes the file in SQLITE_TMPDIR, TMPDIR or /var/tmp and it vanishes on `__exit__`; it
    takes about as much room as the input.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        self.kept = 0
        self._sources = list(dict.fromkeys(sources))
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32768;"
            "CREATE TABLE rows (person TEXT, source INTEGER, line TEXT);"
            "CREATE TABLE kept (person TEXT, sort TEXT, name_key TEXT, words TEXT, digest BLOB,"
            " entry BLOB);"
            "CREATE TABLE gone (person TEXT);"
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

    def add(self, source: str, rows: Iterable[tuple[str, str]]) -> None:
        """Put (key, packed line) of one text aside."""
        number = self._sources.index(source)
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT INTO rows VALUES (?, ?, ?)", ((key, number, line) for key, line in rows)
        )
        self._db.execute("COMMIT")

    def groups(self) -> Iterator[Group]:
        """Every entry's lines, by identifier."""
        rows = self._db.execute(
            "SELECT person, source, line FROM rows ORDER BY person, source, rowid"
        )
        for person, lines in groupby(rows, key=itemgetter(0)):
            packed = [(self._sources[number], line) for _, number, line in lines]
            yield Group(person, _digest(packed), packed)

    def keep(self, records: Sequence[Record]) -> None:
        """Put entries aside that must be written."""
        self.kept += len(records)
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO kept VALUES (?, ?, ?, ?, ?, ?)", records)
        self._db.execute("COMMIT")

    def drop(self, person: str) -> None:
        """Put an entry aside that must be taken out."""
        self._db.execute("INSERT INTO gone VALUES (?)", (person,))

    def kept_records(self) -> Iterator[Record]:
        """What was kept, in the order of names."""
        for row in self._db.execute("SELECT * FROM kept ORDER BY sort"):
            yield Record(*row)

    def gone(self) -> Iterator[str]:
        """What was dropped."""
        return (person for (person,) in self._db.execute("SELECT person FROM gone"))

    def forget(self) -> None:
        """Begin anew with what to keep and to drop."""
        self.kept = 0
        self._db.executescript("DELETE FROM kept; DELETE FROM gone;")


def _digest(packed: Sequence[tuple[str, str]]) -> bytes:
    text = "\x1e".join([f"{source}\x1f{line}" for source, line in packed])
    return blake2b(text.encode(), digest_size=16, key=EDITION).digest()
