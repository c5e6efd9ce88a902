"""Opens a SQLite file as every part of the server uses it.

Transactions are ours: the driver's implicit ones are off, a writer begins with BEGIN IMMEDIATE so
that it never fails half-way for a lock. `synchronous=FULL` with WAL makes COMMIT reach the disk
before `sent` is said (rule 2 of the design).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, get_ident
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

BUSY_TIMEOUT_MS = 5_000
"""How long a transaction waits for another process's: admin commands hold the lock for < 50 ms."""

CACHE_KIB = 8_192
READER_CACHE_KIB = 4_096
"""Of each connection: what is in use fits, and what is read once (a mailbox that is caught up) does
not stay in memory twice, for the kernel keeps the file's pages as well."""
CHECKPOINT_PAGES = 4_000
"""Of the write-ahead log (16 MiB) before a commit copies it into the file: a page that changed often
in the meantime is copied once."""
CHECKPOINT_PAGES_SCARCE = 500
"""The same once the disk was full: a log that may not grow has to be emptied to be written again."""


def open_engine(path: Path, *, read_only: bool = False) -> Engine:
    """An engine on the file; each `connect()` is a new SQLite connection (no pool)."""
    url = URL.create("sqlite", database=str(path))
    if read_only:
        name = f"file:{quote(str(path))}"
        url = URL.create("sqlite", database=name, query={"mode": "ro", "uri": "true"})
    engine = create_engine(
        url,
        poolclass=NullPool,
        connect_args={"check_same_thread": False, "cached_statements": 512},
        hide_parameters=True,  # errors are logged, and values are what must not be
    )

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        if not read_only:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")
            cursor.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        cursor.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB if read_only else CACHE_KIB}")
        cursor.execute("PRAGMA temp_store = MEMORY")
        cursor.close()

    return engine


def make_room(db: sqlite3.Connection) -> None:
    """Empty the write-ahead log after a commit found no room, and keep it short from now on.

    The log is what grows, and it would go on growing up to `CHECKPOINT_PAGES` on a disk that has no
    room for so much, although all that is in it may have its place in the file already. Begin no
    transaction before; a reader is not waited for.

    Raises:
        sqlite3.Error: there is no room for this either; nothing is lost.
    """
    db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES_SCARCE}")
    db.execute(f"PRAGMA journal_size_limit = {CHECKPOINT_PAGES_SCARCE * 4096}")
    db.execute("PRAGMA wal_checkpoint(PASSIVE)")


@contextmanager
def writing(connection: Connection) -> Iterator[Connection]:
    """One write transaction: BEGIN IMMEDIATE, then COMMIT, or ROLLBACK if the block raises."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")


@contextmanager
def reading(connection: Connection) -> Iterator[Connection]:
    """One read transaction: everything in the block sees the same moment."""
    connection.exec_driver_sql("BEGIN")
    try:
        yield connection
    finally:
        connection.exec_driver_sql("COMMIT")


def driver(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection, for the hot statements."""
    inner = connection.connection.driver_connection
    assert isinstance(inner, sqlite3.Connection)  # noqa: S101  # every engine here is SQLite's
    return inner


class ThreadConnections:
    """A connection for each thread that asks, kept open until `close`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = Lock()
        self._connections: dict[int, Connection] = {}

    def get(self) -> Connection:
        """This thread's connection."""
        with self._lock:
            if get_ident() not in self._connections:
                self._connections[get_ident()] = self._engine.connect()
            return self._connections[get_ident()]

    def close(self) -> None:
        """Close all; no thread may be using one any more."""
        with self._lock:
            for connection in self._connections.values():
                connection.close()
            self._connections.clear()
