"""SIGHUP, as `systemctl reload` sends it, ends no server: without a certificate it is told, and no more.

What it does with one is in `edge/test_certificate.py`.
"""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.postgres import PostgresProcess
from tests.support.server import DOMAIN, START_SECONDS, ServerProcess
from tests.support.waiting import until
from tests.support.wire import enrolled, open_call

TOLD = "SIGHUP: no certificate to read anew"


def hang_up(server: ServerProcess) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)


async def test_a_server_without_a_certificate_serves_on(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "miss.sqlite", tmp_path / "server.log")
    await server.start()
    gp, nurse = await enrolled(server), await enrolled(server)
    async with gp.online() as line, nurse.online() as other:
        for times in (1, 2):
            hang_up(server)
            await until(lambda times=times: server.log_text().count(TOLD) == times)  # type: ignore[misc]
        await line.settle(gp.send(nurse.person))
        await other.deliveries(1)
    assert await server.stop() == 0


@asynccontextmanager
async def two_workers(postgres: PostgresProcess, folder: Path) -> AsyncIterator[ServerProcess]:
    """Launched, and stopped in order; whoever enters waits for what they need."""
    server = ServerProcess(
        folder / "db", folder / "log", dsn=postgres.dsn(await postgres.new_database())
    )
    server.log.touch()
    words = ["serve", "--domain", DOMAIN, "--port", "0", "--workers", "2"]
    server.process = await server.launch(words)
    try:
        yield server
    finally:
        ended = await server.stop()
    assert ended == 0, server.log_text()


def started(server: ServerProcess) -> list[int]:
    """The workers' processes, in the order of their starts."""
    return [int(pid) for pid in re.findall(r"worker started.*?pid=(\d+)", server.log_text())]


async def all_listen(server: ServerProcess) -> None:
    found: list[str] = []

    def both() -> bool:
        found[:] = re.findall(r"listening.*?url='?(http://[0-9.:]+)", server.log_text())
        assert server.process is not None
        return len(found) == 2 or server.process.returncode is not None

    async with asyncio.timeout(START_SECONDS):
        await until(both)
    assert len(found) == 2, server.log_text()
    server.url = found[0]


async def test_workers_without_a_certificate_serve_on(
    postgres: PostgresProcess, tmp_path: Path
) -> None:
    async with two_workers(postgres, tmp_path) as server:
        await all_listen(server)
        hang_up(server)
        await until(lambda: server.log_text().count(TOLD) == 2)
        assert (await open_call(server, "GET", "/health/live")).status_code == 200
        assert len(started(server)) == 2
        assert "worker ended" not in server.log_text()


@pytest.mark.parametrize("whom", ["parent", "workers"])
async def test_workers_that_do_not_serve_yet_are_not_ended(
    postgres: PostgresProcess, tmp_path: Path, whom: str
) -> None:
    async with two_workers(postgres, tmp_path) as server:
        await until(lambda: len(started(server)) == 2)
        if whom == "parent":
            hang_up(server)
        else:
            for pid in started(server):
                os.kill(pid, signal.SIGHUP)
        await all_listen(server)
        assert len(started(server)) == 2
