"""The real store over a real PostgreSQL, moved on by the simulation like the one over SQLite.

PostgreSQL needs an event loop of its own, in a thread. The world stands still while it works there,
and whatever the world asks of the store is queued in the same pieces as on SQLite, so that one seed is
one history on both.

What SQLite commits as one transaction are several here: each quiet call has its own. A fate befalls
them all.
"""

import asyncio
import io
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Connection as SqlConnection

from miss_protocol.ids import DeviceId
from miss_server.storage.jobs import Job, place
from miss_server.storage.lookups import Lookups
from miss_server.storage.messages import (
    Acknowledged,
    Acknowledgement,
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
from miss_server.storage.postgres.lives import Life
from miss_server.storage.postgres.moving import move
from miss_server.storage.postgres.pool import Connection, Options
from miss_server.storage.postgres.preparing import prepare
from miss_server.storage.postgres.sessions import Ending
from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.postgres.writer import Writer
from miss_server.storage.schema import metadata
from miss_server.storage.witness import Testimony
from tests.simulation.cast import DOMAIN, NOW, cast
from tests.simulation.loop import VirtualLoop
from tests.simulation.storage import Died, Fate
from tests.support.meeting import LIFTED

T = TypeVar("T")

TABLES = [table.name for table in metadata.sorted_tables if table.name != "audit"]
"""All but the audit log, which the database lets nobody empty; no world writes to it."""


class Far:
    """An event loop in a thread; `run` waits for what runs there."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What it comes to, or what it raises."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def stop(self) -> None:
        """End it."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Eyes:
    """A connection that looks, spoken to in SQLite's way."""

    def __init__(self, far: Far, dsn: str) -> None:
        self._far = far
        self.connection = far.run(asyncpg.connect(dsn))

    def execute(self, statement: str, values: Sequence[Any] = ()) -> "_Found":
        """Look; each `?` stands for a value."""
        first, *rest = statement.split("?")
        numbered = first + "".join(f"${n}{part}" for n, part in enumerate(rest, 1))
        return _Found(self._far.run(self.connection.fetch(numbered, *values)))


class _Found:
    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = [tuple(row) for row in rows]

    def fetchone(self) -> Any:
        return self._rows[0] if self._rows else None

    def fetchall(self) -> list[Any]:
        return self._rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)


class _Quiet:
    """A quiet call that waits for its transaction."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.work = work


class _FatedLife(Life):
    """A life whose process may die before its witness heard."""

    forgets = False

    async def remember(self, now: Testimony) -> None:
        if not self.forgets:
            await super().remember(now)


class _FatedWriter(Writer):
    """The product's writer, called for one batch at a time."""

    fate = Fate.WELL

    async def _end(self, db: Connection) -> None:
        doom(self.fate)
        await super()._end(db)


def doom(fate: Fate) -> None:
    """What happens in a transaction before its end."""
    if fate is Fate.CRASH_INSIDE:
        raise Died
    if fate is Fate.REFUSED:
        raise ConnectionResetError("PostgreSQL went away")


class SteppedWriter:
    """Keeps jobs until `commit`."""

    def __init__(self, store: "SteppedPostgres") -> None:
        self._store = store
        self._jobs: list[Job] = []
        self.dead = False

    @property
    def waiting(self) -> int:
        """Jobs that were handed in and not committed."""
        return len(self._jobs)

    def hand_in(self, work: Any, now_ms: int = 0) -> asyncio.Future[Any]:
        """Keep it for a commit."""
        if self.dead:
            raise NotDurable("the process is gone")
        job = Job(work, now_ms, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        return job.future

    def commit(self, most: int, fate: Fate) -> None:
        """Write up to `most` jobs and answer them.

        Raises:
            Died: the process is gone, at the point that `fate` names.
        """
        jobs, self._jobs = self._jobs[:most], self._jobs[most:]
        jobs.sort(key=place)
        self._store.far.run(self._store.settle(jobs, fate))
        if fate in (Fate.CRASH_AFTER, Fate.CRASH_BEFORE_WITNESS):
            raise Died
        if fate is Fate.UNKNOWN:
            for job in jobs:
                job.fail(NotDurable("the answer was lost"))
        Writer._answer(jobs)


class SteppedPostgres(PostgresStore):
    """The store. Reads wait in a queue until `answer_reads`, writes until `writer.commit`."""

    def __init__(self, far: Far, eyes: Eyes, dsn: str, folder: Path, loop: VirtualLoop) -> None:
        self.life = _FatedLife(folder, "one")
        super().__init__(Options(dsn, size=1, unsafe_fsync=True), self.life, LIFTED)
        self.far = far
        self.eyes = eyes
        self._loop = loop
        self._fated = self._writer = _FatedWriter(self._pool, self._begin_alone, self.life, LIFTED)
        self.writer = SteppedWriter(self)
        self._lookups = Lookups(lambda some: self.later(lambda: self._look_up(some)))
        self._asked: list[tuple[Callable[[], Coroutine[Any, Any, Any]], asyncio.Future[Any]]] = []

    @property
    def asked(self) -> int:
        """Reads that wait."""
        return len(self._asked)

    async def later(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a read when the world says so."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._asked.append((work, future))
        return await future

    def answer_reads(self, most: int) -> None:
        """Run up to `most` reads on what is committed now."""
        for _ in range(min(most, len(self._asked))):
            work, future = self._asked.pop(0)
            if not future.done():
                future.set_result(self.far.run(work()))

    async def settle(self, jobs: Sequence[Job], fate: Fate) -> None:
        """In the far loop: what the jobs do, in their order; outcomes and errors are in them."""
        self._fated.fate = fate
        self.life.forgets = fate is Fate.CRASH_BEFORE_WITNESS
        together: list[Job] = []
        for job in jobs:
            if isinstance(job.work, _Quiet):
                if together:
                    await self._fated.write(together)
                together = []
                await self._settle_quiet(job)
            else:
                together.append(job)
        if together:
            await self._fated.write(together)
        self._fated.fate = Fate.WELL

    @staticmethod
    async def _settle_quiet(job: Job) -> None:
        try:
            job.outcome = await job.work.work()
        except Exception as error:  # noqa: BLE001  # handed to the one whose job it is
            job.error = error

    def end(self) -> None:
        """The process is gone, or the world ends."""
        self.writer.dead = True

        async def close() -> None:
            if self._pool._pool is not None:
                self._pool._pool.terminate()
            await self._quiet.close()

        self.far.run(close())

    # --- what is asked in the world's loop runs in the far one -------------------------------------

    @property
    def _is_far(self) -> bool:
        return asyncio.get_running_loop() is self.far.loop

    async def read_with(self, work: Callable[[SqlConnection], T]) -> T:
        return await self.later(lambda: PostgresStore.read_with(self, work))

    async def _write(self, work: Callable[..., T], *args: Any) -> T:
        async def write() -> T:
            return await self._quiet.write(lambda connection: self._fatal(work, connection, *args))

        outcome: T = await self.writer.hand_in(_Quiet(write))
        return outcome

    async def _counted(self, work: Callable[[SqlConnection, str], T]) -> T:
        def fatal(connection: SqlConnection, witness: str) -> T:
            return self._fatal(work, connection, witness)

        if self._is_far:  # a session that begins alone, amid a commit
            return await PostgresStore._counted(self, fatal)
        outcome: T = await self.writer.hand_in(_Quiet(lambda: PostgresStore._counted(self, fatal)))
        return outcome

    def _fatal(self, work: Callable[..., T], *args: Any) -> T:
        try:
            return work(*args)
        finally:
            doom(self._fated.fate)  # also of what is refused: on SQLite others share its commit

    async def _beat(self, life: Life) -> None:
        """Never: it counts what SQLite has nothing to count for, and a copy would be told by it."""

    async def _compare(self, life: Life, now_ms: int) -> None:
        """Never: the database's clock is not the world's."""

    def begin_session(  # type: ignore[override]  # awaited all the same
        self, greeting: Greeting, *, now_ms: int
    ) -> asyncio.Future[SessionStart | SessionRefused]:
        return self.writer.hand_in(greeting, now_ms)

    def end_session(
        self, device: DeviceId, generation: int, *, window: int, now_ms: int
    ) -> asyncio.Future[None]:
        return self.writer.hand_in(Ending(device, generation, window), now_ms)

    def submit(self, submission: Submission, *, now_ms: int) -> asyncio.Future[Settled]:
        return self.writer.hand_in(submission, now_ms)

    def acknowledge(self, ack: Acknowledgement, *, now_ms: int) -> asyncio.Future[Acknowledged]:
        return self.writer.hand_in(ack, now_ms)

    async def fetch(self, wanted: Sequence[Wanted]) -> list[Fetched]:
        return await self.later(lambda: PostgresStore.fetch(self, wanted))

    async def heads(self, devices: Sequence[DeviceId]) -> dict[DeviceId, Head]:
        return await self.later(lambda: PostgresStore.heads(self, devices))


Copy = tuple[dict[str, bytes], list[tuple[str, int, bool]]]
"""The rows of each table, and where the numbers of new rows stand."""


class PostgresDatabase:
    """One empty database of a server, for one world after the other; `home` makes each its home."""

    def __init__(self, dsn: str, folder: Path) -> None:
        """`folder`: for a moment, for the file that is moved into the database."""
        self.far = Far()
        self._dsn = dsn
        path = folder / "cast.sqlite"
        path.write_bytes(cast().database)
        moving = threading.Thread(  # it wants an event loop of its own
            target=move,
            args=(path, Options(dsn, unsafe_fsync=True)),
            kwargs={"shown": "x", "domain": DOMAIN, "now_ms": NOW},
        )
        moving.start()
        moving.join()
        options = Options(dsn, unsafe_fsync=True)
        self.far.run(prepare(options, domain=DOMAIN, now_ms=NOW))  # as before a node serves
        self.eyes = Eyes(self.far, dsn)
        self._first = self.copy()

    def home(self, folder: Path) -> "PostgresHome":
        """A world begins."""
        self.put_back(self._first)
        return PostgresHome(self, self._dsn, folder)

    def copy(self) -> Copy:
        """Everything in it."""

        async def read() -> Copy:
            db, tables = self.eyes.connection, dict[str, bytes]()
            for table in TABLES:
                rows = io.BytesIO()
                await db.copy_from_table(table, output=rows, format="binary")
                tables[table] = rows.getvalue()
            stands = []
            for name in await db.fetch("SELECT relname FROM pg_class WHERE relkind = 'S'"):
                row = await db.fetchrow(f"SELECT last_value, is_called FROM {name[0]}")  # noqa: S608
                stands.append((str(name[0]), int(row[0]), bool(row[1])))  # type: ignore[index]
            return tables, stands

        return self.far.run(read())

    def put_back(self, copy: Copy) -> None:
        """Let it be as it was then."""

        async def write() -> None:
            db, (tables, stands) = self.eyes.connection, copy
            async with db.transaction():
                await db.execute(f"TRUNCATE {', '.join(TABLES)}")
                for table, rows in tables.items():
                    await db.copy_to_table(table, source=io.BytesIO(rows), format="binary")
                for stand in stands:
                    await db.execute("SELECT setval($1::text::regclass, $2, $3)", *stand)

        self.far.run(write())

    def close(self) -> None:
        """Leave the server."""
        self.far.run(self.eyes.connection.close())
        self.far.stop()


class PostgresHome:
    """The database while one world is in it."""

    def __init__(self, database: PostgresDatabase, dsn: str, folder: Path) -> None:
        self._database = database
        self._dsn = dsn
        self._folder = folder
        self.witness = folder / "one.witness"

    def open(self, loop: VirtualLoop, now_ms: int) -> SteppedPostgres:
        store = SteppedPostgres(
            self._database.far, self._database.eyes, self._dsn, self._folder, loop
        )
        self._database.far.run(store.begin_life(now_ms=now_ms))
        return store

    def copy(self, store: SteppedPostgres) -> Copy:
        return self._database.copy()

    def put_back(self, copy: Copy) -> None:
        self._database.put_back(copy)
