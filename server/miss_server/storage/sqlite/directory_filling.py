"""Fills a new directory into SQLite beside a running server, then switches to it.

The full-text table of a slot keeps the words of each entry, which it must know to take it out again;
entries are in `directory_entries_<slot>`. Its tokenizer is `ascii`, which takes every byte of a folded word as a
part of it: `miss_protocol.directory.normalise` alone decides what a word is, and a word can never
become two tokens, i.e. a phrase.
"""

import fcntl
import glob
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from miss_server.storage.directory import DirectoryBusy, ImportedFile, Record
from miss_server.storage.directory_tables import tables
from miss_server.storage.schema import metadata
from miss_server.storage.sql import vocabulary
from miss_server.storage.sql.directory_filling import Numbered, SqlFilling
from miss_server.storage.sqlite import directory_persons
from miss_server.storage.sqlite.directory_building import HEARD, PERSONS, TEXTS, Plan, Row, build
from miss_server.storage.sqlite.directory_scratch import scratch
from miss_server.storage.sqlite.engine import driver, reading, writing

SLICE_TARGET_S = 0.002
"""A transaction of an import aims at this: a sender that finds the lock taken asks again every half of a
millisecond, and waits no longer than the slice lasts."""
SLICE_START, SLICE_START_CHANGED = 100, 10
"""Rows of the first one: of those that are added at the end, and of those that take others' places."""
SLICE_MAX = 5_000
BUILT_TOGETHER = 5_000
"""Entries of one transaction that nobody waits for, and of what goes to another process at once."""
BUILT_IN = ".import-"
"""In the name of a file in which an index is built, in the database's folder: there must be room for what is
copied anyway."""
SLICE_GROWTH = 1.25
"""How much larger than the last one a slice may be: rows of one kind differ less than those of two."""
CHECKPOINT_EVERY = 4
"""Slices between two checkpoints: the log beside the database stays small, so that a sender's commit, which
waits for all that is in it to be on the disk, seldom has to copy it as well."""
MERGE_EVERY = 128
MERGE_PAGES = 40
"""Slices of changes between two merges of the full-text index's pieces, and about how many pages one slice of a
merge writes. Left to itself the index merges all that there is, hundreds of megabytes, in the midst of a slice."""
_MERGING = {"automerge": 0, "crisismerge": 1_900, "usermerge": 16}
"""While changes are made it merges when it is told to, if there are so many pieces of one size, which is after
days for those that are large. SQLite allows 2,000 pieces in all; a slice makes up to three."""
_AS_MADE = {"automerge": 4, "crisismerge": 16, "usermerge": 4}
"""SQLite's own settings, for a version of this server that merges by them."""

WORDS_TABLES = tuple(
    f"CREATE VIRTUAL TABLE IF NOT EXISTS directory_words_{slot} USING fts5("
    "words, detail=none, columnsize=0, prefix='2 3 4', tokenize='ascii')"
    for slot in (0, 1)
)

_EMPTY_ENTRIES = (
    "DELETE FROM directory_entries_SLOT WHERE id IN (SELECT id FROM directory_entries_SLOT LIMIT ?)"
)
_EMPTY_WORDS = (  # the first ten rows are the index's own description
    "DELETE FROM directory_words_SLOT_data"
    " WHERE id IN (SELECT id FROM directory_words_SLOT_data WHERE id > 10 LIMIT ?)"
)
_EMPTY_VOCABULARY = (
    "DELETE FROM directory_vocabulary_SLOT"
    " WHERE rowid IN (SELECT rowid FROM directory_vocabulary_SLOT LIMIT ?)"
)
_UNMARK = "DELETE FROM directory_vocabulary_SLOT WHERE word = ''"
_EMPTY_TEXTS = (
    "DELETE FROM directory_words_SLOT_content"
    " WHERE id IN (SELECT id FROM directory_words_SLOT_content LIMIT ?)"
)


def create_directory(connection: Connection) -> None:
    """Create the directory's tables if they are missing, in the caller's write transaction.

    Call it whenever a database is opened: every search needs them, also before any import.
    """
    metadata.create_all(connection, tables=tables)
    for statement in WORDS_TABLES:
        connection.exec_driver_sql(statement)
    directory_persons.create(connection)
    connection.exec_driver_sql("INSERT OR IGNORE INTO directory_state VALUES (1, 0)")


def in_slot(statement: str, slot: int) -> str:
    """Write a slot's number into a statement's table names. Nothing of a user's goes in here."""
    return statement.replace("_SLOT", f"_{slot}")


@contextmanager
def filling(
    engine: Engine,
    database: Path,
    *,
    pause: Callable[[float], None] = time.sleep,
    apart: bool = False,
) -> "Iterator[SqliteDirectoryFilling]":
    """Open the one import of a database; the lock ends with the process that holds it.

    `apart`: an index is built in a process of its own.

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
        for left in database.parent.glob(f"{glob.escape(database.name)}{BUILT_IN}*"):
            left.unlink()  # an import died
        with engine.connect() as connection:
            with writing(connection):
                create_directory(connection)
            # Slices need not be on the disk when they are committed, only in order: what the server says
            # is durable waits for the log, and need not wait for more of it.
            connection.exec_driver_sql("PRAGMA synchronous = NORMAL")
            # Checkpoints run between the slices and not at their end, where they would be counted
            # (and feared) as time for which the server's writer is kept waiting.
            connection.exec_driver_sql("PRAGMA wal_autocheckpoint = 0")
            try:
                yield SqliteDirectoryFilling(connection, database, pause, apart=apart)
            finally:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")


class SqliteDirectoryFilling(SqlFilling):
    """The implementation of `DirectoryFilling`; `filling` opens it.

    `slices` has the seconds for which each transaction held the write lock.
    """

    def __init__(
        self,
        connection: Connection,
        database: Path,
        pause: Callable[[float], None],
        *,
        apart: bool = False,
    ) -> None:
        super().__init__(connection)
        self._database = database
        self._apart = apart
        self.slices: list[float] = []
        self._pause = pause
        self._size = SLICE_START
        self._merges = False
        """Changes are being made, whose pieces are merged meanwhile."""
        self._free = time.perf_counter()
        self.begin()

    def size(self) -> int:
        """See `SqlFilling`."""
        return self._size

    def begin_small(self) -> None:
        """What comes next is of another kind: nothing says how many rows of it fit into a slice."""
        self._size = SLICE_START

    def reading(self) -> AbstractContextManager[Connection]:
        """See `SqlFilling`."""
        return reading(self.connection)

    def put_entries(self, slot: int, rows: Sequence[Numbered]) -> None:
        """See `SqlFilling`."""
        self._put_entries(slot, [_columns(row) for row in rows])
        directory_persons.put(self.connection, slot, rows)

    def _put_entries(self, slot: int, rows: list[tuple[Any, ...]]) -> None:
        self.connection.exec_driver_sql(
            in_slot("INSERT INTO directory_entries_SLOT VALUES (?, ?, ?, ?, ?)", slot), rows
        )

    def drop_entries(self, slot: int, ids: Sequence[int]) -> None:
        """See `SqlFilling`."""
        directory_persons.drop(self.connection, slot, ids)
        super().drop_entries(slot, ids)

    def put_words(self, slot: int, rows: Sequence[Numbered]) -> None:
        """See `SqlFilling`."""
        self.connection.exec_driver_sql(
            in_slot("INSERT INTO directory_words_SLOT (rowid, words) VALUES (?, ?)", slot),
            [(number, record.words) for number, record in rows],
        )

    def fill(self, numbered: Iterator[Numbered]) -> None:
        """See `SqlFilling`."""
        # What was taken out entry by entry left its traces in the index.
        self.clear()
        slot = self.slot
        words = f"directory_words_{slot}"
        made_by = WORDS_TABLES[slot].replace("words, detail", "words, content='', detail")
        handle, name = tempfile.mkstemp(
            prefix=f"{self._database.name}{BUILT_IN}", dir=self._database.parent
        )
        os.close(handle)
        file = Path(name)
        try:
            # What is aside is built while this writes what needs no order but that of numbers.
            self.begin_small()
            build(Plan(file, words, made_by), self._written(numbered), apart=self._apart)
            with scratch(self.connection, file, self) as built:
                built.copy_index(words)
                built.copy(TEXTS, f"{words}_content", key="id", after=0)
                built.copy(PERSONS, f"directory_persons_{slot}", key="person", after="")
                if self.learns:
                    built.copy(HEARD, f"directory_vocabulary_{slot}", key="word", after="")
        finally:
            file.unlink(missing_ok=True)
        if self.learns:
            with self.slice():
                vocabulary.learn(self.connection, slot, [vocabulary.WHOLE])

    def _written(self, numbered: Iterator[Numbered]) -> Iterator[list[Row]]:
        """Batches for what is built; each one's entries are in the database when the next is asked for."""
        while batch := list(islice(numbered, BUILT_TOGETHER)):
            yield [(number, r.words, r.person, r.digest) for number, r in batch]
            rest = iter([_columns(numbered) for numbered in batch])
            while some := list(islice(rest, self.size())):
                with self.slice():
                    self._put_entries(self.slot, some)

    def amend(self, gone: Iterable[str], records: Iterable[Record], count: int) -> None:
        """See `DirectoryFilling`."""
        if self._anew:  # what is there may be half an index, and is emptied first of all
            super().amend(gone, records, count)
            return
        self._set_index(_MERGING)
        self._size = SLICE_START_CHANGED
        self._merges = True
        try:
            super().amend(gone, records, count)
            self._merge_all()
        finally:
            self._merges = False
        self._set_index(_AS_MADE)

    def _merge_all(self) -> None:
        """Merge what there are enough pieces of, each some pages a slice."""
        size, merges, self._merges = self._size, self._merges, False
        while merges and self._merge():
            pass
        self._size, self._merges = size, merges

    def _merge(self) -> bool:
        """One slice of it; tells whether there was something to do."""
        db = driver(self.connection)
        before = db.total_changes
        with self.slice():
            self._tell_index("merge", MERGE_PAGES)
        # Fewer, and nothing was done (documentation of FTS5, section 6.8).
        return db.total_changes - before >= 2

    def _set_index(self, settings: Mapping[str, int]) -> None:
        for setting, value in settings.items():
            with self.slice():
                self._tell_index(setting, value)

    def _tell_index(self, what: str, value: int) -> None:
        words = f"directory_words_{self.slot}"
        self.connection.exec_driver_sql(
            f"INSERT INTO {words} ({words}, rank) VALUES (?, ?)",  # noqa: S608  # our own name
            (what, value),
        )

    def drop_words(self, slot: int, ids: Sequence[int]) -> None:
        """See `SqlFilling`."""
        self.connection.exec_driver_sql(
            in_slot("DELETE FROM directory_words_SLOT WHERE rowid = ?", slot),
            [(number,) for number in ids],
        )

    def publish(self, files: Sequence[ImportedFile], remembered: bytes = b"") -> None:
        """See `DirectoryFilling`. From here on it must not be lost, nor must its place in the audit log."""
        self.connection.exec_driver_sql("PRAGMA synchronous = FULL")
        super().publish(files, remembered)

    def renew(self, files: Sequence[ImportedFile], remembered: bytes = b"") -> None:
        """See `DirectoryFilling`."""
        self.connection.exec_driver_sql("PRAGMA synchronous = FULL")
        super().renew(files, remembered)

    def begins_anew(self) -> bool:
        """See `SqlFilling`."""
        return super().begins_anew() or self._forgets_words()

    def clear(self) -> None:
        """See `DirectoryFilling`."""
        # There will be nothing to merge, and for a while no whole index either.
        self._merges = False
        # The full-text index's own tables are emptied piece by piece first: `delete-all` alone would
        # hold the lock for as long as it takes to free hundreds of megabytes.
        slot = self.slot
        statements = [_EMPTY_ENTRIES, directory_persons.EMPTY, _EMPTY_WORDS]
        if not self._forgets_words():
            statements.append(_EMPTY_TEXTS)
        if self.learns:
            statements.append(_EMPTY_VOCABULARY)
            self.forget_words()
            # First of all: an import that dies from here on leaves a slot that says it is not whole.
            with self.slice():
                self.connection.exec_driver_sql(in_slot(_UNMARK, slot))
        for statement in statements:
            deleted = 1
            while deleted:
                with self.slice():
                    deleted = self.connection.exec_driver_sql(
                        in_slot(statement, slot), (self._size,)
                    ).rowcount
        with self.slice():
            self.connection.exec_driver_sql(in_slot("DROP TABLE directory_words_SLOT", slot))
            self.connection.exec_driver_sql(WORDS_TABLES[slot])
            self.connection.exec_driver_sql(in_slot("DROP TABLE directory_entries_SLOT", slot))
            for statement in directory_persons.ENTRIES:
                self.connection.exec_driver_sql(in_slot(statement, slot))

    def _forgets_words(self) -> bool:
        """Whether the slot's index is of a version that kept no texts, so that none can be taken out."""
        (made,) = self.read(
            lambda on: on.exec_driver_sql(
                "SELECT sql FROM sqlite_schema WHERE name = ?", (f"directory_words_{self.slot}",)
            ).one()
        )
        return "content=''" in made

    @contextmanager
    def slice(self) -> Iterator[None]:
        """See `SqlFilling`."""
        # A waiting writer asks for the lock now and then (SQLite has no queue): taken again
        # at once, it would never be free when the server asks. What the import works between two
        # slices counts.
        took = self.slices[-1] if self.slices else 0.0
        self._pause(max(0.0, took - (time.perf_counter() - self._free)))
        with writing(self.connection):
            start = time.perf_counter()
            yield
        self._free = time.perf_counter()
        took = self._free - start
        self.slices.append(took)
        self._size = min(
            SLICE_MAX, max(10, int(self._size * min(SLICE_GROWTH, SLICE_TARGET_S / took)))
        )
        if self._merges and len(self.slices) % MERGE_EVERY == 0:
            self._merge_all()
        if len(self.slices) % CHECKPOINT_EVERY == 0:
            self.connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")


def _columns(numbered: Numbered) -> tuple[Any, ...]:
    """Of `directory_entries`."""
    number, record = numbered
    return number, record.person, record.name_key, record.digest, record.entry
