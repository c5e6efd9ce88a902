"""What searching a nation's directory takes: `python -m tests.bench.directory_search`.

A whole fictive edition is imported and 57,000 of its people get accounts, then 200 queries are made as people
type them (`tests.support.queries`), of which half hold a slip: whether the person meant is among the first
five, and how long the answer takes, each three times, one after the other; so are a few queries of common
words alone. Then a server carries 1,000 messages a second, without and with 20 searches a second over signed
calls.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import httpx2
import uvloop

from miss_protocol.filters import UNFILTERED
from miss_server.importers.generate import Written
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.sqlite.store import SqliteStore
from tests.bench import script as scripts
from tests.bench.directory_import import ENGINES, database, import_files, traffic
from tests.bench.edition import LINES, edition
from tests.bench.enrolled import enrol
from tests.bench.figures import Bar, Figure, save, say
from tests.bench.machine import now_ms
from tests.bench.population import Peer, acquaint, populate
from tests.bench.script import Script
from tests.support.queries import Query, queries
from tests.support.server import ServerProcess
from tests.support.signing import Signing, sign

QUERIES, ROUNDS, FIRST = 200, 3, 5
ACCOUNTS = 57_000
"""Of people in the directory, as a national association has."""
COMMON = (
    *("infirmier", "infirmier lille", "medecin generaliste", "medecin nord", "59", "ma lyon"),
    *("cardiologue paris", "centre hospitalier paris", "infirmier 59 lille cabinet", "kine"),
)
"""Queries of which every word finds tens of thousands."""
CONNECTIONS, RATE, SEARCHES = 200, 1_000, 20
"""Messages and searches a second, over so many connections of as many accounts."""
SECONDS = 20.0
WITHOUT_SLIPS = {"as it is", "half a name"}

Store = SqliteStore | PostgresStore


class _Answer(NamedTuple):
    query: Query
    milliseconds: float
    found: bool


async def _search(store: Store, asked: Sequence[Query], peer: Peer) -> list[_Answer]:
    """Each query as many times as there are rounds, one after the other."""
    answers = []
    for query in [*asked] * ROUNDS:
        begun = time.perf_counter()
        page = await store.search(
            query.text,
            limit=20,
            cursor=None,
            filters=UNFILTERED,
            account=peer.account,
            now_ms=now_ms(),
        )
        taken = 1000 * (time.perf_counter() - begun)
        found = query.expected in [one.person for one in page.entries[:FIRST]]
        answers.append(_Answer(query, taken, found))
    return answers


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
    name: str,
    server: ServerProcess,
    peers: Sequence[Peer],
    script: Script,
    asked: Sequence[Query],
    seconds: float,
) -> list[Figure]:
    async with traffic(server, peers, script) as loop:
        taken = []
        searches = _Searches(server, peers, asked)
        for searching in (None, None, searches):  # the first one warms up
            loop.seconds.clear()
            loop.arrived = 0
            async with asyncio.TaskGroup() as group:
                if searching is not None:
                    group.create_task(searching.run(max(1, int(SEARCHES * seconds))))
                await loop.run(RATE, _count(seconds))
            taken.append(_p99([1000 * one for one in loop.seconds]))
    beside = f"{name} beside {RATE:,} messages a second"
    return [
        Figure(f"{beside}: p99 of searches", _p99(searches.milliseconds), "ms"),
        Figure(f"{beside}: p99 of messages", taken[2], "ms"),
        Figure(f"{beside}: p99 of messages without searches", taken[1], "ms"),
    ]


def _count(seconds: float) -> int:
    """Messages of each of the three times."""
    return max(CONNECTIONS, int(RATE * seconds))


async def _measure(
    engine: str,
    folder: Path,
    written: Written,
    asked: Sequence[Query],
    seconds: float,
    accounts: int,
) -> list[Figure]:
    told, on = ENGINES[engine]
    name = f"search on {told}"
    peers = populate(folder / "miss.sqlite", CONNECTIONS)
    script = scripts.write(peers, -(-3 * _count(seconds) // len(peers)) + 1)
    acquaint(folder / "miss.sqlite", script.pairs)
    async with on(folder) as server:
        cost = await import_files(written[:4], database(server))
        store: Store = (
            PostgresStore(Options(server.dsn)) if server.dsn else SqliteStore(server.database)
        )
        await enrol(server, accounts)
        store.open()
        answers = await _search(store, asked, peers[0])
        common = await _search(store, [Query(text, "", "common") for text in COMMON], peers[0])
        await store.close()
        beside = await _beside(name, server, peers, script, asked, seconds)
    plain = sorted(one.milliseconds for one in answers if one.query.kind in WITHOUT_SLIPS)
    slipped = sorted(one.milliseconds for one in answers if one.query.kind not in WITHOUT_SLIPS)
    common_ms = [one.milliseconds for one in common]
    slowest = max(answers, key=lambda one: one.milliseconds)
    _tell(name, answers)
    share = sum(one.found for one in answers) / len(answers)
    return [
        Figure(f"{name}: import", cost.wall, "s"),
        Figure(f"{name}: person meant among the first five", 100 * share, "%", Bar(95)),
        Figure(f"{name}: p50", plain[len(plain) // 2], "ms", Bar(20, at_most=True)),
        Figure(f"{name}: p99", _p99(plain), "ms", Bar(150, at_most=True)),
        Figure(f"{name}, with a slip: p50", slipped[len(slipped) // 2], "ms"),
        Figure(f"{name}, with a slip: p99", _p99(slipped), "ms", Bar(300, at_most=True)),
        Figure(f"{name}: slowest of all", slowest.milliseconds, "ms"),
        Figure(f"{name}, common words alone: slowest", max(common_ms), "ms"),
        *beside,
    ]


def _tell(name: str, answers: Sequence[_Answer]) -> None:
    """Which queries were slowest, and which did not find whom they meant."""
    ordered = sorted(answers, key=lambda one: -one.milliseconds)
    told = [f"{one.milliseconds:8.1f} ms  {one.query.text}  ({one.query.kind})" for one in ordered]
    lost = {f"{one.query.text}  ({one.query.kind})" for one in answers if not one.found}
    lines = [f"{name}, slowest:", *told[:10], f"{name}, not found:", *sorted(lost), ""]
    sys.stdout.write("\n".join(lines))


def _p99(taken: Sequence[float]) -> float:
    return sorted(taken)[int(len(taken) * 0.99)]


def figures(
    *,
    lines: int = LINES,
    count: int = QUERIES,
    seconds: float = SECONDS,
    accounts: int = ACCOUNTS,
    engines: Sequence[str] = ("sqlite", "postgres"),
    kept: Path | None = None,
) -> list[Figure]:
    """The same queries on each engine, over an edition of so many lines of activities."""
    found: list[Figure] = []
    with edition(lines, kept) as written:
        found.append(Figure("search: lines of all files", float(written.lines), "lines"))
        asked = queries(written.activities, written.mailboxes, count=count)
        for engine in engines:
            with tempfile.TemporaryDirectory(prefix="miss-bench-") as name:
                found += uvloop.run(_measure(engine, Path(name), written, asked, seconds, accounts))
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--engine", choices=[*ENGINES], action="append")
    parser.add_argument("--kept", type=Path, help="a folder for the files, for the next time, too")
    chosen = parser.parse_args()
    engines = tuple(chosen.engine or ENGINES)
    found = figures(lines=chosen.lines, seconds=chosen.seconds, engines=engines, kept=chosen.kept)
    say(found)
    save(found, Path("bench.json"))


if __name__ == "__main__":
    main()
