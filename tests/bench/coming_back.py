"""57,000 connected devices over several workers, which all come back at once:
`python -m tests.bench.coming_back`.

PostgreSQL, and everything on the same cores. Each process, worker or generator, has at most its share
of the connections and 1,000 more open files; the devices come from as many addresses as there are
thousands of them. All connections break off together, as when a proxy is restarted, and everybody logs
in again while the server ends the old sessions: the time runs until the last mailbox is drained. Whom the
server sends away for a moment (close 4032) comes again after a spread pause, as clients do, and is counted.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from tests.bench import readme
from tests.bench.figures import Bar, Figure, save, say
from tests.bench.herd import Herd, Word, herds
from tests.bench.machine import allow_open_files, open_files_allowed
from tests.bench.population import Peer, populate
from tests.bench.postgres import Cluster, cluster_with
from tests.bench.service import service
from tests.support.certificates import Files

CONNECTIONS, WORKERS = 57_000, 4
FIRST = 400
"""Connections that come and go first: what a worker needs once is not an idle connection's."""
SPARE_FILES, PER_PROCESS = 1_000, 15_000
"""Open files of a process beside its connections, and its connections at most."""
UNEVEN = 1.1
"""The kernel gives each worker its share by chance: some per cent more or less."""
MEMORY, BACK = Bar(25, at_most=True), Bar(60, at_most=True)


async def _measure(
    folder: Path,
    cluster: Cluster,
    peers: Sequence[Peer],
    workers: int,
    files: Files | None,
    idle_seconds: float,
) -> list[Figure]:
    settings = {"MISS_MAX_CONNECTIONS": str(round(UNEVEN * len(peers) / workers) + FIRST)}
    authority = None
    if files is not None:
        files.write()
        settings |= files.settings
        authority = files.folder / "authority.pem"
        files.authority.cert_pem.write_to_path(str(authority))
    async with service(folder, cluster, workers=workers, settings=settings) as it:
        # What a worker needs once is not an idle connection's.
        early = herds(peers[:FIRST], 1)
        await _all(early, "log_in", it.urls[0], authority)
        _end(early)
        everybody = herds(peers, processes_for(len(peers)))
        try:
            await it.still()
            before = it.memory_kib()
            away = await _all(everybody, "log_in", it.urls[0], authority)
            await it.still()
            memory = it.memory_kib() - before
            idle = it.cpu_seconds(), cluster.cpu_seconds()
            await asyncio.sleep(idle_seconds)
            idle = it.cpu_seconds() - idle[0], cluster.cpu_seconds() - idle[1]
            begun, cpu, theirs = time.perf_counter(), it.cpu_seconds(), cluster.cpu_seconds()
            await _all(everybody, "break_off")
            away_back = await _all(everybody, "log_in", it.urls[0], authority)
            wall = time.perf_counter() - begun
            cpu, theirs = it.cpu_seconds() - cpu, cluster.cpu_seconds() - theirs
        finally:
            _end(everybody)
    count, plain = len(peers), files is None
    name = f"postgres, {count:,} devices over {workers} workers{'' if plain else ', TLS'}"
    back = f"{name}, all coming back"
    return [
        Figure(
            f"{name}: memory per idle connection", memory / count, "KiB", MEMORY if plain else None
        ),
        Figure(f"{name}, the first time: sent away for a moment", away, "times"),
        Figure(f"{name}, idle: server CPU used", idle[0] / idle_seconds, "cores"),
        Figure(f"{name}, idle: PostgreSQL CPU used", idle[1] / idle_seconds, "cores"),
        Figure(f"{back}: wall", wall, "s", BACK if plain else None),
        Figure(f"{back}: logins", count / wall, "1/s"),
        Figure(f"{back}: sent away for a moment", away_back, "times"),
        Figure(f"{back}: server CPU", cpu / count * 1e6, "us/login"),
        Figure(f"{back}: PostgreSQL CPU", theirs / count * 1e6, "us/login"),
    ]


async def _all(
    everybody: Sequence[Herd], word: Word, url: str = "", authority: Path | None = None
) -> int:
    return sum(await asyncio.gather(*(herd.ask(word, url, authority) for herd in everybody)))


def _end(everybody: Sequence[Herd]) -> None:
    for herd in everybody:
        herd.end()


def processes_for(connections: int) -> int:
    """How many processes the generator needs, by the limit of open files."""
    return -(-connections // min(connections, open_files_allowed() - SPARE_FILES, PER_PROCESS))


def figures(
    *,
    connections: int = CONNECTIONS,
    workers: int = WORKERS,
    tls: Sequence[bool] = (False, True),
    idle_seconds: float = 30.0,
) -> list[Figure]:
    """One run without TLS and one with it, each on a fresh database."""
    allow_open_files(round(UNEVEN * connections / workers) + SPARE_FILES)
    with tempfile.TemporaryDirectory(prefix="miss-bench-") as name:
        folder = Path(name)
        peers = populate(folder / "template.sqlite", connections)

        async def run() -> list[Figure]:
            out: list[Figure] = []
            async with cluster_with(folder / "template.sqlite") as cluster:
                for secure in tls:
                    files = Files(folder) if secure else None
                    found = await _measure(folder, cluster, peers, workers, files, idle_seconds)
                    say(found)
                    out += found
            return out

        return uvloop.run(run())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Everybody is connected, and comes back at once.")
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--tls", choices=("no", "only", "both"), default="both")
    parser.add_argument("--write", action="store_true", help="also into the README of the bench")
    chosen = parser.parse_args()
    tls = {"no": (False,), "only": (True,), "both": (False, True)}[chosen.tls]
    found = figures(connections=chosen.connections, workers=chosen.workers, tls=tls)
    save(found, Path("bench.json"))
    if chosen.write:
        readme.write(Path("bench.json"))


if __name__ == "__main__":
    main()
