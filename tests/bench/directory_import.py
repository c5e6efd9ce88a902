"""What bringing a nation's directory in costs: `python -m tests.bench.directory_import`.

A whole fictive edition (activities, secure mailboxes, establishments, communes) is imported by the command's
own process beside a server that carries messages, then that of the next day, in which one line of 200 is
another (twice: the first two imports write a whole directory each), and the same once more unchanged. On
SQLite the database's pages that an unchanged refresh changes are counted with the server stopped; on
PostgreSQL, the bytes of its log.
"""

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, closing
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import asyncpg
import uvloop

from tests.bench import postgres
from tests.bench import script as scripts
from tests.bench.edition import LINES, edition, next_day
from tests.bench.figures import Bar, Figure, save, say
from tests.bench.link import close_all, connect_all
from tests.bench.one_way import OpenLoop
from tests.bench.population import Peer, acquaint, populate
from tests.bench.script import Script
from tests.support.server import DOMAIN, ServerProcess, environment

CONNECTIONS, RATE = 100, 100
"""Messages a second while the import runs, over so many connections."""
ALONE_SECONDS, IMPORT_SECONDS_MAX = 20.0, 900
"""Before the import, and of all three at most."""
PAGE = 4096

# Runs a command and says what it used at most, with the processes that it begins: of each what is its own,
# and its share of what several have (PSS).
_MEASURED = """
import json, pathlib, resource, subprocess, sys

def held(pid):
    try:
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        begun = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return 0
    own = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return own + sum(map(held, begun.split()))

command, most = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL), 0
while True:
    try:
        status = command.wait(0.2)
        break
    except subprocess.TimeoutExpired:
        most = max(most, held(command.pid))
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([status, max(most, 1), used.ru_utime + used.ru_stime]))
"""


class Cost(NamedTuple):
    """Of one import: seconds by the clock and of CPU time, and its highest memory in MB."""

    wall: float
    cpu: float
    peak: float


async def import_files(files: Sequence[Path], database: str) -> Cost:
    """Import as an operator does, in a process of its own."""
    words = [sys.executable, "-m", "miss_server", "directory", "import", *map(str, files)]
    begun = time.perf_counter()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _MEASURED, *words, "--database", database, "--domain", DOMAIN,
        stdout=asyncio.subprocess.PIPE, env=environment(),
    )  # fmt: skip
    said, _ = await child.communicate()
    wall = time.perf_counter() - begun
    status, peak_kib, cpu = json.loads(said)
    if status:
        raise ValueError(f"the import ended with {status}")
    return Cost(wall, cpu, peak_kib / 1000)


@asynccontextmanager
async def _on_sqlite(folder: Path) -> AsyncIterator[ServerProcess]:
    yield ServerProcess(folder / "miss.sqlite", folder / "log", budgets=True)


@asynccontextmanager
async def _on_postgres(folder: Path) -> AsyncIterator[ServerProcess]:
    async with postgres.cluster_with(folder / "miss.sqlite") as cluster:
        dsn = cluster.process.dsn(cluster.template)
        yield ServerProcess(folder / "node", folder / "log", budgets=True, dsn=dsn)


ENGINES = {"sqlite": ("SQLite", _on_sqlite), "postgres": ("PostgreSQL", _on_postgres)}


def database(server: ServerProcess) -> str:
    """Its database, as commands are told."""
    return server.dsn or str(server.database)


@asynccontextmanager
async def traffic(
    server: ServerProcess, peers: Sequence[Peer], script: Script
) -> AsyncIterator[OpenLoop]:
    """The server runs, with people who talk to each other."""
    await server.start()
    try:
        links = await connect_all(server.socket_url, peers)
        yield OpenLoop(links, script, first_counted=0)
        await close_all(links)
    finally:
        await server.stop()


async def _talk(loop: OpenLoop, seconds: float) -> list[float]:
    """Milliseconds of each message, sorted."""
    loop.seconds.clear()
    loop.arrived = 0
    await loop.run(RATE, max(1, int(seconds * RATE)))
    return sorted(1000 * taken for taken in loop.seconds)


async def _beside(loop: OpenLoop, importing: Awaitable[Cost]) -> tuple[Cost, list[float]]:
    running = asyncio.ensure_future(importing)
    during: list[float] = []
    while not running.done():
        during += await _talk(loop, 1.0)
    return await running, sorted(during)


async def _measure(engine: str, folder: Path, files: Sequence[Path], alone: float) -> list[Figure]:
    told, on = ENGINES[engine]
    name = f"import on {told}"
    peers = populate(folder / "miss.sqlite", CONNECTIONS)
    script = scripts.write(peers, int((alone + IMPORT_SECONDS_MAX) * RATE / CONNECTIONS) + 1)
    acquaint(folder / "miss.sqlite", script.pairs)
    async with on(folder) as server:
        async with traffic(server, peers, script) as loop:
            before = await _talk(loop, alone)
            first, during = await _beside(loop, import_files(files, database(server)))
            for day in ("20260106", "20260107"):
                files = [next_day(files[0], folder, day), *files[1:]]
                daily, meanwhile = await _beside(loop, import_files(files, database(server)))
        again, written = await _unchanged(server, files)
    p99_before, p99_during = _p99(before), _p99(during)
    unit = "bytes of log" if server.dsn else "bytes changed"
    ratio = Bar(2, at_most=True)
    return [
        *_costs(f"{name} beside a server", first, daily, again),
        Figure(f"{name}: {unit} by a refresh", written, "bytes"),
        Figure(f"{name}: p99 of messages without one", p99_before, "ms"),
        Figure(f"{name}: p99 of messages beside it", p99_during, "ms"),
        Figure(f"{name}: p99 beside it, of that without", p99_during / p99_before, "times", ratio),
        Figure(
            f"{name}, a day later: p99 beside it, of that without",
            _p99(meanwhile) / p99_before,
            "times",
            ratio,
        ),
    ]


async def _unchanged(server: ServerProcess, files: Sequence[Path]) -> tuple[Cost, float]:
    """The same files again, with the server stopped: what it took, and bytes that it wrote."""
    if not server.dsn:
        pages = _pages(server.database)
        again = await import_files(files, database(server))
        changed = sum(a != b for a, b in zip(pages, _pages(server.database), strict=True))
        return again, float(changed * PAGE)
    connection = await asyncpg.connect(server.dsn)
    start = await connection.fetchval("SELECT pg_current_wal_lsn()::text")
    again = await import_files(files, server.dsn)
    written = await connection.fetchval(
        "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), $1::text::pg_lsn)::float8", start
    )
    await connection.close()
    return again, float(written)


def _costs(name: str, first: Cost, daily: Cost, again: Cost) -> list[Figure]:
    return [
        Figure(f"{name}: wall", first.wall, "s", Bar(120, at_most=True)),
        Figure(f"{name}: CPU", first.cpu, "s"),
        Figure(f"{name}: highest memory", first.peak, "MB", Bar(400, at_most=True)),
        Figure(f"{name}, a day later: wall", daily.wall, "s", Bar(60, at_most=True)),
        Figure(f"{name}, unchanged: wall", again.wall, "s", Bar(60, at_most=True)),
    ]


def _pages(database: Path) -> list[bytes]:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.open("rb") as file:
        return [
            blake2b(page, digest_size=8).digest() for page in iter(lambda: file.read(PAGE), b"")
        ]


def _p99(taken: Sequence[float]) -> float:
    return taken[int(len(taken) * 0.99)]


def figures(
    *,
    lines: int = LINES,
    alone: float = ALONE_SECONDS,
    engines: Sequence[str] = ("sqlite", "postgres"),
    kept: Path | None = None,
) -> list[Figure]:
    """One import and its refreshes on each engine, of so many lines of activities."""
    found: list[Figure] = []
    with edition(lines, kept) as written:
        found.append(Figure("import: lines of all files", float(written.lines), "lines"))
        for engine in engines:
            with tempfile.TemporaryDirectory(prefix="miss-bench-") as name:
                found += uvloop.run(_measure(engine, Path(name), written[:4], alone))
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--alone", type=float, default=ALONE_SECONDS)
    parser.add_argument("--engine", choices=[*ENGINES], action="append")
    parser.add_argument("--kept", type=Path, help="a folder for the files, for the next time, too")
    chosen = parser.parse_args()
    engines = tuple(chosen.engine or ENGINES)
    found = figures(lines=chosen.lines, alone=chosen.alone, engines=engines, kept=chosen.kept)
    say(found)
    save(found, Path("bench.json"))


if __name__ == "__main__":
    main()
