"""Counts for rate limits: those of this node, and those that all nodes share in Redis.

No request waits for Redis longer than `WAIT_MAX`. When it is away, empty or slow, each node counts by
itself until it is back: a limit may then be passed once on each node, and nobody is turned away who
would not be.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

import structlog
from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

WAIT_MAX = 0.1
"""Seconds that one request waits for Redis, which answers in a thousandth of that."""
PAUSE_FIRST, PAUSE_MAX = 0.5, 10.0
"""Between looks whether it is back."""
ASKING_MAX = 16
"""Questions on their way to Redis at once, each on a connection; more are answered by this node."""
KEYS = "miss:{domain}:limits"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CountsState:
    """Whether the counts of several nodes are shared at this moment, since when, and why not."""

    shared: bool
    since_ms: int
    why: str = ""


class Counts(Protocol):
    """How often something happened lately; windows slide."""

    async def hit(self, item: RateLimitItem, *names: str) -> bool:
        """Count one more, unless that is too many: then False, and it is not counted."""
        ...

    async def room(self, item: RateLimitItem, *names: str) -> bool:
        """Whether one more would be counted."""
        ...

    async def start(self) -> None:
        """Begin to share, if there is with whom."""
        ...

    async def stop(self) -> None:
        """Let go of every connection."""
        ...

    def state(self) -> CountsState | None:
        """How the sharing does; None where there is nobody to share with."""
        ...


class _Window:
    """What was counted of one limit in the window that runs and in the one before."""

    __slots__ = ("before", "item", "now", "number")

    def __init__(self, item: RateLimitItem) -> None:
        self.item = item
        self.number = 0
        self.now: dict[tuple[str, ...], int] = {}
        self.before: dict[tuple[str, ...], int] = {}

    def room(self, names: tuple[str, ...], seconds: float) -> bool:
        """Whether one more is below the limit; the one before counts by what it still covers."""
        number, passed = divmod(seconds, self.item.get_expiry())
        if number != self.number:
            self.before = self.now if number == self.number + 1 else {}
            self.now, self.number = {}, int(number)
        covered = 1 - passed / self.item.get_expiry()
        return self.before.get(names, 0) * covered + self.now.get(names, 0) < self.item.amount


class NodeCounts:
    """Counts of this process, in memory.

    Those of the library look through all that they hold at every hit, so that each of 10,000 devices
    would pay for the 9,999 others; here a window is dropped whole.
    """

    def __init__(self, seconds: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._windows: dict[tuple[str, int, int], _Window] = {}

    async def hit(self, item: RateLimitItem, *names: str) -> bool:
        window = self._window(item)
        if not window.room(names, self._seconds()):
            return False
        window.now[names] = window.now.get(names, 0) + 1
        return True

    async def room(self, item: RateLimitItem, *names: str) -> bool:
        return self._window(item).room(names, self._seconds())

    def _window(self, item: RateLimitItem) -> _Window:
        key = (
            item.namespace,
            item.amount,
            item.get_expiry(),
        )  # the items' own `==` sees no namespace
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(item)
        return window

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def state(self) -> CountsState | None:
        return None


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

    async def room(self, item: RateLimitItem, *names: str) -> bool:
        if not await self._here.room(item, *names):
            return False
        return await self._ask(self._limiter.test(item, *names)) is not False

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
