"""Counts for rate limits that all nodes share in Redis.

No request waits for Redis longer than `WAIT_MAX`. When it is away, empty or slow, each node counts by
itself until it is back: a limit may then be passed once on each node, and nobody is turned away who
would not be.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog
from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from miss_server.http.counting import CountsState, NodeCounts

WAIT_MAX = 0.1
"""Seconds that one request waits for Redis, which answers in a thousandth of that."""
PAUSE_FIRST, PAUSE_MAX = 0.5, 10.0
"""Between looks whether it is back."""
ASKING_MAX = 16
"""Questions on their way to Redis at once, each on a connection; more are answered by this node."""
KEYS = "miss:{domain}:limits"

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
        if not await self._ask(self._storage.check()):
            self._fail("Redis does not answer")

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
            self._fail(str(error) or type(error).__name__)
            return None
        return asking.result()

    def _asked(self, asking: asyncio.Task[Any]) -> None:
        self._asking.discard(asking)
        if not asking.cancelled():
            asking.exception()  # told by whoever waited

    def _fail(self, why: str) -> None:
        if self._state.shared:
            log.warning("rate limits are counted by each node alone", why=why)
            self._state = CountsState(shared=False, since_ms=self._now_ms(), why=why)
            self._mending = asyncio.create_task(self._mend())

    async def _mend(self) -> None:
        pause = PAUSE_FIRST
        while True:
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_MAX)
            try:
                async with asyncio.timeout(WAIT_MAX):
                    if not await self._storage.check():
                        continue
            except Exception as error:  # noqa: BLE001  # whatever it is, it is not back
                log.debug("rate limits are not shared yet", error=str(error))
                continue
            log.info("rate limits are shared again")
            self._state = CountsState(shared=True, since_ms=self._now_ms())
            return
