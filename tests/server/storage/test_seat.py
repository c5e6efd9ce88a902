"""One node of a name: the second is refused, and a place that was lost is taken again."""

import asyncio

import pytest

from miss_server.storage.postgres import seat as seats
from miss_server.storage.postgres.seat import Seat, Taken
from tests.support.postgres import postgres_server


async def test_a_second_node_of_a_name_is_refused_until_the_first_is_gone() -> None:
    async with postgres_server() as server:
        dsn = server.dsn(await server.new_database())
        first, second, other = Seat(dsn, "one"), Seat(dsn, "one"), Seat(dsn, "two")
        await first.take()
        await other.take()
        with pytest.raises(Taken):
            await second.take()
        first.leave()
        first.leave()
        async with asyncio.timeout(60):
            while True:
                try:
                    await second.take()
                    break
                except Taken:
                    await asyncio.sleep(0.01)  # the server ends the session a moment later
        second.leave()
        other.leave()


async def test_a_lost_place_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seats, "LOOK_EVERY", 0.05)
    async with postgres_server() as server:
        dsn = server.dsn(await server.new_database())
        one = Seat(dsn, "one")
        await one.take()
        holding = asyncio.create_task(one.hold())
        await server.restart()
        async with asyncio.timeout(60):
            while True:
                rival = Seat(dsn, "one")
                try:
                    await rival.take()
                except Taken:
                    break  # it is back
                rival.leave()
                await asyncio.sleep(0.2)
        holding.cancel()
        await asyncio.wait({holding})
        one.leave()
