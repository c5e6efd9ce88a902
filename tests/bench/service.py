"""Nodes on one PostgreSQL and what rings between them, as an operator starts them."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.bench.machine import cpu_seconds, family_cpu_seconds, family_memory_kib, still
from tests.bench.postgres import Cluster
from tests.support.redis import RedisProcess, redis_server
from tests.support.server import START_SECONDS, ServerProcess

Bell = Literal["redis", "notify"]


@dataclass
class Service:
    """Running nodes. Each may have several workers."""

    nodes: list[ServerProcess] = field(default_factory=list)
    redis: RedisProcess | None = None

    @property
    def urls(self) -> Sequence[str]:
        """The URL of each node's WebSocket."""
        return [node.socket_url for node in self.nodes]

    def cpu_seconds(self) -> float:
        """Of all nodes together, without PostgreSQL and Redis."""
        return sum(family_cpu_seconds(pid) for pid in self._pids)

    def redis_cpu_seconds(self) -> float:
        """Of Redis, if there is one."""
        if self.redis is None or self.redis.process is None:
            return 0.0
        return cpu_seconds(self.redis.process.pid)

    def memory_kib(self) -> int:
        """Of all nodes together."""
        return sum(family_memory_kib(pid) for pid in self._pids)

    async def still(self) -> None:
        """Wait until no node works any more."""
        for pid in self._pids:
            await still(pid)

    @property
    def _pids(self) -> Sequence[int]:
        return [node.process.pid for node in self.nodes if node.process is not None]


@asynccontextmanager
async def service(
    folder: Path,
    cluster: Cluster,
    *,
    nodes: int = 1,
    bell: Bell = "notify",
    workers: int = 1,
    module: str = "miss_server",
    settings: dict[str, str] | None = None,
) -> AsyncIterator[Service]:
    """Started nodes on a fresh copy of the cluster's template, until the block ends.

    Args:
        bell: with one node, too: it hears itself by it.
        workers: of each node.
        settings: of each node, beside the place of the database.
    """
    dsn = await cluster.fresh()
    async with AsyncExitStack() as stack:
        started, common = Service(), dict(settings or {})
        if bell == "redis":
            started.redis = await stack.enter_async_context(redis_server())
            common["MISS_REDIS"] = started.redis.url
        for number in range(nodes):
            place = folder / f"node-{number}"
            shutil.rmtree(place, ignore_errors=True)  # its witness knows another database
            place.mkdir(parents=True)
            node = ServerProcess(
                place / "db",
                place / "log",
                options=("--workers", str(workers)),
                settings=common,
                module=module,
                budgets=True,
                dsn=dsn,
            )
            await node.start()
            stack.push_async_callback(node.stop)
            await _all_listen(node, workers)
            started.nodes.append(node)
        yield started


async def _all_listen(node: ServerProcess, workers: int) -> None:
    """Wait until every worker does, else the first would get everybody."""
    async with asyncio.timeout(START_SECONDS):
        while node.log_text().count("listening") < workers:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # a file tells nobody that it grew
