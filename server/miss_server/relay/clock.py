"""The two clocks of the server, in one place so that tests can stand in for them."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for what is told to people and peers, steady time for deadlines."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        ...

    def steady(self) -> float:
        """Seconds that only go forward."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def steady(self) -> float:
        return time.monotonic()
