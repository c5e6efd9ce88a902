"""Fills a new directory into PostgreSQL beside running servers, then switches to it.

Readers keep no lock that an import wants: a slot is emptied row by row when it goes out of force, for
a search that began before may still read it, and truncated only by the next import.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

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
    update,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.dialects.postgresql import insert as insert_unless

from miss_server.storage.directory import DirectoryBusy, DirectoryFilling, ImportedFile, Record
from miss_server.storage.directory_tables import entries, sources, state, tables
from miss_server.storage.postgres.directory import WORD_MAX
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.quiet import Quiet
from miss_server.storage.postgres.trouble import not_durable
from miss_server.storage.schema import metadata
from miss_server.storage.sql import epochs
from miss_server.storage.sql.directory import generation

T = TypeVar("T")

SLICE = 1_000
"""Records of one transaction."""
KNOWN_AT_ONCE = 5_000
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
            in_force = generation(connection)
        yield PostgresDirectoryFilling(connection, in_force)
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


class PostgresDirectoryFilling:
    """The implementation of `DirectoryFilling`; `filling` opens it."""

    def __init__(self, connection: Connection, in_force: int) -> None:
        self._connection = connection
        self._generation = in_force

    def known(self) -> Iterator[tuple[str, bytes]]:
        """See `DirectoryFilling`."""
        slot = entries[self._generation % 2]
        statement = (
            select(slot.c.person, slot.c.digest)
            .where(slot.c.person > bindparam("last"))
            .order_by(slot.c.person)
            .limit(KNOWN_AT_ONCE)
        )
        last = ""
        while True:
            with self._connection.begin():
                rows = self._connection.execute(statement, {"last": last}).all()
            if not rows:
                return
            yield from ((person, digest) for person, digest in rows)
            last = rows[-1][0]

    def fill(self, records: Iterable[Record]) -> None:
        """See `DirectoryFilling`."""
        slot = (self._generation + 1) % 2
        with self._connection.begin():
            self._connection.execute(
                text(f"TRUNCATE directory_entries_{slot}, directory_words_{slot}")
            )
        put = put_words(slot)
        numbered = enumerate(records, 1)
        while batch := list(islice(numbered, SLICE)):
            with self._connection.begin():
                self._connection.execute(
                    insert(entries[slot]),
                    [
                        {
                            "id": number,
                            "person": record.person,
                            "name_key": record.name_key,
                            "digest": record.digest,
                            "entry": record.entry,
                        }
                        for number, record in batch
                    ],
                )
                self._connection.execute(
                    put,
                    [{"number": n, "folded": lexemes(record.words)} for n, record in batch],
                )
        # Without fresh statistics the planner would read the new slot as if it were empty.
        with self._connection.begin():
            self._connection.execute(
                text(f"ANALYZE directory_entries_{slot}, directory_words_{slot}")
            )

    def publish(self, files: Sequence[ImportedFile]) -> None:
        """See `DirectoryFilling`."""
        with self._connection.begin():
            self._connection.execute(update(state).values(generation=self._generation + 1))
            self._connection.execute(delete(sources))
            if files:
                self._connection.execute(
                    insert(sources),
                    [
                        {
                            "id": number,
                            "name": file.name,
                            "file": file.file,
                            "date_ms": file.date_ms,
                            "imported_ms": file.imported_ms,
                            "activities": file.activities,
                        }
                        for number, file in enumerate(files)
                    ],
                )
        self._generation += 1

    def tidy(self) -> None:
        """See `DirectoryFilling`."""
        slot = (self._generation + 1) % 2
        for table in (entries[slot], words[slot]):
            with self._connection.begin():
                last = self._connection.execute(select(func.max(table.c.id))).scalar_one() or 0
            # By number: a plain limit would read over all that is deleted already, every time.
            for start in range(0, last, SLICE):
                some = table.c.id.between(start + 1, start + SLICE)
                with self._connection.begin():
                    self._connection.execute(delete(table).where(some))


def put_words(slot: int) -> Insert:
    """The statement that adds an entry's words: `number`, and `folded` from `lexemes`."""
    vector = func.array_to_tsvector(func.string_to_array(bindparam("folded"), " "))
    return insert(words[slot]).values(id=bindparam("number"), words=vector)


def lexemes(folded: str) -> str:
    """Words as the index takes them: none empty, none too long."""
    return " ".join(word[:WORD_MAX] for word in folded.split())
