"""One PostgreSQL database as a server process uses it: the writer, the readers, the witness."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection

from miss_protocol.ids import DeviceId
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
from miss_server.storage.postgres import alone, mailboxes
from miss_server.storage.postgres.pool import Options, Pool
from miss_server.storage.postgres.quiet import Quiet
from miss_server.storage.postgres.sessions import Ending
from miss_server.storage.postgres.writer import Writer
from miss_server.storage.sql.calls import QuietCalls

T = TypeVar("T")

log = structlog.get_logger()


class PostgresStore(QuietCalls):
    """`Messages`, `Accounts` and `DirectoryReader` over one PostgreSQL database.

    Nothing is connected before it is needed, so it may be made outside the event loop; after that
    it belongs to the loop that used it first.
    """

    def __init__(self, options: Options) -> None:
        self._pool = Pool(options)
        self._quiet = Quiet(options)
        self._writer = Writer(self._pool, self._begin_alone)

    def open(self) -> None:
        """Nothing to do: whoever comes first connects."""

    async def close(self) -> None:
        """Write what was handed in and close every connection."""
        await self._writer.stop()
        await self._pool.close()
        await self._quiet.close()

    async def read_with(self, work: Callable[[Connection], T]) -> T:
        return await self._quiet.read(work)

    async def _write(self, work: Callable[..., T], *args: Any) -> T:
        return await self._quiet.write(lambda connection: work(connection, *args))

    async def _begin_alone(self, greeting: Greeting, now_ms: int) -> SessionStart | SessionRefused:
        return await self._write(alone.begin, greeting, now_ms)

    # --- Messages ---------------------------------------------------------------------------------

    async def device(self, device: DeviceId) -> DeviceRecord | None:
        async with self._pool.connection() as db:
            return await mailboxes.device(db, device)

    async def begin_session(
        self, greeting: Greeting, *, now_ms: int
    ) -> SessionStart | SessionRefused:
        return await self._writer.begin(greeting, now_ms)

    def end_session(
        self, device: DeviceId, generation: int, *, window: int, now_ms: int
    ) -> asyncio.Future[None]:
        return self._writer.end(Ending(device, generation, window), now_ms)

    def submit(self, submission: Submission, *, now_ms: int) -> asyncio.Future[Settled]:
        return self._writer.settle(submission, now_ms)

    def acknowledge(self, ack: Acknowledgement, *, now_ms: int) -> asyncio.Future[Acknowledged]:
        return self._writer.acknowledge(ack, now_ms)

    async def fetch(self, wanted: Sequence[Wanted]) -> list[Fetched]:
        async with self._pool.connection() as db:
            return await mailboxes.fetch(db, wanted)

    async def heads(self, devices: Sequence[DeviceId]) -> dict[DeviceId, Head]:
        async with self._pool.connection() as db:
            return await mailboxes.heads(db, devices)
