"""A real server process on a free port, for tests that speak to it over real sockets."""

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TextIO

from tests.support import zygote

DOMAIN = "miss.example"
START_SECONDS = 30.0
LIFTED = {
    "MISS_FIRST_MESSAGES": "1000000000",
    "MISS_NEW_RECIPIENTS_PER_HOUR": "1000000000",
    "MISS_NEW_RECIPIENTS_PER_DAY": "1000000000",
}
"""Most tests write on and on to somebody who never answers: what that proves is not about meeting."""
STOP_SECONDS = 30.0

_LISTENING = re.compile(r"""url["']?[=:] ?["'](https?://[0-9.:]+)""")


def miss_server(
    *words: str, database: Path, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run one `miss-server` command on a database to its end."""
    done = run_command("miss_server", *words, "--database", str(database))
    if check:
        done.check_returncode()
    return done


def run_command(
    package: str,
    *words: str,
    settings: Mapping[str, str] | None = None,
    told: str = "",
    cwd: Path | None = None,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run a command of `miss_server` or `miss_client` to its end, whatever its status.

    Args:
        settings: environment variables beside those of `environment()`.
        told: what it reads from its input.
    """
    surroundings = environment() | dict(settings or {})
    forking = zygote.common(surroundings)
    if forking is not None:
        module = zygote.COMMANDS[package]
        return forking.run(module, words, surroundings, told=told, cwd=cwd, timeout=timeout)
    return subprocess.run(
        [sys.executable, "-m", package, *words],
        input=told,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env=surroundings,
        cwd=cwd,
    )


async def started(module: str, *words: str) -> tuple["Process", TextIO]:
    """Start a module that has a `main`; returns it with what it writes, to be closed."""
    reading, writing = os.pipe()
    forking = zygote.common(environment())
    try:
        if forking is None:
            process: Process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module, *words), stdout=writing, env=environment()
            )
        else:
            process = forking.start(module, words, environment(), writing, 2)
    finally:
        os.close(writing)
    return process, os.fdopen(reading)


def environment() -> dict[str, str]:
    """An English environment without settings of the machine that runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MISS_", "LC_", "LANG"))}
    return {**kept, "LANG": "C.UTF-8"}


class Process(Protocol):
    """What is needed of a child process; an `asyncio.subprocess.Process` has it."""

    pid: int

    @property
    def returncode(self) -> int | None:
        """Its exit status once it was waited for, negative for a signal."""
        ...

    def send_signal(self, signal: int, /) -> None:
        """Send it a signal."""
        ...

    async def wait(self) -> int:
        """Wait for its end; returns its exit status."""
        ...


@dataclass
class ServerProcess:
    """`miss-server serve` as a child process; `start` before use, `stop` or `kill` after."""

    database: Path
    log: Path
    domain: str = DOMAIN
    options: Sequence[str] = ()
    settings: dict[str, str] = field(default_factory=dict)
    module: str = "miss_server"
    """What `python -m` runs: the server, or a module that changes its surroundings first."""
    under: Sequence[str] = ()
    """A command that runs the server as its own process: `nsenter --net`, `strace -D`."""
    budgets: bool = False
    """With the limits of people who have not met, as operators have them."""
    dsn: str = ""
    """A PostgreSQL database in place of the file, beside which the node's folder still is."""
    port: int = 0
    url: str = ""
    process: Process | None = None

    async def start(self) -> None:
        """Start it and wait until it listens; a restart listens on the same port."""
        words = ["serve", "--domain", self.domain]
        if not self.dsn:
            words += ["--database", str(self.database)]
        words += ["--port", str(self.port), *self.options]
        self.log.touch()
        start = self.log.stat().st_size
        self.process = await self.launch(words)
        async with asyncio.timeout(START_SECONDS):
            self.url = await self._wait_for_url(start)
        self.port = int(self.url.rsplit(":", 1)[1])

    async def launch(self, words: Sequence[str]) -> Process:
        """Start `miss-server` with these words, its output in the log."""
        surroundings = environment() | ({} if self.budgets else LIFTED) | self._place()
        surroundings |= self.settings
        forking = zygote.common(surroundings)
        with self.log.open("ab") as log:
            if forking is not None and self.module in zygote.COMMANDS and not self.under:
                number = log.fileno()
                return forking.start(
                    zygote.COMMANDS[self.module], words, surroundings, number, number
                )
            return await asyncio.create_subprocess_exec(
                *(*self.under, sys.executable, "-m", self.module, *words),
                stdout=log,
                stderr=log,
                env=surroundings,
            )

    def _place(self) -> dict[str, str]:
        if not self.dsn:
            return {}
        folder = self.database.with_name(f"{self.database.name}.node")
        return {"MISS_DATABASE": self.dsn, "MISS_NODE_FOLDER": str(folder)}

    async def _wait_for_url(self, start: int) -> str:
        assert self.process is not None
        ended = asyncio.create_task(self.process.wait())
        try:
            while True:
                text = self.log.read_bytes()[start:].decode(errors="replace")
                found = _LISTENING.search(text)
                if found:
                    return found.group(1)
                if ended.done():
                    raise RuntimeError(f"the server ended with {ended.result()}:\n{text}")
                # A file tells nobody that it grew: look again soon.
                await asyncio.wait({ended}, timeout=0.02)
        finally:
            ended.cancel()

    @property
    def witness(self) -> Path:
        """The file in which it keeps how far its database had come."""
        return self.database.with_name(f"{self.database.name}.witness")

    @property
    def socket_url(self) -> str:
        """The URL of the WebSocket."""
        return "ws" + self.url.removeprefix("http") + "/v1/ws"

    async def kill(self) -> None:
        """End it as a power cut would end the process: SIGKILL."""
        await self._signal(signal.SIGKILL)

    async def stop(self) -> int:
        """End it in order: SIGTERM; returns its exit status."""
        return await self._signal(signal.SIGTERM)

    async def _signal(self, number: signal.Signals) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(STOP_SECONDS):
            return await self.process.wait()

    async def backup(self) -> bytes:
        """Stop it, take a backup as an operator does (the log's content is part of it), start."""
        await self.stop()
        copy = self.database.with_suffix(".backup")
        with (
            closing(sqlite3.connect(self.database)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        await self.start()
        return copy.read_bytes()

    async def snapshot(self) -> tuple[bytes, bytes]:
        """Stop it, copy its disk as a virtual machine's snapshot does, start.

        Returns (database, witness), for `put_back`.
        """
        await self.stop()
        with closing(sqlite3.connect(self.database)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        copy = self.database.read_bytes(), self.witness.read_bytes()
        await self.start()
        return copy

    async def put_back(self, database: bytes, witness: bytes | None = None) -> None:
        """Stop it unless it has ended, put an older database in the place of its own, start.

        Args:
            witness: put back with it, so that nothing on the machine shows what happened. Without,
                the witness stays and tells the server as it starts: a restore as the manual has it.
        """
        await self.stop()
        for file in self.database.parent.glob(f"{self.database.name}-*"):
            file.unlink()
        self.database.write_bytes(database)
        if witness is not None:
            self.witness.write_bytes(witness)
        await self.start()

    def code_for(self, person: str) -> str:
        """An enrolment code for a person of the directory, made by the operator's command."""
        done = miss_server(
            "enrol-code", person, "--json", "--domain", self.domain, database=self.database
        )
        code: str = json.loads(done.stdout)["code"]
        return code

    def log_text(self) -> str:
        """Everything it wrote to its log."""
        return self.log.read_text(errors="replace")
