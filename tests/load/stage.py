"""Where a fault is played: the server under a supervisor, the crowd, and the time there is."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.load.crowd import Crowd, enrol_people
from tests.load.ledger import Verdict, judge
from tests.load.phone import Manners
from tests.support.badproxy import BadProxy, Weather
from tests.support.server import ServerProcess

SETTLE_SECONDS = 180.0
"""After the fault, until each sender heard the last word of each message."""


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


@dataclass(frozen=True)
class Ground:
    """Where the server runs: a folder for its database, and what its process runs under."""

    folder: Path
    under: Sequence[str] = ()
    options: Sequence[str] = ()
    home: object = None
    """What the fault must know of the ground: a disk, a network namespace."""


GroundMaker = Callable[[Path], AbstractAsyncContextManager[Ground]]


@asynccontextmanager
async def plain(folder: Path) -> AsyncIterator[Ground]:
    """A folder of this machine."""
    yield Ground(folder)


@dataclass
class Stage:
    """What a fault acts on."""

    ground: Ground
    server: ServerProcess
    supervisor: Supervisor
    crowd: Crowd
    chance: random.Random
    short: bool
    proxy: BadProxy | None
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def seconds(self, full: float, short: float) -> float:
        """A duration, or its short form for a test."""
        return short if self.short else full

    async def pause(self, least: float, most: float) -> None:
        """Let the crowd talk for a while that the seed chooses."""
        await asyncio.sleep(self.chance.uniform(least, most))


Play = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """One way to go wrong.

    Attributes:
        name: as the table has it.
        play: what goes wrong while the crowd talks; over when it returns.
        people: devices.
        away: of these, who is away until the fault is over; half if not given.
        rate: messages a second.
        talk: seconds of talk, longer if the play takes longer: (full, short).
        weather: of the bad proxy that all phones go through, if any.
        ends: exit statuses of the server that the fault may cause.
    """

    name: str
    play: Play
    people: int = 40
    away: int | None = None
    rate: float = 150.0
    talk: tuple[float, float] = (8.0, 3.0)
    ground: GroundMaker = plain
    weather: Weather | None = None
    manners: Manners = field(default_factory=Manners)
    ends: frozenset[int] = frozenset()
    dead_disk: bool = False
    """The server may log that it cannot read any more."""
    restores: bool = False
    """Devices may find that the server is an older copy."""


async def run(fault: Fault, seed: int, folder: Path, *, short: bool = False) -> Verdict:
    """Play a fault once."""
    async with fault.ground(folder) as ground:
        return await _run(fault, seed, ground, folder, short=short)


async def _run(fault: Fault, seed: int, ground: Ground, folder: Path, *, short: bool) -> Verdict:
    database = ground.folder / "miss.sqlite"
    people = await enrol_people(database, fault.people, random.Random(seed))
    server = ServerProcess(
        database, folder / "server.log", options=ground.options, under=ground.under
    )
    await server.start()
    proxy = BadProxy(server.port, replace(fault.weather)) if fault.weather is not None else None
    if proxy is not None:
        await proxy.start()

    def url() -> str:
        return server.socket_url if proxy is None else proxy.url + "/v1/ws"

    away = fault.people // 2 if fault.away is None else fault.away
    crowd = Crowd(server, people, seed, url, fault.manners, away=away)
    supervisor = Supervisor(server)
    watching = asyncio.create_task(supervisor.watch())
    stage = Stage(ground, server, supervisor, crowd, random.Random(seed + 1), short, proxy)
    try:
        crowd.connect(crowd.online)
        await crowd.connected(crowd.online)
        await _talk_while(fault.play(stage), crowd, fault, short=short)
        crowd.connect(crowd.away)
        await crowd.history.until_over(SETTLE_SECONDS)
    except TimeoutError as error:
        stage.faults.append(f"waited in vain {error}")
    finally:
        await crowd.leave()
        if proxy is not None:
            await proxy.stop()
        watching.cancel()
        [ended] = await asyncio.gather(watching, return_exceptions=True)
        if isinstance(ended, Exception):
            stage.faults.append(f"the supervisor could not start the server: {ended}")
        if server.process is not None and server.process.returncode is None:
            await server.stop()
    return _verdict(fault, stage)


async def _talk_while(play: Awaitable[None], crowd: Crowd, fault: Fault, *, short: bool) -> None:
    """Talk for the fault's time, and on until it is over."""
    playing = asyncio.ensure_future(play)
    try:
        await crowd.talk(fault.rate, fault.talk[1] if short else fault.talk[0])
        while not playing.done():
            await crowd.talk(fault.rate, 0.5)
        await playing
    finally:
        playing.cancel()


def _verdict(fault: Fault, stage: Stage) -> Verdict:
    verdict = judge(stage.crowd.history)
    verdict.notes += stage.notes
    verdict.faults += stage.faults
    unexpected = [end for end in stage.supervisor.ends if end not in fault.ends]
    if unexpected:
        verdict.faults.append(f"the server ended with {unexpected}")
    if stage.crowd.history.restores and not fault.restores:
        verdict.faults.append("the server was taken for an older copy")
    if not fault.dead_disk and "Traceback" in stage.server.log_text():
        verdict.faults.append("a traceback in the server's log")
    return verdict
