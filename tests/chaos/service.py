"""Several nodes on one PostgreSQL, rung by Redis: what a national association runs, in one folder."""

import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.preparing import prepare
from miss_server.storage.postgres.store import PostgresStore
from tests.chaos import older
from tests.load.crowd import people_of
from tests.support.devices import Person
from tests.support.engines import NOBODY
from tests.support.forks import ForkedServer, Forks
from tests.support.loopdisk import LoopDisk, loop_disk
from tests.support.mailing import Store
from tests.support.meeting import LIFTED
from tests.support.namespace import Namespace, namespace
from tests.support.postgres import PostgresProcess, postgres_folder, running
from tests.support.redis import RedisProcess, redis_server
from tests.support.server import DOMAIN, ServerProcess
from tests.support.wire import now_ms

SMALL_DISK_MIB = {"cluster": 96, "log": 96}
"""Twice what PostgreSQL needs for an empty cluster without its log; and more than it keeps of that log."""
_SMALL_LOG = {"min_wal_size": "2MB", "max_wal_size": "8MB", "wal_keep_size": "64MB"}
_LOG_FILE_MIB = 1
"""A full disk is felt when the next file of the log is needed: soon, since none is used again before 64 MiB are
written. Else a log that has all the files that it needs would never ask for room."""


@dataclass(frozen=True)
class Shape:
    """What a service consists of.

    Attributes:
        rung_by: `redis`; `nothing` is a Redis that is not there; `postgres` is LISTEN and NOTIFY.
        modules: what the nodes run, in turns.
        ends_at_points: nodes are `ForkedServer`s, which can be told where to end.
        older: nodes begin with an older version (`tests.chaos.older`), which makes the tables.
        apart: each node is in a network of its own; needs root.
        broken_by: the nodes have this mistake in them (`tests.mutation.chaos_faults`).
        small_disk: what lies on one that is soon full: PostgreSQL's `cluster`, or its `log`; needs root.
    """

    nodes: int = 2
    rung_by: str = "redis"
    modules: Sequence[str] = ("miss_server",)
    ends_at_points: bool = False
    older: bool = False
    apart: bool = False
    broken_by: str = ""
    small_disk: str = ""


@dataclass
class Service:
    """Started and ended by `service`. As a server it is any of its nodes: no stickiness."""

    postgres: PostgresProcess
    database: str
    redis: RedisProcess | None
    nodes: Sequence[ServerProcess]
    chance: random.Random
    networks: Sequence[Namespace] = ()
    """One a node, if they are apart."""
    disk: LoopDisk | None = None
    """The small one."""
    domain: str = DOMAIN

    @property
    def dsn(self) -> str:
        """How this machine finds the database."""
        return self.postgres.dsn(self.database)

    @property
    def url(self) -> str:
        """A node's, another one each time."""
        return self.chance.choice(self.nodes).url

    @property
    def socket_url(self) -> str:
        """The URL of a WebSocket, of another node each time."""
        return self.chance.choice(self.nodes).socket_url


@asynccontextmanager
async def service(folder: Path, chance: random.Random, shape: Shape) -> AsyncIterator[Service]:
    """Start everything but the nodes, until the block ends."""
    async with AsyncExitStack() as stack:
        networks = [
            await stack.enter_async_context(namespace(number))
            for number in range(shape.nodes if shape.apart else 0)
        ]
        postgres = await stack.enter_async_context(postgres_folder())
        disk = None
        if shape.small_disk:
            disk = await stack.enter_async_context(
                loop_disk(postgres.folder, SMALL_DISK_MIB[shape.small_disk])
            )
            _lay_on(disk, postgres, shape.small_disk)
        if networks:
            postgres.also_at = [each.gateway for each in networks]
        await stack.enter_async_context(running(postgres))
        redis = None
        if shape.rung_by == "redis":
            # Beyond the loopback Redis answers nobody without a password.
            redis = await stack.enter_async_context(
                redis_server("fictive", also_at=[each.gateway for each in networks])
            )
        database = await postgres.new_database()
        it = Service(postgres, database, redis, [], chance, networks, disk)
        forks = Forks() if shape.ends_at_points else None
        if forks is not None:
            stack.callback(forks.close)
        it.nodes = [_node(it, shape, number, folder, forks) for number in range(shape.nodes)]
        if shape.older:
            code = await older.exported(folder / "older")
            for node in it.nodes:
                node.settings |= code
                node.budgets = True  # it knows no setting of them, and has none
        yield it


def _lay_on(disk: LoopDisk, postgres: PostgresProcess, part: str) -> None:
    os.chown(disk.point, NOBODY, NOBODY)
    if part == "log":
        postgres.log_place, postgres.log_file_mib = disk.point / "log", _LOG_FILE_MIB
        postgres.settings |= _SMALL_LOG
    else:
        postgres.place, postgres.log_place = disk.point / "data", postgres.folder / "log-files"


def _node(
    it: Service, shape: Shape, number: int, folder: Path, forks: Forks | None
) -> ServerProcess:
    place = folder / f"node-{number}"
    place.mkdir()
    host = "127.0.0.1"
    options, under = tuple[str, ...](), tuple[str, ...]()
    if it.networks:
        network = it.networks[number]
        host, options, under = network.gateway, ("--host", network.address), network.under
    settings = {}
    if it.redis is not None:
        settings["MISS_REDIS"] = it.redis.url_with(it.redis.password, host)
    elif shape.rung_by == "nothing":
        settings["MISS_REDIS"] = "redis://127.0.0.1:1/0"
    database, log = place / "miss", place / "log"
    dsn = it.postgres.dsn(it.database, host=host)
    if forks is not None:
        return ForkedServer(
            database, log, options=options, settings=settings, dsn=dsn, under=under, forks=forks
        )
    module = shape.modules[number % len(shape.modules)]
    if shape.broken_by:
        module, settings["BROKEN_BY"] = "tests.mutation.broken", shape.broken_by
    return ServerProcess(
        database, log, options=options, settings=settings, dsn=dsn, under=under, module=module
    )


async def enrolled(it: Service, count: int, chance: random.Random) -> list[Person]:
    """People with a device each, in tables that are there."""
    store = PostgresStore(Options(it.dsn), first_contacts=LIFTED)
    try:
        return await people_of(cast(Store, store), count, chance)
    finally:
        await store.close()


async def make_tables(it: Service, shape: Shape) -> None:
    """Make the tables, before any node of this version runs; an older one makes its own."""
    if shape.older:
        await it.nodes[0].start()
        await it.nodes[0].stop()
    else:
        await prepare(Options(it.dsn), domain=DOMAIN, now_ms=now_ms())
