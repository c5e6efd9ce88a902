"""Codes for many people: all of a list or none, in files that nobody else can read."""

import asyncio
import csv
import stat
import subprocess
from pathlib import Path

import msgspec
import pytest

from miss_protocol import api
from miss_protocol.identity.enrolment_link import read_link
from miss_protocol.ids import AccountAddress, parse_address
from tests.support.devices import Person
from tests.support.server import DOMAIN, ServerProcess, miss_server, run_command
from tests.support.wire import code_of, enrol_body, open_call


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A database with a small directory, and whom it holds."""
    folder = tmp_path_factory.mktemp("directory")
    register, database = folder / "people.txt", folder / "miss.sqlite"
    run_command("miss_server", "directory", "generate", str(register), "--people", "30")
    miss_server("directory", "import", str(register), "--domain", DOMAIN, database=database)
    lines = [line.split("|") for line in register.read_text("utf-8").splitlines()]
    column = lines[0].index("Identification nationale PP")
    return database, list(dict.fromkeys(line[column] for line in lines[1:]))


@pytest.fixture
def database(directory: tuple[Path, list[str]], tmp_path: Path) -> Path:
    path = tmp_path / "miss.sqlite"
    path.write_bytes(directory[0].read_bytes())
    return path


def create(
    database: Path, people: Path, *words: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    return miss_server(
        *("codes", "create", "--from", str(people), "--domain", DOMAIN, *words),
        database=database,
        check=check,
    )


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter=";"))


def count_accounts(database: Path) -> int:
    shown = miss_server("accounts", "--domain", DOMAIN, database=database).stdout
    return shown.count("never")


@pytest.mark.parametrize(
    ("words", "variables", "language"),
    [
        ([], {"LANG": "C.UTF-8"}, "fr"),
        ([], {"LANG": ""}, "fr"),
        ([], {"LANG": "POSIX"}, "fr"),
        ([], {"LANG": "en_GB.UTF-8"}, "en"),
        ([], {"LANG": "en_GB.UTF-8", "LC_ALL": "fr_FR.UTF-8"}, "fr"),
        ([], {"LANG": "en_GB.UTF-8", "MISS_LANGUAGE": "fr"}, "fr"),
        ([], {"LANG": "fr_FR.UTF-8", "MISS_LANGUAGE": "en"}, "en"),
        (["--language", "fr"], {"LANG": "C.UTF-8", "MISS_LANGUAGE": "en"}, "fr"),
    ],
)
def test_letters_are_in_the_language_of_who_reads_them(
    database: Path,
    directory: tuple[Path, list[str]],
    tmp_path: Path,
    words: list[str],
    variables: dict[str, str],
    language: str,
) -> None:
    people, letters = tmp_path / "people.csv", tmp_path / "letters.html"
    people.write_text(f"identifiant\n{directory[1][0]}\n")
    done = run_command(
        *("miss_server", "codes", "create", "--from", str(people), "--letters", str(letters)),
        *("--database", str(database), "--domain", DOMAIN, *words),
        settings=variables,
    )
    assert done.returncode == 0, done.stderr
    assert f'<html lang="{language}">' in letters.read_text("utf-8")


def test_a_language_that_we_do_not_write_is_told(database: Path) -> None:
    done = run_command("miss_server", "config", "check", settings={"MISS_LANGUAGE": "de"})
    assert done.returncode == 2
    assert "language" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_list_becomes_codes_and_letters_that_enrol(
    database: Path, directory: tuple[Path, list[str]], tmp_path: Path
) -> None:
    people = tmp_path / "people.csv"
    named = directory[1][:5]
    people.write_text("\ufeffnom;identifiant\r\n" + "".join(f"x;{one}\r\n\r\n" for one in named))
    out, letters = tmp_path / "codes.csv", tmp_path / "letters.html"
    server = ServerProcess(database, tmp_path / "server.log")
    await server.start()
    try:
        done = await asyncio.to_thread(
            create, database, people, "--out", str(out), "--letters", str(letters), "--language",
            "fr", "--server", server.url,
        )  # fmt: skip
        rows = table(out)
        assert [row["person"] for row in rows] == named
        for file in (out, letters):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        page = letters.read_text("utf-8")
        for row in rows:
            link = read_link(row["link"])
            assert (link.server, link.code) == (server.url, row["code"])
            assert row["code"] in page
            assert row["name"] in page
            assert row["code"] not in done.stdout + done.stderr + server.log_text()
        person = Person(await account_of(server, rows[0]["code"]))
        body = await enrol_body(server, person, rows[0]["code"])
        assert (await open_call(server, "POST", "/v1/enrolment", body)).is_success
        thief = await enrol_body(server, Person(person.account), rows[0]["code"])
        assert code_of(await open_call(server, "POST", "/v1/enrolment", thief)) == "code_used"
        out.unlink()
        again = await asyncio.to_thread(create, database, people, "--out", str(out))
        assert f"{named[0]} has a device already" in again.stderr
        assert [row["person"] for row in table(out)] == named[1:]
    finally:
        await server.kill()
    assert {path.name for path in tmp_path.glob("*.part")} == set()


async def account_of(server: ServerProcess, code: str) -> AccountAddress:
    answer = await open_call(server, "POST", "/v1/enrolment/preview", api.CodeGiven(code))
    return parse_address(msgspec.json.decode(answer.content, type=api.EnrolmentPreview).account)


def test_a_wrong_line_makes_no_code_at_all_unless_that_is_asked_for(
    database: Path, directory: tuple[Path, list[str]], tmp_path: Path
) -> None:
    people, out = tmp_path / "people.csv", tmp_path / "codes.csv"
    known = directory[1][0]
    people.write_text(f"person\n{known}\n810000000000\n8,1E+11\n{known}\n")
    done = create(database, people, "--out", str(out), check=False)
    assert done.returncode == 1
    for said in ("line 3", "not in the directory", "line 4", "shortened", "line 5", "twice"):
        assert said in done.stderr
    assert "no code was made" in done.stderr
    assert not out.exists()
    assert count_accounts(database) == 0
    done = create(database, people, "--out", str(out), "--skip-wrong")
    assert [row["person"] for row in table(out)] == [known]
    assert "1 codes" in done.stderr
    people.write_text("person\n810000000000\n")
    done = create(database, people, "--skip-wrong", check=False)
    assert done.returncode == 1
    assert "no code was made" in done.stderr


def test_without_a_file_the_table_comes_on_the_terminal(
    database: Path, directory: tuple[Path, list[str]], tmp_path: Path
) -> None:
    people = tmp_path / "people.csv"
    people.write_text(directory[1][0])
    done = create(database, people)
    assert done.stdout.splitlines()[0] == "person;name;code;expires;link"
    assert f"server=https%3A%2F%2F{DOMAIN}" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--server", "miss.example"), "is no address"),
        (("--out", "people.csv"), "exists already"),
        (("--out", "nowhere/codes.csv"), "No such file"),
    ],
)
def test_what_cannot_be_written_makes_no_code(
    database: Path,
    directory: tuple[Path, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    people = tmp_path / "people.csv"
    people.write_text(directory[1][0])
    done = create(database, people, *words, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert count_accounts(database) == 0
    assert people.read_text() == directory[1][0]


def test_a_list_that_is_none_is_told(database: Path, tmp_path: Path) -> None:
    missing = create(database, tmp_path / "none.csv", check=False)
    assert missing.returncode == 1
    assert "No such file" in missing.stderr
    people = tmp_path / "people.csv"
    people.write_bytes(b"PK\x03\x04\x00")
    done = create(database, people, check=False)
    assert done.returncode == 1
    assert "no text" in done.stderr
    assert "Traceback" not in missing.stderr + done.stderr


def test_a_public_address_is_checked(tmp_path: Path) -> None:
    settings = {"MISS_PUBLIC_URL": "https://miss.example/path"}
    done = run_command("miss_server", "config", "check", settings=settings)
    assert done.returncode == 2
    assert "public_url" in done.stderr


def test_whom_nobody_vouches_for_gets_no_code_within_a_list_either(tmp_path: Path) -> None:
    database = tmp_path / "miss.sqlite"
    members, people = tmp_path / "members.csv", tmp_path / "people.csv"
    members.write_text(
        "Identifiant local;Nom;Nature;Rattachement\n"
        "S-12;Quesnimont;;\n"
        "S-13;Vandrelle;;local.members.ho-1\n"
        "HO-1;EHPAD du Beffroi;organisation;\n"
    )
    miss_server("directory", "import", str(members), "--domain", DOMAIN, database=database)
    people.write_text("person\nlocal.members.s-12\nlocal.members.s-13\n")
    done = create(database, people, check=False)
    assert done.returncode == 1
    assert "line 2: local.members.s-12 has no national number, and nobody vouches" in done.stderr
    assert count_accounts(database) == 0
    done = create(database, people, "--skip-wrong")
    assert [line.split(";")[0] for line in done.stdout.splitlines()] == [
        "person",
        "local.members.s-13",
    ]
