"""Lives of a database on PostgreSQL: every older copy is noticed before anybody is served from it.

The clusters are real: copied, put back, recovered and promoted, as an operator might.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast
from unittest.mock import patch

import asyncpg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from miss_protocol import frames as f
from miss_server.storage import epoch_ids
from miss_server.storage import witness as witnesses
from miss_server.storage.disk import EXIT_DISK
from miss_server.storage.messages import NotDurable
from miss_server.storage.postgres.lives import Exchanged, Life, Standby
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.preparing import prepare
from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.sql import epochs, settings, witnessed
from miss_server.storage.witness import FsyncFailed, Witness
from tests.support.databases import create, empty_database, outcome, run, url
from tests.support.devices import DOMAIN, NOW
from tests.support.engines import NOBODY
from tests.support.mailing import Store, pair
from tests.support.meeting import LIFTED
from tests.support.postgres import PostgresProcess, postgres_server


@pytest.fixture
async def engine(postgres: PostgresProcess) -> AsyncIterator[AsyncEngine]:
    """A database with nobody in it."""
    async with empty_database(postgres) as engine:
        yield engine


async def begun(engine: AsyncEngine, life: Life) -> bool:
    """One start of a node; whether it took the database for an older copy."""
    restored, now = await run(engine, lambda connection: life.begin(connection, NOW))
    await life.remember(now)
    return restored


async def counted(engine: AsyncEngine, life: Life) -> None:
    """The node handed out a prekey."""

    def work(connection: Connection) -> witnesses.Testimony:
        witnessed.count_up(connection, life.witness)
        return witnessed.stands(connection, life.witness)

    await life.remember(await run(engine, work))


async def number(engine: AsyncEngine) -> int:
    """The number of the epoch in force."""
    return epoch_ids.number((await run(engine, epochs.current))[0])


async def nobody_at_work(engine: AsyncEngine) -> None:
    """All nodes ended a while ago."""
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE settings SET value = '\\x0000000000000000' WHERE name LIKE 'alive %'")
        )


async def test_starts_of_nodes_are_no_restore(engine: AsyncEngine, tmp_path: Path) -> None:
    nodes = [Life(tmp_path, "one"), Life(tmp_path, "two")]
    for _ in range(3):
        for life in nodes:
            assert not await begun(engine, life)
            await counted(engine, life)
        await nobody_at_work(engine)
    assert await number(engine) == epoch_ids.FIRST
    assert (tmp_path / "one.witness").stat().st_mode & 0o777 == 0o600


async def test_a_node_without_its_file_is_vouched_for_by_another(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    assert not await begun(engine, Life(tmp_path, "one"))
    two = Life(tmp_path, "two")
    assert not await begun(engine, two)
    two.path.unlink()
    assert not await begun(engine, two)
    two.path.unlink()
    await nobody_at_work(engine)
    assert await begun(engine, two)
    assert not await begun(engine, two)
    await nobody_at_work(engine)
    assert await begun(engine, Life(tmp_path, "three"))
    # Its own word is not another's.
    (tmp_path / "three.witness").unlink()
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM settings WHERE name <> 'alive three'"
                                      " AND name LIKE 'alive %'"))  # fmt: skip
    assert await begun(engine, Life(tmp_path, "three"))


async def test_a_damaged_witness_begins_a_new_epoch(engine: AsyncEngine, tmp_path: Path) -> None:
    life = Life(tmp_path, "one")
    assert not await begun(engine, life)
    life.path.write_bytes(b"cut sho")
    assert await begun(engine, life)
    assert await number(engine) == 2


async def test_a_crash_between_commit_and_witness_is_no_restore(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    life = Life(tmp_path, "one")
    for _ in range(2):
        restored, _ = await run(engine, lambda connection: life.begin(connection, NOW))
        assert not restored  # and the process died before it could remember
    await nobody_at_work(engine)
    assert not await begun(engine, life)


async def test_a_dump_loaded_anew_is_another_database(
    postgres: PostgresProcess, engine: AsyncEngine, tmp_path: Path
) -> None:
    life = Life(tmp_path, "one")
    assert not await begun(engine, life)
    name = engine.url.database
    assert name is not None
    await engine.dispose()
    copy = await postgres.new_database(template=name)
    other = create_async_engine(url(postgres, copy))
    assert await begun(other, life)
    assert await number(other) == 2
    await other.dispose()


# --- clusters that are put back -------------------------------------------------------------------


@asynccontextmanager
async def cluster() -> AsyncIterator[tuple[PostgresProcess, str]]:
    """A server that a test may ruin, and the name of a database in it."""
    async with postgres_server() as server:
        name = await server.new_database()
        yield server, name


@asynccontextmanager
async def using(server: PostgresProcess, name: str) -> AsyncIterator[AsyncEngine]:
    """Connections while the server runs."""
    engine = create_async_engine(url(server, name))
    yield engine
    await engine.dispose()


def owned(folder: Path) -> None:
    """The ordinary user's, as a cluster must be."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def copy_of(server: PostgresProcess) -> Path:
    """A snapshot of its disk."""
    copy = server.folder / "copy"
    shutil.copytree(server.data, copy, copy_function=shutil.copy2)
    return copy


def put_back(server: PostgresProcess, copy: Path) -> None:
    """Start from the snapshot, without any recovery."""
    shutil.rmtree(server.data)
    shutil.copytree(copy, server.data, copy_function=shutil.copy2)
    server.data.chmod(0o700)
    owned(server.data)


async def recognised(server: PostgresProcess, name: str, life: Life) -> None:
    """A new connection of a node that goes on."""
    connection = await asyncpg.connect(server.dsn(name))
    try:
        await life.recognise(connection)
    finally:
        await connection.close()


async def test_a_snapshot_put_back_is_noticed_by_the_node_that_saw_more(tmp_path: Path) -> None:
    async with cluster() as (server, name):
        one, two = Life(tmp_path, "one"), Life(tmp_path, "two")
        async with using(server, name) as engine:
            await run(engine, create)
            assert not await begun(engine, one)
            assert not await begun(engine, two)
        await server.stop()
        copy = copy_of(server)
        await server.start()
        await recognised(server, name, one)
        async with using(server, name) as engine:
            await counted(engine, two)
        await server.kill()
        put_back(server, copy)
        await server.start()
        # Behind the backs of nodes that go on.
        await recognised(server, name, one)  # for it nothing is missing
        with pytest.raises(Exchanged):
            await recognised(server, name, two)
        async with using(server, name) as engine:
            assert await begun(engine, two)
            assert not await begun(engine, one)
            assert await number(engine) == 2
        await recognised(server, name, one)
        await recognised(server, name, two)


async def test_a_copy_that_lacks_only_messages_is_noticed_on_the_next_connection(
    tmp_path: Path,
) -> None:
    async with cluster() as (server, name):
        options = Options(server.dsn(name))
        await prepare(options, domain=DOMAIN, now_ms=NOW)
        one, two = Life(tmp_path, "one"), Life(tmp_path, "two")
        stores = [PostgresStore(options, one, LIFTED), PostgresStore(options, two, LIFTED)]
        for store in stores:
            assert not await store.begin_life(now_ms=NOW)
        gp, nurse = await pair(cast(Store, stores[0]))
        await gp.submit(gp.send(nurse.person))
        for store in stores:
            await store.close()
        await server.stop()
        copy = copy_of(server)
        await server.start()
        one.next_batch()  # that of a commit whose answer was lost, and which did not happen
        await recognised(server, name, one)
        again = PostgresStore(options, one, LIFTED)
        gp.store = cast(Store, again)
        await gp.submit(gp.send(nurse.person))
        send = gp.send(nurse.person)
        for _ in range(2):  # the batch of a repeat changes nothing, and so has no number
            assert isinstance((await gp.submit(send)).reply, f.Sent)
        await recognised(server, name, one)
        await again.close()
        await server.kill()
        put_back(server, copy)
        await server.start()
        await recognised(server, name, two)  # it wrote nothing since
        for _ in range(2):
            with pytest.raises(Exchanged):
                await recognised(server, name, one)
        async with using(server, name) as engine:
            assert await begun(engine, one)
            assert not await begun(engine, two)
            assert await number(engine) == 2
        await recognised(server, name, one)
        await recognised(server, name, two)


async def test_a_copy_from_before_a_beat_is_noticed_whatever_it_lacks(
    postgres: PostgresProcess, engine: AsyncEngine, tmp_path: Path
) -> None:
    life = Life(tmp_path, "one")
    assert not await begun(engine, life)
    name = engine.url.database
    assert name is not None
    before = await run(engine, lambda c: settings.get(c, life.witness))
    assert before is not None
    await life.remember(await run(engine, life.beat))
    await recognised(postgres, name, life)
    await run(engine, lambda c: settings.put(c, life.witness, before))
    with pytest.raises(Exchanged):
        await recognised(postgres, name, life)
    assert await begun(engine, Life(tmp_path, "one"))


async def test_a_node_that_cannot_write_down_what_is_missing_ends_all_the_same(
    postgres: PostgresProcess, engine: AsyncEngine, tmp_path: Path
) -> None:
    life = Life(tmp_path, "one")
    assert not await begun(engine, life)
    name = engine.url.database
    assert name is not None
    life.committed(life.next_batch()[1])
    (tmp_path / "one.witness.new").mkdir()
    with pytest.raises(Exchanged):
        await recognised(postgres, name, life)


async def test_after_a_crash_it_is_the_same_database(tmp_path: Path) -> None:
    async with cluster() as (server, name):
        life = Life(tmp_path, "one")
        async with using(server, name) as engine:
            await run(engine, create)
            assert not await begun(engine, life)
            await counted(engine, life)
        for _ in range(2):
            await server.restart()
            await recognised(server, name, life)
        async with using(server, name) as engine:
            assert not await begun(engine, life)


async def test_a_promoted_standby_is_a_restore_of_which_all_nodes_agree(tmp_path: Path) -> None:
    async with cluster() as (server, name):
        nodes = [Life(tmp_path, f"node{n}") for n in range(4)]
        async with using(server, name) as engine:
            await run(engine, create)
            for life in nodes:
                assert not await begun(engine, life)
        await server.stop()
        (server.data / "standby.signal").touch()
        owned(server.data)
        await server.start()
        with pytest.raises(Exchanged):
            await recognised(server, name, nodes[0])
        async with using(server, name) as engine:
            early = await outcome(run(engine, lambda c: nodes[0].begin(c, NOW)))
            assert isinstance(early, Standby)
            await server.sql("SELECT pg_promote()")
            with pytest.raises(Exchanged):
                await recognised(server, name, nodes[0])
            started = await asyncio.gather(*(begun(engine, life) for life in nodes))
            assert sorted(started) == [False, False, False, True]
            assert await number(engine) == 2
        for life in nodes:
            await recognised(server, name, life)


async def test_an_emptied_or_exchanged_database_is_not_recognised(
    postgres: PostgresProcess, engine: AsyncEngine, tmp_path: Path
) -> None:
    life = Life(tmp_path, "one")
    async with empty_database(postgres) as other:
        await run(other, lambda connection: life.begin(connection, NOW))
        name, foreign = other.url.database, engine.url.database
        assert name is not None
        assert foreign is not None
        await recognised(postgres, foreign, life)  # it has not begun: nothing to compare
        assert not await begun(other, life)
        with pytest.raises(Exchanged):
            await recognised(postgres, foreign, life)
        async with other.begin() as connection:
            await connection.execute(text("DELETE FROM settings"))
        with pytest.raises(Exchanged):
            await recognised(postgres, name, life)


# --- the file -------------------------------------------------------------------------------------


async def test_what_cannot_be_witnessed_is_not_answered(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    life = Life(tmp_path, "one")
    assert not await begun(engine, life)
    before = life.path.read_bytes()
    (tmp_path / "one.witness.new").mkdir()
    with pytest.raises(NotDurable):
        await counted(engine, life)
    assert life.path.read_bytes() == before
    (tmp_path / "one.witness.new").rmdir()
    await counted(engine, life)
    await nobody_at_work(engine)
    assert not await begun(engine, life)


async def test_commits_told_in_the_other_order_leave_the_later_one(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    life = Life(tmp_path, "one")
    assert not await begun(engine, life)
    stood = await run(engine, lambda connection: witnessed.stands(connection, life.witness))
    await life.remember(witnesses.Testimony(stood.epoch, stood.count + 2))
    later = life.path.read_bytes()
    await life.remember(witnesses.Testimony(stood.epoch, stood.count + 1))
    assert life.path.read_bytes() == later


async def test_a_disk_that_fails_under_the_witness_ends_the_process(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    class Ended(BaseException):
        pass

    life = Life(tmp_path, "one")
    assert not await begun(engine, life)
    ended: list[int] = []

    def end(status: int) -> None:
        ended.append(status)
        raise Ended

    with (
        patch.object(os, "_exit", end),
        patch.object(Witness, "write", side_effect=FsyncFailed(5, "Input/output error")),
        pytest.raises(Ended),
    ):
        await counted(engine, life)
    assert ended == [EXIT_DISK]
