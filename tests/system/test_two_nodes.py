"""The whole of `deploy/`, but for the containers: HAProxy, two nodes, PostgreSQL and Redis."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from miss_protocol import client_session as events
from miss_protocol import frames as f
from miss_protocol.errors import CloseCode
from tests.support.certificates import Files
from tests.support.engines import free_port
from tests.support.haproxy import HAProxy
from tests.support.postgres import postgres_server
from tests.support.redis import redis_server
from tests.support.server import ServerProcess
from tests.support.waiting import until
from tests.support.wire import Line, enrolled, open_call


class Service:
    """What clients see of it, and the nodes behind."""

    def __init__(self, folder: Path, dsn: str, redis: str) -> None:
        files = Files(folder)
        files.write()
        self.nodes = [self._node(folder / name, dsn, redis) for name in ("one", "two")]
        self.proxy = HAProxy(files, (self.nodes[0].port, self.nodes[1].port))
        self.domain, self.dsn = self.nodes[0].domain, dsn
        self.database = folder / "none"
        self.url = ""

    @staticmethod
    def _node(folder: Path, dsn: str, redis: str) -> ServerProcess:
        folder.mkdir()
        return ServerProcess(
            folder / "miss.sqlite",
            folder / "log",
            dsn=dsn,
            port=free_port(),
            settings={"MISS_TRUSTED_PROXIES": "127.0.0.1", "MISS_REDIS": redis},
        )

    @property
    def socket_url(self) -> str:
        return "ws" + self.url.removeprefix("http") + "/v1/ws"

    def is_up(self, number: int) -> bool:
        """Whether the proxy sends people to a node, which may have been back before it was missed."""
        said = self.proxy.log.read_text()
        down, up = (said.rfind(f"nodes/node-{number} is {word}") for word in ("DOWN", "UP"))
        return up >= down


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Both nodes run, and the proxy has found them."""
    async with postgres_server() as cluster, redis_server("fictive") as redis:
        made = Service(tmp_path, cluster.dsn(await cluster.new_database()), redis.url)
        for node in made.nodes:
            await node.start()
        await made.proxy.start()
        made.url = made.proxy.url
        yield made
        await made.proxy.stop()
        for node in made.nodes:
            await node.stop()


async def test_people_on_both_nodes_and_a_rolling_restart(service: Service) -> None:
    gp, nurse = await enrolled(service), await enrolled(service)
    for node in service.nodes:
        health = (await open_call(node, "GET", "/health/ready")).json()
        assert health["status"] in ("ready", "degraded"), health
    shown = []
    for number, stopped in enumerate(service.nodes, 1):
        # The proxy gives each to the node with fewer: they are at different ones.
        async with gp.online() as line, nurse.online() as other:
            sends = [gp.send(nurse.person) for _ in range(3)]
            for send in sends:
                await line.put(send)
                assert isinstance(await line.answer(send.sn), f.Sent)
            for row in await other.deliveries(3):
                shown.append(row.position)
                nurse.position = row.position
            await other.put(f.Ack(position=nurse.position, ref=1))
            await other.next(events.AckStored)
            nurse.digest = other.session.digest
            assert await stopped.stop() == 0, stopped.log_text()
            lines = [one for one in (line, other) if await _is_over(one)]
            assert lines, "nobody was at the node that ended"
        answered = await open_call(service, "GET", "/v1/server")
        assert answered.status_code == 200, "the other node goes on"
        await stopped.start()
        await until(partial(service.is_up, number))
    assert shown == [1, 2, 3, 4, 5, 6]
    assert (await gp.call("GET", "/v1/prekeys")).status_code == 200


async def _is_over(line: Line) -> bool:
    """Whether its node told it to come back."""
    try:
        await line.ping()
    except Exception:  # noqa: BLE001  # whichever way it shows, the close code tells
        return line.ws.close_code == CloseCode.DRAINING
    return False
