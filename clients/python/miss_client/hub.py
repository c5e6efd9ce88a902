"""Hands events to whoever listens. A slow or failing listener delays nobody and loses nothing:
what an event tells is already in the store."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from miss_client.events import Event


class Hub:
    """Events for any number of listeners."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Event | None]] = set()
        self._shown: set[asyncio.Queue[Event | None]] = set()
        """Those of `events`: of an application, not of a wait for one thing."""

    @property
    def is_heard(self) -> bool:
        """Whether an application follows `events`, so that what is told once is told to somebody."""
        return bool(self._shown)

    def tell(self, event: Event) -> None:
        """Hand an event to every present listener."""
        for queue in self._queues:
            queue.put_nowait(event)

    def events(self) -> AsyncIterator[Event]:
        """Events from this call on, until `close`."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._queues.add(queue)
        self._shown.add(queue)
        return self._listen(queue)

    async def _listen(self, queue: asyncio.Queue[Event | None]) -> AsyncIterator[Event]:
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._queues.discard(queue)
            self._shown.discard(queue)

    @contextmanager
    def listening(self) -> Iterator[asyncio.Queue[Event | None]]:
        """Events from now on, as a queue; None is the end."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    def close(self) -> None:
        """End every listener's loop."""
        for queue in self._queues:
            queue.put_nowait(None)
