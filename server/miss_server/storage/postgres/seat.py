"""A node's place among the nodes of a database: an advisory lock under its name.

PostgreSQL frees it when the connection ends, and the connection ends soon after its node, because
the server itself looks whether the other end is still there.
https://www.postgresql.org/docs/15/explicit-locking.html#ADVISORY-LOCKS
"""

import asyncio
from hashlib import blake2b
from typing import TYPE_CHECKING

import asyncpg
import structlog

from miss_server.storage.postgres.trouble import describe, outage

if TYPE_CHECKING:
    Session = asyncpg.Connection[asyncpg.Record]
else:
    Session = asyncpg.Connection

ANSWER_MAX = 5.0
LOOK_EVERY = 5.0
"""Seconds between looks whether the connection still stands; it is what holds the lock."""
_WATCHED = {
    "application_name": "miss-server seat",
    "idle_session_timeout": "0",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20000",
}

log = structlog.get_logger()


class Taken(Exception):
    """Another node of this name is at work."""


class Seat:
    """The place of the node `name`; `take` it, then `hold` it for as long as the node is at work."""

    def __init__(self, dsn: str, name: str) -> None:
        self._dsn = dsn
        self._name = name
        digest = blake2b(f"miss node {name}".encode(), digest_size=8).digest()
        self._key = int.from_bytes(digest, "big", signed=True)
        self._connection: Session | None = None

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
                raise Taken
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection

    async def hold(self) -> None:
        """Until cancelled: take it again whenever the connection was lost."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
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
            except Exception as error:
                if not outage(error):
                    raise
                log.warning("node lost its place", node=self._name, error=describe(error))
                self.leave()

    def leave(self) -> None:
        """Give it up."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
