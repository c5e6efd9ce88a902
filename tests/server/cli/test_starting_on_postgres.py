"""What cannot work stops a node at its start, alone or as several workers, in one line that says what
to change."""

import asyncio
import socket
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.support.devices import DOMAIN
from tests.support.engines import without_roots_rights
from tests.support.postgres import PostgresProcess
from tests.support.server import START_SECONDS, ServerProcess
from tests.support.stores import prepared

COUNTS = pytest.mark.parametrize("workers", [1, 2])


@pytest.fixture
async def dsn(postgres: PostgresProcess) -> str:
    """A database as a first start leaves it."""
    return (await prepared(postgres)).dsn


async def refused(server: ServerProcess, *said: str) -> str:
    """It ends by itself, and the last that it says is one line; returns that."""
    server.log.unlink(missing_ok=True)
    with suppress(RuntimeError):
        await server.start()  # one of several workers may have served a moment
    assert server.process is not None
    async with asyncio.timeout(START_SECONDS):
        assert await server.process.wait() == 1
    text = server.log_text()
    assert "Traceback" not in text
    told = [line for line in text.splitlines() if line.startswith("miss-server: ")]
    assert told == text.splitlines()[-1:], text
    for each in said:
        assert each in told[0]
    return told[0]


def node(dsn: str, folder: Path, workers: int = 1, **settings: str) -> ServerProcess:
    """One that is yet to be started, with its own folder."""
    folder.mkdir(exist_ok=True)
    server = ServerProcess(folder / "db", folder / "log", domain=DOMAIN, dsn=dsn)
    server.settings = {"MISS_WORKERS": str(workers), **settings}
    return server


@COUNTS
async def test_a_node_folder_in_which_its_user_may_not_write(
    dsn: str, tmp_path: Path, workers: int
) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o500)
    server = node(dsn, tmp_path, workers, MISS_NODE_FOLDER=str(folder))
    server.under = without_roots_rights()
    await refused(server, str(folder), "Permission denied", "MISS_NODE_FOLDER")
    server.settings["MISS_NODE_FOLDER"] = str(folder / "below")
    await refused(server, str(folder), "Permission denied", "MISS_NODE_FOLDER")
    assert not list(folder.iterdir())


@COUNTS
async def test_a_name_that_another_node_has(dsn: str, tmp_path: Path, workers: int) -> None:
    first = node(dsn, tmp_path / "first", workers, MISS_NODE="room-1")
    second = node(dsn, tmp_path / "second", workers, MISS_NODE="room-1")
    await first.start()
    try:
        told = await refused(second, "another node named room-1", "its own MISS_NODE")
        assert "MISS_DATABASE" not in told
    finally:
        assert await first.stop() == 0


@COUNTS
async def test_a_folder_that_another_node_has(dsn: str, tmp_path: Path, workers: int) -> None:
    first, second = node(dsn, tmp_path / "one", workers), node(dsn, tmp_path / "two", workers)
    second.settings["MISS_NODE_FOLDER"] = str(tmp_path / "one" / "db.node")
    await first.start()
    try:
        await refused(second, "another server runs", "its own MISS_NODE_FOLDER")
    finally:
        assert await first.stop() == 0


@COUNTS
async def test_a_port_for_metrics_that_is_taken(dsn: str, tmp_path: Path, workers: int) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        # Workers may take the next ones, too.
        with closing(socket.create_server(("127.0.0.1", port + 1))):
            server = node(dsn, tmp_path, workers, MISS_METRICS_PORT=str(port))
            await refused(server, f"127.0.0.1 {port}", "in use", "MISS_METRICS_PORT")


async def test_one_port_too_few_for_the_metrics_of_all_workers(dsn: str, tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        server = node(dsn, tmp_path, 2, MISS_METRICS_PORT=str(port))
        await refused(server, f"127.0.0.1 {port}", "in use", "MISS_METRICS_PORT")


async def test_a_name_that_is_none(dsn: str, tmp_path: Path) -> None:
    server = node(dsn, tmp_path, 2)
    for number in (1, 2):
        folder = tmp_path / "db.node" / f"worker-{number}"
        folder.mkdir(parents=True)
        (folder / "name").write_text("two words")
    await refused(server, "holds no name of a node", "MISS_NODE")


@COUNTS
async def test_a_database_that_is_not_reached_or_not_this_versions(
    postgres: PostgresProcess, tmp_path: Path, workers: int
) -> None:
    dsn = (await prepared(postgres)).dsn
    away = dsn.replace(f":{postgres.port}/", ":9/")
    told = await refused(node(away, tmp_path, workers), "cannot be reached", "MISS_DATABASE")
    assert "Start it, or" in told
    database = dsn.rpartition("/")[2]
    await postgres.sql("UPDATE settings SET value = '999' WHERE name = 'schema'", database=database)
    told = await refused(node(dsn, tmp_path / "new", workers), "newer version: upgrade miss-server")
    assert "MISS_DATABASE" not in told


async def test_a_role_that_may_make_no_tables_and_another_programs(
    postgres: PostgresProcess, tmp_path: Path
) -> None:
    dsn = postgres.dsn(await postgres.new_database())
    database = dsn.rpartition("/")[2]
    await postgres.sql(f"ALTER DATABASE {database} OWNER TO postgres")
    await refused(node(dsn, tmp_path), "permission denied", "the database's owner")
    theirs = await postgres.new_database()
    await postgres.sql("CREATE TABLE patients (name text)", database=theirs)
    await refused(
        node(postgres.dsn(theirs), tmp_path / "theirs"), "another program's", "Name another"
    )
