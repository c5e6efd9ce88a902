"""An empty database of PostgreSQL, and transactions that meet in it as a test wants."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from miss_server.storage import epoch_ids
from miss_server.storage.postgres import presence
from miss_server.storage.postgres.directory_filling import create_directory
from miss_server.storage.schema import SCHEMA_VERSION, metadata
from miss_server.storage.sql import settings
from tests.support.devices import DOMAIN, NOW
from tests.support.emptying import lent
from tests.support.postgres import PostgresProcess

T = TypeVar("T")

SECRET = b"fictive secret of this database."


def create(connection: Connection) -> None:
    """Every table, and the settings that a new database has."""
    metadata.create_all(connection)
    create_directory(connection)
    presence.create(connection)
    for name, value in {
        "schema": str(SCHEMA_VERSION).encode(),
        "domain": DOMAIN.encode(),
        "epoch": epoch_ids.make(SECRET, epoch_ids.FIRST),
        "epoch_ms": NOW.to_bytes(8, "big"),
        "pepper": SECRET,
    }.items():
        settings.put(connection, name, value)


def url(server: PostgresProcess, name: str) -> str:
    """How SQLAlchemy reaches a database."""
    dsn: str = server.dsn(name)
    return dsn.replace("postgresql://", "postgresql+asyncpg://", 1)


@asynccontextmanager
async def empty_database(server: PostgresProcess) -> AsyncIterator[AsyncEngine]:
    """A database with nobody in it, until the block ends; its tables are let be."""
    async with lent(server, _created) as name:
        engine = create_async_engine(url(server, name), pool_size=20)
        yield engine
        await engine.dispose()


async def _created(server: PostgresProcess) -> str:
    name: str = await server.new_database()
    engine = create_async_engine(url(server, name))
    async with engine.begin() as connection:
        await connection.run_sync(create)
    await engine.dispose()
    return name


async def run(engine: AsyncEngine, work: Callable[[Connection], T]) -> T:
    """Run `work` in a transaction."""
    async with engine.begin() as connection:
        return await connection.run_sync(work)


@asynccontextmanager
async def opened(
    engine: AsyncEngine, work: Callable[[Connection], T]
) -> AsyncIterator[tuple[AsyncConnection, T]]:
    """A transaction that has done its `work` and that the test commits, or else is undone."""
    async with engine.connect() as connection:
        yield connection, await connection.run_sync(work)


async def until_it_waits(engine: AsyncEngine, task: "asyncio.Future[T]") -> None:
    """Return when a transaction of the database waits for another's lock; `task` is what waits."""
    waiting = text(
        "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database OR l.database IS"
        " NULL OR l.database = 0 JOIN pg_stat_activity a ON a.pid = l.pid AND a.datname = d.datname"
        " WHERE NOT l.granted AND d.datname = current_database()"
    )
    async with asyncio.timeout(60), engine.connect() as connection:
        while not (await connection.execute(waiting)).scalar_one():
            assert not task.done(), f"it did not wait: {task}"
            # Nobody rings when a lock is waited for.
            await asyncio.wait({task}, timeout=0.01)


async def outcome(work: Awaitable[T]) -> T | Exception:
    """What came of it, an error too."""
    try:
        return await work
    except Exception as error:  # noqa: BLE001  # the caller compares
        return error
