"""A real Redis or Valkey that a test starts for itself, harms, and that is always ended.

Redis 7 or newer, or Valkey 8 or newer; on a free port of this machine, without files, as an ordinary
user when the tests run as root. A machine without it fails and is told what to install.
"""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from tests.support.engines import NOBODY, Missing, as_ordinary_user, free_port, until_it_answers

START_SECONDS = 30.0
INSTALL = "apt install redis-server (Redis 7 or newer), or Valkey 8 or newer, then run this again"
OLDEST = {"valkey-server": 8, "redis-server": 7}


@cache
def binary() -> str:
    """The server to start.

    Raises:
        Missing: there is none, or it is too old.
    """
    for name, oldest in OLDEST.items():
        found = shutil.which(name)
        if found is None:
            continue
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
        version = re.search(r"v=(\d+)", said.stdout)
        if version is not None and int(version.group(1)) >= oldest:
            return found
        raise Missing(f"{found} is too old ({said.stdout.strip()}): {INSTALL}")
    raise Missing(f"no redis-server and no valkey-server on the PATH: {INSTALL}")


@dataclass
class RedisProcess:
    """A server process; `redis_server` starts and ends it."""

    folder: Path
    password: str = ""
    also_at: Sequence[str] = ()
    """Addresses beside the loopback's at which it listens."""
    port: int = 0
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """How clients find it, with its password."""
        return self.url_with(self.password)

    def url_with(self, password: str, host: str = "127.0.0.1") -> str:
        """The same with another password, or none, or at another of its addresses."""
        secret = f":{password}@" if password else ""
        return f"redis://{secret}{host}:{self.port}/0"

    async def start(self) -> None:
        """Start it and wait until it answers; a restart listens on the same port, empty."""
        chosen = self.port
        for _ in range(5):
            self.port = chosen or free_port()
            if await self._started():
                return
        raise RuntimeError(f"{binary()} does not start:\n{self.log_text()}")

    async def _started(self) -> bool:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *as_ordinary_user("KILL"),
                binary(),
                "-",
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        # By standard input: a password among the words of a command is seen by everybody here.
        assert self.process.stdin is not None
        self.process.stdin.write("\n".join(self._configuration()).encode())
        self.process.stdin.close()
        return await until_it_answers(self.process, self._answers, START_SECONDS, every=0.02)

    def _configuration(self) -> Sequence[str]:
        lines = [
            " ".join(["bind 127.0.0.1", *self.also_at]),
            f"port {self.port}",
            f"dir {self.folder}",
            'save ""',
        ]
        lines += ["appendonly no", "daemonize no"]
        return [*lines, f"requirepass {self.password}"] if self.password else lines

    async def _answers(self) -> bool:
        try:
            async with self.client() as client:
                return bool(await client.ping())
        except (RedisError, OSError):
            return False

    @property
    def log(self) -> Path:
        """What it writes."""
        return self.folder / "log"

    def log_text(self) -> str:
        """Everything it wrote."""
        return self.log.read_text(errors="replace")

    def client(self) -> Redis:
        """A client of the test's own; `async with` closes it. It tries once and waits briefly."""
        retry = Retry(NoBackoff(), 0)
        return Redis.from_url(self.url, socket_timeout=5, socket_connect_timeout=5, retry=retry)

    async def kill(self) -> None:
        """End it at once: SIGKILL. Everything in it is gone."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def restart(self) -> None:
        """Kill it and start it again, empty, on the same port."""
        await self.kill()
        await self.start()

    def freeze(self) -> None:
        """It answers nothing any more, but its sockets stay open: SIGSTOP."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on: SIGCONT."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def flush(self) -> None:
        """FLUSHALL: every key is gone; who subscribed stays so."""
        async with self.client() as client:
            await client.flushall()

    async def cut_clients(self) -> None:
        """CLIENT KILL: every connection of others breaks off, subscribers included."""
        async with self.client() as client:
            for kind in ("pubsub", "normal"):
                await client.client_kill_filter(_type=kind, skipme=True)

    async def allow(self, rule: str) -> None:
        """ACL SETUSER: what clients may do from now on, as `-publish` or `+publish`."""
        async with self.client() as client:
            await client.acl_setuser("default", enabled=True, reset=False, commands=[rule])

    async def user(self, *rules: str) -> str:
        """ACL SETUSER: make the user `miss`, or change what it may; returns the address to use it by."""
        async with self.client() as client:
            await client.execute_command("ACL", "SETUSER", "miss", *rules)  # type: ignore[no-untyped-call]
        return f"redis://miss:PASSWORD@127.0.0.1:{self.port}/1"

    async def change_password(self, password: str) -> None:
        """From now on it asks for this one; connections that stand are cut."""
        async with self.client() as client:
            await client.config_set("requirepass", password)
        self.password = password
        await self.cut_clients()


@asynccontextmanager
async def redis_server(
    password: str = "", *, also_at: Sequence[str] = ()
) -> AsyncIterator[RedisProcess]:
    """A started server, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="miss-redis-") as folder:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        server = RedisProcess(Path(folder), password, also_at)
        try:
            await server.start()
            yield server
        finally:
            if server.process is not None:
                await server.kill()
