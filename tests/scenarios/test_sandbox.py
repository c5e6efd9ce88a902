"""The sandbox as an app developer plays against it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from miss_client import Client, Store, enrol
from miss_client.events import Connection as State
from miss_client.events import ConnectionChanged, MessageReceived
from miss_client.sandbox import Sandbox, open_sandbox
from miss_client.transport import Timing

PATIENCE = 60.0


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Sandbox]:
    said: list[str] = []
    async with open_sandbox(tmp_path / "box", say=said.append, people=40) as opened:
        yield opened


async def newcomer(box: Sandbox, path: Path) -> Client:
    [(_, code)] = await box.codes(1)
    return await enrol(
        box.url,
        code,
        Store.create(path),
        device_name="phone",
        accept_charter=True,
        timing=Timing(backoff_min=0.05, backoff_max=0.2),
    )


async def echo_of(client: Client, text: str) -> str:
    events = client.events()
    async for event in events:
        if isinstance(event, MessageReceived) and event.text.endswith(text):
            return event.text
    raise AssertionError("the events ended")


async def test_the_echo_colleague_answers(box: Sandbox, tmp_path: Path) -> None:
    async with await newcomer(box, tmp_path / "a.miss") as client, asyncio.timeout(PATIENCE):
        answer = asyncio.create_task(echo_of(client, "allô"))
        id = await client.send([box.echo.account], "allô")
        assert await answer == "Echo : allô"
        await client.wait_for_state(id, "read")


async def test_faults_lose_nothing(box: Sandbox, tmp_path: Path) -> None:
    async with await newcomer(box, tmp_path / "a.miss") as client, asyncio.timeout(PATIENCE):
        await client.connected()
        # Somebody who has answered is written to without end (spec 08 §1).
        answers = asyncio.create_task(echo_of(client, "zéro"))
        await client.send([box.echo.account], "zéro")
        assert await answers == "Echo : zéro"
        events = client.events()
        assert await box.obey("offline")
        async for event in events:
            if isinstance(event, ConnectionChanged) and event.state is State.WAITING:
                break
        answers = asyncio.create_task(echo_of(client, "trois"))
        for text in ("un", "deux", "trois"):
            await client.send([box.echo.account], text)
        assert await box.obey("good")
        assert await answers == "Echo : trois"
        assert await box.obey("drop")
        dropped = box.line.dropped
        answers = asyncio.create_task(echo_of(client, "quatre"))
        id = await client.send([box.echo.account], "quatre")
        assert await answers == "Echo : quatre"
        await client.wait_for_state(id, "read")
        assert box.line.dropped == dropped + 1
        assert await box.obey("slow")
        answers = asyncio.create_task(echo_of(client, "cinq"))
        await client.send([box.echo.account], "cinq")
        assert await answers == "Echo : cinq"
        heard = [e.text for e in box.echo.received]
        assert heard == ["zéro", "un", "deux", "trois", "quatre", "cinq"]


async def test_what_is_typed(box: Sandbox) -> None:
    said: list[str] = []
    box.say = said.append
    assert await box.obey("codes 2")
    assert len(said) == 2
    for typed in ("", "codes", "who", "nonsense"):
        assert await box.obey(typed)
    assert box.echo.account in said[3]
    assert not await box.obey("quit")
    assert len(await box.codes(1000)) == 39 - 3
    assert await box.codes(1) == []
