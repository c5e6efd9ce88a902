"""Writes a directory aside into PostgreSQL beside running servers, then switches to it.

Readers keep no lock that an import wants: rows of the slot aside are put in and taken out one by one, for
a search that began before it went out of force may still read it; it is truncated by a later import only.

Rows go in by COPY. A whole directory does in one transaction, or in two at once (`directory_building`), without
indexes: they are built once all is there, which is several times quicker than to keep them, and writes a
fraction of the log.
"""

import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
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
from sqlalchemy.exc import DBAPIError

from miss_server.storage.directory import DirectoryBusy, DirectoryFilling, ImportedFile, Record
from miss_server.storage.directory_tables import entries, persons, state, tables
from miss_server.storage.postgres.bulk import Bulk
from miss_server.storage.postgres.directory_building import (
    BESIDE,
    COLUMNS,
    FILLING,
    TWO_AT_ONCE,
    Plan,
    Row,
    as_columns,
    build,
    set_for_transaction,
)
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.quiet import Quiet
from miss_server.storage.postgres.trouble import locked, not_durable
from miss_server.storage.schema import metadata
from miss_server.storage.sql import epochs, vocabulary
from miss_server.storage.sql.directory_filling import Numbered, SqlFilling

T = TypeVar("T")

SLICE = 1_000
"""Records of one transaction."""
FILLED_TOGETHER = 5_000
"""Records of one COPY while a whole directory is written."""
LOCK = epochs.LOCK + 2
"""The advisory lock of the one import; it ends with the connection that holds it."""
BESIDE_MS = 5_000
"""How long an import waits for the process of one that was killed: PostgreSQL takes a moment to notice."""

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
def filling(
    connection: Connection, beside: Options | None = None
) -> "Iterator[PostgresDirectoryFilling]":
    """Open the one import of a database, on a connection of its own that has no transaction.

    `beside`: how a process of its own connects, which writes the words of a whole directory.

    Raises:
        DirectoryBusy: another one is running.
    """
    with connection.begin():
        if not connection.execute(select(func.pg_try_advisory_lock(LOCK))).scalar_one():
            raise DirectoryBusy
    try:
        with connection.begin():
            _wait_for_the_process(connection)
            create_directory(connection)
        yield PostgresDirectoryFilling(connection, beside)
    finally:
        if not connection.invalidated:
            connection.rollback()
            with connection.begin():
                connection.execute(select(func.pg_advisory_unlock(LOCK)))


def _wait_for_the_process(connection: Connection) -> None:
    """Of an import that was killed, the process may still build its index."""
    set_for_transaction(connection, {"lock_timeout": str(BESIDE_MS)})
    try:
        connection.execute(select(func.pg_advisory_xact_lock(BESIDE)))
    except DBAPIError as error:
        if locked(error):
            raise DirectoryBusy from None
        raise


async def import_into(
    options: Options, work: Callable[[DirectoryFilling], T], *, apart: bool = False
) -> T:
    """Open the one import of a database for `work`, beside running nodes.

    `apart`: the words of a whole directory are written by a process of its own.

    Raises:
        DirectoryBusy: another one is running.
        NotDurable: PostgreSQL cannot be reached, or did not answer.
    """

    def run(connection: Connection) -> T:
        with filling(connection, options if apart else None) as target:
            return work(target)

    quiet = Quiet(options)
    try:
        with not_durable(), _interruptible():
            async with quiet.engine.connect() as connection:
                return await connection.run_sync(run)
    finally:
        await quiet.close()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C is felt at once, as everywhere: `asyncio.run` would only cancel, which `work` does not notice
    while it waits for its processes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class PostgresDirectoryFilling(SqlFilling):
    """The implementation of `DirectoryFilling`; `filling` opens it."""

    def __init__(self, connection: Connection, beside: Options | None = None) -> None:
        super().__init__(connection)
        self._bulk = Bulk(connection)
        self._beside = beside
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
            set_for_transaction(
                self.connection, {} if self._durable else {"synchronous_commit": "off"}
            )
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
            COLUMNS,
            as_columns((number, record.words) for number, record in rows),
        )

    def fill(self, numbered: Iterator[Numbered]) -> None:
        """See `SqlFilling`."""
        # What comes is sorted before the first one does: no transaction waits for it.
        batches = iter(lambda: list(islice(numbered, FILLED_TOGETHER)), [])
        begun = chain(list(islice(batches, 1)), batches)
        if self._beside is not None and self.learns:
            self._fill_beside(Plan(self._beside, f"directory_words_{self.slot}"), begun)
            return
        learnt: set[str] = set()
        with self.connection.begin():
            set_for_transaction(self.connection, FILLING)
            self.connection.execute(text(f"TRUNCATE {', '.join(self._tables)}"))
            with self._bulk.unindexed(self._tables):
                for batch in begun:
                    self.put_entries(self.slot, batch)
                    self.put_words(self.slot, batch)
                    for _, record in batch:
                        learnt.update(record.words.split())
                if self.learns:
                    self._put_vocabulary(chain(vocabulary.rows(learnt), [vocabulary.WHOLE]))

    def _fill_beside(self, plan: Plan, batches: Iterator[list[Numbered]]) -> None:
        # Whoever dies from here on leaves a slot that says that it is not whole.
        self.clear()
        with closing(self._written(batches)) as written:
            build(plan, written)
        with self.connection.begin():
            self._put_vocabulary([vocabulary.WHOLE])

    def _written(self, batches: Iterator[list[Numbered]]) -> Generator[list[Row], None, None]:
        """The words of each batch, whose entries are written when the next is asked for; indexes are built
        behind the last one, which is empty."""
        learnt: set[str] = set()
        tables = [name for name in self._tables if "_words_" not in name]
        with self.connection.begin():
            set_for_transaction(self.connection, TWO_AT_ONCE)
            with self._bulk.unindexed(tables):
                for batch in batches:
                    yield [(number, record.words) for number, record in batch]
                    self.put_entries(self.slot, batch)
                    for _, record in batch:
                        learnt.update(record.words.split())
                yield []
                self._put_vocabulary(vocabulary.rows(learnt))

    def _put_vocabulary(self, rows: Iterable[tuple[str, str]]) -> None:
        self._bulk.put(f"directory_vocabulary_{self.slot}", ("word", "sound"), rows)

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
            set_for_transaction(self.connection, FILLING)
            self.connection.execute(text(statement))


def put_words(slot: int) -> Insert:
    """The statement that adds an entry's words: `number`, and `folded` from `lexemes`."""
    vector = func.array_to_tsvector(func.string_to_array(bindparam("folded"), " "))
    return insert(words[slot]).values(id=bindparam("number"), words=vector)
