"""What a second node costs, and how quickly a message crosses: `python -m tests.bench.nodes`.

One PostgreSQL, everything on the same cores. The devices are spread over the nodes in turns and
write to anybody, so half of the messages cross. CPU time for a message is that of all nodes
together, against one node in the same round; what PostgreSQL and Redis need stands beside it. For
the latency each message crosses, in an open loop as in `one_way`.
"""

import argparse
import gc
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from tests.bench import script as scripts
from tests.bench import throughput
from tests.bench.exchange import Exchange
from tests.bench.figures import Bar, Figure, medians, save, say
from tests.bench.link import close_all, connect_all
from tests.bench.machine import allow_open_files
from tests.bench.one_way import RATE, OpenLoop, percentiles
from tests.bench.population import Peer, acquaint, populate
from tests.bench.postgres import Cluster, cluster_in, server
from tests.bench.script import Script
from tests.bench.service import Bell, service
from tests.bench.throughput import Case, Load

CASE = Case("whole path, 8 in flight", 8)
CONNECTIONS = 1_000
"""For the latency; the cost is measured with those of `throughput`."""
BELLS: tuple[Bell, ...] = ("redis", "notify")
MORE_CPU, ACROSS = Bar(1.25, at_most=True), Bar(5, at_most=True)


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds for a message, bytes that PostgreSQL logged for it, and messages a second."""

    nodes: float
    postgres: float
    redis: float
    logged: float
    rate: float


async def cost(
    load: Load,
    cluster: Cluster,
    seconds: float,
    *,
    case: Case = CASE,
    nodes: int = 1,
    bell: Bell = "notify",
    workers: int = 1,
    module: str = "miss_server",
) -> Cost:
    """One run of a case, as `throughput.measure`, on a service (see `service`)."""
    async with service(
        load.folder, cluster, nodes=nodes, bell=bell, workers=workers, module=module
    ) as it:
        links = await connect_all(it.urls[0], load.peers, *it.urls[1:])
        exchange = Exchange(
            links, load.scripts[case.kind], depth=case.depth, ends_with_sent=case.ends_with_sent
        )
        failed = exchange.failed()
        logged, begun = await cluster.logged(), time.perf_counter()
        used = it.cpu_seconds(), cluster.cpu_seconds(), it.redis_cpu_seconds()
        exchange.start()
        await throughput.pass_time(seconds, exchange, failed)
        await exchange.finish()
        wall, count = time.perf_counter() - begun, exchange.completed
        now = it.cpu_seconds(), cluster.cpu_seconds(), it.redis_cpu_seconds()
        logged = await cluster.logged() - logged
        await close_all(links)
        await failed
    node, postgres, redis = ((b - a) / count for a, b in zip(used, now, strict=True))
    return Cost(node, postgres, redis, logged / count, count / wall)


async def _round(
    load: Load, cluster: Cluster, seconds: float, bells: Sequence[Bell]
) -> list[Figure]:
    one = await cost(load, cluster, seconds)
    out = _of("one node", one)
    for bell in bells:
        two = await cost(load, cluster, seconds, nodes=2, bell=bell)
        name = f"two nodes by {bell}"
        ratio = Figure(
            f"postgres, {name}: CPU of the nodes per message, of that of one",
            two.nodes / one.nodes,
            "times",
            MORE_CPU if bell == "redis" else None,
        )
        out += [ratio, *_of(name, two)]
        if bell == "redis":
            out.append(Figure(f"postgres, {name}: CPU of Redis", two.redis * 1e6, "us/msg"))
    return out


def _of(name: str, found: Cost) -> list[Figure]:
    return [
        Figure(f"postgres, {name}: wall", found.rate, "msg/s"),
        Figure(f"postgres, {name}: CPU of the nodes", found.nodes * 1e6, "us/msg"),
        Figure(f"postgres, {name}: CPU of PostgreSQL", found.postgres * 1e6, "us/msg"),
        Figure(f"postgres, {name}: log (WAL) of PostgreSQL", found.logged, "B/msg"),
    ]


async def _across(
    folder: Path,
    cluster: Cluster,
    peers: Sequence[Peer],
    script: Script,
    seconds: float,
    bells: Sequence[Bell],
) -> list[Figure]:
    warm_up = int(seconds * RATE / 5)
    out: list[Figure] = []
    for bell in bells:
        async with service(folder, cluster, nodes=2, bell=bell) as it:
            links = await connect_all(it.urls[0], peers, *it.urls[1:])
            loop = OpenLoop(links, script, first_counted=warm_up)
            await loop.run(RATE, warm_up + int(seconds * RATE))
            await close_all(links)
        name = f"postgres, across two nodes by {bell} at {RATE:,}/s"
        out += percentiles(name, loop.seconds, ACROSS)
    return out


def figures(
    *,
    runs: int = 3,
    seconds: float = 4.0,
    active: int = throughput.CONNECTIONS,
    connections: int = CONNECTIONS,
    loop_seconds: float = 10.0,
    bells: Sequence[Bell] = BELLS,
) -> list[Figure]:
    """Medians over `runs`. In each all kinds of service have their turn, so that a slow minute hits
    each.

    Args:
        active: connections of the cost; `seconds` are its time.
        connections: of the latency; `loop_seconds` are its time.
    """
    allow_open_files(connections + 1_000)
    with tempfile.TemporaryDirectory(prefix="miss-bench-") as folder:
        load = throughput.prepare(Path(folder), [CASE], seconds, active)
        here = Path(folder) / "across"
        here.mkdir()
        peers = populate(here / "template.sqlite", connections)
        each = -(-int(1.2 * loop_seconds * RATE) // connections)
        script = scripts.write(peers, each, across=True)
        acquaint(here / "template.sqlite", script.pairs)

        async def run() -> list[Figure]:
            async with server() as process:
                async with cluster_in(process, load.template) as cluster:
                    costs = [await _round(load, cluster, seconds, bells) for _ in range(runs)]
                async with cluster_in(process, here / "template.sqlite") as cluster:
                    latencies = [
                        await _across(here, cluster, peers, script, loop_seconds, bells)
                        for _ in range(runs)
                    ]
            return [*medians(costs), *medians(latencies)]

        try:
            return uvloop.run(run())
        finally:
            gc.unfreeze()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="What a second node costs.")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--loop-seconds", type=float, default=10.0)
    chosen = parser.parse_args()
    found = figures(runs=chosen.runs, seconds=chosen.seconds, loop_seconds=chosen.loop_seconds)
    say(found)
    save(found, Path("bench.json"))


if __name__ == "__main__":
    main()
