"""Where a fault of a service is played: its nodes under supervisors, the crowd, and the time there is."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from tests.chaos.service import Service, enrolled, service
from tests.load.crowd import Crowd
from tests.load.ledger import Verdict, judge
from tests.load.phone import Manners
from tests.load.stage import SETTLE_SECONDS, Supervisor
from tests.support.wire import Server


@dataclass
class Stage:
    """What a fault acts on."""

    service: Service
    supervisors: Sequence[Supervisor]
    crowd: Crowd
    chance: random.Random
    folder: Path
    short: bool
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def seconds(self, full: float, short: float) -> float:
        """A duration, or its short form for a test."""
        return short if self.short else full

    async def pause(self, least: float, most: float) -> None:
        """Let the crowd talk for a while that the seed chooses."""
        await asyncio.sleep(self.chance.uniform(least, most))

    async def all_back(self) -> None:
        """Wait until everybody who is meant to be online is."""
        await self.crowd.connected(self.crowd.online)


@dataclass(frozen=True)
class Fault:
    """One way for a service to go wrong.

    Attributes:
        name: as the table has it.
        play: what goes wrong while the crowd talks; over when it returns.
        rung_by: see `service`.
        modules: what each node runs.
        ends: exit statuses of nodes that the fault may cause.
        restores: devices may find that the database is an older copy.
        in_tests: `make test` plays its short form, too; the others are for `make chaos`.
    """

    name: str
    play: Callable[[Stage], Awaitable[None]]
    rung_by: str = "redis"
    nodes: int = 2
    modules: Sequence[str] = ("miss_server",)
    people: int = 40
    rate: float = 100.0
    talk: tuple[float, float] = (10.0, 3.0)
    ends: frozenset[int] = frozenset()
    restores: bool = False
    in_tests: bool = False


async def run(fault: Fault, seed: int, folder: Path, *, short: bool = False) -> Verdict:
    """Play a fault once."""
    chance = random.Random(seed)
    async with service(
        folder, chance, nodes=fault.nodes, rung_by=fault.rung_by, modules=fault.modules
    ) as it:
        people = await enrolled(it, fault.people, random.Random(seed))
        await asyncio.gather(*(node.start() for node in it.nodes))
        crowd = Crowd(
            cast(Server, it), people, seed, lambda: it.socket_url, Manners(), away=fault.people // 2
        )
        supervisors = [Supervisor(node) for node in it.nodes]
        watching = [asyncio.create_task(each.watch()) for each in supervisors]
        stage = Stage(it, supervisors, crowd, random.Random(seed + 1), folder, short)
        try:
            crowd.connect(crowd.online)
            await stage.all_back()
            await _talk_while(fault, stage)
            crowd.connect(crowd.away)
            await crowd.history.until_over(SETTLE_SECONDS)
        except TimeoutError as error:
            stage.faults.append(f"waited in vain {error}")
        finally:
            await crowd.leave()
            for each in watching:
                each.cancel()
            for ended in await asyncio.gather(*watching, return_exceptions=True):
                if isinstance(ended, Exception):
                    stage.faults.append(f"a node could not be started: {ended}")
            for node in it.nodes:
                if node.process is not None and node.process.returncode is None:
                    await node.stop()
        return _verdict(fault, stage)


async def _talk_while(fault: Fault, stage: Stage) -> None:
    """Talk for the fault's time, and on until it is over."""
    playing = asyncio.ensure_future(fault.play(stage))
    try:
        await stage.crowd.talk(fault.rate, stage.seconds(*fault.talk))
        while not playing.done():
            await stage.crowd.talk(fault.rate, 0.5)
        await playing
    finally:
        playing.cancel()


def _verdict(fault: Fault, stage: Stage) -> Verdict:
    verdict = judge(stage.crowd.history)
    verdict.notes += stage.notes
    verdict.faults += stage.faults
    ends = [end for each in stage.supervisors for end in each.ends]
    unexpected = [end for end in ends if end not in fault.ends]
    if unexpected:
        verdict.faults.append(f"nodes ended with {unexpected}")
    if stage.crowd.history.restores and not fault.restores:
        verdict.faults.append("the database was taken for an older copy")
    if "Traceback" in stage.service.log_text():
        verdict.faults.append("a traceback in a node's log")
    return verdict
