"""The PostgreSQL that tests harm is real: killed, frozen, durable, and always ended."""

import asyncio
import os
from pathlib import Path

import asyncpg
import pytest

from tests.support import postgres as support
from tests.support.engines import NOBODY, Missing
from tests.support.postgres import PASSWORD, USER, PostgresProcess, postgres_server


async def test_what_was_committed_outlives_a_crash() -> None:
    async with postgres_server() as server:
        name = await server.new_database()
        owner = await asyncpg.connect(server.dsn(name))
        assert await owner.fetchval("SHOW fsync") == "on"
        assert (
            await owner.fetchval("SELECT usesuper FROM pg_user WHERE usename = $1", USER) is False
        )
        await owner.execute("CREATE TABLE kept (what text); INSERT INTO kept VALUES ('yes')")
        await server.kill()
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await owner.fetchval("SELECT 1")
        await server.start()
        again = await asyncpg.connect(server.dsn(name))
        assert await again.fetchval("SELECT what FROM kept") == "yes"
        await again.close()
        await server.drop(name)
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await server.connect(name)
    assert not server.folder.exists()


async def test_frozen_it_answers_nothing_and_then_goes_on() -> None:
    async with postgres_server() as server:
        connection = await server.connect()
        server.freeze()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await asyncpg.connect(server.dsn("postgres", user="postgres"))
        server.thaw()
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


async def test_a_wrong_password_is_refused(postgres: PostgresProcess) -> None:
    name = await postgres.new_database()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres.dsn(name, password=PASSWORD + "x"))


async def test_it_does_not_run_as_root(postgres: PostgresProcess) -> None:
    assert postgres.process is not None
    assert Path(f"/proc/{postgres.process.pid}").stat().st_uid == (
        NOBODY if os.geteuid() == 0 else os.geteuid()
    )


def test_a_folder_without_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(support.CHOICE, str(tmp_path))
    with pytest.raises(Missing, match="no `postgres` in that folder"):
        support.programs.__wrapped__()
