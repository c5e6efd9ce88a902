"""`miss-server directory import` into PostgreSQL, as an operator runs it."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from miss_server.storage.postgres import directory_filling
from tests.support import register
from tests.support.devices import DOMAIN
from tests.support.directories import Bridge
from tests.support.postgres import PASSWORD, PostgresProcess
from tests.support.register import STAMPED, activity
from tests.support.server import run_command


@pytest.fixture
def dsn(postgres: PostgresProcess) -> Iterator[str]:
    """An empty database, without a table."""
    name = asyncio.run(postgres.new_database())
    yield postgres.dsn(name)
    asyncio.run(postgres.drop(name))


@pytest.fixture
def looking(dsn: str) -> Iterator[Bridge]:
    """The test's own connections to it."""
    bridge = Bridge(dsn.replace("postgresql://", "postgresql+asyncpg://", 1))
    yield bridge
    bridge.close()


def run_import(dsn: str, file: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process."""
    words = ["directory", "import", str(file), "--database", dsn, "--domain", DOMAIN, *more]
    return run_command("miss_server", *words, settings={"COLUMNS": "200"})


def rows(looking: Bridge) -> list[int]:
    """How many rows each slot has: entries and words of the first, then of the second."""

    def count(connection: Connection) -> list[int]:
        tables = [f"directory_{what}_{slot}" for slot in (0, 1) for what in ("entries", "words")]
        return [
            connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()  # noqa: S608
            for table in tables
        ]

    return looking.run(count)


def test_a_register_is_imported_and_replaced(dsn: str, looking: Bridge, tmp_path: Path) -> None:
    file = register.write(tmp_path / STAMPED, *(activity(n) for n in range(30)))
    first = run_import(dsn, file)
    assert first.returncode == 0, first.stderr
    assert "30" in first.stdout
    assert rows(looking) == [0, 0, 30, 30]
    file = register.write(tmp_path / STAMPED, *(activity(n) for n in range(29)))
    tried = run_import(dsn, file, "--dry-run")
    assert tried.returncode == 0, tried.stderr
    assert rows(looking) == [0, 0, 30, 30]
    second = run_import(dsn, file)
    assert second.returncode == 0, second.stderr
    assert rows(looking) == [29, 29, 30, 30]


def test_a_second_import_at_once_is_refused(dsn: str, looking: Bridge, tmp_path: Path) -> None:
    file = register.write(tmp_path / STAMPED, activity(1))

    def meanwhile(connection: Connection) -> "subprocess.CompletedProcess[str]":
        with directory_filling.filling(connection):
            return run_import(dsn, file)

    assert run_import(dsn, file).returncode == 0
    refused = looking.run(meanwhile)
    assert refused.returncode == 1
    assert "Another import" in refused.stderr
    assert run_import(dsn, file).returncode == 0


def test_a_database_that_cannot_be_used_is_told_in_a_line(dsn: str, tmp_path: Path) -> None:
    file = register.write(tmp_path / STAMPED, activity(1))
    for wrong in (dsn.replace("fictive", "other"), dsn + "_not", dsn.rsplit(":", 1)[0] + ":1/x"):
        told = run_import(wrong, file)
        assert told.returncode == 1
        assert "The database cannot be used" in told.stderr
        assert "Nothing was imported" in told.stderr
        assert "Traceback" not in told.stderr
        assert PASSWORD not in told.stderr
