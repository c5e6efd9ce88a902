"""Clients reach two nodes through HAProxy as `deploy/` sets it up; any node may serve them."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from miss_protocol import api
from miss_protocol import client_session as events
from miss_protocol import frames as f
from tests.support.certificates import Files
from tests.support.engines import free_port
from tests.support.haproxy import HAProxy
from tests.support.server import ServerProcess
from tests.support.waiting import until
from tests.support.wire import AUTHORITIES, Device, code_of, enrolled, open_call

BEHIND = {"MISS_TRUSTED_PROXIES": "127.0.0.1", "MISS_LOG_JSON": "true"}


class Service:
    """What clients see: the proxy. Behind it two nodes that take turns at one SQLite file."""

    def __init__(self, folder: Path) -> None:
        files = Files(folder)
        files.write()
        self.nodes = [
            ServerProcess(
                folder / "miss.sqlite", folder / f"{n}.log", port=free_port(), settings=dict(BEHIND)
            )
            for n in (1, 2)
        ]
        self.proxy = HAProxy(files, (self.nodes[0].port, self.nodes[1].port))
        self.domain = self.nodes[0].domain
        self.database = self.nodes[0].database
        self.url = ""

    @property
    def socket_url(self) -> str:
        return "ws" + self.url.removeprefix("http") + "/v1/ws"

    async def ready(self) -> None:
        """Wait until the proxy has found a node."""
        async with asyncio.timeout(60):
            while (await open_call(self, "GET", "/v1/server")).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """A service with its first node running."""
    made = Service(tmp_path)
    await made.nodes[0].start()
    await made.proxy.start()
    made.url = made.proxy.url
    await made.ready()
    yield made
    await made.proxy.stop()
    for node in made.nodes:
        if node.process is not None:
            await node.stop()


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.write()
    done = HAProxy(files, (1, 2)).check()
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr + done.stdout


async def test_calls_sockets_and_a_node_that_another_replaces(service: Service) -> None:
    gp, nurse = await enrolled(service), await enrolled(service)
    async with gp.online() as line, nurse.online(f.JSON) as other:
        await line.settle(gp.send(nurse.person))
        [row] = await other.deliveries(1)
        await other.put(f.Ack(position=row.position))
        nurse.position = row.position
        ending = asyncio.create_task(service.nodes[0].stop())
        leaving = await line.next(events.Leaving)
        assert leaving.bye.retry_after > 0
        assert await line.closed() == 4030
        assert await ending == 0
    # Nobody is there: the client hears so, and repeats.
    assert (await open_call(service, "GET", "/v1/server")).status_code == 503
    await service.nodes[1].start()
    await service.ready()
    again = Device(service, gp.person, sn=gp.sn)
    async with again.line() as line:
        await line.log_in()
        await line.settle(again.send(nurse.person))
    assert (await again.call("GET", "/v1/prekeys")).status_code == 200


async def test_the_clients_address_is_the_proxys_word(service: Service) -> None:
    for number in range(21):
        answer = await open_call(
            service,
            "POST",
            "/v1/enrolment/preview",
            api.CodeGiven(os.urandom(6).hex()),
            headers={"x-forwarded-for": f"192.0.2.{number}", "forwarded": "for=192.0.2.1"},
        )
    assert code_of(answer) == "rate_limited"


@pytest.mark.parametrize("path", ["/metrics", "/health/live", "/health/ready"])
async def test_what_is_for_the_operator_is_not_for_the_world(service: Service, path: str) -> None:
    assert (await open_call(service, "GET", path)).status_code == 404
    assert (await open_call(service.nodes[0], "GET", path)).status_code == 200


async def test_an_upgrade_to_a_wrong_path(service: Service) -> None:
    with pytest.raises(InvalidStatus):
        async with connect(
            service.socket_url + "x", ssl=AUTHORITIES, subprotocols=[Subprotocol(f.MSGPACK)]
        ):
            pass


async def test_the_proxys_log_names_no_path(service: Service) -> None:
    gp = await enrolled(service)
    await gp.call("GET", f"/v1/accounts/{gp.person.account}/rosters")
    await until(lambda: service.proxy.log.read_text().count("nodes/node-1 200") > 1)
    assert gp.person.account.split("@")[0] not in service.proxy.log.read_text()
    assert "/v1/" not in service.proxy.log.read_text()
