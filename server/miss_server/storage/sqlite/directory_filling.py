"""Fills a new directory into SQLite beside a running server, then switches to it.

The full-text table of a slot is contentless (`content=''`): it holds words only, entries are in
`directory_entries_<slot>`. Its tokenizer is `ascii`, which takes every byte of a folded word as a
part of it: `miss_protocol.directory.normalise` alone decides what a word is, and a word can never
become two tokens, i.e. a phrase.
"""

import fcntl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection, Engine

from miss_server.storage.directory import DirectoryBusy, ImportedFile, Record
from miss_server.storage.directory_tables import tables
from miss_server.storage.schema import metadata
from miss_server.storage.sql.directory import generation
from miss_server.storage.sqlite.engine import writing

SLICE_TARGET_S = 0.008
"""A transaction of an import aims at this. Now and then the full-text index merges inside one, which
takes up to 40 ms: the whole stays under the 50 ms that a sender may wait for it."""
SLICE_START = 100
SLICE_MAX = 5_000
CHECKPOINT_EVERY = 16
"""Slices between two checkpoints: the log beside the database stays small."""

WORDS_TABLES = tuple(
    f"CREATE VIRTUAL TABLE IF NOT EXISTS directory_words_{slot} USING fts5("
    "words, content='', detail=none, columnsize=0, prefix='2 3 4', tokenize='ascii')"
    for slot in (0, 1)
)

_EMPTY_ENTRIES = (
    "DELETE FROM directory_entries_SLOT WHERE id IN (SELECT id FROM directory_entries_SLOT LIMIT ?)"
)
_EMPTY_WORDS = (  # the first ten rows are the index's own description
    "DELETE FROM directory_words_SLOT_data"
    " WHERE id IN (SELECT id FROM directory_words_SLOT_data WHERE id > 10 LIMIT ?)"
)
_RESET_WORDS = "INSERT INTO directory_words_SLOT (directory_words_SLOT) VALUES ('delete-all')"


def create_directory(connection: Connection) -> None:
    """Create the directory's tables if they are missing, in the caller's write transaction.

    Call it whenever a database is opened: every search needs them, also before any import.
    """
    metadata.create_all(connection, tables=tables)
    for statement in WORDS_TABLES:
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql("INSERT OR IGNORE INTO directory_state VALUES (1, 0)")


def in_slot(statement: str, slot: int) -> str:
    """Write a slot's number into a statement's table names. Nothing of a user's goes in here."""
    return statement.replace("_SLOT", f"_{slot}")


@contextmanager
def filling(
    engine: Engine, database: Path, *, pause: Callable[[float], None] = time.sleep
) -> "Iterator[SqliteDirectoryFilling]":
    """Open the one import of a database; the lock ends with the process that holds it.

    The lock's file stays, empty: were it deleted, a process that had opened it just before would
    hold a lock on a file without a name, while the next one locks a new file beside it.

    Raises:
        DirectoryBusy: another one is running.
    """
    with Path(f"{database}.import.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DirectoryBusy from None
        with engine.connect() as connection:
            with writing(connection):
                create_directory(connection)
            # Checkpoints run between the slices and not at their end, where they would be counted
            # (and feared) as time for which the server's writer is kept waiting.
            connection.exec_driver_sql("PRAGMA wal_autocheckpoint = 0")
            try:
                yield SqliteDirectoryFilling(connection, pause)
            finally:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")


class SqliteDirectoryFilling:
    """The implementation of `DirectoryFilling`; `filling` opens it.

    `slices` has the seconds for which each transaction held the write lock.
    """

    def __init__(self, connection: Connection, pause: Callable[[float], None]) -> None:
        self.slices: list[float] = []
        self._connection = connection
        self._pause = pause
        self._generation = generation(connection)
        self._size = SLICE_START

    def known(self) -> Iterator[tuple[str, bytes]]:
        """See `DirectoryFilling`. Read in small pieces: one long read would let the log grow."""
        statement = in_slot(
            "SELECT person, digest FROM directory_entries_SLOT WHERE person > ?"
            " ORDER BY person LIMIT 5000",
            self._generation % 2,
        )
        last = ""
        while rows := self._connection.exec_driver_sql(statement, (last,)).all():
            yield from ((person, digest) for person, digest in rows)
            last = rows[-1][0]

    def fill(self, records: Iterable[Record]) -> None:
        """See `DirectoryFilling`."""
        slot = (self._generation + 1) % 2
        self._empty(slot)
        entry = in_slot("INSERT INTO directory_entries_SLOT VALUES (?, ?, ?, ?, ?)", slot)
        words = in_slot("INSERT INTO directory_words_SLOT (rowid, words) VALUES (?, ?)", slot)
        numbered = enumerate(records, 1)
        while batch := list(islice(numbered, self._size)):
            with self._slice():
                self._connection.exec_driver_sql(
                    entry, [(n, r.person, r.name_key, r.digest, r.entry) for n, r in batch]
                )
                self._connection.exec_driver_sql(words, [(n, r.words) for n, r in batch])

    def publish(self, files: Sequence[ImportedFile]) -> None:
        """See `DirectoryFilling`."""
        execute = self._connection.exec_driver_sql
        with self._slice():
            execute("UPDATE directory_state SET generation = ?", (self._generation + 1,))
            execute("DELETE FROM directory_sources")
            execute(
                "INSERT INTO directory_sources VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (n, f.name, f.file, f.date_ms, f.imported_ms, f.activities)
                    for n, f in enumerate(files)
                ],
            )
        self._generation += 1

    def tidy(self) -> None:
        """See `DirectoryFilling`."""
        self._empty((self._generation + 1) % 2)

    def _empty(self, slot: int) -> None:
        # The full-text index's own table is emptied piece by piece first: `delete-all` alone would
        # hold the lock for as long as it takes to free hundreds of megabytes.
        for statement in (_EMPTY_ENTRIES, _EMPTY_WORDS):
            deleted = 1
            while deleted:
                with self._slice():
                    deleted = self._connection.exec_driver_sql(
                        in_slot(statement, slot), (self._size,)
                    ).rowcount
        with self._slice():
            self._connection.exec_driver_sql(in_slot(_RESET_WORDS, slot))

    @contextmanager
    def _slice(self) -> Iterator[None]:
        with writing(self._connection):
            start = time.perf_counter()
            yield
        took = time.perf_counter() - start
        self.slices.append(took)
        self._size = min(SLICE_MAX, max(10, int(self._size * min(2, SLICE_TARGET_S / took))))
        if len(self.slices) % CHECKPOINT_EVERY == 0:
            self._connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
        # A waiting writer asks for the lock every few milliseconds (SQLite has no queue): taken
        # again at once, it would never be free when the server asks.
        self._pause(took)
