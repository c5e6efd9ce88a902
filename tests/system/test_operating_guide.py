"""`server/README.md`, pasted block by block: the commands of the units, nightly jobs, renewals, moves."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.certificates import Files
from tests.support.deployed import DEPLOY
from tests.support.guides import SERVER, as_pasted, blocks
from tests.support.haproxy import CONFIGURATION, HAProxy
from tests.support.postgres import PASSWORD, postgres_server
from tests.support.server import ServerProcess, environment, run_command

GUIDE = SERVER / "README.md"
HERE = {
    "/etc/miss": "etc",
    "/var/lib/miss": "lib",
    "/mnt/backup": "backup",
    "/srv": "srv",
    "/var/log": "log",
}
"""Folders of an operator's machine, and where a test has them."""


def shell(folder: Path, block: str, surroundings: str = "") -> subprocess.CompletedProcess[str]:
    """Paste a block on a machine that is a folder."""
    return subprocess.run(
        as_pasted(surroundings, block),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=folder,
        env=environment() | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
    )


def moved(text: str, folder: Path) -> str:
    """A text with the folders of a machine in this one."""
    for there, here in HERE.items():
        text = re.sub(rf"{there}\b", str(folder / here), text)
    return text


def block_with(heading: str, word: str) -> str:
    """The only block under a heading that has a word."""
    [found] = [block for block in blocks(GUIDE, heading) if word in block]
    return found


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder with the places of a machine, and `ms` in its `bin`; its user is this test's."""
    for name in ("bin", *HERE.values()):
        (tmp_path / name).mkdir()
    text = moved((DEPLOY / "systemd" / "ms").read_text(), tmp_path)
    text = text.replace("runuser -u miss -- ", "")
    text = text.replace("/opt/miss/bin/miss-server", f"{sys.executable} -m miss_server")
    program(tmp_path / "bin" / "ms", text)
    (tmp_path / "etc" / "miss.conf").write_text("MISS_DOMAIN=miss.example\n")
    return tmp_path


SINGLE = [
    "",
    "# MISS_DATABASE=postgresql://miss@db/miss\n",
    "MISS_DATABASE=/var/lib/miss/miss.sqlite # not postgresql://miss@db/miss\n",
    "MISS_DATABASE=postgresql://miss@db/miss\nMISS_DATABASE='/srv/a:b/miss.sqlite'\n",
]
ONE_OF_TWO = [
    "MISS_DATABASE=postgresql://miss@db/miss\nMISS_LOG_JSON=true\n",
    "MISS_DATABASE=postgres://miss@db/miss\n",
    'MISS_DATABASE="postgresql://miss@db/miss"\n',
    " export MISS_DATABASE = 'postgres://miss@db/miss' # ours\n",
    "miss_database=PostgreSQL://miss@db/miss\n",
    "MISS_DATABASE=/var/lib/miss/miss.sqlite\nMISS_DATABASE=postgresql://miss@db/miss",
]


@pytest.mark.parametrize(
    ("unit", "settings"),
    [
        *(("miss-server.service", text) for text in SINGLE),
        *(("miss-server@.service", text) for text in ONE_OF_TWO),
    ],
)
def test_ms_tells_a_command_what_the_unit_tells_the_server(
    unit: str, settings: str, machine: Path
) -> None:
    (machine / "etc" / "miss.conf").write_text(settings)
    (machine / "etc" / "node-2.env").write_text(
        '# Of this one.\nMISS_METRICS_PORT=9465\nMISS_NEW_RECIPIENTS_BY_ROLE={"86": [40, 120]}\n'
    )
    script = (machine / "bin" / "ms").read_text()
    script = script.replace(f"{sys.executable} -m miss_server", "env")
    program(machine / "bin" / "ms", script)
    told = {}
    for node in ("1", "2"):
        done = shell(machine, f"NODE={node} ms")
        assert done.returncode == 0, done.stderr
        told[node] = set(re.findall(r"^MISS_.*$", done.stdout, re.MULTILINE))
    text = moved((DEPLOY / "systemd" / unit).read_text(), machine).replace("%i", "1")
    [own] = re.findall(r"^Environment=(.*)$", text, re.MULTILINE)
    assert told["1"] == set(own.split())
    if "@" in unit:
        assert {"MISS_PORT=8442", "MISS_METRICS_PORT=9465"} <= told["2"]
        assert 'MISS_NEW_RECIPIENTS_BY_ROLE={"86": [40, 120]}' in told["2"]


@pytest.mark.parametrize("settings", ONE_OF_TWO)
def test_the_server_takes_each_for_an_address_as_ms_does(settings: str, machine: Path) -> None:
    (machine / "etc" / "miss.conf").write_text(settings)
    done = shell(machine, "ms config check")
    assert re.search(
        r"^MISS_DATABASE=postgres\w*://miss@db/miss ", done.stdout, re.MULTILINE | re.IGNORECASE
    )


@pytest.mark.parametrize("place", ["miss_database", "node-1.env", "miss.conf"])
def test_ms_finds_the_address_wherever_it_is(place: str, machine: Path) -> None:
    head = "" if place == "miss_database" else "MISS_DATABASE="
    with (machine / "etc" / place).open("a") as file:
        file.write(f"{head}postgresql://miss@db/miss\n")
    done = shell(machine, "ms config check")
    assert done.returncode == 0, done.stderr
    assert "MISS_DATABASE=postgresql://miss@db/miss " in done.stdout


@pytest.mark.parametrize(
    "address", ["host=db dbname=miss", "postgresql:miss@db/miss", "db:5432/miss"]
)
def test_a_wrong_address_fills_no_file(address: str, machine: Path) -> None:
    (machine / "etc" / "miss.conf").write_text(
        f"MISS_DOMAIN=miss.example\nMISS_DATABASE={address}\n"
    )
    people = machine / "people.txt"
    run_command("miss_server", "directory", "generate", str(people), "--people", "3")
    done = shell(machine, f"ms directory import {people}")
    assert done.returncode != 0
    assert "must begin with postgresql://" in done.stderr
    assert not list((machine / "lib").iterdir())


def test_the_nightly_jobs_do_what_they_say(machine: Path) -> None:
    program(machine / "bin" / "fetch-directory", "#!/bin/sh\n")
    (machine / "srv" / "directory").mkdir()
    people = machine / "srv" / "directory" / "people.txt"
    run_command("miss_server", "directory", "generate", str(people), "--people", "30")
    block = moved(block_with("Every night by itself", "cat >"), machine)
    done = shell(machine, block.replace("-o miss ", ""))
    assert done.returncode == 0, done.stdout
    old = machine / "backup" / "miss-miss.example-20200101T020000Z.sqlite"
    replaced = machine / "lib" / "miss.sqlite.schema-1"
    for path in (old, replaced):
        path.write_text("")
        os.utime(path, (0, 0))
    jobs = {path.name: path for path in (machine / "etc" / "jobs").iterdir()}
    failed = shell(machine, str(jobs["backup"]))
    assert failed.returncode != 0
    assert old.exists(), "nothing goes before a new one is there"
    for name in ("directory", "backup", "audit"):
        done = shell(machine, str(jobs.pop(name)))
        assert done.returncode == 0, done.stderr
    assert not old.exists()
    assert not replaced.exists()
    [_kept] = (machine / "backup").glob("miss-*.sqlite")
    assert "Head: " in (machine / "log" / "miss-audit").read_text()
    [invitations] = jobs.values()
    assert "no mail server is set" in shell(machine, str(invitations)).stderr


async def test_from_sqlite_to_postgresql_and_back(machine: Path) -> None:
    people = machine / "people.txt"
    run_command("miss_server", "directory", "generate", str(people), "--people", "30")
    assert shell(machine, f"ms directory import {people}").returncode == 0
    settings = machine / "etc" / "miss.conf"
    before = settings.read_text() + "MISS_TLS_CERT=a.pem\nMISS_TLS_KEY=b.pem\n"
    settings.write_text(before)
    (machine / "etc" / "miss_database_password").write_text(PASSWORD)
    forth, back = blocks(GUIDE, "From SQLite to PostgreSQL, and back")
    async with postgres_server() as server:
        dsn = server.dsn(await server.new_database(), password="")
        forth = moved(forth, machine).replace("postgresql://miss@db.internal/miss", dsn)
        assert dsn in forth
        # What doctor finds of this machine is not the guide's.
        forth = forth.replace("ms doctor", "ms db check")
        done = shell(machine, forth, "systemctl() { echo systemctl $*; }")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "each compared" in done.stdout
        assert "MISS_TLS" not in settings.read_text()
        (machine / "etc" / "miss_redis").write_text("redis://redis.internal:6379/0")
        done = shell(machine, moved(back, machine), "systemctl() { :; }")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "serves again" in done.stdout
        assert settings.read_text() == before
        settings.write_text(before.partition("MISS_TLS")[0])
        assert shell(machine, "ms accounts").returncode == 0


def test_haproxy_is_told_what_its_configuration_asks_for() -> None:
    block = block_with("On machines of their own", "/etc/default/haproxy")
    told = set(re.findall(r"^(MISS_\w+)=\S+$", block, re.MULTILINE))
    assert told == set(re.findall(r"\$\{(MISS_\w+)\}", CONFIGURATION.read_text()))


@pytest.mark.parametrize(("days", "status"), [(15, 0), (13, 1)])
async def test_a_certificate_that_ends_soon_is_told(days: int, status: int, tmp_path: Path) -> None:
    files = Files(tmp_path)
    now = datetime.now(UTC)
    files.write(
        "miss.example.org", begins=now - timedelta(days=60), ends=now + timedelta(days=days)
    )
    proxy = HAProxy(files, (1, 2))
    await proxy.start()
    try:
        # The file is another one already; what clients are shown counts.
        files.write("miss.example.org", ends=now + timedelta(days=90))
        block = block_with("TLS", "-checkend").replace(
            "-connect miss.example.org:443", f"-connect 127.0.0.1:{proxy.port}"
        )
        done = shell(tmp_path, block)
    finally:
        await proxy.stop()
    assert done.returncode == status, done.stdout + done.stderr
    assert ("will not expire" in done.stdout) is (status == 0)


def renew(folder: Path, hook: str, surroundings: Sequence[str] = ()) -> None:
    """Have a new certificate put in place, as certbot does."""
    lineage = folder / "live"
    lineage.mkdir(exist_ok=True)
    (lineage / "fullchain.pem").write_text("chain\n")
    (lineage / "privkey.pem").write_text("key\n")
    hook = moved(hook, folder).replace("-g miss", "-g root")
    hook = hook.replace("/etc/haproxy", str(folder / "srv"))
    done = shell(
        folder,
        f"(\n{hook}\n)",
        "\n".join((f"RENEWED_LINEAGE={lineage}", *surroundings)),
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_renewed_certificate_is_put_in_place_with_its_mode(machine: Path) -> None:
    hooks = [block for block in blocks(GUIDE, "TLS") if "RENEWED_LINEAGE" in block]
    single, units, containers = hooks
    renew(machine, single)
    key = machine / "etc" / "privkey.pem"
    assert key.read_text() == "key\n"
    assert key.stat().st_mode & 0o777 == 0o640
    called = machine / "called"
    renew(machine, units, [f"systemctl() {{ echo $* >> {called}; }}"])
    both = machine / "srv" / "miss.pem"
    assert both.read_text() == "chain\nkey\n"
    assert both.stat().st_mode & 0o077 == 0
    deploy = machine / "srv" / "miss" / "deploy"
    deploy.parent.mkdir()
    shutil.copytree(DEPLOY, deploy, ignore=shutil.ignore_patterns("secrets", ".env"))
    subprocess.run(["sh", "secrets.sh"], cwd=deploy, check=True, capture_output=True)
    renew(machine, containers, [f"docker() {{ echo $* >> {called}; }}"])
    handed = deploy / "secrets" / "proxy" / "tls.pem"
    assert handed.read_text() == "chain\nkey\n"
    assert handed.stat().st_mode & 0o444 == 0o444
    assert called.read_text() == "reload haproxy\ncompose kill -s USR2 proxy\n"


UPGRADE = "Stopping, restarting, upgrading"
NOT_YET = """
docker() {
    case $* in
    *'exec -T'*) echo "asked $4" >> called; [ $(grep -c "asked $4" called) -gt 2 ] ;;
    *) echo "$*" >> called ;;
    esac
}
sleep() { :; }
"""
"""Containers of which each is ready when it is asked for the third time."""


def test_with_compose_the_second_node_waits_until_the_first_is_ready(tmp_path: Path) -> None:
    done = shell(tmp_path, block_with(UPGRADE, "docker compose build"), NOT_YET)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "called").read_text().splitlines() == [
        "compose build",
        "compose up --detach --no-deps node-1",
        *["asked node-1"] * 3,
        "compose up --detach --no-deps node-2",
        *["asked node-2"] * 3,
        "compose exec node-1 miss-server db upgrade",
    ]


async def test_what_is_asked_there_says_whether_a_node_is_ready(tmp_path: Path) -> None:
    [code] = re.findall(r'python -c "(.*?)"', block_with(UPGRADE, "docker compose build"))
    server = ServerProcess(tmp_path / "miss.sqlite", tmp_path / "server.log")
    await server.start()
    try:
        words = [sys.executable, "-c", code.replace(":8440", f":{server.port}")]
        ready = await asyncio.to_thread(subprocess.run, words, check=False, timeout=30)
    finally:
        await server.stop()
    ended = await asyncio.to_thread(
        subprocess.run, words, check=False, timeout=30, capture_output=True
    )
    assert ready.returncode == 0
    assert ended.returncode != 0
