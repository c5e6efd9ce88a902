"""Faults under load: `python -m tests.load`. Some need root; without it they end the run with an error."""

import sys

from tests.load.catalogue import FAULTS, ROOT_FAULTS
from tests.load.running import main
from tests.load.stage import run

if __name__ == "__main__":
    sys.exit(main("faults", (*FAULTS, *ROOT_FAULTS), run))
