"""`Overview` over a SQLite file, on connections of its own: the server's readers never wait for it."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from miss_server.storage.overview import Figures, Sizes, Trace
from miss_server.storage.sql import administrators, overview
from miss_server.storage.sqlite import sizes
from miss_server.storage.sqlite.engine import driver, open_engine, reading

T = TypeVar("T")


class SqliteOverview:
    """See `Overview`. The database must be there; nothing is kept open between calls."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = open_engine(path, read_only=True)

    async def _read(self, work: Callable[[Connection], T]) -> T:
        def run() -> T:
            with self._engine.connect() as connection, reading(connection):
                return work(connection)

        return await asyncio.to_thread(run)

    async def figures(self, *, now_ms: int) -> Figures:
        return await self._read(
            lambda connection: overview.figures(
                connection, now_ms=now_ms, bytes_=sizes.on_disk(self._path)
            )
        )

    async def trace(self, message: bytes, *, now_ms: int) -> Sequence[Trace]:
        return await self._read(
            lambda connection: overview.trace(connection, message, now_ms=now_ms)
        )

    async def sizes(self, *, now_ms: int) -> Sizes:
        def measure(connection: Connection) -> Sizes:
            db = driver(connection)
            return Sizes(
                sizes.tables(db),
                sizes.on_disk(self._path),
                sizes.free(db),
                sizes.log(self._path),
                *overview.growth(connection, now_ms=now_ms),
            )

        return await self._read(measure)

    async def without_administrator(self) -> Sequence[str]:
        return await self._read(administrators.unattended)
