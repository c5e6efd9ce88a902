"""Two server processes whose Redis answers, but late: every promise holds, and health says so."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

from miss_protocol import client_session as events
from miss_protocol import frames as f
from tests.support.badproxy import BadProxy
from tests.support.postgres import PostgresProcess
from tests.support.redis import redis_server
from tests.support.server import ServerProcess
from tests.support.wire import Server, enrolled, open_call

NEVER = "3600"
"""Seconds between sweeps: what comes before is a ring's doing."""
PATIENCE = 60.0


async def doorbell(server: ServerProcess, state: str) -> dict[str, Any]:
    """Wait until a node's health says so of its way to the others; what it says."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await open_call(cast(Server, server), "GET", "/health/ready")
            assert answer.status_code == 200  # traffic still belongs here
            [part] = [each for each in answer.json()["parts"] if each["part"] == "doorbell"]
            if part["state"] == state:
                return cast(dict[str, Any], part)
            await asyncio.sleep(0.2)


async def test_messages_arrive_and_health_says_why_they_are_late(
    postgres: PostgresProcess, tmp_path: Path
) -> None:
    dsn = postgres.dsn(await postgres.new_database())
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server())
        proxy = BadProxy(redis.port)
        await proxy.start()
        stack.push_async_callback(proxy.stop)
        url = f"redis://127.0.0.1:{proxy.url.rsplit(':', 1)[1]}/0"
        nodes = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            node = ServerProcess(tmp_path / name / "db", tmp_path / name / "log", dsn=dsn)
            node.settings = {"MISS_SWEEP_EVERY": NEVER, "MISS_REDIS": url}
            await node.start()
            stack.push_async_callback(node.stop)
            nodes.append(node)
        gp, nurse = await enrolled(nodes[0]), await enrolled(nodes[1])
        async with gp.online() as writer, nurse.online() as reader:
            for line in (writer, reader):
                await line.caught_up()
                await line.ping()
            await doorbell(nodes[0], "ok")
            proxy.weather.delay = 0.3  # each way
            for node in nodes:
                said = await doorbell(node, "degraded")
                assert "reached late" in said["text"]["en"]
                assert "Redis" in said["text"]["fr"]
                assert not said["vital"]
            sends = [gp.send(nurse.person) for _ in range(5)]
            for send in sends:
                assert isinstance(await writer.settle(send), f.Sent)
            rows = await reader.deliveries(5)
            assert [row.id for row in rows] == [send.id for send in sends]
            await reader.ack(receipts=[nurse.receipt(row) for row in rows])
            told: set[bytes] = set()
            while len(told) < 5:
                status = (await writer.next(events.StatusChanged)).status
                assert [each.state for each in status.devices] == ["delivered"]
                told.add(status.id)
            proxy.weather.delay = 0
            for node in nodes:
                await doorbell(node, "ok")
