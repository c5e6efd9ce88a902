"""A doorbell whose Redis is gone, emptied, frozen, cut or locked: nothing raises, and it comes back."""

import asyncio

import pytest

from miss_server.doorbell.interface import DoorbellError
from miss_server.doorbell.nodes import NodeDoorbell
from miss_server.doorbell.redis import RedisLine
from tests.contract.test_doorbell import DOMAIN, new_devices
from tests.support.badproxy import BadProxy
from tests.support.doorbells import PATIENCE, Ear, now_ms, rung, state_is
from tests.support.redis import redis_server


async def rings(bell: NodeDoorbell, ear: Ear) -> None:
    """A ring gets through to the other node."""
    [device] = new_devices(1)
    bell.ring([device])
    await ear.until(lambda ear: device in ear.devices)


async def test_killed_and_back() -> None:
    async with redis_server() as server:
        a, b = (NodeDoorbell(RedisLine(server.url, DOMAIN), now_ms) for _ in range(2))
        async with rung(a, b) as [_, ear]:
            await rings(a, ear)
            await server.kill()
            for bell in (a, b):
                await state_is(bell, up=False)
                assert "Redis" in bell.state().why
            ear.heard.clear()
            a.ring(new_devices(3))
            assert a.state().dropped == 3
            await server.start()
            for bell in (a, b):
                await state_is(bell, up=True)
            # Nobody knows what was missed: the node looks at everything itself.
            await ear.until(lambda ear: ear.everything >= 1)
            await rings(a, ear)
            assert a.state().reconnects >= 1


async def test_emptied_it_goes_on() -> None:
    async with redis_server() as server:
        a, b = (NodeDoorbell(RedisLine(server.url, DOMAIN), now_ms) for _ in range(2))
        async with rung(a, b) as [_, ear]:
            await server.flush()
            await rings(a, ear)
            assert a.state().reconnects == b.state().reconnects == 0


async def test_connections_that_are_cut_are_made_anew() -> None:
    async with redis_server() as server:
        a, b = (NodeDoorbell(RedisLine(server.url, DOMAIN), now_ms) for _ in range(2))
        async with rung(a, b) as [_, ear]:
            await server.cut_clients()
            await ear.until(lambda ear: ear.everything >= 1)
            await state_is(a, up=True)
            await state_is(b, up=True)
            await rings(a, ear)


async def test_frozen_it_is_noticed_and_holds_up_nobody() -> None:
    async with redis_server() as server:
        a, b = (NodeDoorbell(RedisLine(server.url, DOMAIN), now_ms) for _ in range(2))
        async with rung(a, b) as [own, ear]:
            server.freeze()
            devices = new_devices(5)
            a.ring(devices)
            assert own.devices == set(devices)
            await state_is(a, up=False)
            await state_is(b, up=False)
            server.thaw()
            await ear.until(lambda ear: ear.everything >= 1)
            await state_is(a, up=True)
            await rings(a, ear)


async def test_a_line_that_swallows_what_is_said_is_found_by_the_silence() -> None:
    async with redis_server() as server:
        proxy = BadProxy(server.port)
        await proxy.start()
        try:
            port = proxy.url.rsplit(":", 1)[1]
            bell = NodeDoorbell(RedisLine(f"redis://127.0.0.1:{port}/0", DOMAIN), now_ms)
            async with rung(bell) as [ear]:
                proxy.weather.silent = True
                await state_is(bell, up=False)
                proxy.weather.silent = False
                await ear.until(lambda ear: ear.everything >= 1)
                assert bell.state().up
        finally:
            await proxy.stop()


async def test_a_slow_line_is_told_and_every_ring_gets_through() -> None:
    async with redis_server() as server:
        proxy = BadProxy(server.port)
        await proxy.start()
        try:
            port = proxy.url.rsplit(":", 1)[1]
            a, b = (
                NodeDoorbell(RedisLine(f"redis://127.0.0.1:{port}/0", DOMAIN), now_ms)
                for _ in range(2)
            )
            async with rung(a, b) as [_, ear]:
                assert not a.state().slow
                proxy.weather.delay = 0.3  # each way
                await slow_is(a, slow=True)
                for _ in range(2):
                    await rings(a, ear)
                assert a.state().up
                assert (a.state().dropped, a.state().reconnects) == (0, 0)
                proxy.weather.delay = 0
                await slow_is(a, slow=False)
        finally:
            await proxy.stop()


async def slow_is(bell: NodeDoorbell, *, slow: bool) -> None:
    """Wait until a doorbell says so of itself."""
    async with asyncio.timeout(PATIENCE):
        while bell.state().slow is not slow:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # a state tells nobody that it changed


class Deaf(RedisLine):
    """A line of which what comes is lost on the way, while it is `deaf`."""

    deaf = False

    async def hear(self) -> bytes:
        heard = await super().hear()
        return await self.hear() if self.deaf else heard


async def test_a_line_on_which_nothing_comes_is_found_by_the_silence() -> None:
    async with redis_server() as server:
        line = Deaf(server.url, DOMAIN)
        bell = NodeDoorbell(line, now_ms)
        async with rung(bell) as [ear]:
            line.deaf = True  # what it says arrives: Redis itself sees nothing wrong
            await state_is(bell, up=False, why="does not come back")
            line.deaf = False
            await ear.until(lambda ear: ear.everything >= 1)


async def test_absent_from_the_start_it_is_waited_for() -> None:
    async with redis_server() as server:
        await server.kill()
        bell = NodeDoorbell(RedisLine(server.url, DOMAIN), now_ms)
        ear = Ear(bell)
        await bell.start()
        try:
            assert not bell.state().up
            assert "Redis does not answer" in bell.state().why
            bell.ring(new_devices(1))
            await server.start()
            await ear.until(lambda ear: ear.everything >= 1)
            assert bell.state().up
        finally:
            await bell.stop()


@pytest.mark.parametrize("password", ["", "wrong"])
async def test_a_missing_or_wrong_password_stops_at_the_start(password: str) -> None:
    async with redis_server(password="sesame") as server:
        bell = NodeDoorbell(RedisLine(server.url_with(password), DOMAIN), now_ms)
        with pytest.raises(DoorbellError, match="MISS_REDIS") as caught:
            await bell.start()
        assert "sesame" not in str(caught.value)
        assert "\n" not in str(caught.value)
        await bell.stop()


async def test_a_user_without_the_right_to_the_channel_stops_at_the_start() -> None:
    async with redis_server() as server:
        async with server.client() as client:
            await client.acl_setuser(
                "miss", enabled=True, nopass=True, reset_channels=True, commands=["+@all"]
            )
        url = f"redis://miss:any@127.0.0.1:{server.port}/0"
        bell = NodeDoorbell(RedisLine(url, DOMAIN), now_ms)
        with pytest.raises(DoorbellError, match="channel"):
            await bell.start()


async def test_a_password_that_is_changed_under_way_is_told_and_put_right() -> None:
    async with redis_server(password="sesame") as server:
        bell = NodeDoorbell(RedisLine(server.url, DOMAIN), now_ms)
        async with rung(bell) as [ear]:
            await server.change_password("other")
            await state_is(bell, up=False, why="refuses")
            await server.change_password("sesame")
            await ear.until(lambda ear: ear.everything >= 1)
            assert bell.state().up
