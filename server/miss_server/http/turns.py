"""One after the other: what a stranger makes the server do waits for the same stranger's own."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns:
    """A queue for each name, first come first served; a name that nobody waits for takes no room."""

    def __init__(self) -> None:
        self._queues: dict[tuple[str, ...], _Queue] = {}

    @asynccontextmanager
    async def of(self, *names: str) -> AsyncIterator[None]:
        """Around what only one at a time of these names may do."""
        queue = self._queues.setdefault(names, _Queue())
        queue.here += 1
        try:
            async with queue.lock:
                yield
        finally:
            queue.here -= 1
            if not queue.here:
                del self._queues[names]


class _Queue:
    """Who waits, and how many with the one whose turn it is."""

    __slots__ = ("here", "lock")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.here = 0


class Together(Generic[T]):
    """One write after the other for each name, of all that came while the last one ran, up to `most`.

    Args:
        write: tells of each what it is refused with, or None; what it raises is told to all.
    """

    def __init__(
        self, write: Callable[[Sequence[T]], Awaitable[Sequence[Exception | None]]], most: int
    ) -> None:
        self._write = write
        self._most = most
        self._waiting: dict[str, deque[tuple[T, asyncio.Future[None]]]] = {}
        self._writing: set[asyncio.Task[None]] = set()

    async def put(self, name: str, one: T) -> None:
        """Return when it is written; raises what it is refused with."""
        done = asyncio.get_running_loop().create_future()
        if (waiting := self._waiting.get(name)) is not None:
            waiting.append((one, done))
        else:
            self._waiting[name] = deque([(one, done)])
            # A task, so that nobody's write ends with somebody else's call.
            task = asyncio.create_task(self._write_all(name))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)
        await done

    async def _write_all(self, name: str) -> None:
        waiting = self._waiting[name]
        try:
            while waiting:
                some = [waiting.popleft() for _ in range(min(len(waiting), self._most))]
                await self._write_some(some)
        finally:
            del self._waiting[name]
            for _, done in waiting:  # the loop ends, and nobody writes any more
                done.cancel()

    async def _write_some(self, some: Sequence[tuple[T, asyncio.Future[None]]]) -> None:
        told: Sequence[Exception | None]
        try:
            told = await self._write([one for one, _ in some])
        except Exception as error:  # noqa: BLE001  # it is theirs who wait
            told = [error] * len(some)
        except BaseException:
            for _, done in some:
                done.cancel()
            raise
        for (_, done), refused in zip(some, told, strict=True):
            if done.done():
                continue  # its caller has gone
            if refused is None:
                done.set_result(None)
            else:
                done.set_exception(refused)
