"""Where a fault of one server is played: its ground, the bad proxy before it, the crowd."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.load.crowd import Crowd, enrol_people
from tests.load.ledger import Verdict
from tests.load.phone import Manners
from tests.load.scene import Scene, Supervisor
from tests.support.badproxy import BadProxy, Weather
from tests.support.server import ServerProcess


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
class Stage(Scene):
    """What a fault acts on: one server."""

    ground: Ground
    proxy: BadProxy | None

    @property
    def supervisor(self) -> Supervisor:
        """The server's."""
        return self.supervisors[0]

    @property
    def server(self) -> ServerProcess:
        """The one there is."""
        return self.supervisor.server


Play = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """One way to go wrong.

    Attributes:
        name: as the table has it.
        play: what goes wrong while the crowd talks; over when it returns.
        people: devices.
        people_short: of its short form, if other.
        away: of these, who is away until the fault is over; half if not given.
        rate: messages a second.
        talk: seconds of talk, longer if the play takes longer: (full, short).
        weather: of the bad proxy that all phones go through, if any.
        ends: exit statuses of the server that the fault may cause.
    """

    name: str
    play: Play
    people: int = 40
    people_short: int | None = None
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
    count = fault.people_short or fault.people if short else fault.people
    people = await enrol_people(database, count, random.Random(seed))
    server = ServerProcess(
        database, folder / "server.log", options=ground.options, under=ground.under
    )
    await server.start()
    proxy = BadProxy(server.port, replace(fault.weather)) if fault.weather is not None else None
    if proxy is not None:
        await proxy.start()

    def url() -> str:
        return server.socket_url if proxy is None else proxy.url + "/v1/ws"

    away = count // 2 if fault.away is None else fault.away
    crowd = Crowd(server, people, seed, url, fault.manners, away=away)
    stage = Stage(
        [Supervisor(server)], crowd, random.Random(seed + 1), short, ground=ground, proxy=proxy
    )
    try:
        await stage.play(fault.play(stage), fault.rate, fault.talk)
    finally:
        if proxy is not None:
            await proxy.stop()
        await stage.stop_servers()
    return stage.verdict(fault.ends, restores=fault.restores, tracebacks=fault.dead_disk)
