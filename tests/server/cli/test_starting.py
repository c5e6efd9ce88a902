"""What cannot work stops the server at its start, in one line that says what to change."""

import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.server.cli.test_commands import run
from tests.support.devices import DOMAIN
from tests.support.engines import without_roots_rights
from tests.support.server import ServerProcess, environment, run_command
from tests.support.stores import new_file
from tests.support.wire import open_call


def refused(done: subprocess.CompletedProcess[str], *said: str) -> None:
    """The start failed with one line, or with one and a hint where a setting itself is wrong."""
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) <= done.returncode, done.stderr
    for each in said:
        assert each in done.stderr


def serve(
    tmp_path: Path, *words: str, settings: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    database = ("--database", str(tmp_path / "miss.sqlite"))
    return run("serve", "--port", "0", *database, *words, settings=settings)


def by_an_ordinary_user(
    *words: str, settings: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run by somebody who may read and write only what its mode allows."""
    return subprocess.run(
        [*without_roots_rights(), sys.executable, "-m", "miss_server", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment() | (settings or {}),
    )


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = str(other.getsockname()[1])
        refused(serve(tmp_path, "--port", port), f"127.0.0.1 {port}", "in use", "--port")


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    refused(serve(tmp_path, "--host", "192.0.2.1"), "192.0.2.1", "--host")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    path = tmp_path / "file" / "data" / "miss.sqlite"
    refused(run("serve", "--port", "0", "--database", str(path)), "Not a directory")


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_in_which_the_servers_user_may_not_write(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    path = folder / "miss.sqlite"
    if there:
        new_file(path)
    folder.chmod(0o500)
    done = by_an_ordinary_user("serve", "--domain", DOMAIN, "--port", "0", "--database", str(path))
    refused(done, f"{path}.lock: Permission denied", "write into that folder", "MISS_DATABASE")
    assert sorted(folder.iterdir()) == ([path] if there else [])


def test_what_is_no_database_of_this_server(tmp_path: Path) -> None:
    path = tmp_path / "miss.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE patients (name TEXT)")
    refused(serve(tmp_path), "another program", "MISS_DATABASE")
    path.unlink()
    new_file(path)
    refused(serve(tmp_path, "--domain", "other.example"), "belongs to the domain", "MISS_DOMAIN")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE settings SET value = '999' WHERE name = 'schema'")
    done = serve(tmp_path, "--domain", DOMAIN)
    refused(done, "newer version: upgrade miss-server")
    assert "MISS_DATABASE" not in done.stderr


@pytest.mark.parametrize(
    ("name", "meant"),
    [("MISS_PROT", "MISS_PORT"), ("MISS_DATABASE_URL", "MISS_DATABASE"), ("MISS_XYZZY", None)],
)
def test_a_variable_that_is_no_setting(tmp_path: Path, name: str, meant: str | None) -> None:
    done = serve(tmp_path, settings={name: "1"})
    refused(done, f"{name} is no setting", *([f"{meant} is"] if meant else []))
    assert not (tmp_path / "miss.sqlite").exists()


@pytest.mark.parametrize(
    "settings",
    [{"MISS_REDIS": "redis://:geheim@127.0.0.1:9/0"}, {"MISS_NODE": "room-1"}],
    ids=lambda settings: next(iter(settings)),
)
def test_what_nodes_need_without_the_database_that_they_share(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    [name] = settings
    refused(serve(tmp_path, settings=settings), name, "miss.sqlite", "Set MISS_DATABASE")
    for words in (["serve", "--port", "0"], ["config", "check"], ["accounts"]):
        done = run_command("miss_server", *words, settings=settings, cwd=tmp_path)
        refused(done, name, "Set MISS_DATABASE")
        assert "geheim" not in done.stderr
    assert not list(tmp_path.iterdir())
    # A copy may be looked at on a node's machine.
    new_file(tmp_path / "copy.sqlite")
    copy = ("--domain", DOMAIN, "--database", str(tmp_path / "copy.sqlite"))
    assert run("audit", "verify", *copy, settings=settings).returncode == 0
    shared = {"MISS_DATABASE": "postgresql://miss@127.0.0.1:9/miss"}
    assert run("config", "check", settings=settings | shared).returncode == 0


def test_an_address_that_is_not_written_as_one_makes_no_file(tmp_path: Path) -> None:
    place = {"MISS_DATABASE": "host=127.0.0.1 password=geheim dbname=miss"}
    done = run_command("miss_server", "serve", "--port", "0", settings=place, cwd=tmp_path)
    refused(done, "database: ", "must begin with postgresql://")
    assert "geheim" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_variable_of_the_client_is_let_be(tmp_path: Path) -> None:
    done = serve(tmp_path, "--host", "192.0.2.1", settings={"MISS_HOME": "/nowhere"})
    assert "MISS_HOME" not in done.stderr


def test_settings_from_a_file_and_secrets_from_a_folder(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "miss_charter_version").write_text("secret-1\n")
    (secrets / "miss_port").write_text("9003")
    file = tmp_path / "miss.conf"
    file.write_text("# the server's settings\nMISS_PORT=9001\nMISS_DOMAIN=file.example\n")
    places = {"MISS_SETTINGS": str(file), "MISS_SECRETS": str(secrets)}
    shown = run("config", "check", settings=places | {"MISS_DOMAIN": "variable.example"})
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    for line in (
        "MISS_PORT=9001 ", "MISS_DOMAIN=variable.example ", "MISS_CHARTER_VERSION=secret-1 ",
    ):  # fmt: skip
        assert line in shown.stdout
    file.write_text("MISS_PROT=9001\n")
    refused(serve(tmp_path, settings=places), "miss_prot")
    file.write_bytes(b"\xff\xfe")
    refused(serve(tmp_path, settings=places), str(file), "not UTF-8")
    file.unlink()
    refused(serve(tmp_path, settings=places), str(file), "No such file")
    refused(serve(tmp_path, settings={"MISS_SECRETS": str(file)}), str(file), "not a folder")


def test_the_databases_address_is_a_secret_like_others(tmp_path: Path) -> None:
    folder = {"MISS_SECRETS": str(tmp_path)}
    secret = tmp_path / "miss_database"
    secret.write_text("postgresql://miss:geheim@db.example/miss\n")
    shown = run("config", "check", settings=folder)
    assert shown.returncode == 0, shown.stderr
    assert "MISS_DATABASE=postgresql://miss:***@db.example/miss " in shown.stdout
    secret.write_text("/srv/miss.sqlite\n")
    assert "MISS_DATABASE=/srv/miss.sqlite " in run("config", "check", settings=folder).stdout
    secret.write_text("postgresql:miss:geheim@db.example/miss\n")
    done = run("serve", "--port", "0", settings=folder)
    refused(done, "database: ", "must begin with postgresql://")
    assert "geheim" not in done.stderr


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A folder of secrets as an operator has it, with what else lies there."""
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "miss_smtp_password").write_text("geheim\n")
    (folder / "MISS_DOMAIN").write_text("secret.example\n")
    for name in ("miss.conf", "miss.conf.sqlite", "miss_redis~", "miss_redis.unused", ".miss_redis.swp",
                 "miss_charter.txt", "node-1.env", "fullchain.pem"):  # fmt: skip
        (folder / name).write_text("of no matter")
    (folder / "jobs").mkdir()
    return folder


def test_what_lies_beside_secrets_is_let_be(secrets: Path) -> None:
    shown = run("config", "check", settings={"MISS_SECRETS": str(secrets)})
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    assert "MISS_DOMAIN=secret.example " in shown.stdout
    assert "MISS_SMTP_PASSWORD=***" in shown.stdout


@pytest.mark.parametrize(
    ("name", "meant"),
    [("miss_domian", "miss_domain"), ("miss_redsi", "miss_redis"), ("miss_xyzzy", None),
     ("MISS_REDSI", "miss_redis"), ("miss_settings", None)],
)  # fmt: skip
def test_a_secret_that_is_no_setting(
    secrets: Path, tmp_path: Path, name: str, meant: str | None
) -> None:
    (secrets / name).write_text("geheim")
    told = f"{secrets / name} is no setting"
    for words in (["serve", "--port", "0"], ["config", "check"], ["accounts"]):
        done = run_command(
            "miss_server", *words, settings={"MISS_SECRETS": str(secrets)}, cwd=tmp_path
        )
        refused(done, told, *([f"; {meant} is"] if meant else []), "Correct its name")
        assert "geheim" not in done.stderr
    assert list(tmp_path.iterdir()) == [secrets]


def test_a_secret_that_cannot_be_read(secrets: Path, tmp_path: Path) -> None:
    file, settings = secrets / "miss_redis", {"MISS_SECRETS": str(secrets)}
    words = ("serve", "--port", "0", "--database", str(tmp_path / "miss.sqlite"))
    file.write_text("redis://:geheim@127.0.0.1:9/0")
    file.chmod(0)
    done = by_an_ordinary_user(*words, settings=settings)
    refused(done, f"{file}: Permission denied", "Let the server's user read it")
    file.unlink()
    file.mkdir()
    refused(run(*words, settings=settings), f"{file}: Is a directory")
    file.rmdir()
    file.write_bytes(b"\xff\xfe")
    refused(run(*words, settings=settings), f"{file}: not UTF-8")
    file.unlink()
    file.symlink_to("miss_nowhere")
    refused(run(*words, settings=settings), f"{file}: No such file")
    file.unlink()
    # The library would leave it out.
    file.symlink_to(tmp_path / "outside")
    (tmp_path / "outside").write_text("redis://127.0.0.1:9/0")
    refused(run(*words, settings=settings), f"{file} is a link out of its folder")
    assert not (tmp_path / "miss.sqlite").exists()


def test_secrets_as_an_engine_links_them(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    (folder / "..1").mkdir(parents=True)
    (folder / "..data").symlink_to("..1")
    (folder / "..1" / "miss_domain").write_text("secret.example")
    (folder / "miss_domain").symlink_to("..data/miss_domain")
    shown = run("config", "check", settings={"MISS_SECRETS": str(folder)})
    assert "MISS_DOMAIN=secret.example " in shown.stdout


def limited(files: int, *words: str, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run with a hard limit of open files."""
    return subprocess.run(
        ["sh", "-c", f'ulimit -n {files}; exec "$@"', "-", sys.executable, "-m", "miss_server"]
        + list(words),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment() | settings,
    )


def test_too_few_open_files_for_what_was_asked(tmp_path: Path) -> None:
    words = ("serve", "--port", "0", "--database", str(tmp_path / "miss.sqlite"))
    done = limited(300, *words, settings={"MISS_MAX_CONNECTIONS": "1000"})
    refused(done, "300 open files are too few for 1000 connections", "LimitNOFILE")
    done = limited(200, *words, settings={})
    refused(done, "200 open files are too few")
    assert not (tmp_path / "miss.sqlite").exists()


async def test_fewer_open_files_than_by_default_lower_the_cap_and_say_so(tmp_path: Path) -> None:
    server = ServerProcess(
        tmp_path / "miss.sqlite",
        tmp_path / "server.log",
        under=("sh", "-c", 'ulimit -Sn 260; ulimit -Hn 300; exec "$@"', "-"),
    )
    await server.start()
    assert "fewer connections than by default" in server.log_text()
    assert "connections=44" in server.log_text()
    assert (await open_call(server, "GET", "/health/live")).status_code == 200
    assert server.process is not None
    limits = Path(f"/proc/{server.process.pid}/limits").read_text()
    [line] = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert line.split()[3:5] == ["300", "300"]
    assert await server.stop() == 0
    assert os.path.exists(server.database)
