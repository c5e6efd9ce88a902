"""Counts for rate limits, and those of this node alone; `shared_counting` has those of all nodes."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from limits import RateLimitItem

from miss_server.conditions import Condition, State
from miss_server.words import Both


@dataclass(frozen=True, slots=True)
class CountsState:
    """Whether the counts of several nodes are shared at this moment, since when, and why not.

    `refused`: Redis answers, and does not count.
    """

    shared: bool
    since_ms: int
    why: str = ""
    refused: bool = False


class Counts(Protocol):
    """How often something happened lately; windows slide."""

    async def hit(self, item: RateLimitItem, *names: str) -> bool:
        """Count one more, unless that is too many: then False, and it is not counted."""
        ...

    async def room(self, item: RateLimitItem, *names: str, beside: int = 0) -> bool:
        """Whether one more would be counted, and `beside` it as many others."""
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

    def room(self, names: tuple[str, ...], seconds: float, beside: int = 0) -> bool:
        """Whether one more is below the limit; the one before counts by what it still covers."""
        number, passed = divmod(seconds, self.item.get_expiry())
        if number != self.number:
            self.before = self.now if number == self.number + 1 else {}
            self.now, self.number = {}, int(number)
        covered = 1 - passed / self.item.get_expiry()
        counted = self.before.get(names, 0) * covered + self.now.get(names, 0)
        return counted + beside < self.item.amount


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

    async def room(self, item: RateLimitItem, *names: str, beside: int = 0) -> bool:
        return self._window(item).room(names, self._seconds(), beside)

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


class CountsWatch:
    """Whether limits are counted together with the other nodes."""

    part, vital = "limits", False

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    async def condition(self) -> Condition:
        """See `Watched`."""
        state = self._counts.state()
        if state is None or state.shared:
            return Condition(
                State.OK,
                Both("Limits hold for everybody.", "Les limites valent pour tous."),
            )
        if state.refused:
            return Condition(
                State.DEGRADED,
                Both(
                    "Limits are counted by each node alone: Redis refuses to count. See miss-server"
                    " doctor.",
                    "Chaque nœud compte seul les limites : Redis refuse de compter. Voir miss-server"
                    " doctor.",
                ),
            )
        return Condition(
            State.DEGRADED,
            Both(
                "Limits are counted by each node alone: Redis does not answer in time.",
                "Chaque nœud compte seul les limites : Redis ne répond pas à temps.",
            ),
        )
