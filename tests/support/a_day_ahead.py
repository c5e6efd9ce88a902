"""The server with a wall clock that is a day ahead: `python -m tests.support.a_day_ahead serve`."""

import sys

from miss_server.cli import main
from miss_server.relay.clock import SystemClock

DAY_MS = 24 * 3600 * 1000

if __name__ == "__main__":
    right = SystemClock.now_ms
    SystemClock.now_ms = lambda self: right(self) + DAY_MS  # type: ignore[method-assign]
    sys.argv[0] = "miss-server"
    main()
