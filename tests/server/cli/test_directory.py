"""The commands as an operator runs them: real processes, a real database."""

import fcntl
import os
import pty
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from miss_server.cli import app
from miss_server.cli.directory_report import SHOWN_MAX
from miss_server.importers.activities import COLUMNS_56
from tests.support import register, sources
from tests.support.register import STAMPED, activity
from tests.support.server import run_command


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "miss.sqlite"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MISS_DATABASE", "MISS_DOMAIN"):
        monkeypatch.delenv(name, raising=False)


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["directory", *map(str, words)])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.output


def spawn(*words: object, language: str = "C.UTF-8") -> subprocess.CompletedProcess[str]:
    settings = {"LANG": language, "COLUMNS": "200"}
    return run_command("miss_server", "directory", *map(str, words), settings=settings)


def people(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        (number,) = connection.execute("SELECT generation % 2 FROM directory_state").fetchone()
        statement = (
            "SELECT count(*) FROM directory_entries_0",
            "SELECT count(*) FROM directory_entries_1",
        )
        (count,) = connection.execute(statement[number]).fetchone()
    return int(count)


def test_a_generated_register_is_imported(database: Path) -> None:
    said = run("generate", "f.txt", "--people", 300, "--seed", 3)
    assert "300 fictive people" in said
    said = run("import", "f.txt", "--database", database)
    assert "300 people" in said
    assert "300 added" in said
    assert re.search(r"Source: RPPS, f.txt, data of \d{4}-\d\d-\d\d \(0 days old\)", said)
    assert re.search(r"Labels: TRE_G15\S+, version [\d.]+ of \d{4}-\d\d-\d\d, TRE_R38", said)
    assert people(database) == 300
    assert "0 added, 0 changed, 300 unchanged, 0 gone" in run(
        "import", "f.txt", "--database", database
    )
    assert people(database) == 300


def test_both_layouts_and_the_byte_order_mark_are_imported(database: Path) -> None:
    run("generate", "old.txt", "--people", 50, "--columns", 52, "--bom")
    assert "50 added" in run("import", "old.txt", "--database", database)


def test_a_whole_edition_is_generated_imported_and_reported(database: Path) -> None:
    Path("edition").mkdir()
    said = run("generate", "edition", "--people", 3000, "--seed", 3)
    files = re.findall(r"edition/\S+", said)
    assert len(files) == 4
    said = run("import", *files, "--database", database)
    assert re.search(r"3000 people, \d+ organisations", said)
    assert all(f"Source: {name}" in said for name in ("RPPS", "FINESS", "MSSANTE", "COMMUNES"))
    assert re.search(r"\d+ communes, the centre of \d+ is known", said)
    assert re.search(r"\d people bear different names in two sources", said)
    refused = run("import", files[0], "--database", database, code=1)
    assert "source_missing: " in refused
    left_away = [word for name in ("FINESS", "MSSANTE", "COMMUNES") for word in ("--without", name)]
    said = run("import", files[0], *left_away, "--database", database)
    assert "3000 people, 0 organisations" in said


def test_variants_of_an_edition_are_generated_and_imported(database: Path) -> None:
    options = ("--split-skills", "--own-list", "--zip")
    assert "folder" in run("generate", "f.txt", *options, code=2)
    Path("edition").mkdir()
    said = run("generate", "edition", "--people", 300, "--seed", 3, *options)
    files = re.findall(r"edition/\S+", said)
    assert [Path(file).suffix for file in files].count(".zip") == 2
    said = run("import", *files, "--database", database)
    assert "303 people" in said
    assert "no column of specialities" not in said
    assert "Source: membres" in said


def test_older_and_standing_files_are_told(database: Path) -> None:
    register.write(Path("PS_20260105.txt"), activity(1))
    run("import", "PS_20260105.txt", "--database", database)
    Path("PS_20260105.txt").rename("PS_20260115.txt")
    said = run("import", "PS_20260115.txt", "--database", database)
    assert "RPPS stands still: not a byte has changed since 2026-01-05 (10 days)" in said
    Path("PS_20260115.txt").rename("PS_20260105.txt")
    assert "older: " in run("import", "PS_20260105.txt", "--database", database, code=1)
    run("import", "PS_20260105.txt", "--database", database, "--allow-older")


def test_a_file_of_a_day_to_come_is_told(database: Path) -> None:
    register.write(Path("PS_20991231.txt"), activity(1))
    said = run("import", "PS_20991231.txt", "--database", database)
    assert "PS_20991231.txt is dated 2099-12-31, which is still to come" in said
    assert "(0 days old)" in said


def test_skills_without_anybody_are_counted(database: Path) -> None:
    register.write(Path("f.txt"), activity(1))
    sources.write_skills(Path("s.txt"), (1, "SM04", "Cardiologie"), (2, "SM04", "Cardiologie"))
    assert "1 identifiers left out" in run("import", "f.txt", "s.txt", "--database", database)


def test_an_existing_file_is_overwritten_only_by_force() -> None:
    run("generate", "f.txt", "--people", 5)
    before = Path("f.txt").read_bytes()
    assert "--force" in run("generate", "f.txt", "--people", 6, code=1)
    assert Path("f.txt").read_bytes() == before
    run("generate", "f.txt", "--people", 6, "--force")
    assert Path("f.txt").read_bytes() != before


def test_wrong_options_are_named() -> None:
    assert "56" in run("generate", "f.txt", "--columns", 55, code=2)
    assert "nowhere" in run("generate", "nowhere/f.txt", code=1)
    assert "domain" in run("import", "f.txt", "--domain", "UPPER CASE", code=2)


def test_a_dry_run_leaves_no_trace(database: Path) -> None:
    register.write(Path("f.txt"), activity(1))
    assert "Dry run" in run("import", "f.txt", "--database", database, "--dry-run")
    assert not database.exists()
    run("import", "f.txt", "--database", database)
    register.write(Path("g.txt"), activity(1), activity(2))
    said = run("import", "g.txt", "--database", database, "--dry-run")
    assert "1 added, 0 changed, 1 unchanged" in said
    assert people(database) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (register.text(activity(2)).replace("|", ";").encode(), "separated by"),
        (register.text(activity(2)).replace("Nom d'exercice|", "Nom|").encode(), "Nom d'exercice"),
        (register.text(activity(2, name="LEFÉVÈRE")).encode("latin-1"), "Latin-1"),
        (register.text(activity(2))[:-30].encode(), "cut short"),
        (register.text(activity(2), activity(3, number="1")).encode(), "1 of the 2 lines"),
        (register.text(activity(2)).encode(), "would be gone"),
        (("|".join(COLUMNS_56) + "|\n").encode(), "nobody"),
        (b"", "empty"),
    ],
)
def test_a_bad_file_is_refused_and_the_old_directory_stays(
    database: Path, content: bytes, reason: str
) -> None:
    register.write(Path("good.txt"), activity(1))
    run("import", "good.txt", "--database", database)
    Path("bad.txt").write_bytes(content)
    said = run("import", "bad.txt", "--database", database, code=1)
    assert reason in said
    assert "Nothing was imported" in said
    assert people(database) == 1


def test_shares_can_be_raised(database: Path) -> None:
    register.write(Path("f.txt"), activity(1), activity(2))
    run("import", "f.txt", "--database", database)
    register.write(Path("g.txt"), activity(1), activity(2, number="1"))
    said = run("import", "g.txt", "--database", database, "--max-gone", 50, "--max-rejected", 50)
    assert "1 lines left out:" in said
    assert "g.txt, line 3: an RPPS identifier has eleven digits" in said
    assert people(database) == 1


def test_test_identifiers_are_kept_with_a_warning(database: Path) -> None:
    register.write(Path("f.txt"), activity(1, number="99999999999"))
    run("import", "f.txt", "--database", database, code=1)
    said = run("import", "f.txt", "--database", database, "--test-identifiers")
    assert "check digit" in said
    assert people(database) == 1


def test_many_rejected_lines_are_summed_up(database: Path) -> None:
    bad = SHOWN_MAX + 5
    text = register.text(*(activity(n) for n in range(10)))
    Path("f.txt").write_text(text + "x|\n" * bad + text.splitlines()[1] + "\n", encoding="utf-8")
    said = run("import", "f.txt", "--database", database, code=1)
    assert said.count("line ") == SHOWN_MAX
    assert f"in all: {bad} x too few columns" in said


def test_old_data_and_missing_specialities_are_pointed_out(database: Path) -> None:
    columns = [column for column in COLUMNS_56 if "savoir-faire" not in column]
    lines = ["|".join(columns) + "|", register.row(activity(1), columns)]
    old = STAMPED.replace("2026", "2021")
    Path(old).write_text("\n".join(lines) + "\n", encoding="utf-8")
    said = run("import", old, "--database", database)
    assert "data of 2021-01-05" in said
    assert "old data" in said
    assert "no column of specialities" in said


def test_what_is_no_file_or_no_database_is_told(database: Path, tmp_path: Path) -> None:
    assert "nope.txt" in run("import", "nope.txt", "--database", database, code=1)
    assert str(tmp_path) in run("import", tmp_path, "--database", database, code=1)
    register.write(Path("f.txt"), activity(1))
    database.write_bytes(b"this is no database, but it is long enough to be looked at" * 100)
    said = run("import", "f.txt", "--database", database, code=1)
    assert "Nothing was imported" in said


def test_another_domain_is_refused(database: Path) -> None:
    register.write(Path("f.txt"), activity(1))
    run("import", "f.txt", "--database", database, "--domain", "one.example")
    said = run("import", "f.txt", "--database", database, "--domain", "two.example", code=1)
    assert "one.example" in said


def test_a_second_import_at_the_same_time_is_refused(database: Path) -> None:
    register.write(Path("f.txt"), activity(1))
    with Path(f"{database}.import.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "Another import" in run("import", "f.txt", "--database", database, code=1)
    run("import", "f.txt", "--database", database)


def test_a_locked_database_is_told_without_a_traceback(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("miss_server.storage.sqlite.engine.BUSY_TIMEOUT_MS", 50)
    register.write(Path("f.txt"), activity(1))
    run("import", "f.txt", "--database", database)
    holder = sqlite3.connect(database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    said = run("import", "f.txt", "--database", database, code=1)
    holder.close()
    assert "locked" in said


@pytest.mark.parametrize("name", ["generate", "import"])
def test_help_has_an_example_in_both_languages(name: str) -> None:
    english, french = spawn(name, "--help"), spawn(name, "--help", language="fr_FR.UTF-8")
    assert "Example: miss-server directory" in english.stdout
    assert "Exemple : miss-server directory" in french.stdout
    assert (english.returncode, french.returncode) == (0, 0)


def test_a_refusal_is_told_in_french_too(database: Path) -> None:
    text = register.text(activity(1), activity(2, number="1"))
    Path("f.txt").write_text(text, encoding="utf-8")
    refused = spawn("import", "f.txt", "--database", database, language="fr_FR.UTF-8")
    assert refused.returncode == 1
    assert "un identifiant RPPS a onze chiffres" in refused.stderr
    assert "Rien n'a été importé" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_terminal_shows_a_progress_bar_and_a_pipe_does_not(database: Path) -> None:
    register.write(Path("f.txt"), *(activity(n) for n in range(200)))
    assert spawn("import", "f.txt", "--database", database).stderr == ""
    register.write(Path("f.txt"), *(activity(n, city="Douai") for n in range(200)))
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", "from miss_server.cli import main; main()"]
        + ["directory", "import", "f.txt", "--database", str(database)],
        env=os.environ | {"LC_ALL": "C.UTF-8", "TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.DEVNULL,
        stderr=slave,
    )
    os.close(slave)
    shown = b""
    try:
        while chunk := os.read(master, 65536):
            shown += chunk
    except OSError:
        pass  # how Linux says that the other end of a terminal is closed
    assert child.wait() == 0
    os.close(master)
    assert b"writing" in shown
    assert b"100%" in shown


def test_an_import_works_beside_a_server_that_reads_and_writes(database: Path) -> None:
    register.write(Path("f.txt"), *(activity(n) for n in range(500)))
    run("import", "f.txt", "--database", database)
    reader = sqlite3.connect(database, isolation_level=None)
    reader.execute("BEGIN")
    (before,) = reader.execute("SELECT generation FROM directory_state").fetchone()
    register.write(Path("g.txt"), *(activity(n) for n in range(5, 505)))
    run("import", "g.txt", "--database", database)
    assert reader.execute("SELECT generation FROM directory_state").fetchone() == (before,)
    reader.execute("COMMIT")
    assert reader.execute("SELECT generation FROM directory_state").fetchone() == (before + 1,)
    reader.close()
    assert people(database) == 500
