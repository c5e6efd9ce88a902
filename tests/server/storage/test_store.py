"""The SQLite file: whose it is, what is looked at before it is used, who holds it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from miss_server.storage.schema import SCHEMA_VERSION
from miss_server.storage.sqlite.store import DatabaseError, ServeLock, SqliteStore, prepare
from tests.support.devices import DOMAIN, NOW
from tests.support.meeting import LIFTED


def execute(path: Path, *statements: str) -> None:
    """Change a database behind the server's back."""
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


def test_a_new_database_is_made_once_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "été #1?%20.sqlite"
    prepare(path, domain=DOMAIN, now_ms=NOW)
    assert path.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(path)) as db:
        before = dict(db.execute("SELECT name, value FROM settings").fetchall())
    prepare(path, domain=DOMAIN, now_ms=NOW + 1)
    with closing(sqlite3.connect(path)) as db:
        assert dict(db.execute("SELECT name, value FROM settings").fetchall()) == before
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert before["schema"] == str(SCHEMA_VERSION).encode()


async def test_any_file_name_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "été #1?%20&x=y.sqlite"
    prepare(path, domain=DOMAIN, now_ms=NOW)
    store = SqliteStore(path, LIFTED)
    store.open()
    assert len(await store.epoch()) == 16
    assert await store.clean(now_ms=NOW) == 0
    await store.close()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    path = tmp_path / "miss.sqlite"
    path.touch()
    prepare(path, domain=DOMAIN, now_ms=NOW)
    prepare(path, domain=DOMAIN, now_ms=NOW)


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["CREATE TABLE patients (name TEXT)"], "another program"),
        (["CREATE TABLE settings (name TEXT, value BLOB)"], "another program"),
        (["CREATE TABLE settings (id INTEGER)"], "no such column"),
        (
            [
                "CREATE TABLE settings (name TEXT, value BLOB)",
                "INSERT INTO settings VALUES ('schema', 'seven'), ('domain', 'x')",
            ],
            "another program",
        ),
    ],
)
def test_another_programs_database_stays_as_it_is(
    tmp_path: Path, statements: list[str], said: str
) -> None:
    path = tmp_path / "theirs.sqlite"
    execute(path, *statements)
    before = path.read_bytes()
    with pytest.raises(DatabaseError, match=said):
        prepare(path, domain=DOMAIN, now_ms=NOW)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE settings SET value = CAST('99' AS BLOB) WHERE name = 'schema'", "upgrade"),
        (
            "UPDATE settings SET value = CAST('x.example' AS BLOB) WHERE name = 'domain'",
            "x.example",
        ),
    ],
)
def test_a_newer_schema_and_another_domain(tmp_path: Path, change: str, said: str) -> None:
    path = tmp_path / "miss.sqlite"
    prepare(path, domain=DOMAIN, now_ms=NOW)
    execute(path, change)
    with pytest.raises(DatabaseError, match=said):
        prepare(path, domain=DOMAIN, now_ms=NOW)


@pytest.mark.parametrize("content", [b"Cher confrere, " * 100, b"SQLite format 3\0" + bytes(200)])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes(content)
    with pytest.raises(DatabaseError, match=r"letter\.txt"):
        prepare(path, domain=DOMAIN, now_ms=NOW)
    assert path.read_bytes() == content


def test_a_lock_is_one_holders_and_given_back(tmp_path: Path) -> None:
    path = tmp_path / "miss.sqlite"
    first, second = ServeLock(path), ServeLock(path)
    first.take()
    with pytest.raises(DatabaseError, match="another server"):
        second.take()
    second.release()
    first.release()
    second.take()
    second.release()
