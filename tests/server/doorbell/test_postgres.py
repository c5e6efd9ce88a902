"""A doorbell whose PostgreSQL is gone, frozen or cut: nothing raises, and it comes back."""

import pytest

from miss_server.doorbell.interface import DoorbellError
from miss_server.doorbell.nodes import NodeDoorbell
from miss_server.doorbell.postgres import PostgresLine
from tests.contract.test_doorbell import DOMAIN, new_devices
from tests.server.doorbell.test_redis import rings
from tests.support.doorbells import now_ms, rung, state_is
from tests.support.postgres import USER, postgres_server


async def test_restarted_and_cut_it_is_back() -> None:
    async with postgres_server() as server:
        database = await server.new_database()
        line = server.dsn(database)
        a, b = (NodeDoorbell(PostgresLine(line, DOMAIN), now_ms) for _ in range(2))
        async with rung(a, b) as [_, ear]:
            await rings(a, ear)
            ear.heard.clear()
            await server.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'miss-server doorbell'"
            )
            await ear.until(lambda ear: ear.everything >= 1)
            await state_is(a, up=True)
            await rings(a, ear)
            await server.kill()
            await state_is(a, up=False, why="PostgreSQL")
            await state_is(b, up=False, why="PostgreSQL")
            ear.heard.clear()
            a.ring(new_devices(2))
            assert a.state().dropped >= 2
            await server.start()
            await ear.until(lambda ear: ear.everything >= 1)
            await state_is(a, up=True)
            await rings(a, ear)


async def test_a_wrong_password_stops_at_the_start() -> None:
    async with postgres_server() as server:
        database = await server.new_database()
        line = PostgresLine(server.dsn(database, user=USER, password="wrong"), DOMAIN)
        bell = NodeDoorbell(line, now_ms)
        with pytest.raises(DoorbellError, match="refuses us") as caught:
            await bell.start()
        assert "\n" not in str(caught.value)
