"""How a message's cost grows on PostgreSQL: `python -m tests.bench.growth_postgres`.

As in `growth`, 200 connections send to each other while one thing grows: the accounts in the database,
the workers behind the port, or the messages that already wait for their (absent) recipients, up to a
million for each; a mailbox ends at 20,000, so there the server runs without that limit (`deep`). The
cost is the CPU time of the server and of PostgreSQL together.
"""

import argparse
import gc
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import uvloop

from tests.bench import readme, throughput
from tests.bench import script as scripts
from tests.bench.figures import Figure, medians, save, say
from tests.bench.filling_postgres import add_accounts, fill
from tests.bench.growth import TO_ABSENT, WHOLE_PATH
from tests.bench.nodes import cost
from tests.bench.population import acquaint, populate
from tests.bench.postgres import Cluster, cluster_in, server
from tests.bench.throughput import Case, Load, sends_each
from tests.support.postgres import PostgresProcess

UNIT = "us of CPU, all"
ABSENT = 2
"""Recipients whose mailboxes are filled: two million rows at the last point."""


@dataclass(frozen=True)
class Scale:
    """At which points each axis is measured, and with how many connections that send."""

    accounts: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    workers: tuple[int, ...] = (1, 2, 4)
    waiting: tuple[int, ...] = (0, 10_000, 1_000_000)
    rows: int = 100_000
    """For what an account and a message take on the disk."""
    active: int = throughput.CONNECTIONS
    seconds: float = 4.0


@dataclass(frozen=True)
class Point:
    """What is measured once an axis has grown so far."""

    name: str
    load: Load
    cluster: Cluster
    case: Case = WHOLE_PATH
    workers: int = 1
    module: str = "miss_server"


def figures(*, runs: int = 3, scale: Scale | None = None) -> list[Figure]:
    """Medians over `runs` for each point of each axis."""
    scale = scale or Scale()
    out: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="miss-bench-") as folder:
        try:
            uvloop.run(_measure(Path(folder), scale, runs, out))
        finally:
            gc.unfreeze()
    return out


async def _measure(folder: Path, scale: Scale, runs: int, out: list[Figure]) -> None:
    axes = (
        (_accounts, scale.accounts),
        (_workers, scale.workers),
        (_waiting, scale.waiting),
    )
    async with server() as process:
        for axis in (axis for axis, points in axes if points):
            here = folder / "axis"
            here.mkdir()
            async for point in axis(process, here, scale):
                found = medians([await _cost(point, scale.seconds) for _ in range(runs)])
                say(found)
                out += found
            shutil.rmtree(here)
        out += await _sizes(process, folder, scale.rows)
        say(out[-2:])


async def _sizes(process: PostgresProcess, folder: Path, rows: int) -> list[Figure]:
    """What an account and a message that waits take on the disk."""
    template = folder / "template.sqlite"
    sender, *absent = populate(template, ABSENT + 1, keys=False)
    async with cluster_in(process, template) as cluster:
        nobody = await cluster.size()
        await add_accounts(cluster, 1, rows)
        empty = await cluster.size()
        await fill(cluster, sender, absent, rows // ABSENT)
        full = await cluster.size()
    return [
        Figure("postgres, an account with a device: disk", (empty - nobody) / rows, "bytes"),
        Figure("postgres, a message that waits: disk", (full - empty) / rows, "bytes"),
    ]


async def _cost(point: Point, seconds: float) -> list[Figure]:
    found = await cost(
        point.load,
        point.cluster,
        seconds,
        case=point.case,
        workers=point.workers,
        module=point.module,
    )
    name = f"postgres growth, {point.name}"
    return [
        Figure(name, 1e6 * (found.nodes + found.postgres), UNIT),
        Figure(f"{name}: PostgreSQL's part", 1e6 * found.postgres, UNIT),
        Figure(f"postgres, {point.name}: wall", found.rate, "msg/s"),
    ]


async def _accounts(process: PostgresProcess, folder: Path, scale: Scale) -> AsyncIterator[Point]:
    load = throughput.prepare(folder, [WHOLE_PATH], scale.seconds, scale.active)
    async with cluster_in(process, load.template) as cluster:
        there = scale.active
        for count in scale.accounts:
            await add_accounts(cluster, there + 1, count)
            there = count
            yield Point(f"accounts: {count:,}", load, cluster)


async def _workers(process: PostgresProcess, folder: Path, scale: Scale) -> AsyncIterator[Point]:
    load = throughput.prepare(folder, [WHOLE_PATH], scale.seconds, scale.active)
    async with cluster_in(process, load.template) as cluster:
        for count in scale.workers:
            yield Point(f"workers: {count:,}", load, cluster, workers=count)


async def _waiting(process: PostgresProcess, folder: Path, scale: Scale) -> AsyncIterator[Point]:
    template = folder / "template.sqlite"
    peers = populate(template, scale.active)
    sender, *absent = populate(template, ABSENT + 1, keys=False)
    script = scripts.write(peers, sends_each(scale.seconds, scale.active), recipients=absent)
    acquaint(template, script.pairs)
    load = Load(folder, peers, {"message": script})
    for depth in scale.waiting:
        async with cluster_in(process, template) as cluster:
            await fill(cluster, sender, absent, depth)
            yield Point(
                f"waiting for each recipient: {depth:,}",
                load,
                cluster,
                TO_ABSENT,
                module="tests.bench.deep",
            )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="How a message's cost grows on PostgreSQL.")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one short run of small steps")
    parser.add_argument("--write", action="store_true", help="also into the README of the bench")
    chosen = parser.parse_args()
    quick = Scale((1_000, 2_000), (1, 2), (0, 1_000), seconds=1.0)
    found = figures(runs=1 if chosen.quick else chosen.runs, scale=quick if chosen.quick else None)
    save(found, Path("bench.json"))
    if chosen.write:
        readme.write(Path("bench.json"))


if __name__ == "__main__":
    main()
