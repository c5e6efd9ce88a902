"""Doorbells of several nodes, and an ear that remembers what a node heard."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from miss_protocol.ids import DeviceId
from miss_server.doorbell.interface import Doorbell, News

PATIENCE = 60.0


def now_ms() -> int:
    """The machine's clock."""
    return time.time_ns() // 1_000_000


@dataclass
class Ear:
    """Listens to a doorbell."""

    bell: Doorbell
    heard: list[News] = field(default_factory=list)
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.bell.listen(self._take)

    def _take(self, news: News) -> None:
        self.heard.append(news)
        self._more.set()

    async def until(self, enough: Callable[["Ear"], bool]) -> None:
        """Wait until what was heard is enough."""
        async with asyncio.timeout(PATIENCE):
            while not enough(self):
                self._more.clear()
                await self._more.wait()

    @property
    def devices(self) -> set[DeviceId]:
        """All devices that were announced."""
        return {device for news in self.heard for device in news.devices}

    @property
    def sessions(self) -> set[tuple[DeviceId, int]]:
        """All sessions that were announced."""
        return {session for news in self.heard for session in news.sessions}

    @property
    def everything(self) -> int:
        """How often it was told to look at everything."""
        return sum(news.everything for news in self.heard)

    async def up(self) -> None:
        """Wait until its doorbell works; then forget what was heard."""
        await state_is(self.bell, up=True)
        self.heard.clear()


async def state_is(bell: Doorbell, *, up: bool, why: str = "") -> None:
    """Wait until a doorbell is up, or down for a reason that says `why`."""
    async with asyncio.timeout(PATIENCE):
        while (state := bell.state()).up is not up or why not in state.why:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # a state tells nobody that it changed


@asynccontextmanager
async def rung(*bells: Doorbell) -> AsyncIterator[list[Ear]]:
    """Start them, with an ear each, and wait until all are up; until the block ends."""
    async with AsyncExitStack() as stack:
        ears = [Ear(bell) for bell in bells]
        for bell in bells:
            await bell.start()
            stack.push_async_callback(bell.stop)
        for ear in ears:
            await ear.up()
        yield ears
