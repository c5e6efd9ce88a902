"""From the first schema on: every database reaches the tables of today, whole or not at all."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from miss_server.storage import migrating
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.schema import SCHEMA_VERSION, envelopes, metadata
from miss_server.storage.sql import settings
from miss_server.storage.sqlite import upgrading
from miss_server.storage.sqlite.engine import open_engine, writing
from miss_server.storage.sqlite.store import DatabaseError, SqliteStore, prepare
from tests.server.storage.later_schema import later_steps
from tests.support.databases import url
from tests.support.devices import DOMAIN, NOW
from tests.support.mailing import pair
from tests.support.postgres import PASSWORD, PostgresProcess
from tests.support.server import miss_server

T = TypeVar("T")
FIRST = Path(__file__).parent / "first_schema"
LATER = NOW + 60_000


def first_file(folder: Path) -> Path:
    """A SQLite file as the first version left it."""
    path = folder / "miss.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript((FIRST / "sqlite.sql").read_text())
    return path


async def first_database(server: PostgresProcess) -> str:
    """A PostgreSQL database as the first version left it; its name."""
    name = await server.new_database()
    connection = await server.connect(name)
    await connection.execute("SET ROLE miss")
    await connection.execute((FIRST / "postgres.sql").read_text())
    await connection.close()
    return name


def in_file(path: Path, work: Callable[[Connection], T]) -> T:
    engine = open_engine(path)
    with engine.connect() as connection, writing(connection):
        return work(connection)


async def in_database(engine: AsyncEngine, work: Callable[[Connection], T]) -> T:
    async with engine.begin() as connection:
        return await connection.run_sync(work)


OF_ONE_ENGINE = ("directory_words", "directory_persons")
"""Tables that each engine makes in its own way, as `create_directory` of its folder says."""


def differences(connection: Connection) -> list[Any]:
    """What Alembic would still change to make the tables those of the MetaData."""
    assert set(migrating.BY_SUBJECT) <= set(metadata.tables.values())
    context = MigrationContext.configure(
        connection,
        opts={
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, _: (
                kind != "table" or not str(name).startswith(OF_ONE_ENGINE)
            ),
        },
    )
    found = compare_metadata(context, metadata)
    # SQLite keeps no comments, and those of PostgreSQL's tables are in the code alone.
    return [each for each in found if "comment" not in str(each[0])]


def columns(connection: Connection) -> set[str]:
    found = connection.execute(text("SELECT * FROM devices LIMIT 1"))
    return set(found.keys())


def test_the_steps_have_no_holes_and_end_at_this_versions_schema() -> None:
    [folder] = migrating.STEPS
    numbers = sorted(path.name[:4] for path in folder.glob("0*.py"))
    assert numbers == [f"{number:04}" for number in range(1, SCHEMA_VERSION + 1)]
    assert migrating.last() == SCHEMA_VERSION


def test_a_new_file_has_the_tables_of_the_metadata(tmp_path: Path) -> None:
    prepare(tmp_path / "miss.sqlite", domain=DOMAIN, now_ms=NOW)
    assert in_file(tmp_path / "miss.sqlite", differences) == []


def test_the_first_file_reaches_the_tables_of_the_metadata(tmp_path: Path) -> None:
    path = first_file(tmp_path)
    upgrading.upgrade(path, domain=DOMAIN, now_ms=LATER)
    prepare(path, domain=DOMAIN, now_ms=LATER)
    assert in_file(path, differences) == []


async def test_databases_of_postgresql_do_the_same(postgres: PostgresProcess) -> None:
    names = [await first_database(postgres), await postgres.new_database()]
    for name in names:
        engine = create_async_engine(url(postgres, name))
        await in_database(engine, migrating.upgrade)
        assert await in_database(engine, differences) == []
        await engine.dispose()


def indexes(connection: Connection) -> list[str]:
    """Every index in the engine's own words, what it leaves out included."""
    if connection.dialect.name == "sqlite":
        asked = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    else:
        asked = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"
    found = connection.execute(text(f"{asked} ORDER BY 1")).scalars()
    return [" ".join(each.split()) for each in found if "directory_words" not in each]


def test_a_files_indexes_are_those_of_the_metadata(tmp_path: Path) -> None:
    path = first_file(tmp_path)
    in_file(path, migrating.upgrade)
    in_file(tmp_path / "new.sqlite", lambda connection: metadata.create_all(connection))
    assert in_file(path, indexes) == in_file(tmp_path / "new.sqlite", indexes)


async def test_postgresqls_indexes_are_those_of_the_metadata(postgres: PostgresProcess) -> None:
    names = [await postgres.new_database(), await postgres.new_database()]
    names.append(await first_database(postgres))
    works: list[Callable[[Connection], object]] = [
        metadata.create_all,
        migrating.upgrade,
        migrating.upgrade,
    ]
    seen = []
    for name, work in zip(names, works, strict=True):
        engine = create_async_engine(url(postgres, name))
        await in_database(engine, work)
        seen.append([each for each in await in_database(engine, indexes) if "alembic" not in each])
        await engine.dispose()
    assert seen[0] == seen[1] == seen[2]


async def waits_and_goes_on(store: Any, device: bytes) -> None:
    """The message of the first schema is still there, and new ones go their way."""
    record = await store.device(device)
    assert record is not None
    gp, nurse = await pair(store)
    await gp.submit(gp.send(nurse.person))
    [row] = (await nurse.fetch()).rows
    assert not (await nurse.ack(1, [nurse.receipt(row)])).stale


def waiting(connection: Connection) -> bytes:
    [device] = connection.execute(select(envelopes.c.device)).scalars()
    return bytes(device)


async def test_a_later_step_keeps_what_waits_in_a_file(tmp_path: Path) -> None:
    path, steps = first_file(tmp_path), later_steps(tmp_path)
    done = upgrading.upgrade(path, domain=DOMAIN, now_ms=LATER, steps=steps)
    assert done is not None
    assert (done.before, done.now) == (1, SCHEMA_VERSION + 1)
    assert "nickname" in in_file(path, columns)
    assert done.kept is not None
    assert "nickname" not in in_file(done.kept, columns)
    assert upgrading.upgrade(path, domain=DOMAIN, now_ms=LATER, steps=steps) is None
    device = in_file(path, waiting)
    store = SqliteStore(path)  # of this version: one that was running goes on
    store.open()
    await waits_and_goes_on(store, device)
    await store.close()


async def test_a_later_step_keeps_what_waits_in_postgresql(
    postgres: PostgresProcess, tmp_path: Path
) -> None:
    name, steps = await first_database(postgres), later_steps(tmp_path)
    engine = create_async_engine(url(postgres, name))
    device = await in_database(engine, waiting)
    store = PostgresStore(Options(postgres.dsn(name)))
    await waits_and_goes_on(store, device)  # a node of this version, amid which the step is taken
    assert await in_database(engine, lambda c: migrating.upgrade(c, steps=steps)) == SCHEMA_VERSION
    assert "nickname" in await in_database(engine, columns)
    await waits_and_goes_on(store, device)
    await store.close()
    await engine.dispose()


BREAKS = 'op.execute("INSERT INTO settings VALUES (NULL, NULL)")'


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path, steps = first_file(tmp_path), later_steps(tmp_path, then=BREAKS)
    with pytest.raises(Exception, match="NOT NULL"):
        upgrading.upgrade(path, domain=DOMAIN, now_ms=LATER, steps=steps)
    assert "nickname" not in in_file(path, columns)
    assert in_file(path, migrating.version) == 1


async def test_a_step_that_fails_leaves_postgresql_as_it_was(
    postgres: PostgresProcess, tmp_path: Path
) -> None:
    name, steps = await first_database(postgres), later_steps(tmp_path, then=BREAKS)
    engine = create_async_engine(url(postgres, name))
    with pytest.raises(Exception, match="not-null"):
        await in_database(engine, lambda c: migrating.upgrade(c, steps=steps))
    assert "nickname" not in await in_database(engine, columns)
    assert await in_database(engine, migrating.version) == 1
    await engine.dispose()


def raised(path: Path, by: int) -> None:
    in_file(
        path,
        lambda connection: settings.put(connection, "schema", str(SCHEMA_VERSION + by).encode()),
    )


def test_a_schema_of_the_future_is_refused_by_every_command(tmp_path: Path) -> None:
    path = first_file(tmp_path)
    raised(path, 1)
    with pytest.raises(DatabaseError, match="newer version"):
        upgrading.upgrade(path, domain=DOMAIN, now_ms=LATER)
    with pytest.raises(migrating.TooNewError):
        in_file(path, migrating.upgrade)
    for words in (["db", "check"], ["db", "upgrade"], ["serve", "--port", "0"], ["accounts"]):
        done = miss_server(*words, "--domain", DOMAIN, database=path, check=False)
        assert done.returncode == 1
        assert "newer version" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_commands_say_what_there_is_to_do(tmp_path: Path) -> None:
    path = tmp_path / "miss.sqlite"

    def said(*words: str, status: int = 0) -> str:
        done = miss_server(*words, "--domain", DOMAIN, database=path, check=False)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    assert "is empty" in said("db", "check")
    assert "there is no" in said("db", "upgrade", status=1)
    first_file(tmp_path)
    assert "`miss-server db upgrade`" in said("db", "check", status=3)
    assert f"Schema 1 is {SCHEMA_VERSION} now" in said("db", "upgrade")
    assert f"Schema {SCHEMA_VERSION}: it is this version's." in said("db", "check")
    assert "Nothing to do" in said("db", "upgrade")
    path.write_text("not a database, and longer than a header of SQLite would be: " * 4)
    assert "not a database" in said("db", "check", status=1)


async def test_the_commands_say_it_of_postgresql_too(postgres: PostgresProcess) -> None:
    async def said(name: str, *words: str, status: int = 0) -> str:
        place: Any = postgres.dsn(name)
        done = await asyncio.to_thread(
            miss_server, *words, "--domain", DOMAIN, database=place, check=False
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        return done.stdout + done.stderr

    name = await postgres.new_database()
    assert "is empty" in await said(name, "db", "check")
    assert "Nothing to do" in await said(name, "db", "upgrade")  # the first start makes them
    name = await first_database(postgres)
    assert "`miss-server db upgrade`" in await said(name, "db", "check", status=3)
    assert f"{SCHEMA_VERSION - 1} steps taken." in await said(name, "db", "upgrade")
    assert f"Schema {SCHEMA_VERSION}: it is this version's." in await said(name, "db", "check")
    assert "Nothing to do" in await said(name, "db", "upgrade")
    engine = create_async_engine(url(postgres, name))
    assert await in_database(engine, differences) == []
    later = str(SCHEMA_VERSION + 1).encode()
    await in_database(engine, lambda connection: settings.put(connection, "schema", later))
    await engine.dispose()
    for word in ("check", "upgrade"):
        assert "newer version" in await said(name, "db", word, status=1)
    name = await postgres.new_database()
    await postgres.sql("CREATE TABLE theirs (a int)", database=name)
    for word in ("check", "upgrade"):
        assert "another program" in await said(name, "db", word, status=1)
        assert "PostgreSQL" in await said("nowhere", "db", word, status=1)


def test_another_programs_tables_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "miss.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (a)")
    with pytest.raises(ValueError, match="another program"):
        in_file(path, migrating.upgrade)
    with pytest.raises(DatabaseError, match="another program"):
        upgrading.upgrade(path, domain=DOMAIN, now_ms=LATER)
    assert path.with_name("miss.sqlite.schema-1").exists() is False
