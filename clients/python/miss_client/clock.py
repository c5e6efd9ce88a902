"""The one place where this package asks for the time and for randomness."""

import os
import time
from collections.abc import Callable

Clock = Callable[[], int]
Random = Callable[[int], bytes]


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


random: Random = os.urandom
