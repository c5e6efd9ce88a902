"""The operator's commands: help with an example in both languages, and clumsy use told plainly."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.devices import Person
from tests.support.redis import redis_server
from tests.support.server import DOMAIN, ServerProcess, environment, miss_server, run_command
from tests.support.wire import Device, enrol_body, enrolled, open_call


def run(*words: str, settings: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command as it is typed."""
    return run_command("miss_server", *words, settings=settings)


def people(path: Path) -> list[str]:
    """National identifiers of a generated register."""
    lines = path.read_text("utf-8").splitlines()
    head = lines[0].split("|")
    column = head.index("Identification nationale PP")
    return list(dict.fromkeys(line.split("|")[column] for line in lines[1:]))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A database with a small directory, and whom it holds."""
    folder = tmp_path_factory.mktemp("directory")
    register, database = folder / "people.txt", folder / "miss.sqlite"
    assert run("directory", "generate", str(register), "--people", "30").returncode == 0
    imported = run(
        *("directory", "import", str(register)),
        *("--domain", DOMAIN, "--database", str(database)),
    )
    assert imported.returncode == 0, imported.stderr
    return database, people(register)


HELPS = """
import sys
import click, typer
from typer.main import get_command
from typer.testing import CliRunner
from miss_server.cli import app

def walk(command, words):
    if not words or isinstance(command, click.Group) or hasattr(command, "commands"):
        for name, each in command.commands.items():
            yield from walk(each, [*words, name])
    else:
        yield words

for words in walk(get_command(app), []):
    done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
    print("@@", " ".join(words), done.exit_code)
    print(done.output)
"""


@pytest.mark.parametrize(("language", "example"), [("en", "Example"), ("fr", "Exemple")])
def test_every_command_has_help_with_an_example(language: str, example: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELPS],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=environment() | {"LANG": f"{language}_{language.upper()}.UTF-8"},
    )
    helps = [part.partition("\n") for part in done.stdout.split("@@ ")[1:]]
    names = {head.rsplit(" ", 1)[0] for head, _, _ in helps}
    assert {"serve", "accounts leaving", "enrol-code", "config check", "directory import"} <= names
    for head, _, text in helps:
        name, status = head.rsplit(" ", 1)
        assert status == "0"
        assert example in text, head
        assert f"miss-server {name}" in " ".join(text.split()), head


def test_no_words_and_wrong_words_say_what_there_is() -> None:
    nothing = run()
    assert nothing.returncode == 2
    assert "enrol-code" in nothing.stdout + nothing.stderr
    wrong = run("sevre")
    assert wrong.returncode == 2
    assert "serve" in wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"MISS_PORT": "many"}, "port"),
        ({"MISS_PORT": "70000"}, "port"),
        ({"MISS_DOMAIN": "Not A Domain"}, "domain"),
        ({"MISS_MINIMUM_APP": "2.0"}, "minimum_app"),
        ({"MISS_SWEEP_EVERY": "0"}, "sweep_every"),
        ({"MISS_NEW_RECIPIENTS_BY_ROLE": '{"administrators": [9, 9]}'}, "new_recipients_by_role"),
        ({"MISS_NEW_RECIPIENTS_BY_ROLE": '{"86": [-1, 9]}'}, "new_recipients_by_role"),
        ({"MISS_NEW_RECIPIENTS_BY_ROLE": '{"86": [9]}'}, "new_recipients_by_role"),
        ({"MISS_NEW_RECIPIENTS_BY_ROLE": "many"}, "new_recipients_by_role"),
        ({"MISS_ENROLMENT_TRIES_PER_HOUR": "0"}, "enrolment_tries_per_hour"),
        ({"MISS_CHARTER_VERSION": "v" * 65}, "charter_version"),
        ({"MISS_LOG_JSON": "perhaps"}, "log_json"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, str], said: str) -> None:
    done = run("config", "check", settings=settings)
    assert done.returncode == 2
    assert "a setting is wrong" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_settings_in_force_are_shown_and_typing_errors_guessed() -> None:
    done = run(
        *("config", "check", "--domain", "miss.example"),
        settings={
            "MISS_PORT": "9000",
            "MISS_DOMAIN": "o.example",
            "MISS_DOMIAN": "x",
            "MISS_STORE": "x",
        },
    )
    assert done.returncode == 0
    assert "MISS_PORT=9000" in done.stdout
    assert "MISS_DOMAIN=miss.example" in done.stdout
    assert "MISS_DOMIAN is no setting; MISS_DOMAIN is" in done.stderr
    assert "MISS_STORE is no setting\n" in done.stderr


def test_a_charter_that_cannot_be_read(tmp_path: Path) -> None:
    latin = tmp_path / "charte.txt"
    latin.write_bytes("Charte d'été".encode("latin-1"))
    for path in (tmp_path / "missing.txt", latin):
        checked = run("config", "check", settings={"MISS_CHARTER_FR": str(path)})
        assert checked.returncode == 1
        assert "the charter cannot be read" in checked.stderr
        served = run(
            "serve",
            *("--database", str(tmp_path / "miss.sqlite"), "--port", "0"),
            settings={"MISS_CHARTER_FR": str(path)},
        )
        assert served.returncode == 1
        assert "config check" in served.stderr
        assert "Traceback" not in served.stderr
    assert not (tmp_path / "miss.sqlite").exists()


def test_a_mistyped_database_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "mis.sqlite"
    for words in (["accounts"], ["enrol-code", "899700218896"]):
        done = run(*words, "--database", str(path))
        assert done.returncode == 1
        assert f"there is no {path}" in done.stderr
        assert "--database" in done.stderr
    assert not path.exists()


def test_codes_are_told_even_if_somebody_is_unknown(directory: tuple[Path, list[str]]) -> None:
    database, persons = directory
    done = miss_server(
        *("enrol-code", persons[0], "1", persons[1], persons[0], "--json", "--domain", DOMAIN),
        database=database,
        check=False,
    )
    assert done.returncode == 1
    issued = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["person"] for one in issued] == persons[:2]
    assert "not in the directory: 1" in done.stderr
    assert "directory import" in done.stderr
    plain = miss_server("enrol-code", persons[0], "--domain", DOMAIN, database=database)
    assert persons[0] in plain.stdout
    assert "until 20" in plain.stdout
    assert plain.stderr == ""


def test_accounts_are_listed_with_what_is_known(directory: tuple[Path, list[str]]) -> None:
    database, persons = directory
    miss_server("enrol-code", persons[2], "--domain", DOMAIN, database=database)
    done = miss_server("accounts", "--domain", DOMAIN, "--limit", "500", database=database)
    assert "never" in done.stdout
    wrong = miss_server("accounts", "--domain", "x.example", database=database, check=False)
    assert wrong.returncode == 1
    assert f"belongs to the domain {DOMAIN}" in wrong.stderr
    few = miss_server(
        "accounts", "--limit", "0", "--domain", DOMAIN, database=database, check=False
    )
    assert few.returncode == 2


def test_a_damaged_database_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "miss.sqlite"
    path.write_bytes(b"SQLite format 3\0" + bytes(4096))
    done = miss_server("accounts", database=path, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


async def test_commands_work_beside_a_running_server(
    directory: tuple[Path, list[str]], tmp_path: Path
) -> None:
    source, persons = directory
    database = tmp_path / "miss.sqlite"
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(database)) as new:
        old.backup(new)
    server = ServerProcess(database, tmp_path / "server.log")
    await server.start()
    gp = await enrolled(server)
    async with gp.online() as line:
        code = server.code_for(persons[4])
        shown = await open_call(server, "POST", "/v1/enrolment/preview", {"code": code.lower()})
        preview = shown.json()
        assert preview["profession"]
        newcomer = Person(preview["account"])
        body = await enrol_body(server, newcomer, code)
        assert (await open_call(server, "POST", "/v1/enrolment", body)).is_success
        listed = miss_server("accounts", "--domain", DOMAIN, database=database)
        assert gp.person.account[:8] in listed.stdout
        assert "20" in listed.stdout
        path = f"/v1/accounts/{newcomer.account}/rosters"
        told = (await gp.call("GET", path)).json()
        assert (told["person"], told["profession"]) == (persons[4], preview["profession"])
        entry = (await gp.call("GET", f"/v1/directory/{persons[4]}")).json()
        assert entry["profession"] == preview["profession"]
        await line.settle(gp.send(newcomer))
    async with Device(server, newcomer).online() as line:
        await line.deliveries(1)
    assert await server.stop() == 0


async def test_a_locked_database_is_told_to_the_operator(
    directory: tuple[Path, list[str]], tmp_path: Path
) -> None:
    source, persons = directory
    database = tmp_path / "miss.sqlite"
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(database)) as new:
        old.backup(new)
    with closing(sqlite3.connect(database, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        done = miss_server(
            "enrol-code", persons[0], "--domain", DOMAIN, database=database, check=False
        )
        lock.execute("ROLLBACK")
    assert done.returncode == 1
    assert "locked" in done.stderr
    assert "Traceback" not in done.stderr


async def test_serve_stops_in_one_line_at_a_redis_that_refuses_it(tmp_path: Path) -> None:
    async with redis_server(password="sesame") as redis:
        for url, word in (
            (redis.url_with(""), "MISS_REDIS"),
            (redis.url_with("wrong"), "MISS_REDIS"),
            ("redis://127.0.0.1:port/0", "redis: "),
            ("redis://:Geheim/wort@127.0.0.1:7390/0", "/ is written %2F"),
            (f"{redis.url}?socket_timeout=Geheim", "MISS_REDIS"),
            ("http://127.0.0.1", "redis://"),
        ):
            # Redis is asked before the database is.
            place = {"MISS_DATABASE": "postgresql://127.0.0.1:9/miss", "MISS_REDIS": url}
            place["MISS_NODE_FOLDER"] = str(tmp_path / "node")
            done = await asyncio.to_thread(run, "serve", "--port", "0", settings=place)
            assert done.returncode != 0
            assert word in done.stderr
            assert "Traceback" not in done.stderr
            assert ":wrong@" not in done.stderr
            assert "Geheim" not in done.stderr
            assert "sesame" not in done.stderr
            for words in (["doctor"], ["config", "check"]):
                shown = await asyncio.to_thread(run, *words, settings=place)
                assert "Geheim" not in shown.stdout + shown.stderr
                assert "Traceback" not in shown.stderr


def test_workers_on_sqlite_stop_in_one_line(tmp_path: Path) -> None:
    done = run("serve", "--workers", "2", "--database", str(tmp_path / "miss.sqlite"))
    assert done.returncode != 0
    assert "workers need PostgreSQL" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "miss.sqlite").exists()
