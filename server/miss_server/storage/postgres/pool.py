"""Connections to PostgreSQL: bounded, with a limit on every wait, and none that may lose a commit."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
import asyncpg.pool

from miss_server.storage.messages import NotDurable
from miss_server.storage.postgres.trouble import crossed, not_durable, outage

if TYPE_CHECKING:
    Session = asyncpg.Connection[asyncpg.Record]
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
else:
    Session, Connection = asyncpg.Connection, asyncpg.pool.PoolConnectionProxy

OLDEST = 15
"""The first version of PostgreSQL on which this was tried."""

STATEMENT_SECONDS = 10
"""No statement here takes a tenth of a second on a well machine."""
LOCK_SECONDS = 5
IDLE_SECONDS = 15
"""A transaction whose process was stopped amid it lets go of its locks after so long."""
COMMAND_SECONDS = 12
"""The driver gives up a server that does not even answer that it gave up."""
CONNECT_SECONDS = 5

_SAFE = ("on", "remote_apply")
_KEY_LOOKUPS = {
    # Every statement of the hot path finds its rows by key, however many there are. One that was
    # planned while the tables were small would go on reading them whole when they are large.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}


class UnsafeServer(Exception):
    """This PostgreSQL would say that it stored what it may lose; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to connect. `unsafe_fsync` is for tests alone: they end PostgreSQL, not the machine."""

    dsn: str
    size: int = 4
    application: str = "miss-server"
    unsafe_fsync: bool = False


def session_settings(application: str) -> dict[str, str]:
    """What every connection sets, whatever the role or the database have as defaults."""
    return {
        "application_name": application,
        "statement_timeout": str(STATEMENT_SECONDS * 1000),
        "lock_timeout": str(LOCK_SECONDS * 1000),
        "idle_in_transaction_session_timeout": str(IDLE_SECONDS * 1000),
        # Rule C1 wants each statement to see what was committed before it.
        "default_transaction_isolation": "read committed",
    }


Greet = Callable[[Session], Awaitable[None]]
"""What is asked of every new connection before it is used."""


async def check_session(connection: Session, *, unsafe_fsync: bool) -> None:
    """Refuse a server that answers a commit before it is on the disk.

    Raises:
        UnsafeServer: it is set up so, or it is too old.
    """
    if connection.get_server_version().major < OLDEST:
        raise UnsafeServer(f"PostgreSQL {OLDEST} or newer is needed")
    found = await connection.fetchrow(
        "SELECT current_setting('synchronous_commit'), current_setting('fsync')"
    )
    assert found is not None  # noqa: S101  # a SELECT without FROM has one row
    commit, fsync = found
    if commit not in _SAFE:
        raise UnsafeServer(
            f"synchronous_commit is {commit}: set it to on (for the role, the database or the server)"
        )
    if fsync != "on" and not unsafe_fsync:
        raise UnsafeServer("fsync is off: a power cut would lose messages; set fsync = on")


class Pool:
    """At most `size` connections. Broken ones are left and made anew by whoever comes next."""

    def __init__(self, options: Options, greet: Greet | None = None) -> None:
        self._options = options
        self._recognise = greet
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._idle: list[Connection] = []
        """Taken out of the pool and used by nobody: to put one back and take it out again costs as
        much as a small statement."""
        self._waiting = 0
        """Who waits for one that is put back."""
        self._closing = False

    async def close(self) -> None:
        """Let running statements end, then close."""
        self._closing = True
        if self._pool is not None:
            try:
                async with asyncio.timeout(COMMAND_SECONDS):
                    while self._idle:
                        await self._pool.release(self._idle.pop())
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()

    async def _opened(self) -> "asyncpg.Pool[asyncpg.Record]":
        if self._pool is None:
            self._pool = asyncpg.create_pool(
                self._options.dsn,
                min_size=0,  # nothing is connected before it is needed
                max_size=self._options.size,
                init=self._greet,
                reset=_leave,
                timeout=CONNECT_SECONDS,
                command_timeout=COMMAND_SECONDS,
                statement_cache_size=200,
                max_cacheable_statement_size=32_768,
                server_settings=session_settings(self._options.application) | _KEY_LOOKUPS,
            )
            await self._pool
        return self._pool

    async def _greet(self, connection: Session) -> None:
        await check_session(connection, unsafe_fsync=self._options.unsafe_fsync)
        if self._recognise is not None:
            await self._recognise(connection)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for a moment. One on which something broke is not used again.

        Raises:
            NotDurable: PostgreSQL cannot be reached, or what was under way may or may not be done.
        """
        with not_durable(but=crossed):
            pool = await self._opened()
            connection = await self._taken(pool)
            broken = False
            try:
                yield connection
            except BaseException as error:
                broken = (outage(error) and not crossed(error)) or not isinstance(error, Exception)
                raise
            finally:
                # One that the server closed has left the pool by itself already.
                with suppress(asyncpg.InterfaceError):
                    if broken or connection.is_in_transaction():
                        connection.terminate()
                if _is_open(connection) and not (self._waiting or self._closing):
                    self._idle.append(connection)
                else:
                    await pool.release(connection)

    async def _taken(self, pool: "asyncpg.Pool[asyncpg.Record]") -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if _is_open(connection):
                return connection
            await pool.release(connection)
        self._waiting += 1
        try:
            return await pool.acquire(timeout=CONNECT_SECONDS)
        except UnsafeServer as error:
            raise NotDurable(str(error)) from error
        finally:
            self._waiting -= 1

    async def fetch(self, statement: str, *values: Any) -> list[Any]:
        """Read by one statement.

        Raises:
            NotDurable: see `connection`.
        """
        async with self.connection() as connection:
            rows: list[Any] = await connection.fetch(statement, *values)
            return rows


def _is_open(connection: Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False  # it was ended by the far side, and has left the pool by itself


async def _leave(_: Session) -> None:
    """Nothing is left on a connection: no session variable, no lock, no cursor outlives its use."""
