"""What an import into SQLite does not do to others: hold the lock for long, fill the disk."""

import multiprocessing
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import Connection

from miss_server.importers.importing import Allowed, run_import
from miss_server.importers.recognising import readers
from miss_server.storage.directory import NoRoom, Record
from miss_server.storage.sqlite.directory_building import CannotBuild, Plan, build
from miss_server.storage.sqlite.directory_filling import (
    WORDS_TABLES,
    SqliteDirectoryFilling,
    create_directory,
    filling,
)
from miss_server.storage.sqlite.engine import driver, writing
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


def test_changes_do_not_make_the_index_write_all_of_itself_at_once(
    shelf: SqliteShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "miss_server.storage.sqlite.directory_filling"
    people = [activity(n, name=f"NOM{n}", given=f"Prénom{n % 97}") for n in range(12_000)]
    for turn in range(2):
        people[turn] = activity(turn, name="Dupont-Fictif")
        file = register.write(tmp_path / "f.txt", *people)
        with filling(shelf.engine, shelf.path, pause=lambda _: None) as target:
            run_import(readers(file), target, now_ms=NOW)
    with shelf.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT count(*) FROM directory_words_1_data")
        pages = rows.scalar_one()  # nearly all of one piece
    monkeypatch.setattr(f"{module}.SLICE_MAX", 10)
    people[:2000] = [activity(n, name=f"AUTRE{n}") for n in range(2000)]
    file = register.write(tmp_path / "f.txt", *people)
    changes: list[int] = []

    def note(_: float) -> None:
        changes.append(driver(target.connection).total_changes)

    with filling(shelf.engine, shelf.path, pause=note) as target:
        run_import(readers(file), target, now_ms=NOW)
        check(target.connection, 1)
    assert len(changes) > 400
    assert max(after - before for before, after in pairwise(changes)) < pages


def test_an_index_that_is_emptied_is_not_merged_meanwhile(
    shelf: SqliteShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its description names pieces whose pages are gone: it would be called malformed, by every import."""
    module = "miss_server.storage.sqlite.directory_filling"
    monkeypatch.setattr(f"{module}.MERGE_EVERY", 1)
    merge, clear = SqliteDirectoryFilling._merge, SqliteDirectoryFilling.clear
    emptying: list[bool] = []

    def load(first: int) -> None:
        file = register.write(tmp_path / "f.txt", *(activity(n) for n in range(first, first + 400)))
        with filling(shelf.engine, shelf.path, pause=lambda _: None) as target:
            run_import(readers(file), target, now_ms=NOW, allowed=Allowed(gone=1))

    def there_is_no_room(_: SqliteDirectoryFilling, records: Iterator[Record]) -> None:
        list(records)
        raise NoRoom

    def noted_clear(self: SqliteDirectoryFilling) -> None:
        emptying.append(True)
        clear(self)
        emptying.append(False)

    def noted_merge(self: SqliteDirectoryFilling) -> bool:
        assert not emptying or not emptying[-1]
        return merge(self)

    for first in (0, 1):
        load(first)
    monkeypatch.setattr(SqliteDirectoryFilling, "clear", noted_clear)
    monkeypatch.setattr(SqliteDirectoryFilling, "_merge", noted_merge)
    with monkeypatch.context() as patch:
        patch.setattr(SqliteDirectoryFilling, "_fit_in", there_is_no_room)
        load(50)
    assert emptying
    load(51)
    with shelf.engine.connect() as connection:
        for slot in (0, 1):
            check(connection, slot)


def test_a_process_builds_the_same_index(tmp_path: Path) -> None:
    file = register.write(
        tmp_path / "f.txt", *(activity(n, name=f"NOM{n % 700}") for n in range(6000))
    )
    names = ("entries", "persons", "vocabulary", "words")
    tables = [f"{name}_1" for name in names] + [f"words_1_{part}" for part in ("data", "idx")]
    held = []
    for apart in (False, True):
        shelf = SqliteShelf(tmp_path / f"{apart}.sqlite")
        with filling(shelf.engine, shelf.path, pause=lambda _: None, apart=apart) as target:
            run_import(readers(file), target, now_ms=NOW)
        with shelf.engine.connect() as connection:
            check(connection, 1)
            held.append(
                [
                    connection.exec_driver_sql(f"SELECT * FROM directory_{table}").all()  # noqa: S608
                    for table in tables
                ]
            )
        shelf.close()
    assert [len(rows) > 0 for rows in held[0]] == [True] * len(tables)
    assert held[0] == held[1]


def test_identifiers_are_placed_whatever_changes(shelf: SqliteShelf, tmp_path: Path) -> None:
    people = [activity(n, name=f"NOM{n % 300}") for n in range(600)]
    for turn in range(6):
        people[turn] = activity(turn, name=f"AUTRE{turn}")  # another place in the order
        people[100 + turn] = activity(100 + turn, given=f"Prénom{turn}", name="NOM100")
        del people[-1]
        file = register.write(tmp_path / "f.txt", *people)
        with filling(shelf.engine, shelf.path, pause=lambda _: None) as target:
            run_import(readers(file), target, now_ms=NOW)
        with shelf.engine.connect() as connection:
            for slot in (0, 1) if turn else (1,):
                placed, there = (
                    connection.exec_driver_sql(
                        f"SELECT person, id, digest FROM directory_{name}_{slot} ORDER BY person"  # noqa: S608
                    ).all()
                    for name in ("persons", "entries")
                )
                assert placed == there
                assert len(there) > 590


def test_what_a_version_before_kept_in_an_index_is_placed(
    shelf: SqliteShelf, tmp_path: Path
) -> None:
    file = register.write(tmp_path / "f.txt", *(activity(n) for n in range(300)))
    with filling(shelf.engine, shelf.path, pause=lambda _: None) as target:
        run_import(readers(file), target, now_ms=NOW)
    with shelf.engine.connect() as connection:
        with writing(connection):
            for slot in (0, 1):
                connection.exec_driver_sql(f"DROP TABLE directory_persons_{slot}")
        with writing(connection):
            create_directory(connection)
            create_directory(connection)
        count = "SELECT count(*) FROM directory_persons_1 p JOIN directory_entries_1 e"
        joined = connection.exec_driver_sql(
            f"{count} ON (e.person, e.id, e.digest) = (p.person, p.id, p.digest)"
        )
        assert joined.scalar_one() == 300


def test_what_a_dead_import_left_in_the_folder_is_taken_away(
    shelf: SqliteShelf, tmp_path: Path
) -> None:
    left = tmp_path / "miss.sqlite.import-abc"
    left.write_bytes(b"half an index")
    others = [tmp_path / name for name in ("miss.sqlite.import", "other.sqlite.import-abc")]
    for other in others:
        other.touch()
    with filling(shelf.engine, shelf.path):
        assert not left.exists()
    assert all(other.exists() for other in others)


def test_a_building_process_that_is_killed_ends_the_import(
    shelf: SqliteShelf, tmp_path: Path
) -> None:
    file = register.write(tmp_path / "f.txt", *(activity(n) for n in range(300)))

    def kill(_: float) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    with (
        pytest.raises(ChildProcessError, match="memory"),
        filling(shelf.engine, shelf.path, pause=kill, apart=True) as target,
    ):
        run_import(readers(file), target, now_ms=NOW)
    assert not list(tmp_path.glob("*.import-*"))
    for _ in range(2):
        with filling(shelf.engine, shelf.path, pause=lambda _: None, apart=True) as target:
            run_import(readers(file), target, now_ms=NOW)
    found = shelf.read(lambda on: shelf.directory.search(on, "nom42", now_ms=NOW))
    assert [entry.name for entry in found.entries] == ["NOM42"]


def test_what_the_building_process_cannot_write_is_told(tmp_path: Path) -> None:
    plan = Plan(
        tmp_path / "gone" / "index", "words", "CREATE VIRTUAL TABLE words USING fts5(words)"
    )
    with pytest.raises(CannotBuild, match="unable to open database file"):
        build(plan, [], apart=True)
