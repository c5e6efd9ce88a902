"""One PostgreSQL database as a server process uses it: the writer, the readers, the witness."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from sqlalchemy import Connection

from miss_protocol.ids import DeviceId
from miss_server.storage.database import DOCTOR, OWN_FOLDER, DatabaseError, WitnessError
from miss_server.storage.lookups import Lookups
from miss_server.storage.messages import (
    Acknowledged,
    Acknowledgement,
    DeviceRecord,
    Fetched,
    Greeting,
    Head,
    NotDurable,
    SessionRefused,
    SessionStart,
    Settled,
    Submission,
    Wanted,
)
from miss_server.storage.postgres import alone, mailboxes, presence
from miss_server.storage.postgres.directory import PostgresWords
from miss_server.storage.postgres.lives import BEAT_EVERY, Exchanged, Life, Standby
from miss_server.storage.postgres.pool import Options, Pool, Session
from miss_server.storage.postgres.quiet import Quiet
from miss_server.storage.postgres.sessions import Ending
from miss_server.storage.postgres.writer import Writer
from miss_server.storage.settlement.meeting import FirstContacts
from miss_server.storage.sql import endings, prekeys, witnessed
from miss_server.storage.sql.calls import QuietCalls
from miss_server.storage.sql.directory import SqlDirectory
from miss_server.storage.witness import Testimony
from miss_server.tallies import StorageTally

T = TypeVar("T")

_PROVE = (
    "INSERT INTO settings (name, value) VALUES ('proved', $1)"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)

EXIT_EXCHANGED = 75
"""EX_TEMPFAIL: started anew, the node compares and begins a new epoch."""


def end_as_exchanged() -> NoReturn:
    """End the process at once: what it told its devices may not be in this database."""
    sys.stderr.write("miss-server: behind its address is another or an older database; stopping\n")
    sys.stderr.flush()
    os._exit(EXIT_EXCHANGED)


class PostgresStore(QuietCalls):
    """`Messages`, `Accounts` and `DirectoryReader` over one PostgreSQL database.

    Nothing is connected before it is needed, so it may be made outside the event loop; after that
    it belongs to the loop that used it first.
    """

    def __init__(
        self,
        options: Options,
        life: Life | None = None,
        first_contacts: FirstContacts = FirstContacts(),  # noqa: B008  # frozen
    ) -> None:
        self._options = options
        self._life = life
        self._pool = Pool(options, self._recognise)
        self._quiet = Quiet(options, self._recognise)
        self._lookups = Lookups(self._look_up)
        self._writer = Writer(self._pool, self._begin_alone, life, first_contacts)
        self._directory = SqlDirectory(PostgresWords())
        self._beaten_ms = 0

    async def begin_life(self, *, now_ms: int) -> bool:
        """Compare the database with what this node knows of it, before anybody is served; tells
        whether it is an older copy, so that a new epoch has begun (rule C6).

        May be called in an event loop that ends before the store is used.

        Raises:
            DatabaseError: it only repeats another one, or cannot be asked.
            WitnessError: the witness cannot be read or written.
        """
        if self._life is None:
            return False
        life, quiet = self._life, Quiet(self._options)
        try:
            restored, now = await quiet.write(lambda connection: life.begin(connection, now_ms))
            await life.remember(now)
        except Standby:
            raise DatabaseError(
                "this PostgreSQL is a standby: name the primary in MISS_DATABASE"
            ) from None
        except NotDurable as error:
            raise DatabaseError(f"PostgreSQL: {error}", DOCTOR) from error
        except OSError as error:
            raise WitnessError(f"{life.path}: {error.strerror or error}", OWN_FOLDER) from error
        finally:
            await quiet.close()
        return restored

    def open(self) -> None:
        """Nothing to do: whoever comes first connects."""

    async def close(self) -> None:
        """Write what was handed in and close every connection."""
        await self._writer.stop()
        if self._life is not None and self._beaten_ms:
            # A copy from before this orderly end must be known for one at the next start.
            with suppress(NotDurable):
                await self._beat(self._life)
        await self._pool.close()
        await self._quiet.close()

    async def _recognise(self, connection: Session) -> None:
        if self._life is not None:
            try:
                await self._life.recognise(connection)
            except Exchanged:
                end_as_exchanged()

    async def read_with(self, work: Callable[[Connection], T]) -> T:
        return await self._quiet.read(work)

    async def _write(self, work: Callable[..., T], *args: Any) -> T:
        return await self._quiet.write(lambda connection: work(connection, *args))

    async def _counted(self, work: Callable[[Connection, str], T]) -> T:
        """Run what a restore must not undo, and remember it before anybody is told."""
        name = witnessed.ALONE if self._life is None else self._life.witness

        def counted(connection: Connection) -> tuple[T, Testimony]:
            return work(connection, name), witnessed.stands(connection, name)

        outcome, now = await self._quiet.write(counted)
        if self._life is not None:
            await self._life.remember(now)
        return outcome

    async def _beat(self, life: Life) -> None:
        await life.remember(await self._quiet.write(life.beat))

    async def _compare(self, life: Life, now_ms: int) -> None:
        """Beat, and see how far this machine's clock is from the database's."""
        begun = asyncio.get_running_loop().time()
        await self._beat(life)
        took = round((asyncio.get_running_loop().time() - begun) * 1000)
        # What the look took may be no difference at all: as little of one as it can be.
        behind = life.database_ms - now_ms
        self.tally.behind_ms = min(behind, max(0, behind - took))

    async def _begin_alone(self, greeting: Greeting, now_ms: int) -> SessionStart | SessionRefused:
        node = None if self._life is None else self._life.node
        return await self._counted(
            lambda connection, witness: alone.begin(connection, greeting, now_ms, witness, node)
        )

    async def claim_prekeys(
        self, devices: Sequence[DeviceId], *, now_ms: int
    ) -> dict[DeviceId, bytes]:
        return await self._counted(
            lambda connection, witness: prekeys.claim(connection, devices, witness=witness)
        )

    async def expire(self, *, protected: Mapping[DeviceId, int], now_ms: int) -> Sequence[DeviceId]:
        if self._life is not None and abs(now_ms - self._beaten_ms) >= BEAT_EVERY * 1000:
            await self._compare(self._life, now_ms)
            self._beaten_ms = now_ms
        return await self._write(self._expire, protected, self.tally.earlier_ms(now_ms))

    def _expire(
        self, connection: Connection, protected: Mapping[DeviceId, int], now_ms: int
    ) -> Sequence[DeviceId]:
        others = [] if self._life is None else self._life.others(connection)
        return endings.expire(
            connection,
            protected,
            now_ms,
            elsewhere=lambda devices: presence.elsewhere(connection, devices, others),
        )

    async def prove_durable(self, *, now_ms: int) -> None:
        # By a connection of the batches': those of the quiet part may be well when none of these is
        # to be had.
        async with self._pool.connection() as db:
            await db.execute(_PROVE, now_ms.to_bytes(8, "big"))

    @property
    def tally(self) -> StorageTally:
        return self._writer.tally

    # --- Messages ---------------------------------------------------------------------------------

    async def device(self, device: DeviceId) -> DeviceRecord | None:
        return await self._lookups.find(device)

    async def _look_up(self, devices: Sequence[DeviceId]) -> list[DeviceRecord | None]:
        async with self._pool.connection() as db:
            return await mailboxes.devices(db, devices)

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
