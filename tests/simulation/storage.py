"""The real store over a real SQLite file, moved on by the simulation instead of by threads.

Everything that settles, deletes or compares is the product's. Only *when* is decided here: a batch
is committed when the simulation says so, a read runs when it says so, and a crash may come before,
inside or after any transaction.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from miss_server.storage.jobs import Job
from miss_server.storage.messages import NotDurable
from miss_server.storage.sqlite.engine import driver
from miss_server.storage.sqlite.store import SqliteStore
from miss_server.storage.sqlite.writer import Writer
from miss_server.storage.witness import Testimony
from tests.simulation.loop import VirtualLoop
from tests.support.meeting import LIFTED

T = TypeVar("T")


class Fate(Enum):
    """What becomes of a commit."""

    WELL = "well"
    REFUSED = "refused"
    """The disk took nothing; the callers are told `NotDurable`."""
    UNKNOWN = "unknown"
    """The disk took it and said otherwise."""
    CRASH_INSIDE = "crash inside"
    """The process dies in the transaction."""
    CRASH_AFTER = "crash after"
    """The process dies after the commit, before anybody heard of it."""
    CRASH_BEFORE_WITNESS = "crash before witness"
    """As before, and not even the witness heard of it."""


class Died(BaseException):
    """The process is gone. Not an `Exception`, so that nothing handles it."""


class SteppedWriter(Writer):
    """The writer without its thread. `commit` does what one round of the thread does."""

    def __init__(self, engine: Engine, loop: VirtualLoop) -> None:
        super().__init__(engine, LIFTED)
        self._loop = loop
        self._stepped = engine.connect()
        self._fate = Fate.WELL
        self.dead = False

    @property
    def waiting(self) -> int:
        """Jobs that were handed in and not committed."""
        return len(self._jobs)

    def _hand_in(self, work: Any, now_ms: int, long: bool = False) -> asyncio.Future[Any]:
        if self.dead:
            raise NotDurable("the process is gone")
        return super()._hand_in(work, now_ms, long)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing: the simulation says when."""

    def commit(self, most: int, fate: Fate) -> None:
        """Write up to `most` jobs as one transaction and answer them.

        Raises:
            Died: the process is gone, at the point that `fate` names.
        """
        jobs, self._jobs = self._jobs[:most], self._jobs[most:]
        self._fate = fate
        try:
            self._commit(self._stepped, jobs)
        finally:
            self._fate = Fate.WELL
        if fate is Fate.CRASH_AFTER:
            raise Died
        if fate is Fate.UNKNOWN:
            for job in jobs:
                job.fail(NotDurable("the answer of the disk was lost"))
        self._answer(jobs)

    def _settle(self, db: sqlite3.Connection, jobs: list[Job]) -> None:
        super()._settle(db, jobs)
        # What the event loop's thread would do meanwhile; before a commit that is nothing.
        self._loop.settle()
        if self._fate is Fate.CRASH_INSIDE:
            raise Died
        if self._fate is Fate.REFUSED:
            raise sqlite3.OperationalError("disk I/O error")

    def _tell_witness(self, news: Testimony | None, jobs: Sequence[Job]) -> None:
        if self._fate is Fate.CRASH_BEFORE_WITNESS:
            raise Died
        super()._tell_witness(news, jobs)

    def close(self) -> None:
        """Let go of the file; an open transaction is undone, as by the end of the process."""
        self.dead = True
        db = driver(self._stepped)
        if db.in_transaction:
            db.execute("ROLLBACK")
        self._stepped.close()


class SteppedStore(SqliteStore):
    """The store. Reads wait in a queue until `answer_reads`."""

    def __init__(self, path: Path, loop: VirtualLoop) -> None:
        super().__init__(path, LIFTED)
        self.writer = self._writer = SteppedWriter(self._engine, loop)
        self.eyes = sqlite3.connect(path, isolation_level=None)
        """Sees what is committed, like any reader."""
        self._asked: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._looking = self._reading.connect()

    @property
    def asked(self) -> int:
        """Reads that wait."""
        return len(self._asked)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._later(lambda: work(self.eyes))

    async def read_with(self, work: Callable[[Connection], T]) -> T:
        return await self._later(lambda: work(self._looking))

    async def _later(self, work: Callable[[], T]) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asked.append((work, future))
        return await future

    def answer_reads(self, most: int) -> None:
        """Run up to `most` reads on what is committed now."""
        for _ in range(min(most, len(self._asked))):
            work, future = self._asked.pop(0)
            if not future.done():
                future.set_result(work())

    def end(self) -> None:
        """The process is gone, or the world ends."""
        self.writer.close()
        self.eyes.close()
        self._looking.close()
        self._readers.shutdown(wait=False)
        self._engine.dispose()
        self._reading.dispose()
