"""What an import into SQLite does not do to others: hold the lock for long, fill the disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from miss_server.importers.importing import Allowed, run_import
from miss_server.importers.recognising import readers
from miss_server.storage.sqlite.directory_filling import WORDS_TABLES, filling
from miss_server.storage.sqlite.engine import writing
from tests.support import register
from tests.support.devices import NOW
from tests.support.directories import SqliteShelf
from tests.support.register import activity


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[SqliteShelf]:
    """An empty directory."""
    shelf = SqliteShelf(tmp_path / "miss.sqlite")
    yield shelf
    shelf.close()


def test_other_writers_get_their_turn_between_the_slices(
    shelf: SqliteShelf, tmp_path: Path
) -> None:
    file = register.write(tmp_path / "f.txt", *(activity(n) for n in range(1000)))
    turns = 0

    def write(_: float) -> None:
        nonlocal turns
        with shelf.engine.connect() as connection, writing(connection):
            turns += 1

    with filling(shelf.engine, shelf.path, pause=write) as target:
        run_import(readers(file), target, now_ms=NOW)
        assert turns == len(target.slices) >= 4


def test_the_log_beside_the_database_stays_small(
    shelf: SqliteShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "miss_server.storage.sqlite.directory_filling"
    monkeypatch.setattr(f"{module}.SLICE_MAX", 20)

    def log_after_import(first: int) -> int:
        people = (activity(n) for n in range(first, first + 2000))
        file = register.write(tmp_path / f"{first}.txt", *people)
        with filling(shelf.engine, shelf.path, pause=lambda _: None) as target:
            run_import(readers(file), target, now_ms=NOW, allowed=Allowed(gone=1))
            assert len(target.slices) > 90
            return Path(f"{shelf.path}-wal").stat().st_size

    kept_small = log_after_import(0)
    # How large it would grow without the checkpoints between the slices.
    monkeypatch.setattr(f"{module}.CHECKPOINT_EVERY", 10**9)
    assert log_after_import(2000) > 3 * kept_small


def test_an_index_that_was_built_aside_is_whole_and_goes_on(
    shelf: SqliteShelf, tmp_path: Path
) -> None:
    people = [activity(n, name=f"NOM{n % 700}") for n in range(1500)]
    before = set(tmp_path.iterdir())
    for turn in range(4):  # each slot is filled once and amended once
        people[turn] = activity(turn, name="Dupont-Fictif")
        file = register.write(tmp_path / "f.txt", *people)
        with filling(shelf.engine, shelf.path, pause=lambda _: None) as target:
            run_import(readers(file), target, now_ms=NOW)
            for slot in (0, 1):
                check(target.connection, slot)
        with shelf.engine.connect() as connection:
            check(connection, (turn + 1) % 2)
        found = shelf.read(lambda on: shelf.directory.search(on, "dupont", now_ms=NOW))
        assert len(found.entries) == turn + 1
        again = shelf.read(lambda on: shelf.directory.search(on, "nom500", now_ms=NOW))
        assert len(again.entries) == 2
    left = set(tmp_path.iterdir()) - before
    assert {path.name for path in left} == {"f.txt", "miss.sqlite.import.lock"}


def check(connection: Connection, slot: int) -> None:
    """SQLite's own comparison of an index with what it is made of."""
    words = f"directory_words_{slot}"
    asked = f"INSERT INTO {words}({words}) VALUES ('integrity-check')"  # noqa: S608
    connection.exec_driver_sql(asked)
    assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"


def test_an_index_that_kept_no_texts_is_made_anew_by_the_imports(
    shelf: SqliteShelf, tmp_path: Path
) -> None:
    with shelf.engine.connect() as connection, writing(connection):
        for slot in (0, 1):
            connection.exec_driver_sql(f"DROP TABLE directory_words_{slot}")
            connection.exec_driver_sql(
                WORDS_TABLES[slot].replace("words, detail", "words, content='', detail")
            )
    for first in range(4):
        people = (activity(n) for n in range(first, first + 30))
        file = register.write(tmp_path / "f.txt", *people)
        with filling(shelf.engine, shelf.path, pause=lambda _: None) as target:
            run_import(readers(file), target, now_ms=NOW, allowed=Allowed(gone=1))
        found = shelf.read(lambda on: shelf.directory.search(on, "nom", now_ms=NOW, limit=50))
        assert {entry.name for entry in found.entries} == {
            f"NOM{n}" for n in range(first, first + 30)
        }


@pytest.mark.parametrize("slices", [0, 1, 2, 4, 8])
def test_an_import_that_died_while_it_emptied_is_followed_by_one_that_begins_anew(
    shelf: SqliteShelf, tmp_path: Path, slices: int
) -> None:
    def load(first: int) -> None:
        file = register.write(tmp_path / "f.txt", *(activity(n) for n in range(first, first + 400)))
        with filling(shelf.engine, shelf.path, pause=lambda _: None) as target:
            run_import(readers(file), target, now_ms=NOW, allowed=Allowed(gone=1))

    class Died(Exception):
        pass

    left = slices

    def die(_: float) -> None:
        nonlocal left
        if not left:
            raise Died
        left -= 1

    for first in (0, 1):
        load(first)
    with pytest.raises(Died), filling(shelf.engine, shelf.path, pause=die) as target:
        target.clear()
    for first in (2, 3, 4):
        load(first)
        found = shelf.read(lambda on: shelf.directory.search(on, "nom42", now_ms=NOW))
        assert [entry.name for entry in found.entries] == ["NOM42"]
        with shelf.engine.connect() as connection:
            for slot in (0, 1):
                counts = [
                    connection.exec_driver_sql(f"SELECT count(*) FROM {table}_{slot}").scalar_one()  # noqa: S608
                    for table in ("directory_entries", "directory_words")
                ]
                assert counts == [400, 400]
