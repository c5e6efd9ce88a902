"""The words of a whole directory, written to PostgreSQL by a process beside the import."""

import asyncio
import multiprocessing
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from miss_server.importers.importing import run_import
from miss_server.importers.recognising import readers
from miss_server.storage.directory import DirectoryBusy, DirectoryFilling
from miss_server.storage.messages import NotDurable
from miss_server.storage.postgres import directory_filling
from miss_server.storage.postgres.directory_building import BESIDE, Plan, build
from miss_server.storage.postgres.pool import Options
from tests.support import register
from tests.support.devices import NOW
from tests.support.directories import PostgresShelf
from tests.support.postgres import PostgresProcess
from tests.support.register import activity
from tests.support.server import environment

TABLES = ("entries", "words", "vocabulary")


@pytest.fixture
def shelf(postgres: PostgresProcess) -> Iterator[PostgresShelf]:
    """An empty directory, whose words a process will write."""
    shelf = PostgresShelf(postgres)
    shelf.beside = Options(postgres.dsn(shelf.name), unsafe_fsync=True)
    yield shelf
    shelf.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """People of 700 names, more than one batch of them."""
    long = "x" * 300
    people = [activity(n, name=f"NOM{n % 700}") for n in range(6000)]
    return register.write(tmp_path / "f.txt", *people, activity(6000, name=f"Nom {long}"))


def bring_in(shelf: PostgresShelf, file: Path) -> None:
    shelf.fill(lambda target: run_import(readers(file), target, now_ms=NOW))


def kept(shelf: PostgresShelf, slot: int) -> dict[str, Any]:
    """What is in a slot, and how its tables are indexed."""

    def look(connection: Connection) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in TABLES:
            table = f"directory_{name}_{slot}"
            rows = connection.execute(text(f"SELECT CAST(t AS text) FROM {table} t ORDER BY 1"))  # noqa: S608  # our own names
            found[name] = list(rows.scalars())
            indexes = "SELECT indexdef FROM pg_indexes WHERE tablename = :table ORDER BY 1"
            found[f"indexes of {name}"] = list(
                connection.execute(text(indexes), {"table": table}).scalars()
            )
        return found

    return shelf.read(look)


def names(shelf: PostgresShelf, words: str) -> list[str]:
    found = shelf.read(lambda on: shelf.directory.search(on, words, now_ms=NOW))
    return sorted({entry.name for entry in found.entries})


def test_a_process_writes_what_the_import_would(shelf: PostgresShelf, file: Path) -> None:
    bring_in(shelf, file)
    by_two = kept(shelf, 1)
    shelf.beside = None
    shelf.clear()
    bring_in(shelf, file)
    assert by_two == kept(shelf, 1)
    assert len(by_two["entries"]) == len(by_two["words"]) == 6001
    assert names(shelf, "nom699") == ["NOM699"]


def test_a_process_that_is_killed_ends_the_import_and_the_next_one_begins_anew(
    shelf: PostgresShelf, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = directory_filling.PostgresDirectoryFilling.put_entries

    def killing(self: Any, slot: int, rows: Any) -> None:
        put(self, slot, rows)
        for child in multiprocessing.active_children():
            child.kill()

    with monkeypatch.context() as patch:
        patch.setattr(directory_filling.PostgresDirectoryFilling, "put_entries", killing)
        with pytest.raises(ChildProcessError, match="memory"):
            bring_in(shelf, file)
    assert names(shelf, "nom699") == []
    bring_in(shelf, file)
    assert names(shelf, "nom699") == ["NOM699"]


def test_an_import_that_dies_between_the_two_leaves_a_slot_that_the_next_one_empties(
    shelf: PostgresShelf, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(Exception):
        pass

    def dying(plan: Any, batches: Any) -> None:
        build(plan, batches)
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(directory_filling, "build", dying)
        with pytest.raises(Died):
            bring_in(shelf, file)
    left = kept(shelf, 1)
    assert len(left["words"]) == 6001
    assert '("","")' not in left["vocabulary"]
    bring_in(shelf, file)
    whole = kept(shelf, 1)
    assert '("","")' in whole["vocabulary"]
    assert whole["words"] == left["words"]


def test_an_import_that_dies_takes_its_process_with_it(
    shelf: PostgresShelf, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(Exception):
        pass

    def dying(*_: Any) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(directory_filling.PostgresDirectoryFilling, "put_entries", dying)
        with pytest.raises(Died):
            bring_in(shelf, file)
    assert multiprocessing.active_children() == []
    assert kept(shelf, 1)["words"] == []
    bring_in(shelf, file)
    assert names(shelf, "nom699") == ["NOM699"]


def hold(connection: Connection) -> None:
    """As the process of an import that was killed, while it builds its index."""
    connection.execute(text(f"SELECT pg_advisory_lock({BESIDE})"))


def test_while_a_killed_imports_process_still_builds_an_import_is_running(
    shelf: PostgresShelf, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_filling, "BESIDE_MS", 10)
    shelf.write(hold)
    with pytest.raises(DirectoryBusy):
        bring_in(shelf, file)


def test_a_process_that_meets_another_one_gives_up(shelf: PostgresShelf, file: Path) -> None:
    def work(target: DirectoryFilling) -> None:
        shelf.write(hold)
        with pytest.raises(NotDurable, match="still ending"):
            run_import(readers(file), target, now_ms=NOW)

    shelf.fill(work)


WAITING = """
import asyncio, multiprocessing, sys
from multiprocessing.connection import wait
from miss_server.storage.postgres.directory_filling import import_into
from miss_server.storage.postgres.pool import Options

nobody, ours = multiprocessing.Pipe()

def work(target):
    print("waiting", flush=True)
    wait([ours])

asyncio.run(import_into(Options(sys.argv[1], unsafe_fsync=True), work))
"""


async def test_ctrl_c_is_felt_while_an_import_waits_for_its_process(
    postgres: PostgresProcess, shelf: PostgresShelf
) -> None:
    importing = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WAITING, postgres.dsn(shelf.name),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment(),
    )  # fmt: skip
    assert importing.stdout is not None
    async with asyncio.timeout(120):
        assert await importing.stdout.readline() == b"waiting\n"
        importing.send_signal(signal.SIGINT)
        _, told = await importing.communicate()
    assert importing.returncode == -signal.SIGINT
    assert b"KeyboardInterrupt" in told


def test_what_postgresql_refuses_outright_is_told(shelf: PostgresShelf) -> None:
    assert shelf.beside is not None
    with pytest.raises(NotDurable, match="Undefined"):
        build(Plan(shelf.beside, "gone"), iter([[(1, "word")], []]))


def test_what_postgresql_does_not_take_from_the_process_is_told(
    shelf: PostgresShelf, file: Path
) -> None:
    assert shelf.beside is not None
    shelf.beside = replace(shelf.beside, dsn=shelf.beside.dsn.replace(shelf.name, "gone"))

    def work(target: DirectoryFilling) -> None:
        with pytest.raises(NotDurable):
            run_import(readers(file), target, now_ms=NOW)

    shelf.fill(work)
    assert names(shelf, "nom699") == []
