"""Memory of an idle connection, and logins a second: `python -m tests.bench.connections`."""

import argparse
import tempfile
import time
from pathlib import Path

import uvloop

from tests.bench.figures import Bar, Figure, medians, save, say
from tests.bench.link import close_all, connect_all
from tests.bench.machine import allow_open_files, cpu_seconds, memory_kib, still
from tests.bench.population import populate
from tests.support.server import ServerProcess

CONNECTIONS = 10_000
MEMORY = Bar(25, at_most=True, aim=19)
FIRST = 200
"""Connections that come and go first: what a server needs once is not an idle connection's."""


async def _measure(folder: Path, connections: int) -> list[Figure]:
    peers = populate(folder / "miss.sqlite", connections)
    # All come from one address, and all at once.
    caps = ("MISS_MAX_CONNECTIONS", "MISS_CONNECTIONS_PER_ADDRESS", "MISS_ADDRESS_BURST")
    server = ServerProcess(
        folder / "miss.sqlite",
        folder / "log",
        settings={name: str(connections + 2 * FIRST) for name in caps},
    )
    await server.start()
    assert server.process is not None
    pid = server.process.pid
    try:
        await close_all(await connect_all(server.socket_url, peers[:FIRST]))
        await still(pid)
        before, cpu, begun = memory_kib(pid), cpu_seconds(pid), time.perf_counter()
        links = await connect_all(server.socket_url, peers)
        wall = time.perf_counter() - begun
        await still(pid)
        cpu, memory = cpu_seconds(pid) - cpu, memory_kib(pid) - before
        await close_all(links)
    finally:
        await server.stop()
    return [
        Figure("server memory per idle connection", memory / connections, "KiB", MEMORY),
        Figure("logins: wall", connections / wall, "1/s", Bar(1_000)),
        Figure("logins: per server CPU-second", connections / cpu, "1/cpu-s"),
    ]


def figures(*, runs: int = 3, connections: int = CONNECTIONS) -> list[Figure]:
    """Medians over `runs`, each with a server and a database of its own."""
    allow_open_files(connections + 1_000)
    measured = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="miss-bench-") as folder:
            measured.append(uvloop.run(_measure(Path(folder), connections)))
    return medians(measured)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    chosen = parser.parse_args()
    found = figures(runs=chosen.runs, connections=chosen.connections)
    say(found)
    save(found, Path("bench.json"))


if __name__ == "__main__":
    main()
