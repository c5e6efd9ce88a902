"""Counts for rate limits that all nodes share in Redis.

No request waits for Redis longer than `WAIT_MAX`. When it is away, empty or slow, each node counts by
itself until it is back: a limit may then be passed once on each node, and nobody is turned away who
would not be.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from secrets import token_hex
from typing import Any

import structlog
from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    RedisError,
    ResponseError,
)

from miss_server.http.counting import CountsState, NodeCounts
from miss_server.redis_rights import KEYS

WAIT_MAX = 0.1
"""Seconds that one request waits for Redis, which answers in a thousandth of that."""
PAUSE_FIRST, PAUSE_MAX = 0.5, 10.0
"""Between looks whether it is back."""
ASKING_MAX = 16
"""Questions on their way to Redis at once, each on a connection; more are answered by this node."""
PROOF_MAX = 1.0
"""Seconds that Redis has to prove that it counts; no request waits for that."""

log = structlog.get_logger()


class SharedCounts:
    """Counts in the Redis at `url`, and in memory beside it: what this node alone has seen too often
    needs no asking, and goes on counting when Redis is away or was emptied."""

    def __init__(self, url: str, domain: str, now_ms: Callable[[], int]) -> None:
        self._here = NodeCounts()
        self._pool = ConnectionPool.from_url(
            url,
            socket_timeout=WAIT_MAX,
            socket_connect_timeout=WAIT_MAX,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        options: dict[str, Any] = {"implementation": "redispy", "connection_pool": self._pool}
        # Where it is, the pool knows; the storage only reads the scheme of its own address.
        self._storage = RedisStorage(
            "async+redis://", key_prefix=KEYS.format(domain=domain), **options
        )
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)
        self._now_ms = now_ms
        self._asking: set[asyncio.Task[Any]] = set()
        self._mending: asyncio.Task[None] | None = None
        self._state = CountsState(shared=True, since_ms=now_ms())

    async def hit(self, item: RateLimitItem, *names: str) -> bool:
        if not await self._here.room(item, *names):
            return False
        if await self._ask(self._limiter.hit(item, *names)) is False:
            return False
        return await self._here.hit(item, *names)

    async def room(self, item: RateLimitItem, *names: str, beside: int = 0) -> bool:
        if not await self._here.room(item, *names, beside=beside):
            return False
        return await self._ask(self._limiter.test(item, *names, cost=1 + beside)) is not False

    async def start(self) -> None:
        try:
            await self.prove()
        except Exception as error:  # noqa: BLE001  # whatever it is, nodes count alone
            self._fail(_why(error), refused=refuses(error))

    async def stop(self) -> None:
        tasks = [*self._asking, *([self._mending] if self._mending is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        with suppress(RedisError, OSError, TimeoutError):
            await self._pool.aclose()

    def state(self) -> CountsState | None:
        return self._state

    async def _ask(self, question: Coroutine[Any, Any, bool]) -> bool | None:
        """Redis's answer; None if it has none in time."""
        if not self._state.shared or len(self._asking) >= ASKING_MAX:
            question.close()
            return None
        # A task of its own: the library may swallow a cancellation, and the wait must end.
        asking = asyncio.create_task(question)
        self._asking.add(asking)
        asking.add_done_callback(self._asked)
        done, _ = await asyncio.wait({asking}, timeout=WAIT_MAX)
        if not done:
            asking.cancel()
            self._fail(f"no answer within {WAIT_MAX} s")
            return None
        error = asking.exception()
        if error is not None:
            self._fail(_why(error), refused=refuses(error))
            return None
        return asking.result()

    def _asked(self, asking: asyncio.Task[Any]) -> None:
        self._asking.discard(asking)
        if not asking.cancelled():
            asking.exception()  # told by whoever waited

    async def prove(self) -> None:
        """Count on a key that nobody else uses. One that answers a PING may refuse to count: for the
        rights of its user, its memory or its disk, or since it only follows another.

        Raises:
            Exception: what Redis or the way to it says.
        """
        storage, key = self._storage, f"proof/{token_hex(8)}"
        async with asyncio.timeout(PROOF_MAX):
            # A new window, one more in it, and, as it is shorter than the third's, the turn of it:
            # every command that counting ever uses.
            for seconds in (1, 1, 60):
                await storage.acquire_sliding_window_entry(key, 9, seconds)
            await storage.get_sliding_window(key, 60)

    def _fail(self, why: str, *, refused: bool = False) -> None:
        if self._state.shared:
            log.warning("rate limits are counted by each node alone", why=why)
            self._state = CountsState(
                shared=False, since_ms=self._now_ms(), why=why, refused=refused
            )
            self._mending = asyncio.create_task(self._mend())

    async def _mend(self) -> None:
        pause = PAUSE_FIRST
        while True:
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_MAX)
            try:
                await self.prove()
            except Exception as error:  # noqa: BLE001  # whatever it is, it is not back
                self._still(_why(error), refused=refuses(error))
                continue
            log.info("rate limits are shared again")
            self._state = CountsState(shared=True, since_ms=self._now_ms())
            return

    def _still(self, why: str, *, refused: bool) -> None:
        """It is not back, perhaps for another reason than before."""
        if refused is not self._state.refused:
            log.warning("rate limits are still counted by each node alone", why=why)
        self._state = replace(self._state, why=why, refused=refused)


def refuses(error: BaseException) -> bool:
    """Whether Redis answered, and will not: waiting helps nothing."""
    return isinstance(error, ResponseError | AuthenticationError | AuthorizationError)


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__
