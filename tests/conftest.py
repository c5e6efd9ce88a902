"""Servers for tests: a fresh one for each test that ends or harms it, a standing one for the rest."""

import gc
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from tests.support import zygote
from tests.support.postgres import PostgresProcess, postgres_server
from tests.support.server import ServerProcess

# Not the default's, which draws every variable of every frame: that takes seconds, and nobody reads it.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)

pytest.register_assert_rewrite("tests.crash")  # the plays and their people assert, too

# A shell that runs the tests in the background lets them ignore SIGINT, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

zygote.keep_one()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A started server process on a fresh database."""
    process = ServerProcess(
        tmp_path / "miss.sqlite",
        tmp_path / "server.log",
        settings={"MISS_TRUSTED_PROXIES": "127.0.0.1"},
    )
    await process.start()
    yield process
    await process.stop()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def standing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """One server process for many tests: each makes accounts of its own and leaves it running."""
    folder = tmp_path_factory.mktemp("standing")
    process = ServerProcess(
        folder / "miss.sqlite",
        folder / "server.log",
        settings={
            "MISS_MINIMUM_APP": '{"old-app": "2.4"}',
            "MISS_TRUSTED_PROXIES": "127.0.0.1",
        },
    )
    await process.start()
    yield process
    assert process.process is not None
    assert process.process.returncode is None, process.log_text()
    assert await process.stop() == 0, process.log_text()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def postgres() -> AsyncIterator[PostgresProcess]:
    """One PostgreSQL for many tests, each in a database of its own (`new_database`)."""
    async with postgres_server() as server:
        yield server


_SYSTEM = Path(__file__).with_name("system")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Tests that need root are run by `make test-system` only: by name, never by the way."""
    named = any("system" in str(word) for word in config.args)
    return True if collection_path == _SYSTEM and not named else None


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """What found each fault of the mutation gate; what a whole run left to root."""
    lines = [
        str(value)
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "fault found" and report.when == "call"
    ]
    if lines:
        terminalreporter.section("faults, and what found them")
        for line in sorted(lines):
            terminalreporter.write_line(line)
    if config.args == config.getini("testpaths"):
        from tests.load.catalogue import ROOT_FAULTS

        names = "; ".join(fault.name for fault in ROOT_FAULTS)
        terminalreporter.write_line(f"left to `make test-system`, which needs root: {names}")
