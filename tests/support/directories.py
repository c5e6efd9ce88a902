"""A directory on each engine, for tests that are not asynchronous: loading it, and searching it."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from miss_server.storage.directory import Directory, DirectoryFilling
from miss_server.storage.postgres import directory_filling as postgres
from miss_server.storage.postgres.directory import PostgresWords
from miss_server.storage.postgres.pool import Options
from miss_server.storage.schema import metadata
from miss_server.storage.sql.directory import SqlDirectory
from miss_server.storage.sql.words import FEW
from miss_server.storage.sqlite.directory import SqliteWords
from miss_server.storage.sqlite.directory_filling import filling
from miss_server.storage.sqlite.engine import open_engine, writing
from tests.support.databases import create, url
from tests.support.postgres import PostgresProcess
from tests.support.stores import new_file

T = TypeVar("T")


class Shelf(Protocol):
    """A database with an empty directory."""

    directory: Directory

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a reader's connection."""
        ...

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction."""
        ...

    def fill(self, work: Callable[[DirectoryFilling], T]) -> T:
        """Open an import for `work`, which may search meanwhile."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


class SqliteShelf:
    """A SQLite file. With `few` 0, it is searched as where thousands match."""

    def __init__(self, path: Path, few: int = FEW) -> None:
        new_file(path)
        self.path = path
        self.directory: Directory = SqlDirectory(SqliteWords(few=few))
        self.engine = open_engine(path)
        self._reading = open_engine(path, read_only=True)
        self._reader = self._reading.connect()

    def read(self, work: Callable[[Connection], T]) -> T:
        return work(self._reader)

    def write(self, work: Callable[[Connection], T]) -> T:
        with self.engine.connect() as connection, writing(connection):
            return work(connection)

    def fill(self, work: Callable[[DirectoryFilling], T]) -> T:
        with filling(self.engine, self.path, pause=lambda _: None) as target:
            return work(target)

    def close(self) -> None:
        self._reader.close()
        self.engine.dispose()
        self._reading.dispose()


class PostgresShelf:
    """A database of PostgreSQL. Readers and writers have a thread each, with a loop of its own. With `few` 0, it
    is searched as where thousands match; once `beside` is set, a process writes the words of a whole directory."""

    def __init__(self, server: PostgresProcess, few: int = FEW) -> None:
        self._server = server
        self.beside: Options | None = None
        self.name = asyncio.run(server.new_database())
        self._dsn = url(server, self.name)
        self.directory: Directory = SqlDirectory(PostgresWords(few=few))
        self._readers, self._writers = Bridge(self._dsn), Bridge(self._dsn)
        self.write(create)

    def clear(self) -> None:
        """As it was when it was made, but for the audit log, which nothing empties."""
        tables = [name for name in metadata.tables if name != "audit"]
        names = ", ".join((*tables, "directory_words_0", "directory_words_1"))

        def clear(connection: Connection) -> None:
            connection.execute(text(f"TRUNCATE {names}"))
            create(connection)

        self.write(clear)

    def read(self, work: Callable[[Connection], T]) -> T:
        return self._readers.run(work)

    def write(self, work: Callable[[Connection], T]) -> T:
        def transaction(connection: Connection) -> T:
            with connection.begin():
                return work(connection)

        return self._writers.run(transaction)

    def fill(self, work: Callable[[DirectoryFilling], T]) -> T:
        def run(connection: Connection) -> T:
            with postgres.filling(connection, self.beside) as target:
                return work(target)

        # In a thread of its own: `work` waits for searches, and may ask for a second import.
        importer = Bridge(self._dsn)
        try:
            return importer.run(run)
        finally:
            importer.close()

    def close(self) -> None:
        self._readers.close()
        self._writers.close()
        asyncio.run(self._server.drop(self.name))


class Bridge:
    """An asynchronous engine in a thread, for callers that wait."""

    def __init__(self, dsn: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._engine: AsyncEngine = create_async_engine(dsn)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a connection for itself."""

        async def connected() -> T:
            async with self._engine.connect() as connection:
                return await connection.run_sync(work)

        return self._wait(connected())

    def close(self) -> None:
        """Close every connection and end the thread."""
        self._wait(self._engine.dispose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
