"""Rows of a device that is connected to another node do not run out until its session ends (rule C5)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from miss_server.storage.messages import SessionStart
from miss_server.storage.postgres.lives import Life
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.sql import endings
from tests.support.databases import opened, until_it_waits
from tests.support.devices import NOW
from tests.support.mailing import Phone, Store, pair
from tests.support.meeting import LIFTED
from tests.support.postgres import PostgresProcess
from tests.support.stores import lent

LATER = NOW + 61_000


@pytest.fixture
async def options(postgres: PostgresProcess) -> AsyncIterator[Options]:
    """An empty database."""
    async with lent(postgres) as options:
        yield options


@pytest.fixture
async def nodes(options: Options, tmp_path: Path) -> AsyncIterator[list[PostgresStore]]:
    """Two nodes on it, at work."""
    async with AsyncExitStack() as stack:
        made = [PostgresStore(options, Life(tmp_path, name), LIFTED) for name in ("here", "there")]
        for store in made:
            await store.begin_life(now_ms=NOW)
            stack.push_async_callback(store.close)
        yield made


@pytest.fixture
async def engine(options: Options) -> AsyncIterator[AsyncEngine]:
    """Transactions of the test's own."""
    made = create_async_engine(options.dsn.replace("postgresql://", "postgresql+asyncpg://", 1))
    yield made
    await made.dispose()


async def waiting(nodes: list[PostgresStore]) -> Phone:
    """A nurse whose session is `there`, with one message that is due `LATER`."""
    gp, nurse = await pair(cast(Store, nodes[0]))
    nurse.store = cast(Store, nodes[1])
    await nurse.connect()
    await gp.submit(gp.send(nurse.person, ttl=60))
    return nurse


async def gaps(nurse: Phone) -> list[str | None]:
    """What the nurse's mailbox holds."""
    again = replace(nurse, position=0, rows=[])
    return [row.gap for row in (await again.fetch()).rows]


async def test_rows_are_left_to_the_node_of_the_session(nodes: list[PostgresStore]) -> None:
    here, there = nodes
    nurse = await waiting(nodes)
    for _ in range(2):
        assert not await here.expire(protected={}, now_ms=LATER)
        assert not await there.expire(protected={nurse.id: 1}, now_ms=LATER)
        assert await gaps(nurse) == [None]
        # A call by HTTP at the other node leaves the session where it is.
        call = await here.begin_session(replace(nurse.greeting(), live=False), now_ms=NOW)
        assert isinstance(call, SessionStart)
    assert nurse.generation is not None
    await there.end_session(nurse.id, nurse.generation, window=0, now_ms=NOW)
    assert await here.expire(protected={}, now_ms=LATER)
    assert await gaps(nurse) == ["expired"]


async def test_the_node_of_the_session_lets_go_what_it_did_not_write(
    nodes: list[PostgresStore],
) -> None:
    nurse = await waiting(nodes)
    assert await nodes[1].expire(protected={}, now_ms=LATER)
    assert await gaps(nurse) == ["expired"]


async def test_a_session_that_moved_is_the_new_nodes(nodes: list[PostgresStore]) -> None:
    here, there = nodes
    nurse = await waiting(nodes)
    older = nurse.generation
    assert older is not None
    nurse.store = cast(Store, here)
    await nurse.connect()
    await there.end_session(nurse.id, older, window=0, now_ms=NOW)  # late
    assert not await there.expire(protected={}, now_ms=LATER)
    assert not await here.expire(protected={nurse.id: 1}, now_ms=LATER)
    assert await here.expire(protected={}, now_ms=LATER)


async def test_a_session_that_began_with_a_restore_is_known_too(
    nodes: list[PostgresStore],
) -> None:
    here, _ = nodes
    nurse = await waiting(nodes)
    nurse.position, nurse.digest = 7, b"\x07" * 32  # positions that this database never gave
    assert (await nurse.connect()).restored_since is not None
    assert not await here.expire(protected={}, now_ms=LATER)


async def test_rows_of_a_node_that_died_run_out(
    nodes: list[PostgresStore], engine: AsyncEngine
) -> None:
    nurse = await waiting(nodes)
    assert not await nodes[0].expire(protected={}, now_ms=LATER)
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE settings SET value = '\\x0000000000000000' WHERE name = 'alive there'")
        )
    assert await nodes[0].expire(protected={}, now_ms=LATER)
    assert await gaps(nurse) == ["expired"]


async def test_a_session_that_begins_meanwhile_waits_and_sees_the_gap(
    nodes: list[PostgresStore], engine: AsyncEngine
) -> None:
    here, there = nodes
    nurse = await waiting(nodes)
    assert nurse.generation is not None
    await there.end_session(nurse.id, nurse.generation, window=0, now_ms=NOW)
    expire = partial(endings.expire, protected={}, now_ms=LATER)
    async with opened(engine, lambda connection: expire(connection)) as (connection, rung):
        assert rung
        beginning = asyncio.create_task(nurse.connect())
        await until_it_waits(engine, beginning)
        await connection.commit()
    await beginning
    assert await gaps(nurse) == ["expired"]
    assert not await here.expire(protected={}, now_ms=LATER)
