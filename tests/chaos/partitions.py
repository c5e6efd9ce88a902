"""Partitions: packets between two parts are lost, one way only. Needs root, `ip`, `nsenter`, `nft`.

Each node is in a network of its own; PostgreSQL, Redis and the crowd are at the other end of its cable.
The first node is cut off, the other one goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable

from tests.chaos.service import Shape
from tests.chaos.stage import Fault, Stage
from tests.load.phone import Manners

_APART = Shape(apart=True)
_QUICK = Manners(ping_every=1.0, patience=2.0)
"""Of phones: a run should not wait until they notice that nobody answers."""


def cut_off_from(other: str) -> Callable[[Stage], Awaitable[None]]:
    """Lose what the first node says to `clients`, `postgres` or `redis`, then what they say to it."""

    async def play(stage: Stage) -> None:
        [network, *_] = stage.service.networks
        here, there = {
            "clients": ("input", stage.service.nodes[0].port),
            "postgres": ("output", stage.service.postgres.port),
            "redis": ("output", stage.service.redis.port if stage.service.redis else 0),
        }[other]
        for way in ("output", "input"):
            for phone in stage.crowd.online:
                phone.move(hastily=False)  # to either node: none was left at one that was cut off
            await stage.all_back()
            await stage.pause(0.5, 1.0)
            # Requests go to the port of whoever serves, answers come from it.
            await network.drop(way, f"tcp {'dport' if way == here else 'sport'} {there}")
            await asyncio.sleep(stage.seconds(13.0, 4.0))
            if not await network.dropped():
                stage.faults.append(f"no packet was lost ({way})")
            await network.mend()
            await stage.all_back()

    return play


ROOT_FAULTS = (
    Fault("a node and PostgreSQL apart, one way, then the other", cut_off_from("postgres"), _APART, manners=_QUICK),
    Fault("a node and Redis apart, one way, then the other", cut_off_from("redis"), _APART, manners=_QUICK),
    Fault("a node and its clients apart, one way, then the other", cut_off_from("clients"), _APART, manners=_QUICK),
)  # fmt: skip
