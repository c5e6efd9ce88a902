"""Faults of several nodes on one PostgreSQL: `python -m tests.chaos`. Some need root: told at the start."""

import sys

from tests.chaos.catalogue import FAULTS, ROOT_FAULTS
from tests.chaos.stage import run
from tests.load.running import main
from tests.support.means import wanting

if __name__ == "__main__":
    if missing := wanting("git", "ip", "mkfs.ext4", "mount", "nft", "nsenter", "umount"):
        sys.exit("\n".join(missing))
    sys.exit(main("chaos", (*FAULTS, *ROOT_FAULTS), run))
