"""The systemd units: valid, hard, and the server does nothing that they forbid."""

import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.certificates import Files
from tests.support.deployed import DEPLOY, UP, expressions, selectors
from tests.support.operating import scrape
from tests.support.postgres import postgres_server
from tests.support.redis import redis_server
from tests.support.server import DOMAIN, ServerProcess, run_command
from tests.support.wire import enrolled

UNITS = DEPLOY / "systemd"
SINGLE, ONE_OF_SEVERAL = NAMES = ("miss-server.service", "miss-server@.service")
EXPOSURE = "20"
"""Of 100, as `systemd-analyze security` counts; most services of a distribution have 90 and more."""


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, check=False, timeout=60
    )


def setting(unit: str, name: str) -> list[str]:
    """The values of all lines of a setting."""
    return re.findall(rf"^{name}=(.*)$", (UNITS / unit).read_text(), re.MULTILINE)


def test_the_units_are_valid(tmp_path: Path) -> None:
    units = tmp_path / "etc" / "systemd" / "system"
    shutil.copytree("/usr/lib/systemd/system", units, symlinks=True)
    for name in NAMES:
        shutil.copy(UNITS / name, units)
    for name in ("miss-job@.service", "miss-job@.timer"):
        shutil.copy(UNITS / name, units)
    for command in ("opt/miss/bin/miss-server", "bin/kill", "etc/miss/jobs/backup"):
        path = tmp_path / command
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    ours = ("miss-server.service", "miss-server@1.service", "miss-job@backup.service",
            "miss-job@backup.timer")  # fmt: skip
    done = analyze("verify", "--man=no", "--recursive-errors=no", f"--root={tmp_path}", *ours)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (units / NAMES[0]).write_text("[Service]\nExecStart=/opt/miss/bin/other\n")
    broken = analyze("verify", "--man=no", "--recursive-errors=no", f"--root={tmp_path}", ours[0])
    assert broken.returncode != 0


@pytest.mark.parametrize("name", NAMES)
def test_the_units_are_hard(name: str) -> None:
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", str(UNITS / name))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_the_unit_waits_for_the_drain_and_allows_the_files(name: str) -> None:
    from miss_server.config import Settings
    from miss_server.edge.open_files import KEPT_BACK

    fields = Settings.model_fields
    [stop], [files] = setting(name, "TimeoutStopSec"), setting(name, "LimitNOFILE")
    assert int(stop) >= 2 * fields["drain_seconds"].default
    assert int(files) >= fields["max_connections"].default + KEPT_BACK


def calls_of(name: str) -> set[str]:
    """The system calls of one of systemd's sets."""
    lines = analyze("syscall-filter", name).stdout.splitlines()[1:]
    found: set[str] = set()
    for line in lines:
        word = line.strip()
        if word.startswith("@"):
            found |= calls_of(word)
        elif word and not word.startswith("#"):
            found.add(word)
    return found


def allowed_by(unit: str) -> set[str]:
    """The system calls that a unit lets through: its lines in order, each adding or taking."""
    allowed: set[str] = set()
    for line in setting(unit, "SystemCallFilter"):
        takes = line.startswith("~")
        for word in line.removeprefix("~").split():
            calls = calls_of(word) if word.startswith("@") else {word}
            allowed = allowed - calls if takes else allowed | calls
    return allowed


NO_NEW_CODE = """
import ctypes, os, sys
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0):
    sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])
"""


@asynccontextmanager
async def as_the_unit_has_it(
    name: str, folder: Path, under: Sequence[str]
) -> AsyncIterator[ServerProcess]:
    """A server that is not started yet: with SQLite and TLS, or with PostgreSQL and Redis."""
    server = ServerProcess(folder / "miss.sqlite", folder / "server.log", under=under)
    if name == SINGLE:
        files = Files(folder)
        files.write()
        server.settings = files.settings
        yield server
        return
    async with postgres_server() as cluster, redis_server("fictive") as redis:
        # By a name, as an operator writes it: looking it up asks the system more than an address.
        server.dsn = cluster.dsn(await cluster.new_database(), host="localhost")
        server.settings = {
            "MISS_REDIS": redis.url_with(redis.password, "localhost"),
            "MISS_TRUSTED_PROXIES": "127.0.0.1",
        }
        yield server


async def conversation(server: ServerProcess) -> None:
    """What a server does in a life: people, messages, a look at it, an orderly end."""
    await server.start()
    try:
        gp, nurse = await enrolled(server), await enrolled(server)
        async with gp.online() as line, nurse.online() as other:
            await line.settle(gp.send(nurse.person))
            await other.deliveries(1)
        await scrape(server)
    finally:
        ended = await server.stop()
    assert ended == 0, server.log_text()


async def test_it_needs_no_memory_that_is_written_and_run(tmp_path: Path) -> None:
    server = ServerProcess(
        tmp_path / "miss.sqlite",
        tmp_path / "server.log",
        under=(sys.executable, "-c", NO_NEW_CODE),
    )
    await conversation(server)


OF_ROOT = {SINGLE: {"fchown"}, ONE_OF_SEVERAL: set()}
"""SQLite gives its files to the database's owner if it runs as root, which it does here only."""
ASKED_IN_VAIN = {"AF_NETLINK"}
"""The C library asks the kernel for this machine's addresses before it looks a name up, and goes on
without an answer."""


@pytest.mark.parametrize("name", NAMES)
async def test_it_calls_nothing_that_its_unit_forbids(name: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    under = ("strace", "-D", "-f", "-qq", "-e", "signal=none", "-o", str(trace))
    async with as_the_unit_has_it(name, tmp_path, under) as server:
        await conversation(server)
    text = trace.read_text("utf-8", "replace")
    called = set(re.findall(r"^\d+\s+([a-z0-9_]+)\(", text, re.MULTILINE))
    assert {"fsync", "fdatasync"} & called
    assert {"accept4", "prlimit64"} <= called
    assert called - allowed_by(name) - OF_ROOT[name] == set()
    [families] = setting(name, "RestrictAddressFamilies")
    used = set(re.findall(r"\bsocket\((AF_\w+)", text))
    assert used - ASKED_IN_VAIN <= set(families.split())


def proc_of(name: str) -> str:
    """The options with which systemd mounts /proc for a unit."""
    hidden = [f"hidepid={value}" for value in setting(name, "ProtectProc") if value != "default"]
    subset = ["subset=pid" for value in setting(name, "ProcSubset") if value == "pid"]
    return ",".join(["rw", *hidden, *subset])


RESTRICTED = """
mount -t proc -o "$0" proc /proc
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""


@pytest.mark.parametrize("name", NAMES)
async def test_alerts_and_dashboard_have_their_figures_under_the_unit(
    name: str, tmp_path: Path
) -> None:
    under = ("unshare", "--mount", "sh", "-euc", RESTRICTED, proc_of(name))
    async with as_the_unit_has_it(name, tmp_path, under) as server:
        people = tmp_path / "people.txt"
        run_command("miss_server", "directory", "generate", str(people), "--people", "30")
        place = {"MISS_DATABASE": server.dsn or str(server.database), "MISS_DOMAIN": DOMAIN}
        imported = run_command(
            "miss_server", "directory", "import", str(people), settings=server.settings | place
        )
        assert imported.returncode == 0, imported.stderr
        await server.start()
        try:
            await scrape(server)
            samples = await scrape(server)
        finally:
            await server.stop()
    there = {sample for sample, _ in samples} | {UP}
    asked = {one.name for _, expression in expressions() for one in selectors(expression)}
    assert asked - there == set()
