"""Several nodes on one PostgreSQL, rung by Redis: what a national association runs, in one folder."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.preparing import prepare
from miss_server.storage.postgres.store import PostgresStore
from tests.load.crowd import people_of
from tests.support.devices import Person
from tests.support.mailing import Store
from tests.support.postgres import PostgresProcess, postgres_server
from tests.support.redis import RedisProcess, redis_server
from tests.support.server import DOMAIN, ServerProcess
from tests.support.wire import now_ms


@dataclass
class Service:
    """Started and ended by `service`. As a server it is any of its nodes: no stickiness."""

    postgres: PostgresProcess
    database: str
    redis: RedisProcess | None
    nodes: Sequence[ServerProcess]
    chance: random.Random
    domain: str = DOMAIN

    @property
    def url(self) -> str:
        """A node's, another one each time."""
        return self.chance.choice(self.nodes).url

    @property
    def socket_url(self) -> str:
        """The URL of a WebSocket, of another node each time."""
        return self.chance.choice(self.nodes).socket_url

    def log_text(self) -> str:
        """What all nodes wrote."""
        return "\n".join(node.log_text() for node in self.nodes)


@asynccontextmanager
async def service(
    folder: Path, chance: random.Random, *, nodes: int, rung_by: str, modules: Sequence[str]
) -> AsyncIterator[Service]:
    """Start everything but the nodes, until the block ends.

    Args:
        rung_by: `redis`; `nothing` is a Redis that is not there; `postgres` is LISTEN and NOTIFY.
        modules: what each node runs.
    """
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(postgres_server())
        redis = None
        settings: dict[str, str] = {}
        if rung_by == "redis":
            redis = await stack.enter_async_context(redis_server())
            settings["MISS_REDIS"] = redis.url
        elif rung_by == "nothing":
            settings["MISS_REDIS"] = "redis://127.0.0.1:1/0"
        database = await postgres.new_database()
        made = []
        for number in range(nodes):
            place = folder / f"node-{number}"
            place.mkdir()
            made.append(
                ServerProcess(
                    place / "miss",
                    place / "log",
                    settings=settings,
                    module=modules[number % len(modules)],
                    dsn=postgres.dsn(database),
                )
            )
        yield Service(postgres, database, redis, made, chance)


async def enrolled(it: Service, count: int, chance: random.Random) -> list[Person]:
    """People with a device each, before any node runs."""
    options = Options(it.postgres.dsn(it.database))
    await prepare(options, domain=DOMAIN, now_ms=now_ms())
    store = PostgresStore(options)
    try:
        return await people_of(cast(Store, store), count, chance)
    finally:
        await store.close()
