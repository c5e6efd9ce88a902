"""The server with a mistake in it: `BROKEN_BY=NAME python -m tests.mutation.broken serve`.

The names are those of `chaos_faults`.
"""

import os
import sys
from contextlib import ExitStack

from miss_server.cli import main
from tests.mutation.chaos_faults import put_in

if __name__ == "__main__":
    sys.argv[0] = "miss-server"
    with ExitStack() as stack:
        put_in(os.environ["BROKEN_BY"], stack)
        main()
