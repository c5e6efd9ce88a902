"""What happens by the clock: deadlines, the sweep for lost rings, expiry, cleaning."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Protocol

import structlog

from miss_server.doorbell.interface import Doorbell
from miss_server.relay.clock import Clock, EarlierClock
from miss_server.relay.hub import Hub
from miss_server.relay.sweep import Sweep
from miss_server.storage.messages import Messages, NotDurable

TICK_EVERY = 1.0
EXPIRE_EVERY = 5.0
CLEAN_EVERY = 60.0
SEEN_EVERY = 3600.0
"""Dormancy counts days, so an hour is exact enough for who stays connected."""

log = structlog.get_logger()


class Work(Protocol):
    """A round's method: its name goes into the log."""

    __name__: str

    def __call__(self) -> Awaitable[None]: ...


class Keeper:
    """Runs until cancelled; trouble of one round is logged and the next one tries again.

    Args:
        rounds: further ones, each with the seconds between two.
    """

    def __init__(
        self,
        messages: Messages,
        hub: Hub,
        doorbell: Doorbell,
        sweep: Sweep,
        clock: Clock,
        *,
        sweep_every: float,
        rounds: Sequence[tuple[float, Work]] = (),
    ) -> None:
        self._messages = messages
        self._hub = hub
        self._doorbell = doorbell
        self._sweep = sweep
        self._clock = clock
        self._earlier = EarlierClock(clock, messages.tally)
        self._sweep_every = sweep_every
        self._rounds = rounds

    async def run(self) -> None:
        """Run all rounds."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(TICK_EVERY, self.tick))
            group.create_task(self._every(self._sweep_every, self.sweep))
            group.create_task(self._every(EXPIRE_EVERY, self.expire))
            group.create_task(self._every(CLEAN_EVERY, self.clean))
            group.create_task(self._every(SEEN_EVERY, self.note_seen))
            for seconds, work in self._rounds:
                group.create_task(self._every(seconds, work))

    async def _every(self, seconds: float, work: Work) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._once(work)

    async def _once(self, work: Work) -> None:
        try:
            await work()
        except NotDurable as error:
            log.error("storage trouble", round=work.__name__, error=str(error))
        except Exception:
            log.exception("round failed", round=work.__name__)

    async def begin(self) -> None:
        """Before the first device comes: what ran out while the server was away is not delivered
        late."""
        await self._once(self.expire)

    async def tick(self) -> None:
        """Look at every connection's deadline."""
        now = self._clock.steady()
        for connection in (*self._hub.connections(), *self._hub.strangers):
            connection.check(now)

    async def sweep(self) -> None:
        """Look for what nobody rang for."""
        await self._sweep.look()

    async def expire(self) -> None:
        """Turn messages past their time into gaps that both ends see."""
        while devices := await self._messages.expire(
            protected=self._hub.delivered(), now_ms=self._clock.now_ms()
        ):
            self._doorbell.ring(devices)

    async def note_seen(self) -> None:
        """Who stays connected for a month is not dormant."""
        await self._hub.note_seen(self._clock.now_ms())

    async def clean(self) -> None:
        """Forget what is kept for retries only."""
        while await self._messages.clean(now_ms=self._earlier.now_ms()):
            pass
