"""Durable messages a second: `python -m tests.bench.throughput --runs 1 --only "whole path, 8"`.

The generator runs beside the server, on the same cores. The server is the real process with its
default settings on a real file; envelopes are opaque, everything else is real.
"""

import argparse
import asyncio
import gc
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvloop

from miss_protocol import frames as f
from tests.bench import script as scripts
from tests.bench.exchange import Exchange
from tests.bench.figures import Bar, Figure, medians, save, say
from tests.bench.link import close_all, connect_all
from tests.bench.machine import cpu_seconds, still
from tests.bench.population import Peer, acquaint, populate
from tests.bench.postgres import Cluster, cluster_with
from tests.bench.script import Script
from tests.support.server import ServerProcess

CONNECTIONS = 200
FASTEST = 20_000
"""Messages a second for which scripts are made: above this, a run ends early."""
PROFILE_LINES = 40
WALL, PER_CPU = Bar(6_000, aim=12_000), Bar(8_000, aim=12_000)


@dataclass(frozen=True)
class Case:
    """One way of loading the server."""

    name: str
    depth: int
    kind: f.Kind = "message"
    slow_disk: bool = False
    ends_with_sent: bool = False
    """The recipients are absent: a message is done when its sender knows that it is durable."""

    @property
    def bars(self) -> tuple[Bar | None, Bar | None]:
        """Of the wall rate and of the rate in CPU time: only the whole path has them."""
        return (WALL, PER_CPU) if self.kind == "message" else (None, None)


CASES = (
    Case("whole path, 1 in flight", 1),
    Case("whole path, 8 in flight", 8),
    Case("whole path, 1 in flight, fsync + 3 ms", 1, slow_disk=True),
    Case("whole path, 8 in flight, fsync + 3 ms", 8, slow_disk=True),
    Case("one way without receipts, 1 in flight", 1, "control"),
    Case("one way without receipts, 8 in flight", 8, "control"),
)


@dataclass(frozen=True)
class Load:
    """What all cases and runs share: people, what they say, and a database that knows them."""

    folder: Path
    peers: Sequence[Peer]
    scripts: dict[f.Kind, Script]
    idle: Sequence[Peer] = ()
    """Who is connected too, and says nothing."""

    @property
    def template(self) -> Path:
        """The database before a run."""
        return self.folder / "template.sqlite"


def prepare(folder: Path, cases: Sequence[Case], seconds: float, connections: int) -> Load:
    """Make the people, and sign and encode everything that they will say."""
    peers = populate(folder / "template.sqlite", connections)
    each = sends_each(seconds, connections)
    kinds: set[f.Kind] = {case.kind for case in cases}
    load = Load(folder, peers, {kind: scripts.write(peers, each, kind=kind) for kind in kinds})
    for script in load.scripts.values():
        acquaint(load.template, script.pairs)
    gc.collect()
    gc.freeze()  # half a million objects that live to the end are not looked at again
    return load


def sends_each(seconds: float, connections: int) -> int:
    """How many sends a connection needs for a run."""
    return int(seconds * FASTEST / connections)


async def measure(
    load: Load,
    case: Case,
    seconds: float,
    profile: Path | None = None,
    cluster: Cluster | None = None,
) -> list[Figure]:
    """One run of one case on a fresh copy of the database.

    The time runs from the first send until the last message that was sent is done: a server that
    takes sends more quickly than it delivers them gains nothing by that. With `profile`, the server
    writes there where its time went, on the normal disk, and needs some per cent more.
    """
    database = load.folder / "miss.sqlite"
    for left in load.folder.glob("miss.sqlite*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    shutil.copy(load.template, database)
    os.sync()  # else the server's first fsyncs would wait for the copy
    server = ServerProcess(database, load.folder / "log", budgets=True)
    if cluster is not None:
        server.dsn = await cluster.fresh()
    if profile is not None:
        server.module, server.settings = "tests.bench.profiled", {"BENCH_PROFILE": str(profile)}
    elif case.slow_disk:
        server.module = "tests.bench.slow_disk"
    await server.start()
    assert server.process is not None
    try:
        links = await connect_all(server.socket_url, load.peers)
        idle = await connect_all(server.socket_url, load.idle)
        if idle:
            await still(server.process.pid)
        exchange = Exchange(
            links,
            load.scripts[case.kind],
            depth=case.depth,
            ends_with_sent=case.ends_with_sent,
        )
        failed = exchange.failed()
        begun, cpu = time.perf_counter(), cpu_seconds(server.process.pid)
        own = time.process_time()
        theirs = cluster.cpu_seconds() if cluster is not None else 0.0
        exchange.start()
        await pass_time(seconds, exchange, failed)
        await exchange.finish()
        wall, cpu = time.perf_counter() - begun, cpu_seconds(server.process.pid) - cpu
        own, count = time.process_time() - own, exchange.completed
        theirs = cluster.cpu_seconds() - theirs if cluster is not None else 0.0
        await close_all([*links, *idle])
        await failed
    finally:
        await server.stop()
    wall_bar, cpu_bar = case.bars
    return [
        Figure(f"{case.name}: wall", count / wall, "msg/s", wall_bar),
        Figure(f"{case.name}: per server CPU-second", count / cpu, "msg/cpu-s", cpu_bar),
        Figure(f"{case.name}: server CPU used", cpu / wall, "cores"),
        Figure(f"{case.name}: generator CPU used", own / wall, "cores"),
        *(
            [Figure(f"{case.name}: PostgreSQL CPU used", theirs / wall, "cores")]
            if cluster is not None
            else []
        ),
    ]


async def pass_time(seconds: float, exchange: Exchange, failed: asyncio.Future[Any]) -> None:
    """Until the seconds are over or a sender has nothing more to say. Raises if a link failed."""
    exhausted = asyncio.ensure_future(exchange.exhausted.wait())
    done, _ = await asyncio.wait(
        [exhausted, failed], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
    )
    exhausted.cancel()
    if failed in done:
        failed.result()


def figures(
    *,
    runs: int = 5,
    seconds: float = 4.0,
    only: str = "",
    connections: int = CONNECTIONS,
    engine: str = "sqlite",
) -> list[Figure]:
    """All cases whose name contains `only`, run in turns, so that a slow minute hits each."""
    # The slow disk slows the server's own fsyncs, and PostgreSQL has those to itself.
    cases = [c for c in CASES if only in c.name and not (c.slow_disk and engine == "postgres")]
    measured: dict[Case, list[list[Figure]]] = {case: [] for case in cases}

    async def run(load: Load) -> None:
        async with _beside(load, engine) as cluster:
            for _ in range(runs):
                for case in cases:
                    measured[case].append(await measure(load, case, seconds, cluster=cluster))

    with tempfile.TemporaryDirectory(prefix="miss-bench-") as folder:
        load = prepare(Path(folder), cases, seconds, connections)
        try:
            uvloop.run(run(load))
        finally:
            gc.unfreeze()
    named = [figure for case in cases for figure in medians(measured[case])]
    return named if engine == "sqlite" else [_on(engine, figure) for figure in named]


def _on(engine: str, figure: Figure) -> Figure:
    return replace(figure, name=f"{engine}, {figure.name}")


@asynccontextmanager
async def _beside(load: Load, engine: str) -> AsyncIterator[Cluster | None]:
    if engine == "sqlite":
        yield None
        return
    async with cluster_with(load.template) as cluster:
        yield cluster


def profile(
    case: Case, seconds: float, *, connections: int = CONNECTIONS, engine: str = "sqlite"
) -> str:
    """Where the server's CPU time goes in one run: by thread, and the dearest functions."""
    with tempfile.TemporaryDirectory(prefix="miss-bench-") as folder:
        load = prepare(Path(folder), [case], seconds, connections)
        path = Path(folder) / "profile.json"

        async def run() -> None:
            async with _beside(load, engine) as cluster:
                await measure(load, case, seconds, path, cluster)

        try:
            uvloop.run(run())
        finally:
            gc.unfreeze()
        rows = json.loads(path.read_text())
    total = sum(own for *_, own, _ in rows)
    threads: dict[str, float] = {}
    for thread, _, _, own, _ in rows:
        threads[thread] = threads.get(thread, 0.0) + own
    shares = ", ".join(f"{thread} {own / total:.0%}" for thread, own in threads.items())
    lines = [f"{case.name}: {shares}", "  itself  with what it calls"]
    for thread, file, function, own, below in sorted(rows, key=lambda row: -row[3])[:PROFILE_LINES]:
        lines.append(f"{own / total:8.1%} {below / total:8.1%}  {thread:<14} {file}: {function}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Durable messages a second.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--engine", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--profile", action="store_true", help="show where the server's time goes")
    chosen = parser.parse_args()
    if chosen.profile:
        for case in CASES:
            if chosen.only in case.name:
                sys.stdout.write(profile(case, chosen.seconds, engine=chosen.engine))
        return
    found = figures(
        runs=chosen.runs, seconds=chosen.seconds, only=chosen.only, engine=chosen.engine
    )
    say(found)
    save(found, Path("bench.json"))


if __name__ == "__main__":
    main()
