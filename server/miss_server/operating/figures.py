"""The figures of a database, kept for a while: summing them up takes up to seconds."""

import asyncio

from miss_server.relay.clock import Clock
from miss_server.storage.overview import Figures, Overview

KEPT = 15.0
"""Seconds for which figures are good: a usual interval of scrapes."""


class FiguresKept:
    """`get` for many who ask; `failures` counts how often the database could not be asked."""

    def __init__(self, overview: Overview, clock: Clock) -> None:
        self._overview = overview
        self._clock = clock
        self._asking: asyncio.Task[Figures] | None = None
        self._got: tuple[float, Figures] | None = None
        self.failures = 0

    async def get(self) -> Figures:
        """The figures of at most `KEPT` seconds ago. Raises what the database raises."""
        if self._got is not None and self._clock.steady() < self._got[0] + KEPT:
            return self._got[1]
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(_seen)
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Figures:
        try:
            figures = await self._overview.figures(now_ms=self._clock.now_ms())
            self._got = self._clock.steady(), figures
            return figures
        except Exception:
            self.failures += 1
            raise
        finally:
            self._asking = None


def _seen(asking: asyncio.Task[Figures]) -> None:
    # Those who waited may all be gone; what it raised was raised to those who are not.
    if not asking.cancelled():
        asking.exception()
