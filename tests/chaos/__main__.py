"""Faults of several nodes on one PostgreSQL: `python -m tests.chaos`."""

import sys

from tests.chaos.faults import FAULTS
from tests.chaos.stage import run
from tests.load.running import main

if __name__ == "__main__":
    sys.exit(main("chaos", FAULTS, run))
