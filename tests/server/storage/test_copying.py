"""A SQLite file moves into PostgreSQL whole, wherever it is cut off, and only one of them serves."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection, select

from miss_server.importers.generate import generate
from miss_server.storage import copying
from miss_server.storage.database import MOVED, DatabaseError
from miss_server.storage.postgres import preparing
from miss_server.storage.postgres.directory import PostgresWords
from miss_server.storage.postgres.moving import move
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.quiet import Quiet
from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.schema import metadata
from miss_server.storage.sql.directory import SqlDirectory
from miss_server.storage.sqlite.directory import SqliteWords
from miss_server.storage.sqlite.engine import open_engine
from miss_server.storage.sqlite.moving import unmove
from miss_server.storage.sqlite.store import SqliteStore, prepare
from tests.bench.population import populate
from tests.server.storage.killed_copy import KILLED
from tests.support.devices import DOMAIN, NOW
from tests.support.mailing import pair
from tests.support.meeting import LIFTED
from tests.support.postgres import PASSWORD, PostgresProcess
from tests.support.server import DOMAIN as PEOPLES
from tests.support.server import environment, miss_server, started

T = TypeVar("T")
LATER = NOW + 1000


def file_with_people(folder: Path, people: int = 0) -> Path:
    path = folder / "miss.sqlite"
    if people:
        populate(path, people, keys=False)
    else:
        prepare(path, domain=DOMAIN, now_ms=NOW)
    return path


def moved(path: Path, options: Options, domain: str = DOMAIN) -> copying.Copied:
    return move(path, options, shown="postgresql://there", domain=domain, now_ms=LATER)


async def test_devices_go_on_in_postgresql_as_if_nothing_had_been(
    postgres: PostgresProcess, tmp_path: Path
) -> None:
    path = file_with_people(tmp_path)
    store: SqliteStore | PostgresStore = SqliteStore(path, LIFTED)
    store.open()
    gp, nurse = await pair(store)  # type: ignore[arg-type]  # what of it is used, it has
    first, second = gp.send(nurse.person), gp.send(nurse.person)
    await gp.submit(first)
    await gp.submit(second)
    [row, _] = (await nurse.fetch()).rows
    await nurse.ack(1, [nurse.receipt(row)])
    nurse.position, nurse.digest = 1, row.digest
    await store.close()

    options = Options(postgres.dsn(await postgres.new_database()))
    copied = await asyncio.to_thread(moved, path, options)
    assert (copied.rows["envelopes"], copied.rows["sends"], copied.rows["devices"]) == (1, 2, 2)
    await preparing.prepare(options, domain=DOMAIN, now_ms=LATER)
    store = PostgresStore(options, first_contacts=LIFTED)
    for phone in (gp, nurse):
        phone.store = store  # type: ignore[assignment]
        epoch = phone.epoch
        start = await phone.connect()
        assert start.epoch == epoch
        assert start.restored_since is None
    assert [row.message for row in (await nurse.fetch()).rows] == [second.id]
    assert (await gp.submit(second)).reply is not None  # the same bytes, settled before the move
    third = gp.send(nurse.person)
    await gp.submit(third)
    assert [row.message for row in (await nurse.fetch()).rows] == [third.id]
    assert len((await gp.fetch()).statuses) == 1
    await store.close()


async def test_the_file_serves_nobody_any_more_until_it_is_taken_back(
    postgres: PostgresProcess, tmp_path: Path
) -> None:
    path = file_with_people(tmp_path, 10)
    options = Options(postgres.dsn(await postgres.new_database()))
    await asyncio.to_thread(moved, path, options, PEOPLES)
    for words in (["serve", "--port", "0"], ["accounts"], ["backup", str(tmp_path / "b")]):
        done = miss_server(*words, "--domain", PEOPLES, database=path, check=False)
        assert done.returncode == 1
        assert "was moved to postgresql://there" in done.stderr
    with pytest.raises(DatabaseError, match="in use"):
        await asyncio.to_thread(moved, path, options, PEOPLES)
    with pytest.raises(DatabaseError, match="moved to postgresql://there before"):
        await asyncio.to_thread(
            move, path, options, shown="postgresql://x", domain=PEOPLES, now_ms=LATER
        )
    epoch = await asyncio.to_thread(epoch_of, path)
    unmove(path, now_ms=LATER)
    with pytest.raises(DatabaseError, match="not moved"):
        unmove(path, now_ms=LATER)
    prepare(path, domain=PEOPLES, now_ms=LATER)
    assert await asyncio.to_thread(epoch_of, path) != epoch


def epoch_of(path: Path) -> bytes:
    with closing(sqlite3.connect(path)) as db:
        value: bytes = db.execute("SELECT value FROM settings WHERE name = 'epoch'").fetchone()[0]
        return value


async def test_killed_anywhere_it_goes_on_and_nothing_serves_meanwhile(
    postgres: PostgresProcess, tmp_path: Path
) -> None:
    path = file_with_people(tmp_path, 7_000)
    name = await postgres.new_database()
    options = Options(postgres.dsn(name))
    words = [sys.executable, "-m", "miss_server", "db", "copy", str(path)]
    words += [postgres.dsn(name, password=""), "--domain", PEOPLES]
    variables = environment() | {"MISS_DATABASE_PASSWORD": PASSWORD}
    # Killed it tells nothing of what it covered, and measured it takes three times as long.
    variables.pop("COVERAGE_PROCESS_CONFIG", None)
    observer = await postgres.connect(name)

    async def there() -> int:
        if await observer.fetchval("SELECT to_regclass('devices')") is None:
            return 0
        found: int = await observer.fetchval(
            "SELECT (SELECT count(*) FROM devices) + (SELECT count(*) FROM accounts)"
        )
        return found

    for _ in range(3):
        before = await there()
        process = await asyncio.create_subprocess_exec(*words, env=variables)
        ended = asyncio.create_task(process.wait())
        while await there() == before and not ended.done():
            await asyncio.wait({ended}, timeout=0.01)  # another process's rows ring no bell
        assert not ended.done()
        process.kill()
        await ended
        with pytest.raises(DatabaseError, match="not complete"):
            await preparing.prepare(options, domain=PEOPLES, now_ms=LATER)
    process = await asyncio.create_subprocess_exec(
        *words, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    assert "each compared" in said
    assert PASSWORD not in said
    assert await observer.fetchval("SELECT count(*) FROM devices") == 7_000
    assert await observer.fetchval("SELECT count(*) FROM settings WHERE name ~ '^cop'") == 0
    await preparing.prepare(options, domain=PEOPLES, now_ms=LATER)
    await observer.close()


async def test_a_copy_that_differs_does_not_serve(
    postgres: PostgresProcess, tmp_path: Path
) -> None:
    path = file_with_people(tmp_path, 50)
    name = await postgres.new_database()
    options = Options(postgres.dsn(name))

    def meddle(share: float) -> None:
        if share == 0.5:  # all is copied, nothing is compared yet
            change = postgres.sql("UPDATE devices SET sn = sn + 1", database=name)
            other = threading.Thread(target=asyncio.run, args=(change,))
            other.start()
            other.join()

    def run() -> None:
        move(path, options, shown="x", domain=PEOPLES, now_ms=LATER, progress=meddle)

    with pytest.raises(DatabaseError, match="devices differs"):
        await asyncio.to_thread(run)
    with pytest.raises(DatabaseError, match="not complete"):
        await preparing.prepare(options, domain=PEOPLES, now_ms=LATER)


def in_file(path: Path, work: Callable[[Connection], T]) -> T:
    engine = open_engine(path)
    with engine.connect() as connection:
        found = work(connection)
    engine.dispose()
    return found


async def in_database(options: Options, work: Callable[[Connection], T]) -> T:
    quiet = Quiet(options)
    found = await quiet.read(work)
    await quiet.close()
    return found


def everything(connection: Connection) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, without what only tells of the move."""
    found = {
        table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
        for table in metadata.sorted_tables
    }
    found["settings"] = [row for row in found["settings"] if row[0] != MOVED]
    found["audit"] = [row for row in found["audit"] if "database_copied" not in row]
    return found


async def file_at_work(folder: Path) -> Path:
    """A directory, two people, messages on their way, a nonce."""
    path = file_with_people(folder)
    generate(folder / "register.txt", people=40, seed=7)
    words = ["directory", "import", str(folder / "register.txt"), "--domain", DOMAIN]
    await asyncio.to_thread(lambda: miss_server(*words, database=path))
    store = SqliteStore(path, LIFTED)
    store.open()
    gp, nurse = await pair(store)  # type: ignore[arg-type]  # what of it is used, it has
    for _ in range(8):
        await gp.submit(gp.send(nurse.person))
    await nurse.fetch()
    await nurse.ack(2)
    await store.use_nonce(gp.id, "seen", expires_ms=LATER)
    await store.close()
    return path


async def test_the_directory_comes_along_and_is_found_by_the_same_words(
    postgres: PostgresProcess, tmp_path: Path
) -> None:
    path = await file_at_work(tmp_path)
    options = Options(postgres.dsn(await postgres.new_database()))
    await asyncio.to_thread(moved, path, options)
    await preparing.prepare(options, domain=DOMAIN, now_ms=LATER)
    assert await in_database(options, everything) == in_file(path, everything)
    ours, theirs = SqlDirectory(SqliteWords()), SqlDirectory(PostgresWords())
    people = 0
    for query in ("cardio lille", "med", "a", "pharm", "dupo"):
        here = in_file(path, partial(ours.search, query=query, now_ms=LATER, limit=40))
        there = await in_database(
            options, partial(theirs.search, query=query, now_ms=LATER, limit=40)
        )
        assert there.entries == here.entries
        people += len(here.entries)
    assert people


async def test_a_word_that_is_missing_is_told(postgres: PostgresProcess, tmp_path: Path) -> None:
    path = await file_at_work(tmp_path)
    name = await postgres.new_database()
    options = Options(postgres.dsn(name))

    def meddle(share: float) -> None:
        if share == 0.5:  # all is copied, nothing is compared yet
            change = postgres.sql(
                "DELETE FROM directory_words_1 WHERE id IN (SELECT min(id) FROM directory_words_1)",
                database=name,
            )
            other = threading.Thread(target=asyncio.run, args=(change,))
            other.start()
            other.join()

    def run() -> None:
        move(path, options, shown="x", domain=DOMAIN, now_ms=LATER, progress=meddle)

    with pytest.raises(DatabaseError, match="what finds people in the directory differs"):
        await asyncio.to_thread(run)


async def test_killed_after_every_few_steps_it_becomes_the_same(
    postgres: PostgresProcess, tmp_path: Path
) -> None:
    path = await file_at_work(tmp_path)
    options = Options(postgres.dsn(await postgres.new_database()))

    async def ended_at(call: int) -> int | None:
        words = [str(path), options.dsn, str(call)]
        process, said = await started("tests.server.storage.killed_copy", *words)
        with said:
            return await process.wait()

    call = deaths = 0
    while (status := await ended_at(call := call + 4)) == KILLED:
        deaths += 1
        with pytest.raises(DatabaseError, match="not complete"):
            await preparing.prepare(options, domain=DOMAIN, now_ms=LATER)
    assert status == 0
    assert deaths > 5
    await preparing.prepare(options, domain=DOMAIN, now_ms=LATER)
    assert await in_database(options, everything) == in_file(path, everything)


async def test_a_target_that_holds_something_else_leaves_the_file_in_service(
    postgres: PostgresProcess, tmp_path: Path
) -> None:
    path = file_with_people(tmp_path)
    name = await postgres.new_database()
    await postgres.sql("CREATE TABLE theirs (a int)", database=name)
    with pytest.raises(DatabaseError, match="another program"):
        await asyncio.to_thread(moved, path, Options(postgres.dsn(name)))
    served = Options(postgres.dsn(await postgres.new_database()))
    await preparing.prepare(served, domain=DOMAIN, now_ms=NOW)
    with pytest.raises(DatabaseError, match="in use"):
        await asyncio.to_thread(moved, path, served)
    prepare(path, domain=DOMAIN, now_ms=LATER)
