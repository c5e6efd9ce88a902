"""The two clocks of the server, in one place so that tests can stand in for them."""

import time
from typing import Protocol

from miss_server.tallies import StorageTally


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


class EarlierClock:
    """The earlier of this machine's clock and the database's, for what ends something: a node whose
    clock is ahead, beside others, must not end it before its time."""

    def __init__(self, own: Clock, tally: StorageTally) -> None:
        self._own = own
        self._tally = tally
        self.steady = own.steady

    def now_ms(self) -> int:
        return self._tally.earlier_ms(self._own.now_ms())
