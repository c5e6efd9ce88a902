"""What a check of SQLite's says, and of what: an index that is just being written is no damage."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from miss_server.findings import Finding, Verdict
from miss_server.storage.sqlite.backups import NotABackup, back_up, restore
from miss_server.storage.sqlite.checks import examine
from miss_server.storage.sqlite.directory_filling import create_directory
from miss_server.storage.sqlite.engine import open_engine, writing
from miss_server.storage.sqlite.soundness import first
from miss_server.storage.sqlite.store import prepare
from tests.support.devices import DOMAIN, NOW

MALFORMED = "malformed inverted index for FTS5 table main.directory_words_{}"
UNABLE = "unable to validate the inverted index for FTS5 table main.directory_words_{}: malformed"


BLOB = 'fts5: corruption found reading blob 10 from table "directory_words_{}"'
CONTENT = 'fts5: missing row 7 from content table "directory_words_{}_content"'


@pytest.mark.parametrize("said", [MALFORMED, UNABLE, BLOB, CONTENT])
def test_a_fault_of_the_index_aside_is_none(said: str) -> None:
    aside, in_force = said.format(1), said.format(0)
    row = "row 7 missing from index accounts_person"
    assert first(["ok"], "directory_words_1") == ""
    assert first([aside], "directory_words_1") == ""
    assert first([aside, in_force], "directory_words_1") == in_force
    assert first([aside, row], "directory_words_1") == row
    assert first([aside], "") == aside
    assert first([said.format(10)], "directory_words_1") == said.format(10)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """One in which an import has written half of the index aside."""
    path = tmp_path / "miss.sqlite"
    prepare(path, domain=DOMAIN, now_ms=NOW)
    engine = open_engine(path)
    with engine.connect() as connection, writing(connection):
        create_directory(connection)
        connection.exec_driver_sql(
            "INSERT INTO directory_words_1 (rowid, words) VALUES (1, 'martin'), (2, 'durand')"
        )
        connection.exec_driver_sql("DELETE FROM directory_words_1_data WHERE id > 10")
    engine.dispose()
    return path


def told(database: Path) -> Finding:
    return examine(database, domain=DOMAIN, now_ms=NOW)[0]


def test_a_backup_beside_an_import_is_made_and_restored(database: Path, tmp_path: Path) -> None:
    made = back_up(database, tmp_path / "b.sqlite", domain=DOMAIN, now_ms=NOW)
    restore(made.path, database, domain=DOMAIN, now_ms=NOW)
    assert told(database).verdict is Verdict.OK


def test_a_damaged_database_is_found_out(database: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(database)) as db:
        [root] = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'settings'").fetchone()
        [size] = db.execute("PRAGMA page_size").fetchone()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.open("r+b") as file:
        file.seek(root * size - 40)
        file.write(bytes(range(40)))
    with pytest.raises(NotABackup, match="damaged"):
        back_up(database, tmp_path / "b.sqlite", domain=DOMAIN, now_ms=NOW)
    assert told(database).verdict is Verdict.BAD
