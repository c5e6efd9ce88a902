"""Group commit: what arrived while the last batch was under way is written as one transaction.

A commit costs a wait for the disk and each statement a way to PostgreSQL and back, a message only
some microseconds, so at any load both are paid once for many messages (rule C1). Where commits are
slow, as with a standby in another room, another batch begins while one waits for its commit, over
other devices (`jobs`): then nobody waits for a commit that is not his. Other nodes and the quiet
transactions of this one run beside them, too, and the order of locks keeps all apart.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any

import structlog

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
from miss_server.storage.postgres.jobs import Bundle, Job, Queue, Work
from miss_server.storage.postgres.lives import LANES, Life
from miss_server.storage.postgres.meeting import Ground
from miss_server.storage.postgres.pool import Connection, Pool
from miss_server.storage.postgres.sessions import Alone, Ending
from miss_server.storage.postgres.trouble import cause, crossed, describe, outage
from miss_server.storage.settlement.meeting import FirstContacts
from miss_server.tallies import StorageTally

BATCH_MAX = 512
"""Jobs of one transaction: more would make the first of them wait for milliseconds."""
SLOW_COMMIT = 0.001
"""Seconds after which a commit is a slow one, beside which another batch may begin. Before, what the two
would cost each other is more than the wait."""
SMALL = 64
"""Jobs under way beside which another batch begins: with more, one chain of large batches costs less
for each message."""
TRIES = 5
"""Of a batch that another node crossed."""
PATIENCE_FIRST, PATIENCE_MOST = 0.05, 2.0
"""Seconds without a new attempt after one that failed; doubled each time."""

log = structlog.get_logger()


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
        self._queue = Queue(self._wake)
        self._free = list(range(max(1, min(LANES, pool.size - 1))))
        """Lanes without a batch: one connection is left to readers."""
        self._under_way: dict[int, Bundle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._waking = False
        self._patience = 0.0
        self._resting: asyncio.TimerHandle | None = None
        self.tally = StorageTally()

    async def stop(self) -> None:
        """Write what has been handed in, then end."""
        self._queue.closing = True
        if len(self._queue):
            self._start()
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._resting is not None:
            self._resting.cancel()

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
        if self._queue.closing:
            raise NotDurable("the store is closing")
        job = Job(work, now_ms, asyncio.get_running_loop().create_future())
        self._queue.add(job)
        self._wake()
        return job.future

    # --- batches ----------------------------------------------------------------------------------

    def _wake(self) -> None:
        """See what may begin, once all that this pass of the loop brings is here."""
        if not self._waking and self._free and self._queue.ready:
            self._waking = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self, *, rested: bool = False) -> None:
        """Begin what may begin now; `rested`: enough time has passed since an attempt that failed."""
        self._waking = False
        while self._free and self._queue.ready:
            most = BATCH_MAX
            if self._patience:
                # While it fails, all fail together, and not at once again.
                if self._under_way:
                    return
                if not (rested or self._queue.closing):
                    self._rest()
                    return
                most = len(self._queue)
            elif self._under_way and not self._may_begin_beside():
                return
            jobs = self._queue.take(most, self._under_way.values())
            if not jobs:
                return
            lane = min(self._free)
            self._free.remove(lane)
            self._under_way[lane] = Bundle(jobs)
            task = asyncio.get_running_loop().create_task(
                self._work(jobs, lane), name=f"miss-writer-{lane}"
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _may_begin_beside(self) -> bool:
        running = self._under_way.values()
        return all(one.waits for one in running) and sum(len(one.jobs) for one in running) <= SMALL

    def _commit_lasts(self, bundle: Bundle) -> None:
        bundle.waits = True
        self._wake()

    def _rest(self) -> None:
        if self._resting is None:
            self._resting = asyncio.get_running_loop().call_later(self._patience, self._rested)

    def _rested(self) -> None:
        self._resting = None
        self._start(rested=True)

    async def _work(self, jobs: Sequence[Job], lane: int) -> None:
        begun = perf_counter()
        try:
            await self.write(jobs, lane)
            self._answer(jobs)
        finally:
            del self._under_way[lane]
            self._free.append(lane)
            self._start()
        now = perf_counter()
        self.tally.batch_jobs.note(len(jobs))
        self.tally.batch_seconds.note(now - begun)
        self.tally.batch_wait.note(now - jobs[0].since)

    async def write(self, jobs: Sequence[Job], lane: int = 0) -> None:
        """Write jobs as one transaction; each one's outcome or error is in it afterwards."""
        waiting = sorted(jobs, key=_place)
        also: frozenset[bytes] = frozenset()
        tries = 0
        while waiting:
            try:
                await self._commit(waiting, also, lane)
                self._patience = 0.0
                return
            except Alone as alone:
                # Those before it are settled before it: each sees what the earlier ones changed.
                await self.write(waiting[: alone.index], lane)
                await self._begin_alone(waiting[alone.index])
                waiting = waiting[alone.index + 1 :]
            except Exception as error:  # noqa: BLE001  # handed to those whose jobs they are
                tries += 1
                if isinstance(error, Unlocked):
                    also |= error.devices
                if not crossed(error) or tries == TRIES:
                    await self._fail(waiting, error, lane)
                    return

    async def _commit(self, jobs: Sequence[Job], also: frozenset[bytes], lane: int) -> None:
        # Acknowledgements before sends: they make room in mailboxes that sends may need.
        visits = [job for job in jobs if isinstance(job.work, Greeting | Ending)]
        acks = [job for job in jobs if isinstance(job.work, Acknowledgement)]
        sends = [job for job in jobs if isinstance(job.work, Submission)]
        number = None if self._life is None else self._life.next_batch(lane)
        async with self._pool.connection() as db:
            batch = Batch(
                db,
                [(job.work, job.now_ms) for job in visits],  # type: ignore[misc]  # looked at above
                [(job.work, job.now_ms) for job in acks],  # type: ignore[misc]
                [(job.work, job.now_ms) for job in sends],  # type: ignore[misc]
                also,
                number,
                None if self._life is None else self._life.node,
                self._first_contacts,
                self._ground,
            )
            await db.execute("BEGIN")
            try:
                await batch.run()
                await self._end_watched(db, lane)
            except Exception as error:
                if not outage(error) or crossed(error):
                    await db.execute("ROLLBACK")
                raise
        if self._life is not None and number is not None and batch.numbered:
            self._life.committed(number[1], lane)
        answered: list[tuple[list[Job], Sequence[Any]]] = [
            (visits, batch.visited),
            (acks, batch.acknowledged),
            (sends, batch.settled),
        ]
        for some, outcomes in answered:
            for job, outcome in zip(some, outcomes, strict=True):
                job.outcome = outcome

    async def _end_watched(self, db: Connection, lane: int) -> None:
        bundle = self._under_way.get(lane)
        if bundle is None:  # nobody waits beside it
            await self._end(db)
            return
        slow = asyncio.get_running_loop().call_later(SLOW_COMMIT, self._commit_lasts, bundle)
        try:
            await self._end(db)
        finally:
            slow.cancel()
            bundle.waits = False

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

    async def _fail(self, jobs: Sequence[Job], error: Exception, lane: int) -> None:
        if outage(error) or crossed(error) or isinstance(error, NotDurable):
            # Nobody's fault, and nobody's job is known to be done.
            self.tally.failures[cause(error)] += 1
            log.error("commit failed", error=describe(error), jobs=len(jobs))
            self._patience = min(max(PATIENCE_FIRST, self._patience * 2), PATIENCE_MOST)
            for job in jobs:
                job.error = NotDurable(describe(error))
        elif len(jobs) == 1:
            self.tally.failures["other"] += 1
            jobs[0].error = error
        else:
            # A fault in one job must not fail its neighbours: each gets its own transaction.
            for job in jobs:
                await self.write([job], lane)

    @staticmethod
    def _answer(jobs: Sequence[Job]) -> None:
        """In the order of their places: rows of one mailbox come in that of their positions."""
        for job in sorted(jobs, key=_place):
            if job.future.done():
                continue  # its caller was cancelled; what it asked for stands all the same
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.outcome)


def _place(job: Job) -> tuple[int, bytes, int]:
    work = job.work
    if isinstance(work, Submission):
        return 2, work.device, work.send.sn
    return (1 if isinstance(work, Acknowledgement) else 0), b"", 0
