"""Ten minutes with people who come and go: `python -m tests.bench.soak`.

Memory must stay flat, no message may be lost, and at the end the tables are back at their floor:
no row waits, no status is pending, and settled sends are forgotten when their time is over.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import uvloop

from miss_server.storage.sqlite.engine import driver, open_engine
from tests.bench import readme
from tests.bench.figures import Bar, Figure, save, say
from tests.bench.link import close_all
from tests.bench.machine import cpu_seconds, memory_kib
from tests.bench.population import acquaint, populate
from tests.bench.wanderer import Wanderer
from tests.support.server import ServerProcess

SECONDS = 600.0
DEVICES = 200
RATE = 300
"""Messages a second, well below what the server can do: it must not have to catch up."""
KEPT_SECONDS = 30
STEP_SECONDS = 0.02
SETTLE_SECONDS = 60.0
MEMORY = Bar(4, at_most=True)
NOTHING = Bar(0, at_most=True)


@dataclass
class _Soak:
    wanderers: list[Wanderer]
    rested: asyncio.Event
    sent: int = 0

    async def talk(self, seconds: float, rate: int) -> None:
        """Send at a steady rate, from whoever is there."""
        chance = random.Random(2)
        for _ in range(round(seconds / STEP_SECONDS)):
            here = [one for one in self.wanderers if one.may_send]
            for sender in chance.sample(here, min(len(here), round(rate * STEP_SECONDS))):
                other = chance.choice(self.wanderers)
                if other is not sender:
                    sender.send(other.peer)
                    self.sent += 1
            await asyncio.sleep(STEP_SECONDS)

    async def rest(self) -> None:
        """Wait until every message was received and its sender told.

        Raises:
            TimeoutError: a message was lost.
        """
        async with asyncio.timeout(SETTLE_SECONDS):
            while not all(one.at_rest for one in self.wanderers):
                self.rested.clear()
                await self.rested.wait()


async def _measure(
    folder: Path, seconds: float, devices: int, rate: int, kept: int
) -> list[Figure]:
    database = folder / "miss.sqlite"
    peers = populate(database, devices)
    acquaint(database, combinations(peers, 2))
    server = ServerProcess(
        database,
        folder / "log",
        module="tests.bench.forgetful",
        settings={"BENCH_KEPT": str(kept)},
        budgets=True,
    )
    await server.start()
    assert server.process is not None
    rested, ending = asyncio.Event(), asyncio.Event()
    by_device: dict[bytes, Any] = {peer.device: peer for peer in peers}
    soak = _Soak(
        [Wanderer(peer, by_device, rested.set, random.Random(n)) for n, peer in enumerate(peers)],
        rested,
    )
    cpu, memory = cpu_seconds(server.process.pid), list[int]()
    try:
        looking = asyncio.create_task(_look(server.process.pid, memory, seconds / 100))
        async with asyncio.TaskGroup() as group:
            for one in soak.wanderers:
                group.create_task(one.wander(server.socket_url, ending))
            await soak.talk(seconds, rate)
            looking.cancel()
            cpu = cpu_seconds(server.process.pid) - cpu
            ending.set()
        await soak.rest()
        left = await _floor(database, kept)
        await close_all([one.link for one in soak.wanderers if one.link is not None])
    finally:
        await server.stop()
    fifth = len(memory) // 5
    early, late = memory[fifth : 2 * fifth], memory[-fifth:]
    return [
        Figure("soak: messages, all received and their senders told", soak.sent, "messages"),
        Figure("soak: connections", sum(one.connections for one in soak.wanderers), "logins"),
        Figure("soak: server CPU used", cpu / seconds, "cores"),
        Figure("soak: memory in the second fifth", statistics.median(early) / 1024, "MiB"),
        Figure("soak: memory in the last fifth", statistics.median(late) / 1024, "MiB"),
        Figure(
            "soak: growth between them",
            (statistics.median(late) - statistics.median(early)) / 1024,
            "MiB",
            MEMORY,
        ),
        *(Figure(f"soak: {name} left", count, "rows", NOTHING) for name, count in left.items()),
    ]


async def _look(pid: int, memory: list[int], every: float) -> None:
    while True:
        memory.append(memory_kib(pid))
        await asyncio.sleep(every)


async def _floor(database: Path, kept: int) -> dict[str, int]:
    """Rows of the tables, once settled sends had their time to be forgotten, or a bit later."""
    loop = asyncio.get_running_loop()
    until = loop.time() + 2 * kept + SETTLE_SECONDS
    while True:
        left = _rows(database)
        if not any(left.values()) or loop.time() > until:
            return left
        await asyncio.sleep(0.5)


def _rows(database: Path) -> dict[str, int]:
    engine = open_engine(database, read_only=True)
    with engine.connect() as connection:
        db = driver(connection)
        counts = {
            "mailbox rows": "SELECT count(*) FROM envelopes",
            "pending statuses": "SELECT count(*) FROM sends s JOIN devices d ON d.id = s.device"
            " WHERE s.tick > d.tick_acked",
            "sends": "SELECT count(*) FROM sends",
        }
        found = {name: db.execute(count).fetchone()[0] for name, count in counts.items()}
    engine.dispose()
    return found


def figures(
    *,
    seconds: float = SECONDS,
    devices: int = DEVICES,
    rate: int = RATE,
    kept: int = KEPT_SECONDS,
) -> list[Figure]:
    """One soak."""
    with tempfile.TemporaryDirectory(prefix="miss-bench-") as folder:
        return uvloop.run(_measure(Path(folder), seconds, devices, rate, kept))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--write", action="store_true", help="also into the README of the bench")
    chosen = parser.parse_args()
    found = figures(seconds=chosen.seconds, devices=chosen.devices, rate=chosen.rate)
    say(found)
    save(found, Path("bench.json"))
    if chosen.write:
        readme.write(Path("bench.json"))


if __name__ == "__main__":
    main()
