"""Writes a directory aside into PostgreSQL beside running servers, then switches to it.

Readers keep no lock that an import wants: rows of the slot aside are put in and taken out one by one, for
a search that began before it went out of force may still read it; it is truncated by a later import only.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
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

from miss_server.storage.directory import DirectoryBusy, DirectoryFilling, Record
from miss_server.storage.directory_tables import entries, state, tables
from miss_server.storage.postgres.directory import WORD_MAX
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.quiet import Quiet
from miss_server.storage.postgres.trouble import not_durable
from miss_server.storage.schema import metadata
from miss_server.storage.sql import epochs
from miss_server.storage.sql.directory_filling import Numbered, SqlFilling

T = TypeVar("T")

SLICE = 1_000
"""Records of one transaction."""
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
        self.begin()

    def size(self) -> int:
        """See `SqlFilling`."""
        return SLICE

    def slice(self) -> AbstractContextManager[Any]:
        """See `SqlFilling`."""
        return self.connection.begin()

    def reading(self) -> AbstractContextManager[Any]:
        """See `SqlFilling`."""
        return self.connection.begin()

    def put_entries(self, slot: int, rows: Sequence[Numbered]) -> None:
        """See `SqlFilling`."""
        self.connection.execute(
            insert(entries[slot]),
            [
                {
                    "id": number,
                    "person": record.person,
                    "name_key": record.name_key,
                    "digest": record.digest,
                    "entry": record.entry,
                }
                for number, record in rows
            ],
        )

    def put_words(self, slot: int, rows: Sequence[Numbered]) -> None:
        """See `SqlFilling`."""
        self.connection.execute(
            put_words(slot),
            [{"number": number, "folded": lexemes(record.words)} for number, record in rows],
        )

    def drop_words(self, slot: int, ids: Sequence[int]) -> None:
        """See `SqlFilling`."""
        self.connection.execute(delete(words[slot]).where(words[slot].c.id.in_(ids)))

    def amend(self, gone: Iterable[str], records: Iterable[Record], count: int) -> None:
        """See `DirectoryFilling`."""
        super().amend(gone, records, count)
        # Without fresh statistics the planner would read what was empty as if it still were.
        names = "directory_entries_SLOT, directory_words_SLOT"
        self._in_slot(f"ANALYZE {names}{', directory_vocabulary_SLOT' if self.learns else ''}")

    def clear(self) -> None:
        """See `DirectoryFilling`. Nobody has read this slot since the import before this one."""
        names = "directory_entries_SLOT, directory_words_SLOT"
        if self.learns:
            names += ", directory_vocabulary_SLOT"
            self.forget_words()
        self._in_slot(f"TRUNCATE {names}")

    def _in_slot(self, statement: str) -> None:
        with self.connection.begin():
            self.connection.execute(text(statement.replace("_SLOT", f"_{self.slot}")))


def put_words(slot: int) -> Insert:
    """The statement that adds an entry's words: `number`, and `folded` from `lexemes`."""
    vector = func.array_to_tsvector(func.string_to_array(bindparam("folded"), " "))
    return insert(words[slot]).values(id=bindparam("number"), words=vector)


def lexemes(folded: str) -> str:
    """Words as the index takes them: none empty, none too long."""
    return " ".join(word[:WORD_MAX] for word in folded.split())
