"""What every fault under load has in common, on one server or several: the talk around it, the verdict."""

import asyncio
import random
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field

from tests.load.crowd import Crowd
from tests.load.ledger import Verdict, judge
from tests.support.server import ServerProcess

SETTLE_SECONDS = 180.0
"""After the fault, until each sender heard the last word of each message."""
TRACEBACK_SHOWN = 8000
"""Characters."""


class Supervisor:
    """Starts the server anew whenever its process ends, as systemd would."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.ends: list[int] = []
        """Exit statuses, a signal as its negative number."""
        self.may_start = asyncio.Event()
        """Cleared, a server that ended stays down."""
        self.may_start.set()
        self._up = asyncio.Condition()
        self._starts = 0

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            assert self.server.process is not None
            self.ends.append(await self.server.process.wait())
            await self.may_start.wait()
            await self.server.start()
            async with self._up:
                self._starts += 1
                self._up.notify_all()

    async def restarted(self, times: int, seconds: float = 60.0) -> None:
        """Wait until it was started anew so often."""
        async with asyncio.timeout(seconds), self._up:
            await self._up.wait_for(lambda: self._starts >= times)


@dataclass
class Scene:
    """What a fault acts on, wherever the servers run."""

    supervisors: Sequence[Supervisor]
    crowd: Crowd
    chance: random.Random
    short: bool
    notes: list[str] = field(default_factory=list, kw_only=True)
    faults: list[str] = field(default_factory=list, kw_only=True)

    def seconds(self, full: float, short: float) -> float:
        """A duration, or its short form for a test."""
        return short if self.short else full

    async def pause(self, least: float, most: float) -> None:
        """Let the crowd talk for a while that the seed chooses."""
        await asyncio.sleep(self.chance.uniform(least, most))

    async def all_back(self) -> None:
        """Wait until everybody who is meant to be online is."""
        await self.crowd.connected(self.crowd.online)

    async def play(self, fault: Awaitable[None], rate: float, talk: tuple[float, float]) -> None:
        """Let all come, talk while the fault is played, and wait for each message's end.

        Args:
            rate: messages a second.
            talk: seconds of talk, longer if the fault takes longer: (full, short).
        """
        watching = [asyncio.create_task(each.watch()) for each in self.supervisors]
        try:
            self.crowd.connect(self.crowd.online)
            await self.all_back()
            await self._talk_while(fault, rate, self.seconds(*talk))
            self.crowd.connect(self.crowd.away)
            await self.crowd.history.until_over(SETTLE_SECONDS)
        except TimeoutError as error:
            self.faults.append(f"waited in vain {error}")
        finally:
            await self.crowd.leave()
            for each in watching:
                each.cancel()
            for ended in await asyncio.gather(*watching, return_exceptions=True):
                if isinstance(ended, Exception):
                    self.faults.append(f"a server could not be started anew: {ended}")

    async def _talk_while(self, fault: Awaitable[None], rate: float, seconds: float) -> None:
        playing = asyncio.ensure_future(fault)
        try:
            await self.crowd.talk(rate, seconds)
            while not playing.done():
                await self.crowd.talk(rate, 0.5)
            await playing
        finally:
            playing.cancel()

    async def stop_servers(self) -> None:
        """End in order whatever still runs."""
        for each in self.supervisors:
            process = each.server.process
            if process is not None and process.returncode is None:
                await each.server.stop()

    def verdict(self, ends: frozenset[int], *, restores: bool, tracebacks: bool = False) -> Verdict:
        """What came of it.

        Args:
            ends: exit statuses of servers that the fault may cause.
            restores: devices may find that the database is an older copy.
            tracebacks: a server's log may have some.
        """
        verdict = judge(self.crowd.history)
        verdict.notes += self.notes
        verdict.faults += self.faults
        unexpected = [end for each in self.supervisors for end in each.ends if end not in ends]
        if unexpected:
            verdict.faults.append(f"servers ended with {unexpected}")
        if self.crowd.history.restores and not restores:
            verdict.faults.append("the server was taken for an older copy")
        for each in self.supervisors:
            _, found, text = each.server.log_text().partition("Traceback")
            if found and not tracebacks:
                # The whole folder is gone when the run is over.
                verdict.faults.append(f"a traceback in a server's log:\n{text[:TRACEBACK_SHOWN]}")
        return verdict
