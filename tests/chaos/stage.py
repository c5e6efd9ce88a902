"""Where a fault of a service is played: its nodes under supervisors, and the crowd before them."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from tests.chaos.service import Service, Shape, enrolled, make_tables, service
from tests.load.crowd import Crowd
from tests.load.ledger import Verdict
from tests.load.phone import Manners
from tests.load.scene import Scene, Supervisor
from tests.support.wire import Server


@dataclass
class Stage(Scene):
    """What a fault acts on: a service."""

    service: Service


@dataclass(frozen=True)
class Fault:
    """One way for a service to go wrong.

    Attributes:
        name: as the table has it.
        play: what goes wrong while the crowd talks; over when it returns.
        people: devices; half of them are away until the fault is over.
        rate: messages a second.
        talk: seconds of talk, longer if the play takes longer: (full, short).
        ends: exit statuses of nodes that the fault may cause.
        restores: devices may find that the database is an older copy.
        in_tests: `make test` plays its short form, too; the others are for `make chaos`.
    """

    name: str
    play: Callable[[Stage], Awaitable[None]]
    shape: Shape = field(default_factory=Shape)
    people: int = 40
    rate: float = 100.0
    talk: tuple[float, float] = (6.0, 3.0)
    manners: Manners = field(default_factory=Manners)
    ends: frozenset[int] = frozenset()
    restores: bool = False
    in_tests: bool = False


def broken(fault: Fault, mistake: str) -> Fault:
    """The same fault, of a service whose nodes have that mistake in them (`tests.mutation.chaos_faults`)."""
    return replace(fault, shape=replace(fault.shape, broken_by=mistake))


async def run(fault: Fault, seed: int, folder: Path, *, short: bool = False) -> Verdict:
    """Play a fault once."""
    chance = random.Random(seed)
    async with service(folder, chance, fault.shape) as it:
        await make_tables(it, fault.shape)
        people = await enrolled(it, fault.people, random.Random(seed))
        await asyncio.gather(*(node.start() for node in it.nodes))
        crowd = Crowd(
            cast(Server, it),
            people,
            seed,
            lambda: it.socket_url,
            fault.manners,
            away=fault.people // 2,
        )
        supervisors = [Supervisor(node) for node in it.nodes]
        stage = Stage(supervisors, crowd, random.Random(seed + 1), short, service=it)
        try:
            await stage.play(fault.play(stage), fault.rate, fault.talk)
        finally:
            await stage.stop_servers()
        return stage.verdict(fault.ends, restores=fault.restores)
