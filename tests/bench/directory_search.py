"""What searching a nation's directory takes: `python -m tests.bench.directory_search`.

A whole fictive edition is imported, then 200 queries are made as people type them (`tests.support.queries`), of
which half hold a slip: whether the person meant is among the first five, and how long the answer takes, each
three times, one after the other. Then a server carries 1,000 messages a second, without and with 20
searches a second over signed calls.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import httpx2
import uvloop

from miss_protocol.filters import UNFILTERED
from miss_server.importers.generate import Written, generate_all
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.sqlite.store import SqliteStore
from tests.bench import postgres
from tests.bench import script as scripts
from tests.bench.directory_import import LINES, LINES_EACH, import_files
from tests.bench.figures import Bar, Figure, save, say
from tests.bench.link import close_all, connect_all
from tests.bench.machine import now_ms
from tests.bench.one_way import OpenLoop
from tests.bench.population import Peer, populate
from tests.support.queries import Query, queries
from tests.support.server import ServerProcess
from tests.support.signing import Signing, sign

QUERIES, ROUNDS, FIRST = 200, 3, 5
CONNECTIONS, RATE, SEARCHES = 200, 1_000, 20
"""Messages and searches a second, over so many connections of as many accounts."""
SECONDS = 20.0
WITHOUT_SLIPS = {"as it is", "half a name"}

Store = SqliteStore | PostgresStore


async def _search(
    store: Store, asked: Sequence[Query], peer: Peer
) -> tuple[float, list[float], list[float]]:
    """The share of those found, and milliseconds of queries without and with slips, sorted."""
    found = 0
    taken: dict[bool, list[float]] = {False: [], True: []}
    for number in range(ROUNDS):
        for query in asked:
            begun = time.perf_counter()
            page = await store.search(
                query.text,
                limit=20,
                cursor=None,
                filters=UNFILTERED,
                account=peer.account,
                now_ms=now_ms(),
            )
            taken[query.kind not in WITHOUT_SLIPS].append(1000 * (time.perf_counter() - begun))
            if not number:
                found += query.expected in [one.person for one in page.entries[:FIRST]]
    return found / len(asked), sorted(taken[False]), sorted(taken[True])


class _Searches:
    """Searches over HTTP at a steady rate, each of another device in its turn."""

    def __init__(
        self, server: ServerProcess, peers: Sequence[Peer], asked: Sequence[Query]
    ) -> None:
        self.milliseconds: list[float] = []
        self._url, self._peers, self._asked = server.url, peers, asked

    async def run(self, count: int) -> None:
        """Make `count` searches; each is timed from when it was due."""
        begun = time.perf_counter()
        async with httpx2.AsyncClient(timeout=60) as client, asyncio.TaskGroup() as group:
            for number in range(count):
                due = begun + number / SEARCHES
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(self._one(client, number, due))

    async def _one(self, client: httpx2.AsyncClient, number: int, due: float) -> None:
        peer = self._peers[number % len(self._peers)]
        text = quote(self._asked[number % len(self._asked)].text)
        request = httpx2.Request("GET", f"{self._url}/v1/directory?q={text}")
        sign(request, b"", peer.device, peer.signing_key, Signing())
        answer = await client.send(request)
        answer.raise_for_status()
        self.milliseconds.append(1000 * (time.perf_counter() - due))


async def _beside(
    name: str, server: ServerProcess, peers: Sequence[Peer], asked: Sequence[Query], seconds: float
) -> list[Figure]:
    count = max(CONNECTIONS, int(RATE * seconds))
    script = scripts.write(peers, -(-3 * count // len(peers)) + 1)
    await server.start()
    try:
        links = await connect_all(server.socket_url, peers)
        loop = OpenLoop(links, script, first_counted=0)
        taken = []
        searches = _Searches(server, peers, asked)
        for searching in (None, None, searches):  # the first one warms up
            loop.seconds.clear()
            loop.arrived = 0
            async with asyncio.TaskGroup() as group:
                if searching is not None:
                    group.create_task(searching.run(max(1, int(SEARCHES * seconds))))
                await loop.run(RATE, count)
            taken.append(_p99([1000 * one for one in loop.seconds]))
        await close_all(links)
    finally:
        await server.stop()
    beside = f"{name} beside {RATE:,} messages a second"
    return [
        Figure(f"{beside}: p99 of searches", _p99(searches.milliseconds), "ms"),
        Figure(f"{beside}: p99 of messages", taken[2], "ms"),
        Figure(f"{beside}: p99 of messages without searches", taken[1], "ms"),
    ]


async def _measure(
    engine: str,
    folder: Path,
    edition: Written,
    asked: Sequence[Query],
    seconds: float,
) -> list[Figure]:
    name = f"search on {'SQLite' if engine == 'sqlite' else 'PostgreSQL'}"
    open_: dict[str, AbstractAsyncContextManager[tuple[str, ServerProcess, list[Peer]]]] = {
        "sqlite": _sqlite(folder),
        "postgres": _postgres(folder),
    }
    async with open_[engine] as (database, server, peers):
        cost = await import_files(edition[:3], database)
        store: Store = (
            PostgresStore(Options(database)) if server.dsn else SqliteStore(Path(database))
        )
        store.open()
        share, plain, slipped = await _search(store, asked, peers[0])
        await store.close()
        beside = await _beside(name, server, peers, asked, seconds)
    return [
        Figure(f"{name}: import", cost.wall, "s"),
        Figure(f"{name}: person meant among the first five", 100 * share, "%", Bar(95)),
        Figure(f"{name}: p50", plain[len(plain) // 2], "ms", Bar(20, at_most=True)),
        Figure(f"{name}: p99", _p99(plain), "ms", Bar(150, at_most=True)),
        Figure(f"{name}, with slips: p50", slipped[len(slipped) // 2], "ms"),
        Figure(f"{name}, with slips: p99", _p99(slipped), "ms", Bar(300, at_most=True)),
        *beside,
    ]


@asynccontextmanager
async def _sqlite(folder: Path) -> AsyncIterator[tuple[str, ServerProcess, list[Peer]]]:
    database = folder / "search.sqlite"
    peers = populate(database, CONNECTIONS)
    yield str(database), ServerProcess(database, folder / "log"), peers


@asynccontextmanager
async def _postgres(folder: Path) -> AsyncIterator[tuple[str, ServerProcess, list[Peer]]]:
    database = folder / "accounts.sqlite"
    peers = populate(database, CONNECTIONS)
    async with postgres.cluster_with(database) as cluster:
        dsn = cluster.process.dsn(cluster.template)
        yield dsn, ServerProcess(folder / "node", folder / "log", dsn=dsn), peers


def _p99(taken: Sequence[float]) -> float:
    return sorted(taken)[int(len(taken) * 0.99)]


def figures(
    *,
    lines: int = LINES,
    count: int = QUERIES,
    seconds: float = SECONDS,
    engines: Sequence[str] = ("sqlite", "postgres"),
) -> list[Figure]:
    """The same queries on each engine, over an edition of so many lines of activities."""
    found: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="miss-bench-") as name:
        folder = Path(name)
        people = max(1, int(lines / LINES_EACH))
        edition = generate_all(folder, people=people, seed=1, stamp="202601050630")
        found.append(Figure("search: lines of all files", float(edition.lines), "lines"))
        asked = queries(edition.activities, edition.mailboxes, count=count)
        for engine in engines:
            found += uvloop.run(_measure(engine, folder, edition, asked, seconds))
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--engine", choices=["sqlite", "postgres"], action="append")
    chosen = parser.parse_args()
    engines = tuple(chosen.engine or ("sqlite", "postgres"))
    found = figures(lines=chosen.lines, seconds=chosen.seconds, engines=engines)
    say(found)
    save(found, Path("bench.json"))


if __name__ == "__main__":
    main()
