"""The systemd units: valid, hard, and the server does nothing that they forbid."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import ServerProcess
from tests.support.wire import enrolled

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
NAMES = ("miss-server.service", "miss-server@.service")
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
    for command in ("opt/miss/bin/miss-server", "bin/kill"):
        path = tmp_path / command
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    ours = ("miss-server.service", "miss-server@1.service")
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


async def conversation(server: ServerProcess) -> None:
    """What a server does in a life: people, messages, an orderly end."""
    await server.start()
    gp, nurse = await enrolled(server), await enrolled(server)
    async with gp.online() as line, nurse.online() as other:
        await line.settle(gp.send(nurse.person))
        await other.deliveries(1)
    assert await server.stop() == 0, server.log_text()


async def test_it_needs_no_memory_that_is_written_and_run(tmp_path: Path) -> None:
    server = ServerProcess(
        tmp_path / "miss.sqlite",
        tmp_path / "server.log",
        under=(sys.executable, "-c", NO_NEW_CODE),
    )
    await conversation(server)


async def test_it_calls_nothing_that_the_units_forbid(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    server = ServerProcess(
        tmp_path / "miss.sqlite",
        tmp_path / "server.log",
        under=("strace", "-D", "-f", "-qq", "-e", "signal=none", "-o", str(trace)),
    )
    await conversation(server)
    called = set(
        re.findall(r"^\d+\s+([a-z0-9_]+)\(", trace.read_text("utf-8", "replace"), re.MULTILINE)
    )
    assert {"fdatasync", "accept4", "prlimit64"} & called
    for name in NAMES:
        # SQLite gives its files to the database's owner if it runs as root, which it does here only.
        assert called - allowed_by(name) - {"fchown"} == set(), name
