"""`miss-server audit`: followed, shown and exported; whatever was done to the file is found."""

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from miss_protocol.audit import AuditEntry, Chain, parse_head
from miss_server.importers.generate import generate
from tests.support.server import DOMAIN, miss_server


def run(database: Path, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """One command on this database, and how it must end."""
    done = miss_server(*words, "--domain", DOMAIN, database=database, check=False)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database into which a directory was imported, and with two codes."""
    path, register = tmp_path / "miss.sqlite", tmp_path / "people.txt"
    generate(register, people=5, seed=1, columns=56)
    run(path, "directory", "import", str(register))
    with closing(sqlite3.connect(path)) as db:
        persons = [row[0] for row in db.execute("SELECT person FROM directory_entries_1")]
    run(path, "enrol-code", persons[0], persons[1])
    return path


def test_it_is_shown_and_holds_and_its_head_is_met_again(database: Path) -> None:
    shown = run(database, "audit", "show").stdout.splitlines()
    assert len(shown) == 3
    assert "operator:" in shown[0]
    assert "directory_imported" in shown[0]
    assert "RPPS" in shown[0]
    account = next(word for word in shown[1].split() if word.endswith(f"@{DOMAIN}"))
    assert run(database, "audit", "show", "--account", account).stdout.splitlines() == [shown[1]]
    assert run(database, "audit", "show", "--since", "1d").stdout.splitlines() == shown
    assert run(database, "audit", "show", "--since", "2099-01-01").stdout == ""
    said = run(database, "audit", "verify").stdout
    head = said.split()[-1]
    assert said.startswith("3 entries hold.")
    run(database, "audit", "verify", "--expect", head)


def test_who_has_an_export_can_follow_it_alone(database: Path) -> None:
    head = parse_head(run(database, "audit", "verify").stdout.split()[-1])
    chain = Chain(expected=head)
    for line in run(database, "audit", "export").stdout.splitlines():
        fields = json.loads(line)
        hashes = {name: bytes.fromhex(fields[name]) for name in ("previous", "hash")}
        assert chain.follow(msgspec.convert(fields | hashes, AuditEntry)) is None
    assert chain.end() is None


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE audit SET actor = 'operator:nobody' WHERE seq = 2", "altered"),
        ("DELETE FROM audit WHERE seq = 2", "taken out"),
        ("DELETE FROM audit WHERE seq = 3", "ends before"),
        ("UPDATE audit SET previous = zeroblob(32) WHERE seq = 3", "altered"),
        ("UPDATE audit SET at_ms = 'yesterday' WHERE seq = 2", "altered"),
        ("UPDATE audit SET at_ms = at_ms + 0.5 WHERE seq = 2", "altered"),
        ("UPDATE audit SET at_ms = -1 WHERE seq = 2", "altered"),
        ("UPDATE audit SET at_ms = 9e18 WHERE seq = 2", "altered"),
        ("UPDATE audit SET actor = x'ff41' WHERE seq = 2", "altered"),
        ("UPDATE audit SET detail = CAST(x'ff' AS TEXT) WHERE seq = 2", "altered"),
        ("UPDATE audit SET hash = 'none' WHERE seq = 2", "altered"),
        ("UPDATE audit SET subject = CAST(subject AS BLOB) WHERE seq = 2", "altered"),
        ("UPDATE audit SET hash = CAST(hash AS TEXT) WHERE seq = 2", "altered"),
        ("UPDATE audit SET seq = 'two' WHERE seq = 2", "taken out"),
        ("UPDATE audit SET seq = -9223372036854775808 WHERE seq = 2", "taken out"),
    ],
)
def test_what_was_done_to_the_file_is_found(database: Path, statement: str, said: str) -> None:
    head = run(database, "audit", "verify").stdout.split()[-1]
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        with pytest.raises(sqlite3.IntegrityError, match="only added to"):
            db.execute(statement)
        for trigger in ("audit_not_updated", "audit_not_deleted"):
            db.execute(f"DROP TRIGGER {trigger}")
        db.execute(statement)
    run(database, "audit", "show")
    run(database, "audit", "export")
    assert said in run(database, "audit", "verify", "--expect", head, status=4).stderr


def test_a_restore_names_the_head_that_it_replaces(database: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.sqlite"
    run(database, "backup", str(backup))
    with closing(sqlite3.connect(database)) as db:
        [person] = db.execute("SELECT person FROM directory_entries_1 LIMIT 1").fetchone()
    run(database, "enrol-code", person)
    head = run(database, "audit", "verify").stdout.split()[-1]
    run(database, "restore", str(backup), "--yes")
    last = run(database, "audit", "show").stdout.splitlines()[-1]
    assert "database_restored" in last
    assert head in last
    assert "restore" in run(database, "audit", "verify", "--expect", head, status=4).stderr


@pytest.mark.parametrize(
    "words",
    [("verify", "--expect", "1:ff"), ("show", "--since", "lundi"), ("show", "--since", "xd")],
)
def test_clumsy_words_are_told(database: Path, words: tuple[str, ...]) -> None:
    run(database, "audit", *words, status=2)
