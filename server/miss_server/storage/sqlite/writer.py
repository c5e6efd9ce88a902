"""Group commit: one thread gathers what arrived while the last commit ran and writes it as one.

A commit costs a wait for the disk, a message only some microseconds, so at any load the disk is
asked once for many messages (rule C1). Sends and acknowledgements are settled as batches; other
jobs run each in a savepoint of its own, so that one failing undoes nobody else's.
"""

import asyncio
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import structlog
from sqlalchemy import Connection, Engine

from miss_protocol.errors import MissError
from miss_server.storage.messages import (
    Acknowledged,
    Acknowledgement,
    NotDurable,
    Settled,
    Submission,
)
from miss_server.storage.sqlite import acks, sends
from miss_server.storage.sqlite.engine import driver
from miss_server.storage.sqlite.witness import FsyncFailed, Testimony, Witness, stands

T = TypeVar("T")

BATCH_MAX = 512
"""Jobs of one transaction: more would make the first of them wait for milliseconds."""
EXIT_DISK = 74
"""EX_IOERR: after a failed fsync nobody knows what is on disk; a restart reads what is (C4)."""
EXIT_WRITER = 70
"""EX_SOFTWARE: the thread that writes ended; a restart makes a new one."""

_FSYNC_FAILED = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})
_FAULTS = (
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
)
"""A statement of ours was wrong: the disk is well, and trying again would not help."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Job:
    work: Submission | Acknowledgement | Callable[[sqlite3.Connection], Any]
    now_ms: int
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    outcome: Any = None
    error: BaseException | None = None


class Writer:
    """The one thread that writes to the database in this process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.witness: Witness | None = None
        """Told of what a restore must not undo, before anybody else is; set it before `start`."""
        self._jobs: list[_Job] = []
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="miss-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def stop(self) -> None:
        """Write what has been handed in, then end the thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    async def settle(self, submission: Submission, now_ms: int) -> Settled:
        """Settle one send with the next batch."""
        settled: Settled = await self._hand_in(submission, now_ms)
        return settled

    async def acknowledge(self, ack: Acknowledgement, now_ms: int) -> Acknowledged:
        """Store one acknowledgement with the next batch."""
        acknowledged: Acknowledged = await self._hand_in(ack, now_ms)
        return acknowledged

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a savepoint of the next batch. What it raises undoes it and is raised."""
        result: T = await self._hand_in(work, 0)
        return result

    def _hand_in(self, work: Any, now_ms: int) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        job = _Job(work, now_ms, loop.create_future(), loop)
        with self._wake:
            if self._stopping:
                raise NotDurable("the store is closing")
            self._jobs.append(job)
            self._wake.notify()
        return job.future

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._write_until_stopped()
        except BaseException as error:  # noqa: BLE001  # there is nobody above to handle it
            # Without its writer the process would take what comes and answer nothing, for ever.
            sys.stderr.write(f"miss-server: the writer failed ({error!r}); stopping at once\n")
            sys.stderr.flush()
            os._exit(EXIT_WRITER)

    def _write_until_stopped(self) -> None:
        with self._engine.connect() as connection:
            while True:
                with self._wake:
                    while not self._jobs and not self._stopping:
                        self._wake.wait()
                    if not self._jobs:
                        return
                    jobs, self._jobs = self._jobs[:BATCH_MAX], self._jobs[BATCH_MAX:]
                self._commit(connection, jobs)
                self._answer(jobs)

    def _commit(self, connection: Connection, jobs: Sequence[_Job]) -> None:
        db = driver(connection)
        try:
            db.execute("BEGIN IMMEDIATE")
            self._settle(db, jobs)
            news = self._news_for_the_witness(db, jobs)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if isinstance(error, _FAULTS):
                self._commit_each(connection, jobs, error)
                return
            if _fsync_failed(error):
                _stop_for_the_disk(error)
            _roll_back(db)
            log.error("commit failed", error=str(error), jobs=len(jobs))
            for job in jobs:
                job.error = NotDurable(str(error))
        except Exception as error:  # noqa: BLE001  # handed to the one whose job it is
            self._commit_each(connection, jobs, error)
        else:
            self._tell_witness(news, jobs)

    def _news_for_the_witness(
        self, db: sqlite3.Connection, jobs: Sequence[_Job]
    ) -> Testimony | None:
        if self.witness is None or not any(callable(job.work) for job in jobs):
            return None  # sends and acks change nothing that it counts
        now = stands(db)
        return None if now == self.witness.stood else now

    def _tell_witness(self, news: Testimony | None, jobs: Sequence[_Job]) -> None:
        """After the commit, before the answers: see `witness` for why in this order."""
        if self.witness is None or news is None:
            return
        self.witness.stood = news
        try:
            self.witness.write(news)
        except FsyncFailed as error:
            _stop_for_the_disk(error)
        except OSError as error:
            # Committed and told to nobody: the prekeys that were taken are lost, not reused.
            log.error("witness not written", error=str(error), jobs=len(jobs))
            for job in jobs:
                job.error = NotDurable(str(error))

    def _commit_each(
        self, connection: Connection, jobs: Sequence[_Job], error: BaseException
    ) -> None:
        """A fault in one job must not fail its neighbours: each gets its own transaction."""
        _roll_back(driver(connection))
        if len(jobs) == 1:
            jobs[0].error = error
            return
        for job in jobs:
            job.error = job.outcome = None
            self._commit(connection, [job])

    def _settle(self, db: sqlite3.Connection, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            if callable(job.work):
                self._run_alone(db, job)
        # Acknowledgements first: they make room in mailboxes that sends of this batch may need.
        given = [(job, job.work) for job in jobs if isinstance(job.work, Acknowledgement)]
        if given:
            acknowledged = acks.settle(db, [(ack, job.now_ms) for job, ack in given])
            for (job, _), outcome in zip(given, acknowledged, strict=True):
                job.outcome = outcome
        sent = [(job, job.work) for job in jobs if isinstance(job.work, Submission)]
        if sent:
            settled = sends.settle(db, [(send, job.now_ms) for job, send in sent])
            for (job, _), reply in zip(sent, settled, strict=True):
                job.outcome = reply

    def _run_alone(self, db: sqlite3.Connection, job: _Job) -> None:
        db.execute("SAVEPOINT job")
        try:
            job.outcome = job.work(db)  # type: ignore[operator]  # checked by the caller
        except MissError as error:
            db.execute("ROLLBACK TO job")
            job.error = error
        db.execute("RELEASE job")

    def _answer(self, jobs: Sequence[_Job]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        for job in jobs:
            by_loop.setdefault(job.loop, []).append(job)
        for loop, group in by_loop.items():
            try:
                loop.call_soon_threadsafe(_resolve, group)
            except RuntimeError:  # the loop is closed: nobody waits any more
                log.warning("answers without a listener", jobs=len(group))


def _roll_back(db: sqlite3.Connection) -> None:
    if db.in_transaction:
        db.execute("ROLLBACK")


def _stop_for_the_disk(error: Exception) -> NoReturn:
    sys.stderr.write(f"miss-server: the disk failed ({error}); stopping at once\n")
    sys.stderr.flush()
    os._exit(EXIT_DISK)


def _fsync_failed(error: sqlite3.Error) -> bool:
    # A write that fails (no room, a quota) is rolled back and tried again; only after an fsync
    # that failed may the kernel have dropped pages that it had promised to keep (rule C4).
    return getattr(error, "sqlite_errorcode", 0) in _FSYNC_FAILED


def _resolve(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue  # its caller was cancelled; what it asked for stands all the same
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.outcome)
