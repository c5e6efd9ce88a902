"""One device that comes back to 10,000 messages: `python -m tests.bench.drain`."""

import argparse
import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from miss_protocol import frames as f
from tests.bench.figures import Bar, Figure, medians, save, say
from tests.bench.filling import fill, receipts
from tests.bench.link import Answer, Link, close_all, connect, connect_all
from tests.bench.machine import cpu_seconds, memory_kib, still
from tests.bench.population import Peer, populate
from tests.support.server import ServerProcess

WAITING = 10_000
LOOK_EVERY = 0.02
"""Seconds between looks at the server's memory."""


class Drainer:
    """Takes what is delivered and acknowledges it with receipts, until all of it is durable."""

    def __init__(self, link: Link, owed: dict[bytes, msgspec.Raw]) -> None:
        self.done = asyncio.Event()
        self._owed = owed
        self._waiting = len(owed)
        self._refs = self._acked = 0
        link.taken = self._answer

    def _answer(self, _: Link, frames: list[f.ServerFrame]) -> list[Any]:
        answer = Answer()
        for frame in frames:
            match frame:
                case f.Deliver():
                    answer.position = frame.position
                    answer.receipts.append(self._owed[frame.id])
                    self._waiting -= 1
                case f.Acked():
                    self._acked = frame.ref
                case _:
                    raise ValueError(f"unexpected {frame}")
        if answer.receipts:
            self._refs += 1
        elif self._waiting == 0 and self._acked == self._refs:
            self.done.set()
        return answer.ack(self._refs)


async def drain(url: str, peer: Peer, owed: dict[bytes, msgspec.Raw]) -> tuple[Link, float]:
    """Connect and take everything; returns the connection, and the seconds from before it was made
    until the last acknowledgement was durable."""
    link = Link(peer, asyncio.get_running_loop())
    drainer = Drainer(link, owed)
    begun = time.perf_counter()
    await connect(url, link)
    await drainer.done.wait()
    return link, time.perf_counter() - begun


async def _measure(
    folder: Path, peer: Peer, other: Peer, owed: dict[bytes, msgspec.Raw]
) -> list[Figure]:
    server = ServerProcess(folder / "miss.sqlite", folder / "log")
    await server.start()
    assert server.process is not None
    pid = server.process.pid
    try:
        await close_all(await connect_all(server.socket_url, [other]))
        await still(pid)
        before, cpu = memory_kib(pid), cpu_seconds(pid)
        looking = asyncio.create_task(_highest(pid))
        link, wall = await drain(server.socket_url, peer, owed)
        looking.cancel()
        highest = await looking
        cpu = cpu_seconds(pid) - cpu
        await close_all([link])
    finally:
        await server.stop()
    name = f"drain of {len(owed):,} waiting messages"
    return [
        Figure(f"{name}: wall", wall, "s", Bar(3, True)),
        Figure(f"{name}: server CPU per message", cpu / len(owed) * 1e6, "us"),
        Figure(
            f"{name}: server memory above idle", (highest - before) / 1024, "MiB", Bar(16, True)
        ),
    ]


async def _highest(pid: int) -> int:
    highest = 0
    try:
        while True:
            highest = max(highest, memory_kib(pid))
            await asyncio.sleep(LOOK_EVERY)
    except asyncio.CancelledError:
        return max(highest, memory_kib(pid))


def figures(*, runs: int = 3, waiting: int = WAITING) -> list[Figure]:
    """Medians over `runs`, each on a copy of the same database."""
    measured = []
    with tempfile.TemporaryDirectory(prefix="miss-bench-") as folder:
        full = Path(folder) / "full.sqlite"
        peer, other, sender = populate(full, 3)
        fill(full, sender, [peer], waiting)
        owed = receipts(full, sender, peer)
        for run in range(runs):
            here = Path(folder) / str(run)
            here.mkdir()
            shutil.copy(full, here / "miss.sqlite")
            measured.append(uvloop.run(_measure(here, peer, other, owed)))
    return medians(measured)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--waiting", type=int, default=WAITING)
    chosen = parser.parse_args()
    found = figures(runs=chosen.runs, waiting=chosen.waiting)
    say(found)
    save(found, Path("bench.json"))


if __name__ == "__main__":
    main()
