"""What bringing a nation's directory in costs: `python -m tests.bench.directory_import`.

A whole fictive edition (activities, secure mailboxes, establishments) is imported by the command's own
process beside a server that carries messages, then once more unchanged. On SQLite the share of the
database's pages that an unchanged refresh changes is counted with the server stopped; on PostgreSQL, the
bytes of its log.
"""

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import uvloop

from miss_server.importers.generate import generate_all
from tests.bench import postgres
from tests.bench import script as scripts
from tests.bench.figures import Bar, Figure, save, say
from tests.bench.link import close_all, connect_all
from tests.bench.one_way import OpenLoop
from tests.bench.population import acquaint, populate
from tests.support.server import DOMAIN, ServerProcess, environment

LINES = 2_000_000
"""Of activities; a person has 1.456 on average."""
LINES_EACH = 1.456
CONNECTIONS, RATE = 100, 100
"""Messages a second while the import runs, over so many connections."""
ALONE_SECONDS, IMPORT_SECONDS_MAX = 20.0, 600
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
async def traffic(folder: Path, seconds_max: float) -> AsyncIterator[OpenLoop]:
    """A server with people who talk to each other."""
    peers = populate(folder / "miss.sqlite", CONNECTIONS)
    script = scripts.write(peers, int(seconds_max * RATE / CONNECTIONS) + 1)
    acquaint(folder / "miss.sqlite", script.pairs)
    server = ServerProcess(folder / "miss.sqlite", folder / "log", budgets=True)
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


async def _beside(
    folder: Path, files: Sequence[Path], alone: float
) -> tuple[Cost, list[float], list[float]]:
    async with traffic(folder, alone + IMPORT_SECONDS_MAX) as loop:
        before = await _talk(loop, alone)
        running = asyncio.create_task(import_files(files, str(folder / "miss.sqlite")))
        during: list[float] = []
        while not running.done():
            during += await _talk(loop, 1.0)
        return await running, before, sorted(during)


async def _sqlite(folder: Path, files: Sequence[Path], alone: float) -> list[Figure]:
    first, before, during = await _beside(folder, files, alone)
    database = folder / "miss.sqlite"
    pages = _pages(database)
    again = await import_files(files, str(database))
    changed = sum(a != b for a, b in zip(pages, _pages(database), strict=True))
    p99_before, p99_during = _p99(before), _p99(during)
    return [
        *_costs("import on SQLite beside a server", first, again),
        Figure("import on SQLite: bytes changed by a refresh", float(changed * PAGE), "bytes"),
        Figure("import on SQLite: p99 of messages without one", p99_before, "ms"),
        Figure("import on SQLite: p99 of messages beside it", p99_during, "ms"),
        Figure(
            "import on SQLite: p99 beside it, of that without",
            p99_during / p99_before,
            "times",
            Bar(2, at_most=True),
        ),
    ]


async def _postgres(files: Sequence[Path]) -> list[Figure]:
    async with postgres.server() as process:
        name = await process.new_database()
        first = await import_files(files, process.dsn(name))
        connection = await process.connect(name)
        start = await connection.fetchval("SELECT pg_current_wal_lsn()::text")
        again = await import_files(files, process.dsn(name))
        written = await connection.fetchval(
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), $1::text::pg_lsn)::float8", start
        )
        await connection.close()
    return [
        *_costs("import on PostgreSQL", first, again),
        Figure("import on PostgreSQL: bytes of log by a refresh", written, "bytes"),
    ]


def _costs(name: str, first: Cost, again: Cost) -> list[Figure]:
    return [
        Figure(f"{name}: wall", first.wall, "s", Bar(120, at_most=True)),
        Figure(f"{name}: CPU", first.cpu, "s"),
        Figure(f"{name}: highest memory", first.peak, "MB", Bar(400, at_most=True)),
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
) -> list[Figure]:
    """One import and one refresh on each engine, of so many lines of activities."""
    found: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="miss-bench-") as name:
        folder = Path(name)
        begun = time.perf_counter()
        people = max(1, int(lines / LINES_EACH))
        written = generate_all(folder, people=people, seed=1, stamp="202601050630")
        found.append(Figure("import: lines of all files", float(written.lines), "lines"))
        found.append(Figure("import: files generated", time.perf_counter() - begun, "s"))
        if "sqlite" in engines:
            found += uvloop.run(_sqlite(folder, written[:4], alone))
        if "postgres" in engines:
            found += uvloop.run(_postgres(written[:4]))
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--alone", type=float, default=ALONE_SECONDS)
    parser.add_argument("--engine", choices=["sqlite", "postgres"], action="append")
    chosen = parser.parse_args()
    engines = tuple(chosen.engine or ("sqlite", "postgres"))
    found = figures(lines=chosen.lines, alone=chosen.alone, engines=engines)
    say(found)
    save(found, Path("bench.json"))


if __name__ == "__main__":
    main()
