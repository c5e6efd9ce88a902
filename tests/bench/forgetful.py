"""The server, but it forgets settled sends soon: `python -m tests.bench.forgetful serve`.

By default it keeps them for a week, which no soak waits for. `BENCH_KEPT` is in seconds.
"""

import os
import sys

from miss_protocol import limits
from miss_server.cli import main
from miss_server.relay import keeper

if __name__ == "__main__":
    limits.RESULT_KEPT = int(os.environ["BENCH_KEPT"])
    keeper.CLEAN_EVERY = limits.RESULT_KEPT / 2
    sys.argv[0] = "miss-server"
    main()
