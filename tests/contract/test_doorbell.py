"""What holds for every doorbell."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from miss_protocol.ids import DeviceId
from miss_server.doorbell import words
from miss_server.doorbell.interface import Doorbell, News
from miss_server.doorbell.line import Line
from miss_server.doorbell.memory import MemoryDoorbell
from miss_server.doorbell.nodes import PAYLOADS_MAX, NodeDoorbell
from miss_server.doorbell.postgres import PostgresLine
from miss_server.doorbell.redis import RedisLine
from tests.support.doorbells import now_ms, rung
from tests.support.postgres import postgres_server
from tests.support.redis import redis_server

DOMAIN = "miss.example"

Exchange = Callable[[str], Line]
"""Makes a line of a domain to one far end that all of a test's nodes share."""


def new_devices(count: int) -> list[DeviceId]:
    """Ids of devices that are nobody's."""
    return [DeviceId(os.urandom(16)) for _ in range(count)]


@asynccontextmanager
async def over_redis() -> AsyncIterator[Exchange]:
    """A Redis of the test's own."""
    async with redis_server() as server:
        yield lambda domain: RedisLine(server.url, domain)


@asynccontextmanager
async def over_postgres() -> AsyncIterator[Exchange]:
    """A database of the test's own."""
    async with postgres_server() as server:
        database = await server.new_database()
        yield lambda domain: PostgresLine(server.dsn(database), domain)


EXCHANGES = {"redis": over_redis, "postgres": over_postgres}


@pytest.fixture(params=list(EXCHANGES))
async def exchange(request: pytest.FixtureRequest) -> AsyncIterator[Exchange]:
    """Each kind of line in turn."""
    async with EXCHANGES[request.param]() as made:
        yield made


@pytest.fixture(params=["memory", *EXCHANGES])
async def bell(request: pytest.FixtureRequest) -> AsyncIterator[Doorbell]:
    """Each kind of doorbell in turn, not started."""
    if request.param == "memory":
        yield MemoryDoorbell(now_ms)
        return
    async with EXCHANGES[request.param]() as made:
        yield NodeDoorbell(made(DOMAIN), now_ms)


# --- all of them ----------------------------------------------------------------------------------


async def test_a_node_hears_its_own_ring_at_once_and_only_what_is_a_ring(bell: Doorbell) -> None:
    async with rung(bell) as [ear]:
        devices = new_devices(3)
        bell.ring(devices)
        assert ear.heard == [News(tuple(devices))]
        bell.ring([])
        bell.began(devices[0], 7)
        bell.revoked(devices[1:])
        bell.restored()
        bell.ring(devices[:1])
        assert [news.devices for news in ear.heard] == [tuple(devices), tuple(devices[:1])]
        state = bell.state()
        assert state.up
        assert (state.why, state.dropped, state.reconnects) == ("", 0, 0)
        assert abs(now_ms() - state.since_ms) < 600_000


async def test_nothing_raises_before_the_start_or_after_the_end(bell: Doorbell) -> None:
    heard: list[News] = []
    bell.listen(heard.append)
    for _ in range(2):
        bell.ring(new_devices(1))
        bell.began(new_devices(1)[0], 1)
        bell.revoked(new_devices(1))
        bell.restored()
        await bell.stop()
    assert len(heard) == 2


# --- those of several nodes -----------------------------------------------------------------------


async def test_every_node_hears_what_one_announces(exchange: Exchange) -> None:
    bells = [NodeDoorbell(exchange(DOMAIN), now_ms) for _ in range(3)]
    async with rung(*bells) as [a, b, c]:
        devices = new_devices(2)
        bells[0].ring(devices)
        bells[1].began(devices[0], 2**40)
        bells[1].revoked([devices[1]])
        bells[2].restored()
        for ear in (b, c):
            await ear.until(lambda ear: ear.devices == set(devices))
        for ear in (a, c):
            await ear.until(lambda e: e.sessions == {(devices[0], 2**40), (devices[1], 0)})
        for ear in (a, b):
            await ear.until(lambda ear: ear.everything == 1)
        assert (a.everything, b.everything, c.everything) == (1, 1, 0)
        assert b.sessions == set()
        assert [bell.state().rung for bell in bells] == [2, 0, 0]
        assert [bell.state().heard for bell in bells] == [0, 2, 2]


async def test_what_is_announced_together_goes_out_together(exchange: Exchange) -> None:
    a, b = (NodeDoorbell(exchange(DOMAIN), now_ms) for _ in range(2))
    async with rung(a, b) as [_, ear]:
        devices = new_devices(500)
        for device in devices:
            a.ring([device])
            a.ring([device])
        await ear.until(lambda ear: ear.devices == set(devices))
        most = max(1, -(-500 * words.ID_BYTES // (exchange(DOMAIN).payload_max - words.OVERHEAD)))
        assert len(ear.heard) == most


async def test_a_word_too_long_for_the_line_is_said_in_pieces(exchange: Exchange) -> None:
    a, b = (NodeDoorbell(exchange(DOMAIN), now_ms) for _ in range(2))
    async with rung(a, b) as [_, ear]:
        count = 3 * exchange(DOMAIN).payload_max // words.SESSION_BYTES
        devices, begun = new_devices(count), new_devices(count)
        a.ring(devices)
        for device in begun:
            a.began(device, 2**62)
        await ear.until(lambda ear: len(ear.devices) == len(ear.sessions) == count)
        assert ear.devices == set(devices)
        assert ear.sessions == {(device, 2**62) for device in begun}
        assert len(ear.heard) > 3


async def test_more_than_can_wait_becomes_a_look_at_everything(exchange: Exchange) -> None:
    a, b = (NodeDoorbell(exchange(DOMAIN), now_ms) for _ in range(2))
    async with rung(a, b) as [_, ear]:
        count = PAYLOADS_MAX * exchange(DOMAIN).payload_max // words.SESSION_BYTES
        a.ring(new_devices(count - 100))
        a.ring(new_devices(200))
        await ear.until(lambda ear: ear.everything > 0)
        assert a.state().dropped == count + 100
        [device] = new_devices(1)
        a.ring([device])
        await ear.until(lambda ear: device in ear.devices)


async def test_another_service_on_the_same_far_end_is_not_heard(exchange: Exchange) -> None:
    a, b, other = (
        NodeDoorbell(exchange(domain), now_ms) for domain in (DOMAIN, DOMAIN, "other.example")
    )
    async with rung(a, b, other) as [_, ear, far]:
        first, second, theirs = new_devices(3)
        other.ring([theirs])
        a.ring([first])
        await ear.until(lambda ear: first in ear.devices)
        a.ring([second])
        await ear.until(lambda ear: second in ear.devices)
        assert theirs not in ear.devices
        assert far.devices == {theirs}


async def test_strange_words_are_passed_over(exchange: Exchange) -> None:
    stranger = exchange(DOMAIN)
    a, b = (NodeDoorbell(exchange(DOMAIN), now_ms) for _ in range(2))
    async with rung(a, b) as [_, ear]:
        await stranger.open()
        for payload in (
            b"",
            b"\xc1",
            b"\x91" * 2000,
            msgspec.msgpack.encode({"speaker": b"12345678"}),
            msgspec.msgpack.encode([b"12345678", 1, b"short"]),
            msgspec.msgpack.encode([b"12345678", 1, b"", [[b"short", 1]]]),
        ):
            await stranger.say(payload)
        # One of a newer version, with a field that this one does not know.
        [device] = new_devices(1)
        await stranger.say(msgspec.msgpack.encode([b"12345678", 1, device, [], False, "new"]))
        await stranger.close()
        await ear.until(lambda ear: ear.devices == {device})
        assert len(ear.heard) == 1


async def test_what_is_still_to_be_said_is_said_before_the_end(exchange: Exchange) -> None:
    a, b = (NodeDoorbell(exchange(DOMAIN), now_ms) for _ in range(2))
    async with rung(b) as [ear]:
        async with rung(a):
            devices = new_devices(10)
            a.ring(devices)
        await ear.until(lambda ear: ear.devices == set(devices))


async def test_a_line_is_closed_twice_and_opened_again(exchange: Exchange) -> None:
    line, other = exchange(DOMAIN), exchange(DOMAIN)
    for _ in range(2):
        await line.open()
        await other.open()
        await other.say(b"one")
        async with asyncio.timeout(60):
            assert await line.hear() == b"one"
        for _ in range(2):
            await line.close()
            await other.close()
