"""A PostgreSQL that cannot be used is told in one line, with what to change."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from miss_server.storage.database import DatabaseError
from miss_server.storage.postgres import preparing
from miss_server.storage.postgres.pool import Options
from miss_server.storage.schema import SCHEMA_VERSION
from tests.server.storage.later_schema import later_steps
from tests.support.devices import DOMAIN, NOW
from tests.support.postgres import PASSWORD, USER, PostgresProcess, postgres_server


async def refused(dsn: str, **more: int) -> str:
    with pytest.raises(DatabaseError) as raised:
        await preparing.prepare(Options(dsn), domain=DOMAIN, now_ms=NOW, **more)
    said = str(raised.value)
    assert "\n" not in said
    assert PASSWORD not in said
    return said


async def test_what_is_wrong_with_the_address_is_said(postgres: PostgresProcess) -> None:
    name = await postgres.new_database()
    dsn = postgres.dsn(name)
    assert "MISS_DATABASE_PASSWORD" in await refused(postgres.dsn(name, password="wrong"))
    assert "createdb" in await refused(postgres.dsn("nowhere"))
    port = urlsplit(dsn).port
    assert "cannot be reached" in await refused(dsn.replace(f":{port}/", ":1/"))
    assert "MISS_DATABASE_CONNECTIONS" in await refused(dsn, connections=1_000)
    assert "address" in await refused(f"{dsn}?target_session_attrs=nonsense")


async def test_a_limit_of_the_role_or_the_database_is_said_with_what_to_raise() -> None:
    async with postgres_server() as server:
        name = await server.new_database()
        dsn = server.dsn(name)
        await server.sql(f'ALTER DATABASE "{name}" CONNECTION LIMIT 7')
        assert "ALTER DATABASE" in await refused(dsn, connections=8)
        await server.sql(f"ALTER ROLE {USER} CONNECTION LIMIT 4")
        said = await refused(dsn, connections=8)
        assert "allows 4 connections" in said
        assert "ALTER ROLE" in said


async def test_another_domain_another_program_and_another_version(
    postgres: PostgresProcess, tmp_path: Path
) -> None:
    options = Options(postgres.dsn(await postgres.new_database()))
    assert await preparing.upgrade(options) == 0
    assert await preparing.schema_of(options) is None
    await preparing.prepare(options, domain=DOMAIN, now_ms=NOW)
    await preparing.prepare(options, domain=DOMAIN, now_ms=NOW)
    assert await preparing.schema_of(options) == SCHEMA_VERSION
    assert await preparing.upgrade(options) == 0
    with pytest.raises(DatabaseError, match=f"belongs to the domain {DOMAIN}"):
        await preparing.prepare(options, domain="other.example", now_ms=NOW)
    assert await preparing.upgrade(options, steps=later_steps(tmp_path)) == 1
    assert "newer version" in await refused(options.dsn)
    with pytest.raises(DatabaseError, match="newer version"):
        await preparing.upgrade(options)
    theirs = await postgres.new_database()
    await postgres.sql("CREATE TABLE theirs (a int)", database=theirs)
    assert "another program" in await refused(postgres.dsn(theirs))
    for ask in (preparing.schema_of, preparing.upgrade):
        with pytest.raises(DatabaseError, match="another program"):
            await ask(Options(postgres.dsn(theirs)))


async def test_nodes_that_start_at_once_make_the_tables_once(postgres: PostgresProcess) -> None:
    options = Options(postgres.dsn(await postgres.new_database()))
    starts = [preparing.prepare(options, domain=DOMAIN, now_ms=NOW) for _ in range(6)]
    await asyncio.gather(*starts)
    assert await preparing.schema_of(options) == SCHEMA_VERSION
