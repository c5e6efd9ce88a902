"""Nodes that are restarted in turn, or killed, while people write: nothing lost, nothing doubled."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from miss_protocol.ids import new_address
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.preparing import prepare
from miss_server.storage.postgres.store import PostgresStore
from tests.load.crowd import Crowd
from tests.load.ledger import Verdict, judge
from tests.load.phone import Manners
from tests.support.devices import Person
from tests.support.mailing import Store, enrol
from tests.support.postgres import PostgresProcess
from tests.support.redis import redis_server
from tests.support.server import DOMAIN, ServerProcess
from tests.support.wire import now_ms

PEOPLE, RATE = 10, 10.0
SETTLE_SECONDS = 180.0


async def enrolled_people(postgres: PostgresProcess) -> tuple[str, list[Person]]:
    """A database with people; returns its address, too."""
    options, now = Options(postgres.dsn(await postgres.new_database())), now_ms()
    await prepare(options, domain=DOMAIN, now_ms=now)
    people = [Person(new_address(os.urandom(16), DOMAIN)) for _ in range(PEOPLE)]
    store = PostgresStore(options)
    for person in people:
        await enrol(cast(Store, store), person, now_ms=now)
    await store.close()
    return options.dsn, people


@asynccontextmanager
async def two_nodes(
    dsn: str, folder: Path, settings: dict[str, str]
) -> AsyncIterator[list[ServerProcess]]:
    """Two running nodes of one service."""
    async with AsyncExitStack() as stack:
        nodes = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            node = ServerProcess(
                folder / name / "db", folder / name / "log", dsn=dsn, settings=settings
            )
            await node.start()
            stack.push_async_callback(node.stop)
            nodes.append(node)
        yield nodes


async def play(
    nodes: list[ServerProcess], people: list[Person], *, kill: bool, rounds: int
) -> Verdict:
    """Let people write while each node goes down and comes back in turn."""
    chance = random.Random(7)
    up = list(nodes)

    def url() -> str:
        return chance.choice(up).socket_url  # as any load balancer, without stickiness

    crowd = Crowd(nodes[0], people, 7, url, Manners(), away=PEOPLE // 2)

    async def roll() -> None:
        for _ in range(rounds):
            for node in nodes:
                up.remove(node)  # the balancer sees it draining, or dead
                await (node.kill() if kill else node.stop())
                await node.start()
                up.append(node)

    crowd.connect(crowd.online)
    try:
        await crowd.connected(crowd.online)
        rolling = asyncio.create_task(roll())
        while not rolling.done():
            await crowd.talk(RATE, 0.5)
        await rolling
        crowd.connect(crowd.away)
        await crowd.history.until_over(SETTLE_SECONDS)
    finally:
        await crowd.leave()
    return judge(crowd.history)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kill", [False, True], ids=["restarted", "killed"])
async def test_nodes_go_down_in_turn_under_load(
    postgres: PostgresProcess, tmp_path: Path, kill: bool
) -> None:
    dsn, people = await enrolled_people(postgres)
    async with (
        redis_server(password="sesame") as redis,
        two_nodes(dsn, tmp_path, {"MISS_REDIS": redis.url}) as nodes,
    ):
        verdict = await play(nodes, people, kill=kill, rounds=2)
        logs = "".join(node.log_text() for node in nodes)
    assert verdict.holds, verdict
    assert verdict.messages > 0
    assert "Traceback" not in logs


@pytest.mark.timeout(400)
async def test_redis_dies_freezes_and_is_emptied_under_load(
    postgres: PostgresProcess, tmp_path: Path
) -> None:
    dsn, people = await enrolled_people(postgres)
    async with (
        redis_server() as redis,
        two_nodes(dsn, tmp_path, {"MISS_REDIS": redis.url}) as nodes,
    ):
        chance = random.Random(11)
        crowd = Crowd(
            nodes[0], people, 11, lambda: chance.choice(nodes).socket_url, Manners(), away=0
        )
        crowd.connect(crowd.online)
        try:
            await crowd.connected(crowd.online)
            await crowd.talk(RATE, 1.0)
            await redis.flush()
            await crowd.talk(RATE, 1.0)
            redis.freeze()
            await crowd.talk(RATE, 5.0)
            redis.thaw()
            await redis.cut_clients()
            await crowd.talk(RATE, 1.0)
            await redis.kill()
            await crowd.talk(RATE, 2.0)
            await redis.start()
            await crowd.talk(RATE, 1.0)
            await crowd.history.until_over(SETTLE_SECONDS)
        finally:
            await crowd.leave()
        verdict = judge(crowd.history)
    assert verdict.holds, verdict
