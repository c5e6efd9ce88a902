"""One after the other: what a stranger makes the server do waits for the same stranger's own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


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
