"""Moves a file and ends itself, as SIGKILL would, at the given call of its progress."""

import os
import sys
from pathlib import Path

from miss_server.storage import copying
from miss_server.storage.postgres.moving import move
from miss_server.storage.postgres.pool import Options
from tests.support.devices import DOMAIN, NOW

KILLED = 137
SLICE = 3


def main() -> None:
    """Run with: the file, the address of the database, the number of the call."""
    source, target, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    copying.SLICE = SLICE
    calls = 0

    def progress(_: float) -> None:
        nonlocal calls
        calls += 1
        if calls == last:
            os._exit(KILLED)

    move(source, Options(target), shown="there", domain=DOMAIN, now_ms=NOW, progress=progress)


if __name__ == "__main__":
    main()
