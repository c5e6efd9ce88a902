"""The line of nodes that share only PostgreSQL: LISTEN, and NOTIFY on a connection of its own.

NOTIFY takes a lock that all committing transactions with a NOTIFY of this cluster wait for, in turn.
Inside a batch it would make all batches of all nodes commit one after the other (rule C8); here it
is a transaction of its own, of which there is at most one a node at a time.
https://www.postgresql.org/docs/15/sql-notify.html
"""

import asyncio
import base64
import binascii
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NoReturn

import asyncpg

from miss_server.doorbell.line import LineDown, LineRefused

if TYPE_CHECKING:
    Session = asyncpg.Connection[asyncpg.Record]
else:
    Session = asyncpg.Connection

ANSWER_MAX = 2.0
PAYLOAD_TEXT_MAX = 7_999
"""Bytes of a NOTIFY's payload, which is text: it must be shorter than 8,000."""

_TROUBLE = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class PostgresLine:
    """Connects to `dsn` for the service of `domain`."""

    kind = "postgres"
    payload_max = PAYLOAD_TEXT_MAX // 4 * 3

    def __init__(self, dsn: str, domain: str) -> None:
        self._dsn = dsn
        # A channel is an identifier, of 63 bytes at most.
        self._channel = f"miss_doorbell_{blake2b(domain.encode(), digest_size=8).hexdigest()}"
        self._connection: Session | None = None
        self._heard: asyncio.Queue[str | None] = asyncio.Queue()

    async def open(self) -> None:
        self._heard = asyncio.Queue()
        try:
            self._connection = await asyncpg.connect(
                self._dsn,
                timeout=ANSWER_MAX,
                command_timeout=ANSWER_MAX,
                server_settings={
                    "application_name": "miss-server doorbell",
                    "idle_session_timeout": "0",
                },
            )
            heard = self._heard
            self._connection.add_termination_listener(lambda _: heard.put_nowait(None))
            await self._connection.add_listener(self._channel, self._take)
        except _TROUBLE as error:
            self._explain(error)

    def _take(self, _: Any, __: int, ___: str, payload: object) -> None:
        self._heard.put_nowait(str(payload))

    async def say(self, payload: bytes) -> None:
        assert self._connection is not None  # noqa: S101  # opened before
        text = base64.b64encode(payload).decode()
        try:
            await self._connection.execute("SELECT pg_notify($1, $2)", self._channel, text)
        except _TROUBLE as error:
            self._explain(error)

    async def hear(self) -> bytes:
        text = await self._heard.get()
        if text is None:
            raise LineDown("PostgreSQL ended the connection")
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return b""  # no word, as every decoder of words will find

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    @staticmethod
    def _explain(error: BaseException) -> NoReturn:
        # The first line only: what follows may quote values.
        text = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
            raise LineRefused(f"PostgreSQL refuses us: {text}") from error
        raise LineDown(f"PostgreSQL does not answer: {text or type(error).__name__}") from error
