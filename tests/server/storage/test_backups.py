"""Restoring a SQLite backup: what becomes of the database that is replaced."""

import sqlite3
from contextlib import closing
from pathlib import Path

from miss_server.storage.sqlite.backups import back_up, restore
from miss_server.storage.sqlite.store import prepare
from tests.support.devices import DOMAIN, NOW


def test_restores_within_one_second_keep_each_database_that_they_replace(tmp_path: Path) -> None:
    database, backup = tmp_path / "miss.sqlite", tmp_path / "b.sqlite"
    prepare(database, domain=DOMAIN, now_ms=NOW)
    back_up(database, backup, domain=DOMAIN, now_ms=NOW)
    kept = []
    for number in range(3):
        with closing(sqlite3.connect(database)) as db, db:
            db.execute("CREATE TABLE mark AS SELECT ? AS number", (number,))
        kept.append(restore(backup, database, domain=DOMAIN, now_ms=NOW).kept)
    marks = []
    for one in kept:
        assert one is not None
        with closing(sqlite3.connect(one)) as db:
            marks.append(db.execute("SELECT number FROM mark").fetchone())
    assert marks == [(0,), (1,), (2,)]
