"""A node's place among the nodes of a database: an advisory lock under its name.

PostgreSQL frees it when the connection ends, and the connection ends soon after its node, because
the server itself looks whether the other end is still there.
https://www.postgresql.org/docs/15/explicit-locking.html#ADVISORY-LOCKS
"""

import asyncio
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING

import asyncpg
import structlog

from miss_server.storage.database import DOCTOR, DatabaseError
from miss_server.storage.postgres.trouble import describe, outage

if TYPE_CHECKING:
    Session = asyncpg.Connection[asyncpg.Record]
else:
    Session = asyncpg.Connection

ANSWER_MAX = 5.0
LOOK_EVERY = 5.0
"""Seconds between looks whether the connection still stands; it is what holds the lock."""
AGAIN_AFTER = 0.25
"""Seconds until a lost place is asked for again: much less than another node needs for a start."""
_WATCHED = {
    "application_name": "miss-server seat",
    "idle_session_timeout": "0",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20000",
}

log = structlog.get_logger()


class Taken(DatabaseError):
    """Another node of this name is at work."""

    def __init__(self, name: str) -> None:
        super().__init__(f"another node named {name} is at work: give each its own MISS_NODE")


class Seat:
    """The place of the node `name`; `take` it, then `hold` it for as long as the node is at work."""

    def __init__(self, dsn: str, name: str) -> None:
        self._dsn = dsn
        self._name = name
        digest = blake2b(f"miss node {name}".encode(), digest_size=8).digest()
        self._key = int.from_bytes(digest, "big", signed=True)
        self._connection: Session | None = None
        self._lost = asyncio.Event()

    async def take_at_start(self) -> None:
        """Take it, before anybody is served.

        Raises:
            DatabaseError: another node has it, or PostgreSQL cannot be asked.
        """
        try:
            await self.take()
        except Exception as error:
            if not outage(error):
                raise
            raise DatabaseError(
                f"PostgreSQL cannot give this node its place: {describe(error)}",
                DOCTOR,
            ) from error

    async def take(self) -> None:
        """Take it.

        Raises:
            Taken: another node has it.
            asyncpg.PostgresError, OSError, TimeoutError: PostgreSQL cannot be asked.
        """
        connection = await asyncpg.connect(
            self._dsn, timeout=ANSWER_MAX, command_timeout=ANSWER_MAX, server_settings=_WATCHED
        )
        try:
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", self._key):
                raise Taken(self._name)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        connection.add_termination_listener(lambda _: self._lost.set())

    async def hold(self) -> None:
        """Until cancelled: take it again whenever the connection was lost."""
        while True:
            if self._connection is None:
                await asyncio.sleep(AGAIN_AFTER)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._lost.wait(), LOOK_EVERY)
                self._lost.clear()
            try:
                if self._connection is not None:
                    await self._connection.fetchval("SELECT 1")
                else:
                    await self.take()
                    log.info("node has its place again", node=self._name)
            except Taken:
                log.error(
                    "another node has this name: give each its own MISS_NODE", node=self._name
                )
                await asyncio.sleep(LOOK_EVERY)
            except Exception as error:
                if not outage(error):
                    raise
                if self._connection is not None:
                    log.warning("node lost its place", node=self._name, error=describe(error))
                self.leave()

    async def give_up(self) -> None:
        """Leave it in order: when this returns, PostgreSQL has it free for whoever is next."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await connection.close(timeout=ANSWER_MAX)

    def leave(self) -> None:
        """Give it up at once."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
