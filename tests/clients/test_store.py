"""The store on real files: sealed, locked, whole after a crash, and honest about damage."""

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from miss_client.errors import ClientError, Trouble
from miss_client.records import Cursor, Draft
from miss_client.store import Shelf, Store, key_file_of

CLINICAL = "Mme Oulcadine, 84 ans, décompensation"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "device.miss"


def shelf(store: Store) -> Shelf[str]:
    return Shelf(store, "notes", str)


def test_what_was_written_is_there_after_reopening(path: Path) -> None:
    store = Store.create(path)
    with store.transaction():
        shelf(store).put(b"one", CLINICAL)
        shelf(store).put(b"two", "second")
        shelf(store).put(b"one", CLINICAL + "!")
    store.close()
    store = Store.open(path)
    assert shelf(store).items() == [(b"one", CLINICAL + "!"), (b"two", "second")]
    assert shelf(store).all(newest=1) == ["second"]
    assert shelf(store).get(b"three") is None
    with store.transaction():
        shelf(store).delete(b"one")
    assert shelf(store).all() == ["second"]
    with store.transaction():
        shelf(store).clear()
    assert shelf(store).all() == []
    store.close()


def test_nothing_readable_is_in_the_files(path: Path) -> None:
    store = Store.create(path, passphrase="correct cheval pile agrafe")
    with store.transaction():
        shelf(store).put(b"patient-name", CLINICAL)
    raw = b"".join(file.read_bytes() for file in path.parent.iterdir())
    store.close()
    raw += path.read_bytes()
    assert b"Oulcadine" not in raw
    assert b"patient-name" not in raw
    assert not key_file_of(path).exists()


def test_only_the_owner_may_read_the_files(path: Path) -> None:
    Store.create(path).close()
    for file in (path, key_file_of(path)):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_failed_transaction_changes_nothing(path: Path) -> None:
    store = Store.create(path)

    def fail_after_writing() -> None:
        with store.transaction():
            shelf(store).put(b"one", "never")
            with store.transaction():  # joins the outer one
                shelf(store).put(b"two", "never")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_writing()
    assert shelf(store).all() == []
    with pytest.raises(RuntimeError):
        shelf(store).put(b"one", "outside")
    with pytest.raises(RuntimeError):
        shelf(store).delete(b"one")
    store.close()


def test_rows_cannot_be_exchanged(path: Path) -> None:
    store = Store.create(path)
    with store.transaction():
        shelf(store).put(b"one", "1")
        shelf(store).put(b"two", "2")
    store.close()
    with closing(sqlite3.connect(path)) as db, db:
        (first,), (second,) = db.execute("SELECT data FROM sealed ORDER BY seq").fetchall()
        db.execute("UPDATE sealed SET data = ? WHERE seq = 1", (second,))
        db.execute("UPDATE sealed SET data = ? WHERE seq = 2", (first,))
    store = Store.open(path)
    with pytest.raises(ClientError) as told:
        shelf(store).get(b"one")
    assert told.value.trouble is Trouble.STORE_CORRUPT
    store.close()


def test_a_second_process_is_kept_out(path: Path) -> None:
    store = Store.create(path)
    program = (
        "import sys; from pathlib import Path\n"
        "from miss_client import Store, ClientError\n"
        "try: Store.open(Path(sys.argv[1]))\n"
        "except ClientError as error: print(error.code)"
    )
    command = [sys.executable, "-c", program, str(path)]
    while_open = subprocess.run(command, capture_output=True, text=True, check=True)
    store.close()
    after = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (while_open.stdout.strip(), after.stdout.strip()) == ("store_locked", "")


@pytest.mark.parametrize("moment", ["in the transaction", "after it"])
def test_a_killed_process_leaves_all_or_nothing(path: Path, moment: str) -> None:
    Store.create(path).close()
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from miss_client.store import Shelf, Store\n"
        "store = Store.open(Path(sys.argv[1])); notes = Shelf(store, 'notes', str)\n"
        "with store.transaction():\n"
        "    for n in range(500): notes.put(str(n).encode(), 'x' * 500)\n"
        "    if sys.argv[2] == 'in the transaction': os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path), moment], check=False)
    assert done.returncode == -9
    store = Store.open(path)
    assert len(shelf(store).all()) == (0 if moment == "in the transaction" else 500)
    store.close()


def test_a_full_disk_is_told_and_changes_nothing(path: Path) -> None:
    Store.create(path).close()
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from miss_client.store import Shelf, Store\n"
        "from miss_client.errors import ClientError\n"
        "store = Store.open(Path(sys.argv[1])); notes = Shelf(store, 'notes', str)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    with store.transaction():\n"
        "        for n in range(500): notes.put(str(n).encode(), 'x' * 500)\n"
        "except ClientError as error: print(error.code)\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "store_failed"
    store = Store.open(path)
    assert shelf(store).all() == []
    store.close()


def trouble_of_opening(path: Path, passphrase: str | None = None) -> Trouble:
    with pytest.raises(ClientError) as told:
        Store.open(path, passphrase=passphrase)
    return told.value.trouble


def test_a_missing_or_unfinished_store_is_told(path: Path) -> None:
    assert trouble_of_opening(path) is Trouble.STORE_MISSING
    path.touch()
    assert trouble_of_opening(path) is Trouble.STORE_MISSING
    Store.create(path).close()  # what was cut short is begun again


def test_a_store_is_never_overwritten(path: Path) -> None:
    Store.create(path).close()
    with pytest.raises(ClientError) as told:
        Store.create(path)
    assert told.value.trouble is Trouble.STORE_EXISTS


def test_a_wrong_key_is_told(path: Path) -> None:
    Store.create(path, passphrase="right").close()
    assert Store.wants_passphrase(path)
    assert trouble_of_opening(path, "wrong") is Trouble.STORE_KEY
    assert trouble_of_opening(path) is Trouble.STORE_KEY
    Store.open(path, passphrase="right").close()


@pytest.mark.parametrize("damage", ["missing", "short", "another"])
def test_a_damaged_key_file_is_told(path: Path, damage: str) -> None:
    Store.create(path).close()
    assert not Store.wants_passphrase(path)
    if damage == "missing":
        key_file_of(path).unlink()
    else:
        key_file_of(path).write_bytes(os.urandom(32) if damage == "another" else b"x")
    assert trouble_of_opening(path) is Trouble.STORE_KEY


@pytest.mark.parametrize("at", [0, 30, 4096 + 5])
def test_a_damaged_file_is_told(path: Path, at: int) -> None:
    store = Store.create(path)
    with store.transaction():
        for n in range(200):
            shelf(store).put(str(n).encode(), "x" * 200)
    store.close()
    raw = bytearray(path.read_bytes())
    raw[at : at + 64] = b"\xff" * 64
    path.write_bytes(raw)
    assert trouble_of_opening(path) is Trouble.STORE_CORRUPT


def test_a_newer_format_is_refused_and_a_stripped_file_is_damage(path: Path) -> None:
    Store.create(path).close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE plain SET value = x'09' WHERE name = 'format'")
    assert trouble_of_opening(path) is Trouble.STORE_NEWER
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM plain WHERE name = 'check'")
    assert trouble_of_opening(path) is Trouble.STORE_CORRUPT


def test_a_row_of_another_shape_is_damage(path: Path) -> None:
    store = Store.create(path)
    with store.transaction():
        Shelf(store, "cursor", Cursor).put(b"-", Cursor(position=7))
    with pytest.raises(ClientError) as told:
        Shelf(store, "cursor", Draft).get(b"-")
    assert told.value.trouble is Trouble.STORE_CORRUPT
    store.close()


def test_an_unwritable_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ClientError) as told:
        Store.create(tmp_path / "file" / "device.miss")
    assert told.value.trouble is Trouble.STORE_FAILED
