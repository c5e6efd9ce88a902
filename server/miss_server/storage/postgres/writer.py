"""Group commit: what arrived while the last batch was under way is written as one transaction.

A commit costs a wait for the disk and each statement a way to PostgreSQL and back, a message only
some microseconds, so at any load both are paid once for many messages (rule C1). One batch of this
process is under way at a time; other nodes and the quiet transactions of this one run beside it,
and the order of locks keeps them apart.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any

import structlog

from miss_server.storage.jobs import Job, answer, in_line, place
from miss_server.storage.messages import (
    Acknowledged,
    Acknowledgement,
    Greeting,
    NotDurable,
    SessionRefused,
    SessionStart,
    Settled,
    Submission,
)
from miss_server.storage.postgres.batch import Batch, Unlocked
from miss_server.storage.postgres.lives import Life
from miss_server.storage.postgres.meeting import Ground
from miss_server.storage.postgres.pool import Connection, Pool
from miss_server.storage.postgres.sessions import Alone, Ending
from miss_server.storage.postgres.trouble import cause, crossed, describe, outage
from miss_server.storage.settlement.meeting import FirstContacts
from miss_server.tallies import StorageTally

BATCH_MAX = 512
"""Jobs of one transaction: more would make the first of them wait for milliseconds."""
ACKS_AT_ONCE = 64
ACK_LINGER = 0.02
"""Acknowledgements wait, up to so many or for so many seconds, for others to share a batch with: a
sender hardly sees its ticks later, sends do not queue behind what nobody waits for, and a batch of few
costs both the node and PostgreSQL nearly as much as one of many."""
TRIES = 5
"""Of a batch that another node crossed."""
PATIENCE_FIRST, PATIENCE_MOST = 0.05, 2.0
"""Seconds without a new attempt after one that failed; doubled each time."""

log = structlog.get_logger()

Work = Submission | Acknowledgement | Greeting | Ending


class Writer:
    """The one that writes batches in this process; it begins with the first job.

    `alone` begins a session that changes more than its device, in a transaction to itself; `life`
    numbers the batches of a node.
    """

    def __init__(
        self,
        pool: Pool,
        alone: Callable[[Greeting, int], Awaitable[SessionStart | SessionRefused]],
        life: Life | None = None,
        first_contacts: FirstContacts = FirstContacts(),  # noqa: B008  # frozen
    ) -> None:
        self._pool = pool
        self._first_contacts = first_contacts
        self._ground = Ground()
        self._life = life
        self._alone = alone
        self._jobs: list[Job] = []
        self._acks = 0
        """How many of the jobs are acknowledgements."""
        self._acks_due = False
        self._lingering: asyncio.TimerHandle | None = None
        self._wanted = asyncio.Event()
        self._stopping = False
        self._patience = 0.0
        self._waited_since = 0.0
        self.tally = StorageTally()
        self._task: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        """Write what has been handed in, then end."""
        self._stopping = True
        self._wake()
        if self._task is not None:
            await self._task
            self._task = None

    def settle(self, submission: Submission, now_ms: int) -> asyncio.Future[Settled]:
        """Settle one send with the next batch."""
        return self._hand_in(submission, now_ms)

    def acknowledge(self, ack: Acknowledgement, now_ms: int) -> asyncio.Future[Acknowledged]:
        """Store one acknowledgement with the next batch that takes some."""
        return self._hand_in(ack, now_ms)

    def begin(
        self, greeting: Greeting, now_ms: int
    ) -> asyncio.Future[SessionStart | SessionRefused]:
        """Begin a session with the next batch."""
        return self._hand_in(greeting, now_ms)

    def end(self, ending: Ending, now_ms: int) -> asyncio.Future[None]:
        """Note the end of a session with the next batch."""
        return self._hand_in(ending, now_ms)

    def _hand_in(self, work: Work, now_ms: int) -> asyncio.Future[Any]:
        if self._stopping:
            raise NotDurable("the store is closing")
        loop = asyncio.get_running_loop()
        job = Job(work, now_ms, loop.create_future())
        if not self._jobs:
            self._waited_since = perf_counter()
        self._jobs.append(job)
        if not isinstance(work, Acknowledgement):
            self._wake()
            return job.future
        self._acks += 1
        if self._acks >= ACKS_AT_ONCE:
            self._wake()
        elif self._lingering is None:
            self._lingering = loop.call_later(ACK_LINGER, self._lingered)
        return job.future

    def _lingered(self) -> None:
        self._lingering = None
        self._acks_due = True
        self._wake()

    def _wake(self) -> None:
        self._wanted.set()
        if self._task is None and self._jobs:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="miss-writer")

    # --- batches ----------------------------------------------------------------------------------

    async def _run(self) -> None:
        while self._jobs or not self._stopping:
            await self._wanted.wait()
            if self._patience and not self._stopping:
                await asyncio.sleep(self._patience)
            jobs = self._take()
            if jobs:
                waited, self._waited_since = self._waited_since, perf_counter()
                begun = self._waited_since
                await self.write(jobs)
                self._answer(sorted(jobs, key=place))
                now = perf_counter()
                self.tally.batch_jobs.note(len(jobs))
                self.tally.batch_seconds.note(now - begun)
                self.tally.batch_wait.note(now - waited)

    def _take(self) -> list[Job]:
        """The jobs of the next batch."""
        jobs, later = self._jobs, list[Job]()
        if not (self._acks_due or self._acks >= ACKS_AT_ONCE or self._stopping):
            jobs = [job for job in self._jobs if not isinstance(job.work, Acknowledgement)]
            later = [job for job in self._jobs if isinstance(job.work, Acknowledgement)]
        most = BATCH_MAX if not self._patience else len(jobs)  # while it fails, all fail together
        self._jobs = jobs[most:] + later
        self._acks = sum(isinstance(job.work, Acknowledgement) for job in self._jobs)
        self._acks_due = self._acks > len(later)
        if not self._acks and self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if len(self._jobs) == self._acks and not self._acks_due and not self._stopping:
            self._wanted.clear()
        return jobs[:most]

    async def write(self, jobs: Sequence[Job]) -> None:
        """Write jobs as one transaction; each one's outcome or error is in it afterwards."""
        waiting = sorted(jobs, key=place)
        also: frozenset[bytes] = frozenset()
        tries = 0
        while waiting:
            try:
                await self._commit(waiting, also)
                self._patience = 0.0
                return
            except Alone as alone:
                # Those before it are settled before it: each sees what the earlier ones changed.
                await self.write(waiting[: alone.index])
                await self._begin_alone(waiting[alone.index])
                waiting = waiting[alone.index + 1 :]
            except Exception as error:  # noqa: BLE001  # handed to those whose jobs they are
                tries += 1
                if isinstance(error, Unlocked):
                    also |= error.devices
                if not crossed(error) or tries == TRIES:
                    await self._fail(waiting, error)
                    return

    async def _commit(self, jobs: Sequence[Job], also: frozenset[bytes]) -> None:
        visits = [job for job in jobs if isinstance(job.work, Greeting | Ending)]
        acks = in_line(jobs)
        sends = [job for job in jobs if isinstance(job.work, Submission)]
        number = None if self._life is None else self._life.next_batch()
        async with self._pool.connection() as db:
            batch = Batch(
                db,
                [(job.work, job.now_ms) for job in visits],
                [(ack, job.now_ms) for job, ack in acks],
                [(job.work, job.now_ms) for job in sends],
                also,
                number,
                None if self._life is None else self._life.node,
                self._first_contacts,
                self._ground,
            )
            await db.execute("BEGIN")
            try:
                await batch.run()
                await self._end(db)
            except Exception as error:
                if not outage(error) or crossed(error):
                    await db.execute("ROLLBACK")
                raise
        if self._life is not None and number is not None and batch.numbered:
            self._life.committed(number[1])
        answered: list[tuple[list[Job], Sequence[Any]]] = [
            (visits, batch.visited),
            ([job for job, _ in acks], batch.acknowledged),
            (sends, batch.settled),
        ]
        for some, outcomes in answered:
            for job, outcome in zip(some, outcomes, strict=True):
                job.outcome = outcome

    async def _end(self, db: Connection) -> None:
        """Commit what was written."""
        if await db.execute("COMMIT") != "COMMIT":
            raise NotDurable("PostgreSQL undid the transaction")

    async def _begin_alone(self, job: Job) -> None:
        assert isinstance(job.work, Greeting)  # noqa: S101  # only these ask for it
        try:
            job.outcome = await self._alone(job.work, job.now_ms)
        except Exception as error:  # noqa: BLE001  # handed to the one whose job it is
            job.error = error

    async def _fail(self, jobs: Sequence[Job], error: Exception) -> None:
        if outage(error) or crossed(error) or isinstance(error, NotDurable):
            # Nobody's fault, and nobody's job is known to be done.
            self.tally.failures[cause(error)] += 1
            log.error("commit failed", error=describe(error), jobs=len(jobs))
            self._patience = min(max(PATIENCE_FIRST, self._patience * 2), PATIENCE_MOST)
            for job in jobs:
                job.fail(NotDurable(describe(error)))
        elif len(jobs) == 1:
            self.tally.failures["other"] += 1
            jobs[0].fail(error)
        else:
            # A fault in one job must not fail its neighbours: each gets its own transaction.
            for job in jobs:
                await self.write([job])

    _answer = staticmethod(answer)
