"""`miss-server doctor`: well, and with each thing broken that can be broken here."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from miss_server.doorbell import redis_checks
from miss_server.doorbell.redis_checks import judged
from miss_server.findings import Finding, Verdict, bad, ok
from miss_server.operating import machine
from miss_server.operating.doctor import examine
from miss_server.operating.watching import DISK_LOW_BYTES
from miss_server.storage.schema import SCHEMA_VERSION
from miss_server.storage.sqlite.store import prepare
from miss_server.words import Both
from tests.support.certificates import Files
from tests.support.engines import free_port
from tests.support.postgres import PASSWORD, PostgresProcess
from tests.support.redis import redis_server
from tests.support.server import DOMAIN, ServerProcess, environment, run_command
from tests.support.stores import prepared
from tests.support.wire import enrolled, now_ms, open_call


def run(
    database: Path | str, *words: str, under: str = "", status: int = 0, **settings: str
) -> subprocess.CompletedProcess[str]:
    """The command, perhaps `under` a shell's limit; it must end with this status."""
    command = ["doctor", "--database", str(database), "--domain", DOMAIN, *words]
    settings = {"MISS_PORT": "9"} | settings
    if under:
        done = subprocess.run(
            [
                "sh",
                "-c",
                f'{under}; exec "$@"',
                "sh",
                sys.executable,
                "-m",
                "miss_server",
                *command,
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=environment() | settings,
        )
    else:
        done = run_command("miss_server", *command, settings=settings)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def found(database: Path | str, status: int = 0, **settings: Any) -> dict[str, dict[str, Any]]:
    """What it finds, by subject; the worst of each. All texts are in both languages."""
    lines = run(database, "--json", status=status, **settings).stdout.splitlines()
    order = ["ok", "warn", "bad"]
    worst: dict[str, dict[str, Any]] = {}
    for line in lines:
        finding = json.loads(line)
        assert finding["text"]["en"]
        assert finding["text"]["fr"]
        assert (finding["verdict"] == "ok") is (finding["do"] is None)
        known = worst.get(finding["subject"])
        if known is None or order.index(known["verdict"]) < order.index(finding["verdict"]):
            worst[finding["subject"]] = finding
    return worst


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A new database that no server holds."""
    path = tmp_path / "data" / "miss.sqlite"
    path.parent.mkdir(mode=0o700)
    prepare(path, domain=DOMAIN, now_ms=now_ms())
    return path


def test_a_new_installation(database: Path) -> None:
    told = found(database)
    sound = ("database", "disk", "permissions", "server", "witness", "settings", "administrators")
    for subject in sound:
        assert told[subject]["verdict"] == "ok", told[subject]
    assert told["directory"]["verdict"] == "warn"
    assert "directory import" in told["directory"]["do"]["en"]
    assert "ms to keep 4 KiB" in told["fsync"]["text"]["en"]
    assert not list(database.parent.glob(".doctor-*"))
    said = run(database).stdout
    assert f"ok    database: sound, schema {SCHEMA_VERSION} of {SCHEMA_VERSION}" in said
    french = run(database, LANG="fr_FR.UTF-8").stdout
    assert f"saine, schéma {SCHEMA_VERSION} sur {SCHEMA_VERSION}" in french


async def test_a_running_server_is_asked(server: ServerProcess) -> None:
    await enrolled(server)
    settings: Any = {"MISS_PORT": str(server.port)}
    told = found(server.database, **settings)
    assert told["server: directory"]["verdict"] == "warn"
    assert "running server's" in told["open files"]["text"]["en"]
    elsewhere = found(server.database)
    assert elsewhere["server"]["verdict"] == "warn"
    assert "MISS_PORT" in elsewhere["server"]["do"]["en"]
    with closing(sqlite3.connect(server.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        while (await open_call(server, "GET", "/health/ready")).status_code != 503:
            pass  # a look is good for a second
        told = found(server.database, status=1, **settings)
        other.execute("ROLLBACK")
    assert told["server: database"]["verdict"] == "bad"


async def test_a_server_with_metrics_at_a_port_of_their_own_is_asked_there(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.write()
    files.key.chmod(0o600)
    own = {"MISS_METRICS_PORT": str(free_port()), "MISS_METRICS_HOST": "0.0.0.0"} | files.settings  # noqa: S104
    server = ServerProcess(tmp_path / "miss.sqlite", tmp_path / "log", settings=own)
    await server.start()
    try:
        settings: Any = own | {"MISS_PORT": str(server.port)}
        told = found(server.database, **settings)
        assert "running server's" in told["open files"]["text"]["en"]
        settings |= {"MISS_METRICS_PORT": str(free_port())}
        told = found(server.database, **settings)
        assert "this shell's" in told["open files"]["text"]["en"]
        assert told["server: directory"]["verdict"] == "warn"
    finally:
        await server.stop()


def test_files_that_others_can_read(database: Path) -> None:
    database.chmod(0o640)
    told = found(database, status=1)
    assert told["permissions"]["verdict"] == "bad"
    assert f"chmod 600 {database}" in told["permissions"]["do"]["en"]
    for file in database.parent.iterdir():
        file.chmod(0o600)
    database.parent.chmod(0o777)
    assert found(database)["permissions"]["verdict"] == "warn"


def test_a_damaged_a_foreign_and_a_missing_database(database: Path) -> None:
    content = database.read_bytes()
    database.write_bytes(content[:4096] + b"\xff" * 8192 + content[12288:])
    assert found(database, status=1)["database"]["verdict"] == "bad"
    database.write_bytes(b"notes")
    told = found(database, status=1)
    assert "miss-server restore" in told["database"]["do"]["en"]
    database.unlink()
    assert found(database)["database"]["verdict"] == "warn"


async def test_a_clock_that_went_back_and_a_witness_that_is_gone(server: ServerProcess) -> None:
    await enrolled(server)
    await server.stop()
    with closing(sqlite3.connect(server.database, isolation_level=None)) as db:
        db.execute("UPDATE devices SET seen_ms = ?", (now_ms() + 3_600_000,))
    server.database.with_name(server.database.name + ".witness").unlink()
    told = found(server.database, status=1)
    assert told["clock"]["verdict"] == "bad"
    assert "59 minutes" in told["clock"]["text"]["en"] or "60 min" in told["clock"]["text"]["en"]
    assert told["witness"]["verdict"] == "warn"


def test_a_limit_of_open_files_that_is_too_low(database: Path) -> None:
    told = found(database, under="ulimit -n 512")
    assert told["open files"]["verdict"] == "warn"
    assert "LimitNOFILE=" in told["open files"]["do"]["fr"]


def test_no_tls_for_others_and_a_certificate_that_is_none(database: Path, tmp_path: Path) -> None:
    assert found(database, MISS_HOST="192.0.2.1")["certificate"]["verdict"] == "warn"
    behind = found(database, MISS_HOST="192.0.2.1", MISS_TRUSTED_PROXIES="10.0.0.1")
    assert behind["certificate"]["verdict"] == "ok"
    nothing = str(tmp_path / "none.pem")
    told = found(database, status=1, MISS_TLS_CERT=nothing, MISS_TLS_KEY=nothing)
    assert told["certificate"]["verdict"] == "bad"
    assert "none.pem" in told["certificate"]["text"]["en"]


def test_a_setting_that_is_none(database: Path) -> None:
    told = found(database, MISS_DOMIAN="x")
    assert told["settings"]["verdict"] == "warn"
    assert "MISS_DOMIAN" in told["settings"]["text"]["en"]


def test_an_organisation_for_which_nobody_can_act(database: Path) -> None:
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("INSERT INTO administrators VALUES ('1590000014', 'gone@miss.example', 1, NULL)")
    told = found(database)["administrators"]
    assert told["verdict"] == "warn"
    assert "1590000014" in told["text"]["en"]
    assert "admin add" in told["do"]["en"]


async def test_postgresql_is_asked_and_its_password_never_told(
    postgres: PostgresProcess, tmp_path: Path
) -> None:
    dsn = (await prepared(postgres)).dsn
    told = found(dsn, status=1, MISS_NODE_FOLDER=str(tmp_path))
    assert "ms to keep 4 KiB" in told["commit"]["text"]["en"]
    assert "MiB free of" in told["disk"]["text"]["en"]
    not_yet = found(dsn, status=1, MISS_NODE_FOLDER=str(tmp_path / "not" / "yet"))
    assert "MiB free of" in not_yet["disk"]["text"]["en"]
    assert "PostgreSQL 1" in told["database"]["text"]["en"]
    assert "belongs to the domain" in told["schema"]["text"]["en"]
    assert told["standby"]["text"]["en"] == "none: one server room"
    assert told["permissions"]["verdict"] == "ok"
    assert told["administrators"]["verdict"] == "ok"
    wrong = dsn.replace(PASSWORD, "geheim").replace(str(postgres.port), "9")
    said = run(wrong, status=1, MISS_NODE_FOLDER=str(tmp_path)).stdout
    assert "PostgreSQL cannot be asked" in said
    assert "geheim" not in said


async def test_redis_is_asked_and_its_password_never_told(database: Path) -> None:
    async with redis_server(password="sesame") as redis:
        told = found(database, MISS_REDIS=redis.url)["Redis"]
        assert told["verdict"] == "ok"
        assert re.match(r"version [78]\.\d+\.\d+, answers in \d", told["text"]["en"])
        wrong = run(database, status=1, MISS_REDIS=redis.url.replace("sesame", "geheim")).stdout
        assert "BAD   Redis: Redis refuses us" in wrong
        assert "geheim" not in wrong
    gone = run(database, MISS_REDIS=redis.url).stdout
    assert "warn  Redis: is not reached" in gone
    assert "sesame" not in gone


@pytest.mark.parametrize(
    ("version", "took", "verdict", "do"),
    [
        ("7.2.4", 0.001, Verdict.OK, ""),
        (None, 0.001, Verdict.OK, ""),
        ("6.2.1", 0.001, Verdict.WARN, "Valkey"),
        ("7.0.15", 0.2, Verdict.WARN, "nearer"),
    ],
)
def test_an_old_or_distant_redis_is_told(
    version: str | None, took: float, verdict: Verdict, do: str
) -> None:
    finding = judged(version, took)
    assert finding.verdict is verdict
    assert do in (finding.do.en if finding.do else "")


async def test_a_redis_that_does_not_tell_its_version_is_well() -> None:
    async with redis_server() as redis:
        await redis.allow("-info")
        [told] = await redis_checks.examine(redis.url, domain=DOMAIN)
        assert told.verdict is Verdict.OK
        assert "version ?" in told.text.en


@pytest.mark.parametrize(
    ("finding", "verdict", "do"),
    [
        (machine.judge_room(DISK_LOW_BYTES, 100 * DISK_LOW_BYTES), Verdict.OK, ""),
        (machine.judge_room(DISK_LOW_BYTES - 1, 100 * DISK_LOW_BYTES), Verdict.WARN, "larger disk"),
        # A small disk with a good share free is as it was made.
        (machine.judge_room(DISK_LOW_BYTES - 1, 2 * DISK_LOW_BYTES), Verdict.OK, ""),
        (machine.judge_room(DISK_LOW_BYTES // 8, DISK_LOW_BYTES), Verdict.OK, ""),
        (machine.judge_room(DISK_LOW_BYTES // 8 - 1, DISK_LOW_BYTES), Verdict.BAD, "Free space"),
        (machine.judge_fsync(machine.FSYNC_UNLIKELY_MS), Verdict.OK, ""),
        (machine.judge_fsync(machine.FSYNC_UNLIKELY_MS - 0.001), Verdict.WARN, "write cache off"),
        (machine.judge_fsync(machine.FSYNC_SLOW_MS), Verdict.OK, ""),
        (machine.judge_fsync(machine.FSYNC_SLOW_MS + 0.1), Verdict.WARN, "power-loss protection"),
        (machine.judge_clock(0), Verdict.OK, ""),
        (machine.judge_clock(-1), Verdict.OK, ""),
        (machine.judge_clock(machine.NOT_SYNCHRONISED), Verdict.WARN, "chrony"),
    ],
)
def test_a_full_disk_a_slow_one_and_a_clock_that_nothing_keeps_right(
    finding: Finding, verdict: Verdict, do: str
) -> None:
    assert finding.verdict is verdict
    assert finding.text.fr
    assert do in (finding.do.en if finding.do else "")


def test_a_database_in_memory(database: Path) -> None:
    assert machine.file_system(Path("/dev/shm")) == "tmpfs", "this machine has no /dev/shm"  # noqa: S108
    place = Path("/dev/shm") / f"miss-doctor-{os.getpid()}"  # noqa: S108
    place.mkdir(mode=0o700)
    try:
        shutil.copy(database, place / "miss.sqlite")
        (place / "miss.sqlite").chmod(0o600)
        told = found(place / "miss.sqlite", status=1)
        assert told["file system"]["verdict"] == "bad"
        assert told["fsync"]["verdict"] == "warn"
        assert "before it has written" in told["fsync"]["do"]["en"]
    finally:
        shutil.rmtree(place)


async def test_a_check_that_fails_itself_is_a_finding_and_stops_no_other() -> None:
    async def broken() -> Any:
        raise PermissionError(13, "Permission denied", "/secret")

    async def well() -> Any:
        return [ok("second", "well", "bien"), bad("third", Both("a", "b"), Both("c", "d"))]

    seen = [finding async for finding in examine([("first", broken), ("second", well)])]
    assert [one.verdict for one in seen] == [Verdict.BAD, Verdict.OK, Verdict.BAD]
    assert "Permission denied" in seen[0].text.en
