"""One SQLite database as the server uses it: the writer, the readers, the lock, the settings."""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from miss_protocol.ids import DeviceId
from miss_server.storage import epoch_ids, migrating
from miss_server.storage import witness as witnesses
from miss_server.storage.database import (
    ANOTHER_FILE,
    MOVED,
    RIGHT_DOMAIN,
    WRITABLE,
    DatabaseError,
    WitnessError,
)
from miss_server.storage.lookups import Lookups
from miss_server.storage.messages import (
    Acknowledged,
    Acknowledgement,
    DeviceRecord,
    Fetched,
    Greeting,
    Head,
    SessionRefused,
    SessionStart,
    Settled,
    Submission,
    Wanted,
)
from miss_server.storage.schema import SCHEMA_VERSION
from miss_server.storage.settlement.meeting import FirstContacts
from miss_server.storage.sql import (
    epochs,
    settings,
    witnessed,
)
from miss_server.storage.sql.calls import QuietCalls
from miss_server.storage.sql.directory import SqlDirectory
from miss_server.storage.sqlite import devices, mailboxes, sessions
from miss_server.storage.sqlite.directory import SqliteWords
from miss_server.storage.sqlite.directory_filling import create_directory
from miss_server.storage.sqlite.engine import (
    ThreadConnections,
    driver,
    open_engine,
    writing,
)
from miss_server.storage.sqlite.writer import Writer
from miss_server.storage.witness import Damaged, Witness, beside
from miss_server.tallies import StorageTally
from miss_server.words import Both

__all__ = ["DatabaseError", "ServeLock", "SqliteStore", "WitnessError", "check_ours", "prepare"]

T = TypeVar("T")

READERS = 2
"""Threads that read: fetches are short and in memory; more would only fight for the interpreter."""

_TAKEN = Both("End it. Or: " + ANOTHER_FILE.en, "Arrêtez-le. Ou : " + ANOTHER_FILE.fr)
_BESIDE = Both(
    "The server must be able to write beside its database.",
    "Le serveur doit pouvoir écrire à côté de sa base.",
)

log = structlog.get_logger()


def prepare(path: Path, *, domain: str, now_ms: int) -> None:
    """Create the database if there is none, and check that this server may use it.

    Raises:
        DatabaseError: a newer schema, one too old, another domain, or not one of our files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = open_engine(path)
    try:
        if path.exists():
            # Before the engine opens it: that alone would make another program's file ours.
            with closing(sqlite3.connect(path)) as looking:
                check_ours(path, looking, domain)
        _make_private(path)
        with engine.connect() as connection, writing(connection):
            db = driver(connection)
            tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
            if "settings" not in tables:
                migrating.create(connection)
                pepper = os.urandom(32)
                db.executemany(
                    "INSERT INTO settings (name, value) VALUES (?, ?)",
                    [
                        ("domain", domain.encode()),
                        ("epoch", epoch_ids.make(pepper, epoch_ids.FIRST)),
                        ("epoch_ms", now_ms.to_bytes(8, "big")),
                        ("pepper", pepper),
                    ],
                )
            check_ours(path, db, domain)  # once more, under the lock: two may begin at once
            create_directory(connection)
    except (sqlite3.Error, SQLAlchemyError) as error:
        raise DatabaseError(f"{path}: {getattr(error, 'orig', error)}", WRITABLE) from error
    finally:
        engine.dispose()


def _make_private(path: Path) -> None:
    """Nobody but its owner reads the file, nor what SQLite puts beside it: from the first byte on,
    because the secret of the codes is among the first."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        for suffix in ("", "-wal", "-shm"):
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                os.chmod(beside, 0o600)
    except OSError as error:
        raise DatabaseError(f"{path}: {error.strerror}", WRITABLE) from error


def check_ours(path: Path, db: sqlite3.Connection, domain: str) -> None:
    """Whether a database is one of this domain's that this version knows; a new one is.

    Raises:
        DatabaseError: it is not.
    """
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
    if not tables:
        return
    stored: dict[str, bytes] = {}
    if "settings" in tables:
        stored = dict(db.execute("SELECT name, value FROM settings").fetchall())
    try:
        schema, owner = int(stored["schema"]), stored["domain"].decode()
    except (KeyError, ValueError, AttributeError):
        raise DatabaseError(f"{path} is a database of another program", ANOTHER_FILE) from None
    if schema > SCHEMA_VERSION:
        raise DatabaseError(f"{path} was written by a newer version: upgrade miss-server")
    if schema < migrating.OLDEST_SERVED:
        raise DatabaseError(f"{path} was written by an old version: run miss-server db upgrade")
    if owner != domain:
        raise DatabaseError(f"{path} belongs to the domain {owner}, not to {domain}", RIGHT_DOMAIN)
    if MOVED in stored:
        where = stored[MOVED].decode(errors="replace")
        raise DatabaseError(f"{path} was moved to {where}: use that (or see miss-server db unmove)")


def _compare(connection: Connection, witness: Witness, now_ms: int) -> bool:
    """Begin a life of the database, with a new epoch if it is older than what was witnessed."""
    with writing(connection):
        now = witnessed.stands(connection)
        after, beyond = epoch_ids.number(now.epoch), now.count
        try:
            seen = witness.read()
        except Damaged:
            why = "is damaged"
        else:
            why = ""
            if seen is None:
                if now.count:
                    why = "is missing"
                else:
                    witness.write(now)  # else a crash after the commit made it a missing one
            elif witnesses.is_older(now, seen):
                why = "saw more"
                after = max(after, epoch_ids.number(seen.epoch))
                beyond = max(beyond, seen.count)
        if why:
            log.warning("the database may be older than its witness: new epoch", witness=why)
            epochs.change(connection, now_ms, after=after)
        witnessed.count_up(connection, beyond=beyond)
    return bool(why)


class ServeLock:
    """Held by `serve`, so that no second server runs on one database (rule C8).

    Args:
        taken, unwritable: what to change if another process holds it, and if it cannot be made.
    """

    def __init__(self, path: Path, *, taken: Both = _TAKEN, unwritable: Both = WRITABLE) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._taken, self._unwritable = taken, unwritable
        self._file: int | None = None

    def take(self) -> None:
        """Take the lock.

        Raises:
            DatabaseError: another process holds it, or it cannot be made.
        """
        try:
            handle = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise DatabaseError(f"{self._path}: {error.strerror}", self._unwritable) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise DatabaseError(
                f"another server runs on this database ({self._path})", self._taken
            ) from None
        self._file = handle

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


class SqliteStore(QuietCalls):
    """`Messages`, `Accounts` and `DirectoryReader` over one SQLite file; call `prepare` first."""

    def __init__(
        self,
        path: Path,
        first_contacts: FirstContacts = FirstContacts(),  # noqa: B008  # frozen
    ) -> None:
        self.path = path
        self._engine = open_engine(path)
        self._reading = open_engine(path, read_only=True)
        self._writer = Writer(self._engine, first_contacts)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="miss-reader")
        self._connections = ThreadConnections(self._reading)
        self._searching = asyncio.Semaphore(READERS - 1)
        self._directory = SqlDirectory(SqliteWords())
        self._lookups = Lookups(lambda some: self.read(lambda db: devices.find(db, some)))

    def begin_life(self, *, now_ms: int) -> bool:
        """Compare the database with its witness, before `open` and before anybody is served; tells
        whether it is an older copy, so that a new epoch has begun (rule C6).

        Raises:
            WitnessError: the witness cannot be read or written.
        """
        with self._engine.connect() as connection:
            try:
                witness = Witness(beside(self.path), settings.secret(connection))
                restored = _compare(connection, witness, now_ms)
                witness.stood = witnessed.stands(connection)
                witness.write(witness.stood)
            except OSError as error:
                raise WitnessError(f"{witness.path}: {error.strerror or error}", _BESIDE) from error
            except (sqlite3.Error, SQLAlchemyError) as error:
                raise DatabaseError(
                    f"{self.path}: {getattr(error, 'orig', error)}", WRITABLE
                ) from error
        self._writer.witness = witness
        return restored

    def open(self) -> None:
        """Start the writer."""
        self._writer.start()

    async def close(self) -> None:
        """Write what was handed in and close every file."""
        # The writer last: the last connection empties the write-ahead log into the file, which
        # one that only reads cannot do.
        self._readers.shutdown(wait=True)
        self._connections.close()
        await self._writer.stop()
        self._engine.dispose()
        self._reading.dispose()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a reader's connection, in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._readers, lambda: work(driver(self._connections.get()))
        )

    async def read_with(self, work: Callable[[Connection], T]) -> T:
        """As `read`, with the SQLAlchemy connection."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: work(self._connections.get()))

    async def _read_long(self, work: Callable[[Connection], T]) -> T:
        """As `read_with`, and one reader is left for what messages wait for."""
        async with self._searching:
            return await self.read_with(work)

    async def _write(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work` in the writer."""
        return await self._writer.run(lambda connection: work(connection, *args))

    async def _write_long(self, work: Callable[..., T], *args: Any) -> T:
        """As `_write`, for what takes milliseconds."""
        return await self._writer.run(lambda connection: work(connection, *args), long=True)

    # --- Messages ---------------------------------------------------------------------------------

    async def device(self, device: DeviceId) -> DeviceRecord | None:
        return await self._lookups.find(device)

    async def begin_session(
        self, greeting: Greeting, *, now_ms: int
    ) -> SessionStart | SessionRefused:
        return await self._write(sessions.begin, greeting, now_ms)

    def end_session(
        self, device: DeviceId, generation: int, *, window: int, now_ms: int
    ) -> asyncio.Future[None]:
        return self._writer.run(
            lambda connection: sessions.end(driver(connection), device, generation, window, now_ms)
        )

    def submit(self, submission: Submission, *, now_ms: int) -> asyncio.Future[Settled]:
        return self._writer.settle(submission, now_ms)

    def acknowledge(self, ack: Acknowledgement, *, now_ms: int) -> asyncio.Future[Acknowledged]:
        return self._writer.acknowledge(ack, now_ms)

    async def fetch(self, wanted: Sequence[Wanted]) -> list[Fetched]:
        return await self.read(lambda db: [mailboxes.fetch(db, one) for one in wanted])

    async def heads(self, devices: Sequence[DeviceId]) -> dict[DeviceId, Head]:
        return await self.read(lambda db: mailboxes.heads(db, devices))

    # --- Writing ----------------------------------------------------------------------------------

    @property
    def tally(self) -> StorageTally:
        return self._writer.tally
