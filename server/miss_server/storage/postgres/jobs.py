"""Jobs of the writer: what waits for a batch, and what may go into the next one.

Batches of one node may be under way at once as long as they have no device in common, so that one does
not wait in PostgreSQL for rows that the other has locked, and what a device asked for one after the
other is done in that order.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from time import perf_counter
from typing import Any

from miss_server.storage.messages import Acknowledgement, Greeting, Submission
from miss_server.storage.postgres.sessions import Ending

ACKS_AT_ONCE = 64
ACK_LINGER = 0.02
"""Acknowledgements wait, up to so many or for so many seconds, for others to share a batch with: no sender
sees its ticks later, sends do not queue behind what nobody waits for, and a batch of few costs both
the node and PostgreSQL nearly as much as one of many."""

Work = Submission | Acknowledgement | Greeting | Ending


class Job:
    """One thing to write, and who waits for it."""

    __slots__ = ("error", "future", "now_ms", "outcome", "since", "work")

    def __init__(self, work: Work, now_ms: int, future: asyncio.Future[Any]) -> None:
        self.work = work
        self.now_ms = now_ms
        self.future = future
        self.outcome: Any = None
        self.error: BaseException | None = None
        self.since = perf_counter()


class Bundle:
    """Jobs that are written together, and the devices whose rows that moves."""

    __slots__ = ("_devices", "jobs", "waits")

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self.waits = False
        """For a slow commit, and for nothing else."""
        self._devices: set[bytes] | None = None

    @property
    def devices(self) -> Collection[bytes]:
        """As far as the jobs name them: whose row an acknowledgement without receipts takes away is
        found out amid the batch, and then row locks keep batches apart."""
        if self._devices is None:
            self._devices = {device for job in self.jobs for device in _devices(job.work)}
        return self._devices


class Queue:
    """Jobs in the order in which they came. Acknowledgements linger; `due` is called when they no
    longer do."""

    def __init__(self, due: Callable[[], None]) -> None:
        self.closing = False
        """Nothing lingers any more."""
        self._due = due
        self._jobs: list[Job] = []
        self._acks = 0
        """How many of the jobs are acknowledgements."""
        self._acks_due = False
        self._lingering: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def ready(self) -> bool:
        """Whether something waits that does not linger."""
        return len(self._jobs) > (0 if self._takes_acks else self._acks)

    @property
    def _takes_acks(self) -> bool:
        return self._acks_due or self._acks >= ACKS_AT_ONCE or self.closing

    def add(self, job: Job) -> None:
        """Let it wait; look at `ready` then."""
        self._jobs.append(job)
        if isinstance(job.work, Acknowledgement):
            self._acks += 1
            if self._lingering is None:
                loop = asyncio.get_running_loop()
                self._lingering = loop.call_later(ACK_LINGER, self._lingered)

    def _lingered(self) -> None:
        self._lingering = None
        self._acks_due = True
        self._due()

    def take(self, most: int, beside: Iterable[Bundle] = ()) -> list[Job]:
        """The jobs of the next batch, at most so many, and none about a device of those `beside`
        which it is to run."""
        busy = [bundle.devices for bundle in beside]
        jobs, left = list[Job](), list[Job]()
        acks_too = self._takes_acks
        passed_over: set[bytes] = set()
        for place, job in enumerate(self._jobs):
            if len(jobs) == most:
                left += self._jobs[place:]
                break
            if isinstance(job.work, Acknowledgement) and not acks_too:
                left.append(job)
            elif busy and not _is_free(job.work, passed_over, *busy):
                # What comes for these devices later waits, too: the order stays, and nobody starves.
                passed_over.update(_devices(job.work))
                left.append(job)
            else:
                jobs.append(job)
        self._jobs = left
        self._acks = sum(isinstance(job.work, Acknowledgement) for job in left)
        self._acks_due = acks_too and self._acks > 0
        if not self._acks and self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        return jobs


def _is_free(work: Work, *taken: Collection[bytes]) -> bool:
    return not any(device in devices for device in _devices(work) for devices in taken)


def _devices(work: Work) -> Iterable[bytes]:
    yield work.device
    if isinstance(work, Submission):
        for wrap in work.send.wraps:
            yield wrap.device
    elif isinstance(work, Acknowledgement):
        for receipt in work.receipts:
            yield receipt.sender_device
