"""A node whose clock is a day off, beside one whose clock is right: nothing is lost, and it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import pytest

from miss_protocol import client_session as events
from miss_protocol import frames as f
from miss_protocol import limits
from tests.support.postgres import PostgresProcess
from tests.support.server import ServerProcess
from tests.support.wire import Server, enrolled, exchange, json_problem, now_ms, open_call

PATIENCE = 60.0
DAY = 24 * 3600


async def clock_is(server: ServerProcess, state: str) -> str:
    """Wait until a node's health says so of its clock; what it says."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await open_call(cast(Server, server), "GET", "/health/ready")
            assert answer.status_code == 200  # whose clock is wrong, a node cannot know
            [part] = [each for each in answer.json()["parts"] if each["part"] == "clock"]
            if part["state"] == state:
                return str(part["text"]["en"])
            await asyncio.sleep(0.1)


@pytest.fixture
async def nodes(postgres: PostgresProcess, tmp_path: Path) -> AsyncIterator[list[ServerProcess]]:
    """Two of one service, not started."""
    dsn = postgres.dsn(await postgres.new_database())
    async with AsyncExitStack() as stack:
        made = []
        for name in ("right", "wrong"):
            (tmp_path / name).mkdir()
            node = ServerProcess(tmp_path / name / "db", tmp_path / name / "log", dsn=dsn)
            node.settings = {"MISS_SWEEP_EVERY": "0.5"}
            made.append(node)
        await made[0].start()
        stack.push_async_callback(made[0].stop)
        yield made
        if made[1].process is not None:
            assert await made[1].stop() == 0


async def test_a_day_behind(nodes: list[ServerProcess]) -> None:
    right, wrong = nodes
    wrong.module = "tests.support.a_day_behind"
    await wrong.start()
    gp, nurse = await enrolled(right), await enrolled(right)
    nurse.server = wrong
    async with gp.online() as writer, nurse.online() as reader:
        await reader.caught_up()
        send = gp.send(nurse.person)
        assert isinstance(await writer.settle(send), f.Sent)
        [row] = await reader.deliveries(1)
        assert row.id == send.id
        await reader.ack(receipts=[nurse.receipt(row)])
        told = (await writer.next(events.StatusChanged)).status
        assert (told.id, [each.state for each in told.devices]) == (send.id, ["delivered"])
        # By its own clock, this one would come from the future; by the database's it does not.
        back = nurse.send(gp.person, ttl=limits.TTL_MIN)
        assert isinstance(await reader.settle(back), f.Sent)
        [row] = await writer.deliveries(1)
        assert row.id == back.id
        await writer.ack(receipts=[gp.receipt(row)])
        # Nor does one that is a day ahead by both.
        ahead = nurse.send(gp.person, at=now_ms() + DAY * 1000)
        refused = await reader.settle(ahead)
        assert isinstance(refused, f.Refused)
        assert refused.code == "clock_skew"
    request = nurse.request("GET", "/v1/account/notices")
    assert (await exchange(request)).status_code == 200
    # Nor is what was signed forgotten before it can be signed no more.
    assert json_problem(await exchange(request)).code == "replayed"
    said = await clock_is(wrong, "degraded")
    assert f"is -{DAY}" in said or f"is -{DAY - 1}" in said or f"is -{DAY + 1}" in said
    await clock_is(right, "ok")
    nurse.server = right
    async with gp.online() as writer, nurse.online() as reader:
        await writer.caught_up()
        send = nurse.send(gp.person)
        assert isinstance(await reader.settle(send), f.Sent)
        [row] = await writer.deliveries(1)
        assert row.id == send.id


async def test_a_day_ahead(nodes: list[ServerProcess]) -> None:
    right, wrong = nodes
    wrong.module = "tests.support.a_day_ahead"
    gp, nurse = await enrolled(right), await enrolled(right)
    async with gp.online() as writer:
        waiting = gp.send(nurse.person, ttl=3600)
        assert isinstance(await writer.settle(waiting), f.Sent)
    # It looks what is over before it lets anybody in.
    await wrong.start()
    nurse.server = wrong
    async with nurse.online() as reader:
        [row] = await reader.deliveries(1)
        assert row.id == waiting.id
        await reader.ack()
    assert (await nurse.call("GET", "/v1/account/notices")).status_code == 200
    async with gp.online() as writer, nurse.online() as reader:
        for sender, line, to in ((gp, writer, nurse), (nurse, reader, gp)):
            await line.caught_up()
            other = reader if line is writer else writer
            send = sender.send(to.person)
            assert isinstance(await line.settle(send), f.Sent)
            [row] = await other.deliveries(1)
            assert row.id == send.id
    assert "is +" in await clock_is(wrong, "degraded")
    await clock_is(right, "ok")
