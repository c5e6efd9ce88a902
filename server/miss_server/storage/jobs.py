"""What waits to be written by a group commit, the same for every engine."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from miss_server.storage.messages import Acknowledgement, NotDurable, Submission


class Job:
    """One thing to write, and who waits for it."""

    __slots__ = ("error", "future", "long", "now_ms", "outcome", "work")

    def __init__(
        self, work: Any, now_ms: int, future: asyncio.Future[Any], long: bool = False
    ) -> None:
        self.work = work
        self.now_ms = now_ms
        self.future = future
        self.long = long
        """It takes milliseconds, so its batch must not hold up the event loop."""
        self.outcome: Any = None
        self.error: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        """It is not known to be done, and is not tried again."""
        self.error = error
        if isinstance(self.work, Acknowledgement):
            self.work.line.broken = True


def place(job: Job) -> tuple[int, bytes, int]:
    """Where a job stands in its batch: rows of one mailbox are given in the order of positions.

    Acknowledgements stand before sends: they make room in mailboxes that sends may need.
    """
    work = job.work
    if isinstance(work, Submission):
        return 2, work.device, work.send.sn
    return (1 if isinstance(work, Acknowledgement) else 0), b"", 0


def in_line(jobs: Iterable[Job]) -> list[tuple[Job, Acknowledgement]]:
    """The acknowledgements that may be stored; those behind one that failed fail too."""
    given: list[tuple[Job, Acknowledgement]] = []
    for job in jobs:
        if not isinstance(job.work, Acknowledgement):
            continue
        if job.work.line.broken:
            job.error = NotDurable("an acknowledgement before it was not stored")
        else:
            given.append((job, job.work))
    return given


def answer(jobs: Sequence[Job]) -> None:
    """Tell those who wait."""
    for job in jobs:
        if job.future.done():
            continue  # its caller was cancelled; what it asked for stands all the same
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.outcome)
