"""The server with a wall clock that is a day ahead: `python -m tests.support.a_day_ahead serve`."""

import sys

from miss_server.cli import main
from miss_server.relay.clock import SystemClock

DAY_MS = 24 * 3600 * 1000


def turned(by_ms: int) -> None:
    """Be `miss-server` with its wall clock turned on, or back if it is less than nothing."""
    right = SystemClock.now_ms
    SystemClock.now_ms = lambda self: right(self) + by_ms  # type: ignore[method-assign]
    sys.argv[0] = "miss-server"
    main()


if __name__ == "__main__":
    turned(DAY_MS)
