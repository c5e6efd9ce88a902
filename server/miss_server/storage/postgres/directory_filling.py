"""Writes a directory aside into PostgreSQL beside running servers, then switches to it.

Readers keep no lock that an import wants: rows of the slot aside are put in and taken out one by one, for
a search that began before it went out of force may still read it; it is truncated by a later import only.

Rows go in by COPY. A whole directory does in one transaction, without indexes: they are built once all is
there, which is several times quicker than to keep them, and writes a fraction of the log.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import chain, islice
from typing import Any, TypeVar

from sqlalchemy import (
    Column,
    Connection,
    Index,
    Insert,
    Integer,
    MetaData,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.dialects.postgresql import insert as insert_unless

from miss_server.storage.directory import DirectoryBusy, DirectoryFilling, ImportedFile, Record
from miss_server.storage.directory_tables import entries, persons, state, tables
from miss_server.storage.postgres.bulk import Bulk, vector
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.quiet import Quiet
from miss_server.storage.postgres.trouble import not_durable
from miss_server.storage.schema import metadata
from miss_server.storage.sql import epochs, vocabulary
from miss_server.storage.sql.directory_filling import Numbered, SqlFilling

T = TypeVar("T")

SLICE = 1_000
"""Records of one transaction."""
FILLED_TOGETHER = 5_000
"""Records of one COPY while a whole directory is written."""
FILLING = {
    # No statement of it is short, and nobody waits for its locks: the slot is aside.
    "statement_timeout": "0",
    "lock_timeout": "10min",
    "idle_in_transaction_session_timeout": "10min",
    # What one sort or index takes at most; it is PostgreSQL's memory, on its machine.
    "maintenance_work_mem": "128MB",
    # What is written goes on to the disk as it comes. Else the system keeps it for half a minute, and a
    # node's commit that comes when it writes all of it waits behind hundreds of megabytes.
    "backend_flush_after": "1MB",
}
LOCK = epochs.LOCK + 2
"""The advisory lock of the one import; it ends with the connection that holds it."""

_words_metadata = MetaData()


def _words(slot: int) -> Table:
    return Table(
        f"directory_words_{slot}",
        _words_metadata,
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("words", TSVECTOR, nullable=False),
        Index(f"directory_words_{slot}_words", "words", postgresql_using="gin"),
    )


words = (_words(0), _words(1))


def create_directory(connection: Connection) -> None:
    """Create the directory's tables if they are missing, in the caller's transaction.

    Call it whenever a database is opened: every search needs them, also before any import.
    """
    metadata.create_all(connection, tables=tables)
    _words_metadata.create_all(connection)
    for slot, placed in zip(entries, persons, strict=True):
        there = connection.execute(select(func.to_regclass(placed.name))).scalar_one()
        if there is None:
            columns = ", ".join(placed.c.keys())
            connection.execute(
                text(f"CREATE VIEW {placed.name} AS SELECT {columns} FROM {slot.name}")  # noqa: S608  # our own names
            )
    connection.execute(
        insert_unless(state)
        .values(id=1, generation=0)
        .on_conflict_do_nothing(index_elements=["id"])
    )


@contextmanager
def filling(connection: Connection) -> "Iterator[PostgresDirectoryFilling]":
    """Open the one import of a database, on a connection of its own that has no transaction.

    Raises:
        DirectoryBusy: another one is running.
    """
    with connection.begin():
        if not connection.execute(select(func.pg_try_advisory_lock(LOCK))).scalar_one():
            raise DirectoryBusy
    try:
        with connection.begin():
            create_directory(connection)
        yield PostgresDirectoryFilling(connection)
    finally:
        if not connection.invalidated:
            connection.rollback()
            with connection.begin():
                connection.execute(select(func.pg_advisory_unlock(LOCK)))


async def import_into(options: Options, work: Callable[[DirectoryFilling], T]) -> T:
    """Open the one import of a database for `work`, beside running nodes.

    Raises:
        DirectoryBusy: another one is running.
        NotDurable: PostgreSQL cannot be reached, or did not answer.
    """

    def run(connection: Connection) -> T:
        with filling(connection) as target:
            return work(target)

    quiet = Quiet(options)
    try:
        with not_durable():
            async with quiet.engine.connect() as connection:
                return await connection.run_sync(run)
    finally:
        await quiet.close()


class PostgresDirectoryFilling(SqlFilling):
    """The implementation of `DirectoryFilling`; `filling` opens it."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._bulk = Bulk(connection)
        self._durable = False
        self.begin()

    def begin(self) -> None:
        """See `SqlFilling`."""
        super().begin()
        with self.connection.begin():
            self._bulk.begin()

    def size(self) -> int:
        """See `SqlFilling`."""
        return SLICE

    @contextmanager
    def slice(self) -> Iterator[None]:
        """See `SqlFilling`."""
        with self.connection.begin():
            # Slices need only be on the disk in their order; what is published waits for all of them.
            self._set({} if self._durable else {"synchronous_commit": "off"})
            yield

    def reading(self) -> AbstractContextManager[Any]:
        """See `SqlFilling`."""
        return self.connection.begin()

    def put_entries(self, slot: int, rows: Sequence[Numbered]) -> None:
        """See `SqlFilling`."""
        self._bulk.put(
            f"directory_entries_{slot}",
            ("id", "person", "name_key", "digest", "entry"),
            ((number, r.person, r.name_key, r.digest, r.entry) for number, r in rows),
        )

    def put_words(self, slot: int, rows: Sequence[Numbered]) -> None:
        """See `SqlFilling`."""
        self._bulk.put(
            f"directory_words_{slot}",
            ("id", "words"),
            ((number, vector(_lexemes(record.words))) for number, record in rows),
        )

    def fill(self, numbered: Iterator[Numbered]) -> None:
        """See `SqlFilling`."""
        # What comes is sorted before the first one does: no transaction waits for it.
        batches = iter(lambda: list(islice(numbered, FILLED_TOGETHER)), [])
        begun = list(islice(batches, 1))
        learnt: set[str] = set()
        with self.connection.begin():
            self._set(FILLING)
            self.connection.execute(text(f"TRUNCATE {', '.join(self._tables)}"))
            with self._bulk.unindexed(self._tables):
                for batch in chain(begun, batches):
                    self.put_entries(self.slot, batch)
                    self.put_words(self.slot, batch)
                    for _, record in batch:
                        learnt.update(record.words.split())
                if self.learns:
                    self._bulk.put(
                        f"directory_vocabulary_{self.slot}",
                        ("word", "sound"),
                        chain(vocabulary.rows(learnt), [vocabulary.WHOLE]),
                    )

    def drop_words(self, slot: int, ids: Sequence[int]) -> None:
        """See `SqlFilling`."""
        self.connection.execute(delete(words[slot]).where(words[slot].c.id.in_(ids)))

    def amend(self, gone: Iterable[str], records: Iterable[Record], count: int) -> None:
        """See `DirectoryFilling`."""
        super().amend(gone, records, count)
        # Without fresh statistics the planner would read what was empty as if it still were.
        self._do(f"ANALYZE {', '.join(self._tables)}")

    def publish(self, files: Sequence[ImportedFile], remembered: bytes = b"") -> None:
        """See `DirectoryFilling`."""
        self._durable = True
        super().publish(files, remembered)

    def renew(self, files: Sequence[ImportedFile], remembered: bytes = b"") -> None:
        """See `DirectoryFilling`."""
        self._durable = True
        super().renew(files, remembered)

    def clear(self) -> None:
        """See `DirectoryFilling`. Nobody has read this slot since the import before this one."""
        self.forget_words()
        self._do(f"TRUNCATE {', '.join(self._tables)}")

    @property
    def _tables(self) -> list[str]:
        """Of the slot aside."""
        names = ["entries", "words", *(["vocabulary"] if self.learns else [])]
        return [f"directory_{name}_{self.slot}" for name in names]

    def _do(self, statement: str) -> None:
        with self.connection.begin():
            self._set(FILLING)
            self.connection.execute(text(statement))

    def _set(self, settings: Mapping[str, str]) -> None:
        """Of the transaction that is open."""
        for name, value in settings.items():
            self.connection.execute(select(func.set_config(name, value, True)))


def _lexemes(folded: str) -> Iterable[bytes]:
    """Words as the index takes them."""
    words = folded.encode().split()
    if max(map(len, words), default=0) > vocabulary.WORD_MAX:
        return {word.encode() for word in lexemes(folded).split()}
    return words


def put_words(slot: int) -> Insert:
    """The statement that adds an entry's words: `number`, and `folded` from `lexemes`."""
    vector = func.array_to_tsvector(func.string_to_array(bindparam("folded"), " "))
    return insert(words[slot]).values(id=bindparam("number"), words=vector)


def lexemes(folded: str) -> str:
    """Words as the index takes them: none empty, none too long."""
    return " ".join(word[: vocabulary.WORD_MAX] for word in folded.split())
