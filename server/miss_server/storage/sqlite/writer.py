"""Group commit: what arrived while the last commit ran is written as one transaction.

A commit costs a wait for the disk, a message only some microseconds, so at any load the disk is
asked once for many messages (rule C1). Sends and acknowledgements are settled as batches; other
jobs run each in a savepoint of its own, so that one failing undoes nobody else's.

The statements of a batch run in the event loop's thread and only its COMMIT, which waits for the
disk, runs in a thread of its own: two threads that both run Python fight for the interpreter at
every statement, which costs more than the statements do. A batch that may wait for something else
runs whole in that thread: when another process holds the database, when a job of it is long, and
when something in it failed. The connection is never used by both at once: the loop begins the next
batch after the thread has told that the last one is done.
"""

import asyncio
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from time import perf_counter, sleep
from typing import Any, NoReturn, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from miss_protocol.errors import MissError
from miss_server.storage.disk import stop_for_the_disk
from miss_server.storage.jobs import Job, answer, in_line, place
from miss_server.storage.messages import (
    Acknowledged,
    Acknowledgement,
    NotDurable,
    Settled,
    Submission,
)
from miss_server.storage.settlement.meeting import FirstContacts
from miss_server.storage.sqlite import acks, sends
from miss_server.storage.sqlite.engine import BUSY_TIMEOUT_MS, driver, make_room
from miss_server.storage.sqlite.kept import Kept
from miss_server.storage.sqlite.witness import stands
from miss_server.storage.witness import FsyncFailed, Testimony, Witness
from miss_server.tallies import StorageTally

T = TypeVar("T")

BATCH_MAX = 512
"""Jobs of one transaction: more would make the first of them wait for milliseconds."""
ACKS_AT_ONCE = 32
ACK_LINGER = 0.005
"""Acknowledgements wait, up to so many or for so many seconds, for others to share a batch with: a
sender hardly sees its ticks later, and sends do not queue behind what nobody waits for."""
LOCK_SOON = 0.05
LOCK_ASKED_OFTEN, LOCK_ASKED_SELDOM = 0.0005, 0.01
"""Seconds between two looks whether another process still holds the database, at first and later."""
ROWS_INLINE = 1_024
BYTES_INLINE = 2 << 20
"""Of a batch whose statements run in the event loop: beyond, it would stand still for 50 ms."""
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
_CAUSES = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_IOERR: "disk",
}

log = structlog.get_logger()


Work = Submission | Acknowledgement | Callable[[Connection], Any]


class Writer:
    """The one that writes to the database in this process."""

    def __init__(
        self,
        engine: Engine,
        first_contacts: FirstContacts = FirstContacts(),  # noqa: B008  # frozen
    ) -> None:
        self._engine = engine
        self._first_contacts = first_contacts
        self.witness: Witness | None = None
        """Told of what a restore must not undo, before anybody else is; set it before `start`."""
        self.tally = StorageTally()
        self.lock_patience_ms = BUSY_TIMEOUT_MS
        """How long a batch waits for another process that holds the database."""
        self._jobs: list[Job] = []
        self._busy = False
        """A batch has begun, or is about to."""
        self._hurry = False
        """Among the jobs is one that should not wait for others."""
        self._acks = 0
        """How many of the jobs are acknowledgements."""
        self._acks_due = False
        self._lingering: asyncio.TimerHandle | None = None
        self._stopping = False
        self._idle: asyncio.Future[None] | None = None
        self._kept = Kept()
        """What was committed last, for the next batch."""
        self._unsure = Kept()
        """The same of the batch that is being written."""
        self._orders: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="miss-writer", daemon=True)
        self._connection: Connection | None = None
        self._batch_on: Connection | None = None
        """What the jobs of the batch in hand are called with."""
        self._handed_in: float | None = None
        """When the first of the jobs was."""
        self._waited_since = self._begun_at = 0.0
        """Of the batch in hand."""

    def start(self) -> None:
        """Open the connection and start the thread."""
        self._connection = self._engine.connect()
        driver(self._connection).execute("PRAGMA busy_timeout = 0")
        self._thread.start()

    async def stop(self) -> None:
        """Write what has been handed in, then end the thread and close the connection."""
        self._stopping = True
        if self._jobs or self._busy:
            loop = asyncio.get_running_loop()
            self._idle = self._idle or loop.create_future()
            self._acks_due = True
            self._wake(loop)
            await asyncio.shield(self._idle)
        connection, self._connection = self._connection, None
        if connection is not None:
            self._orders.put(None)
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
            connection.close()

    def settle(self, submission: Submission, now_ms: int) -> asyncio.Future[Settled]:
        """Settle one send with the next batch."""
        return self._hand_in(submission, now_ms)

    def acknowledge(self, ack: Acknowledgement, now_ms: int) -> asyncio.Future[Acknowledged]:
        """Store one acknowledgement with the next batch."""
        return self._hand_in(ack, now_ms)

    def run(self, work: Callable[[Connection], T], *, long: bool = False) -> asyncio.Future[T]:
        """Run `work` in a savepoint of the next batch. What it raises undoes it and is raised.

        Args:
            work: called with the connection, inside a transaction that it neither ends nor begins.
            long: it takes milliseconds, so its batch must not hold up the event loop.
        """
        return self._hand_in(work, 0, long)

    def _hand_in(self, work: Work, now_ms: int, long: bool = False) -> asyncio.Future[Any]:
        if self._stopping:
            raise NotDurable("the store is closing")
        loop = asyncio.get_running_loop()
        job = Job(work, now_ms, loop.create_future(), long)
        if not self._jobs:
            self._handed_in = perf_counter()
        self._jobs.append(job)
        if isinstance(work, Acknowledgement):
            self._acks += 1
        else:
            self._hurry = True
        self._wake(loop)
        return job.future

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._acks and self._lingering is None and not self._acks_due:
            self._lingering = loop.call_later(ACK_LINGER, self._lingered, loop)
        if not self._busy and (self._hurry or self._takes_acks):
            self._busy = True
            # Not at once: what comes with this very pass of the loop belongs to the same batch.
            loop.call_soon(self._begin, loop)

    def _lingered(self, loop: asyncio.AbstractEventLoop) -> None:
        self._lingering = None
        self._acks_due = True
        self._wake(loop)

    @property
    def _takes_acks(self) -> bool:
        return self._acks_due or self._acks >= ACKS_AT_ONCE

    # --- a batch ----------------------------------------------------------------------------------

    def _take(self) -> list[Job]:
        """The jobs of the next batch."""
        jobs, later = self._jobs, list[Job]()
        if not self._takes_acks:
            jobs = [job for job in self._jobs if not isinstance(job.work, Acknowledgement)]
            later = [job for job in self._jobs if isinstance(job.work, Acknowledgement)]
        self._jobs = jobs[BATCH_MAX:] + later
        self._acks = sum(isinstance(job.work, Acknowledgement) for job in self._jobs)
        self._hurry = len(self._jobs) > self._acks
        self._acks_due = self._takes_acks and self._acks > 0
        if not self._acks and self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        return jobs[:BATCH_MAX]

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._connection is not None  # noqa: S101  # `start` was called
        jobs = self._take()
        self._begun_at = perf_counter()
        self._waited_since = self._handed_in or self._begun_at
        self._handed_in = self._begun_at
        try:
            order = self._settle_now(self._connection, jobs, loop)
        except BaseException as error:  # noqa: BLE001  # nobody above would handle it
            _end_as_broken(error)
        self._orders.put(order)

    def _settle_now(
        self, connection: Connection, jobs: list[Job], loop: asyncio.AbstractEventLoop
    ) -> Callable[[], None]:
        """Run the statements of a batch; returns what is left for the thread to do."""
        carefully = partial(self._carefully, connection, jobs, loop)
        if any(job.long for job in jobs) or _is_heavy(jobs):
            return carefully
        db = driver(connection)
        self._batch_on = connection
        try:
            db.execute("BEGIN IMMEDIATE")
            self._settle(db, jobs)
            news = self._news_for_the_witness(db, jobs)
        except Exception as error:  # noqa: BLE001  # it comes again in the thread, seen to there
            _end_if_the_disk_failed(error)
            _roll_back(db)
            for job in jobs:
                job.error = job.outcome = None
            return carefully
        return partial(self._finish, connection, jobs, news, loop)

    def _done(self, jobs: Sequence[Job], loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._answer(jobs)
        except BaseException as error:  # noqa: BLE001  # nobody would ever be answered again
            _end_as_broken(error)
        now = perf_counter()
        self.tally.batch_jobs.note(len(jobs))
        self.tally.batch_seconds.note(now - self._begun_at)
        self.tally.batch_wait.note(now - self._waited_since)
        self._busy = False
        if self._jobs:
            self._acks_due = self._acks_due or self._stopping
            self._wake(loop)
        elif self._idle is not None:
            self._idle.set_result(None)
            self._idle = None

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (order := self._orders.get()) is not None:
                order()
        except BaseException as error:  # noqa: BLE001  # nobody above would handle it
            _end_as_broken(error)

    def _finish(
        self,
        connection: Connection,
        jobs: list[Job],
        news: Testimony | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Commit what the loop has settled."""
        try:
            driver(connection).execute("COMMIT")
        except sqlite3.Error as error:
            self._fail(driver(connection), jobs, error)
        else:
            self._kept = self._unsure
            self._tell_witness(news, jobs)
        self._tell(jobs, loop)

    def _carefully(
        self, connection: Connection, jobs: list[Job], loop: asyncio.AbstractEventLoop
    ) -> None:
        """Write a batch from its start, waiting for what it has to wait for."""
        self._commit(connection, jobs)
        self._tell(jobs, loop)

    def _tell(self, jobs: Sequence[Job], loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.call_soon_threadsafe(self._done, jobs, loop)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.warning("answers without a listener", jobs=len(jobs))

    def _commit(self, connection: Connection, jobs: list[Job]) -> None:
        db = driver(connection)
        self._batch_on = connection
        try:
            _begin_in_turn(db, self.lock_patience_ms / 1000)
            self._settle(db, jobs)
            news = self._news_for_the_witness(db, jobs)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if isinstance(error, _FAULTS):
                self._commit_each(connection, jobs, error)
                return
            self._fail(db, jobs, error)
        except Exception as error:  # noqa: BLE001  # handed to the one whose job it is
            self._commit_each(connection, jobs, error)
        else:
            self._kept = self._unsure
            self._tell_witness(news, jobs)

    def _news_for_the_witness(
        self, db: sqlite3.Connection, jobs: Sequence[Job]
    ) -> Testimony | None:
        if self.witness is None or not any(callable(job.work) for job in jobs):
            return None  # sends and acks change nothing that it counts
        now = stands(db)
        return None if now == self.witness.stood else now

    def _tell_witness(self, news: Testimony | None, jobs: Sequence[Job]) -> None:
        """After the commit, before the answers: see `witness` for why in this order."""
        if self.witness is None or news is None:
            return
        self.witness.stood = news
        try:
            self.witness.write(news)
        except FsyncFailed as error:
            stop_for_the_disk(error)
        except OSError as error:
            # Committed and told to nobody: the prekeys that were taken are lost, not reused.
            self.tally.failures["disk"] += 1
            log.error("witness not written", error=str(error), jobs=len(jobs))
            for job in jobs:
                job.fail(NotDurable(str(error)))

    def _commit_each(self, connection: Connection, jobs: list[Job], error: BaseException) -> None:
        """A fault in one job must not fail its neighbours: each gets its own transaction."""
        _roll_back(driver(connection))
        if len(jobs) == 1:
            self.tally.failures["other"] += 1
            jobs[0].fail(error)
            return
        for job in jobs:
            job.error = job.outcome = None
            self._commit(connection, [job])

    def _fail(self, db: sqlite3.Connection, jobs: Sequence[Job], error: sqlite3.Error) -> None:
        """The disk or another process is in the way: nobody's fault, and nobody's job is done."""
        _end_if_the_disk_failed(error)
        why = _CAUSES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "other")
        self.tally.failures[why] += 1
        _roll_back(db)
        log.error("commit failed", error=str(error), jobs=len(jobs))
        if why == "full":
            _make_room(db)
        for job in jobs:
            job.fail(NotDurable(str(error)))

    def _settle(self, db: sqlite3.Connection, jobs: list[Job]) -> None:
        # Rows of one mailbox are then handed over in the order of their positions.
        jobs.sort(key=place)
        # Gone for good unless this transaction is committed.
        kept, self._kept, self._unsure = self._kept, Kept(), Kept()
        for job in jobs:
            if callable(job.work):
                self._run_alone(db, job)
                kept = Kept()
        kept = self._unsure = kept.fresh(db)
        # Acknowledgements first: they make room in mailboxes that sends of this batch may need.
        given = in_line(jobs)
        if given:
            acknowledged = acks.settle(db, [(ack, job.now_ms) for job, ack in given], kept)
            for (job, _), outcome in zip(given, acknowledged, strict=True):
                job.outcome = outcome
        sent = [(job, job.work) for job in jobs if isinstance(job.work, Submission)]
        if sent:
            batch = [(send, job.now_ms) for job, send in sent]
            settled = sends.settle(db, batch, kept, self._first_contacts)
            for (job, _), reply in zip(sent, settled, strict=True):
                job.outcome = reply

    def _run_alone(self, db: sqlite3.Connection, job: Job) -> None:
        assert self._batch_on is not None  # noqa: S101  # a batch is in hand
        db.execute("SAVEPOINT job")
        try:
            job.outcome = job.work(self._batch_on)
        except MissError as error:
            db.execute("ROLLBACK TO job")
            job.error = error
        except DBAPIError as error:
            raise error.orig or error from None  # seen to as if the driver had been called
        db.execute("RELEASE job")

    _answer = staticmethod(answer)


def _begin_in_turn(db: sqlite3.Connection, patience: float) -> None:
    """Begin to write as soon as nobody else does. SQLite has no queue: whoever waits asks again, and SQLite
    itself after 1, 2, 5, 10 and more milliseconds, in which an import takes the lock many times."""
    begun = perf_counter()
    while True:
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            waited = perf_counter() - begun
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or waited >= patience:
                raise
            sleep(LOCK_ASKED_OFTEN if waited < LOCK_SOON else LOCK_ASKED_SELDOM)
        else:
            return


def _roll_back(db: sqlite3.Connection) -> None:
    if db.in_transaction:
        db.execute("ROLLBACK")


def _make_room(db: sqlite3.Connection) -> None:
    try:
        make_room(db)
    except sqlite3.Error as error:
        _end_if_the_disk_failed(error)
        log.warning("no room to empty the log", error=str(error))  # until somebody makes some


def _is_heavy(jobs: Sequence[Job]) -> bool:
    """Whether the statements of a batch would hold up the event loop for longer than a blink."""
    size = rows = 0
    for job in jobs:
        if isinstance(job.work, Submission):
            send = job.work.send
            rows += len(send.wraps)
            size += len(send.wraps) * len(send.body)
        elif isinstance(job.work, Acknowledgement):
            rows += len(job.work.receipts)
    return rows > ROWS_INLINE or size > BYTES_INLINE


def _end_if_the_disk_failed(error: Exception) -> None:
    # A write that fails (no room, a quota) is rolled back and tried again; only after an fsync
    # that failed may the kernel have dropped pages that it had promised to keep (rule C4).
    if getattr(error, "sqlite_errorcode", 0) in _FSYNC_FAILED:
        stop_for_the_disk(error)


def _end_as_broken(error: BaseException) -> NoReturn:
    # Without its writer the process would take what comes and answer nothing, for ever.
    sys.stderr.write(f"miss-server: the writer failed ({error!r}); stopping at once\n")
    sys.stderr.flush()
    os._exit(EXIT_WRITER)
