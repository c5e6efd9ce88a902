"""The figures of a database, kept for a while: summing them up takes up to seconds."""

import asyncio

from miss_server.relay.clock import Clock
from miss_server.storage.overview import Figures, Overview

KEPT = 15.0
"""Seconds for which figures are good: a usual interval of scrapes."""
SHARE = 0.01
"""Of the time may be spent on summing up: what takes two seconds is kept for three minutes."""


class FiguresKept:
    """`get` for many who ask; `failures` counts how often the database could not be asked."""

    def __init__(self, overview: Overview, clock: Clock) -> None:
        self._overview = overview
        self._clock = clock
        self._asking: asyncio.Task[Figures] | None = None
        self._got: Figures | None = None
        self._good_until = 0.0
        self.failures = 0

    async def get(self) -> Figures:
        """The figures of a moment ago. Raises what the database raises."""
        if self._got is not None and self._clock.steady() < self._good_until:
            return self._got
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(_seen)
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Figures:
        begun = self._clock.steady()
        try:
            self._got = await self._overview.figures(now_ms=self._clock.now_ms())
            now = self._clock.steady()
            self._good_until = now + max(KEPT, (now - begun) / SHARE)
            return self._got
        except Exception:
            self.failures += 1
            raise
        finally:
            self._asking = None


def _seen(asking: asyncio.Task[Figures]) -> None:
    # Those who waited may all be gone; what it raised was raised to those who are not.
    if not asking.cancelled():
        asking.exception()
