"""The line of nodes that share a Redis or Valkey: one channel, PUBLISH and SUBSCRIBE."""

from contextlib import suppress
from typing import Any, NoReturn

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    RedisError,
)

from miss_server.doorbell.line import LineDown, LineRefused
from miss_server.redis_rights import CHANNEL, rights

ANSWER_MAX = 2.0
"""Seconds for an answer; Redis gives one in less than a millisecond."""


def open_client(url: str, *, answer_max: float = ANSWER_MAX, **options: Any) -> Redis:
    """A client that tries once and waits briefly: when to try again is its user's business."""
    return Redis.from_url(
        url,
        socket_timeout=answer_max,
        socket_connect_timeout=answer_max,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        **options,
    )


class RedisLine:
    """Connects to `url` (`redis://`, `rediss://`, `unix://`) for the service of `domain`.

    Spoken to over two connections that it keeps: the library's `publish` and `listen` take twice as
    long for each word, and messages wait for these.
    """

    kind = "redis"
    payload_max = 64 * 1024

    def __init__(self, url: str, domain: str) -> None:
        self._url = url
        self._rights = rights(domain)
        self._channel = CHANNEL.format(domain=domain).encode()
        self._client: Redis | None = None
        self._mouth: AbstractConnection | None = None
        self._ear: AbstractConnection | None = None

    async def open(self) -> None:
        try:
            self._client = client = open_client(self._url)
        except ValueError:
            # The library's own words may show a piece of the password.
            raise LineRefused(
                "MISS_REDIS is no address of a Redis as redis://:PASSWORD@HOST:6379/0:"
                " correct the number of the database, or what stands after ?"
            ) from None
        pool = client.connection_pool
        try:
            self._mouth = await pool.get_connection()  # type: ignore[no-untyped-call]  # the library's
            self._ear = ear = await pool.get_connection()  # type: ignore[no-untyped-call]
            await ear.send_command("SUBSCRIBE", self._channel)
            # Heard from here on: the confirmation stands before anything that is said.
            await ear.read_response()
            ear.socket_timeout = None  # the next word may be long in coming
        except (RedisError, OSError) as error:
            self._explain(error)

    async def say(self, payload: bytes) -> None:
        assert self._mouth is not None  # noqa: S101  # opened before
        try:
            await self._mouth.send_command("PUBLISH", self._channel, payload)
            await self._mouth.read_response()
        except (RedisError, OSError) as error:
            self._explain(error)

    async def hear(self) -> bytes:
        assert self._ear is not None  # noqa: S101  # opened before
        try:
            _, _, payload = await self._ear.read_response()
        except (RedisError, OSError) as error:
            self._explain(error)
        return bytes(payload)

    async def close(self) -> None:
        client = self._client
        self._client = self._mouth = self._ear = None
        with suppress(RedisError, OSError, TimeoutError):
            if client is not None:
                await client.aclose()

    def _explain(self, error: Exception) -> NoReturn:
        if isinstance(error, AuthenticationError | AuthorizationError):
            raise LineRefused(
                f"Redis refuses us ({error}): set its password in MISS_REDIS,"
                " as redis://:PASSWORD@HOST:6379/0"
            ) from error
        if isinstance(error, NoPermissionError):
            raise LineRefused(
                f"Redis refuses us ({error}): ACL SETUSER USER {self._rights}"
            ) from error
        raise LineDown(f"Redis does not answer: {error}") from error
