"""Time from a send to its delivery at 1,000 messages a second: `python -m tests.bench.one_way`.

An open loop: messages are due at random times (Poisson) whatever the server does, and their time
counts from when they were due. Receipts and statuses run as always.
"""

import argparse
import asyncio
import random
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from miss_protocol import frames as f
from tests.bench import script as scripts
from tests.bench.figures import Bar, Figure, medians, save, say
from tests.bench.link import Answer, Link, close_all, connect_all
from tests.bench.machine import allow_open_files, cpu_seconds
from tests.bench.population import acquaint, populate
from tests.bench.script import Script
from tests.support.server import ServerProcess

CONNECTIONS = 1_000
RATE = 1_000


class OpenLoop:
    """Sends when a message is due, from each connection in its turn."""

    def __init__(self, links: Sequence[Link], script: Script, *, first_counted: int) -> None:
        self.seconds: list[float] = []
        """From due to delivered, of each counted message."""
        self.arrived = 0
        self._loop = asyncio.get_running_loop()
        self._receipts = script.receipts
        self._due: dict[bytes, float] = {}
        self._first_counted = first_counted
        self._lines = [
            (link, iter(zip(sends, ids, strict=True)))
            for link, sends, ids in zip(links, script.sends, script.ids, strict=True)
        ]
        self._more = asyncio.Event()
        self._ref = 0
        for link in links:
            link.taken = self._answer

    async def run(self, rate: int, count: int) -> None:
        """Send `count` messages at `rate` a second and wait for all of them."""
        threading.Thread(target=self._pace, args=(rate, count), daemon=True).start()
        async with asyncio.timeout(count / rate + 60):
            while self.arrived < count:
                self._more.clear()
                await self._more.wait()

    def _pace(self, rate: int, count: int) -> None:
        # A thread, because a loop's timers go by whole milliseconds.
        chance, due = random.Random(1), time.perf_counter()
        for number in range(count):
            due += chance.expovariate(rate)
            time.sleep(max(0.0, due - time.perf_counter()))
            self._loop.call_soon_threadsafe(self._send, due, number)

    def _send(self, due: float, number: int) -> None:
        link, sends = self._lines[number % len(self._lines)]
        send, message = next(sends)
        self._due[message] = due if number >= self._first_counted else -1.0
        link.say([send])

    def _answer(self, _: Link, frames: list[f.ServerFrame]) -> list[Any]:
        now = time.perf_counter()
        answer = Answer()
        for frame in frames:
            match frame:
                case f.Deliver():
                    due = self._due.pop(frame.id)
                    if due >= 0:
                        self.seconds.append(now - due)
                    answer.position = frame.position
                    answer.receipts.append(self._receipts[frame.id])
                case f.Status():
                    answer.tick = frame.tick
                    self.arrived += 1
                    self._more.set()
                case f.Sent() | f.Acked():
                    pass
                case _:
                    raise ValueError(f"unexpected {frame}")
        self._ref += 1
        return answer.ack(self._ref)


async def _measure(folder: Path, connections: int, seconds: float) -> list[Figure]:
    warm_up = int(seconds * RATE / 5)
    count = warm_up + int(seconds * RATE)
    peers = populate(folder / "miss.sqlite", connections)
    script = scripts.write(peers, -(-count // connections))
    acquaint(folder / "miss.sqlite", script.pairs)
    server = ServerProcess(folder / "miss.sqlite", folder / "log", budgets=True)
    await server.start()
    assert server.process is not None
    try:
        links = await connect_all(server.socket_url, peers)
        loop = OpenLoop(links, script, first_counted=warm_up)
        cpu, begun = cpu_seconds(server.process.pid), time.perf_counter()
        await loop.run(RATE, count)
        cpu, wall = cpu_seconds(server.process.pid) - cpu, time.perf_counter() - begun
        await close_all(links)
    finally:
        await server.stop()
    name = f"one way at {RATE:,}/s over {connections:,} connections"
    return [
        *percentiles(name, loop.seconds, Bar(2, at_most=True)),
        Figure(f"{name}: server CPU used", cpu / wall, "cores"),
    ]


def percentiles(name: str, seconds: Sequence[float], bar: Bar) -> list[Figure]:
    """Median, which has the bar, and 99th percentile of how long messages took."""
    taken = sorted(1000 * value for value in seconds)
    return [
        Figure(f"{name}: p50", taken[len(taken) // 2], "ms", bar),
        Figure(f"{name}: p99", taken[int(len(taken) * 0.99)], "ms"),
    ]


def figures(
    *, runs: int = 3, connections: int = CONNECTIONS, seconds: float = 10.0
) -> list[Figure]:
    """Medians over `runs`."""
    allow_open_files(connections + 1_000)
    measured = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="miss-bench-") as folder:
            measured.append(uvloop.run(_measure(Path(folder), connections, seconds)))
    return medians(measured)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--seconds", type=float, default=10.0)
    chosen = parser.parse_args()
    found = figures(runs=chosen.runs, connections=chosen.connections, seconds=chosen.seconds)
    say(found)
    save(found, Path("bench.json"))


if __name__ == "__main__":
    main()
