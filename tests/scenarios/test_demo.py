"""`miss demo` as a newcomer runs it: it must check everything and end with 0."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import environment

MISS = (sys.executable, "-m", "miss_client")
PATIENCE = 100.0


def run(*words: str, language: str = "C.UTF-8") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MISS, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env=environment() | {"LANG": language, "COLUMNS": "200"},
    )


def test_the_demo_checks_every_step() -> None:
    done = run("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    for act in range(1, 8):
        assert f"\n{act}. " in done.stdout
    assert "✗" not in done.stdout
    assert done.stdout.count("✓ ") >= 29


def test_the_demo_speaks_french() -> None:
    done = run("demo", language="fr_FR.UTF-8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "reçu exactement une fois" in done.stdout


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_demo_leaves_no_server_behind(number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        *MISS, "demo", stdout=asyncio.subprocess.PIPE, env=environment()
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while b"3. " not in await process.stdout.readline():
            pass
        servers = children_of(process.pid)
        process.send_signal(number)
        await process.stdout.read()
        assert await process.wait() == 130
    assert servers
    for server in servers:
        with pytest.raises(ProcessLookupError):
            os.kill(server, 0)
