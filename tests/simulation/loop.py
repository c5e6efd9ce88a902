"""An event loop without time or network: it runs what is ready and then returns.

The relay's real coroutines run in it. Nothing waits: `settle` returns when every task waits for
something that only the simulation can bring about, and timers fire when `advance` says so. So the
same steps give the same run, however loaded the machine is.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _NoNetwork(selectors.BaseSelector):
    """Nothing ever comes from outside; being asked to wait means that the loop is idle."""

    def __init__(self) -> None:
        self.on_idle: Callable[[], None] = lambda: None
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, int(fileobj), events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self.on_idle()
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop; `faults` collects what nobody awaited and failed."""

    def __init__(self) -> None:
        self._now = 0.0
        self._idle = _NoNetwork()
        super().__init__(self._idle)
        self._idle.on_idle = self.stop
        self.faults: list[str] = []
        self.set_exception_handler(self._note)

    def _note(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.faults.append(f"{context.get('message')}: {context.get('exception')!r}")

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self._now

    def call_soon_threadsafe(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """There is one thread, so the writer's answers need no wake-up."""
        return self.call_soon(callback, *args, context=context)

    def settle(self) -> None:
        """Run until nothing more can happen by itself."""
        self.run_forever()

    def advance(self, seconds: float) -> None:
        """Let time pass and run what was due."""
        self._now += seconds
        self.settle()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin a task; it runs with the next `settle`."""
        return self.create_task(work)
