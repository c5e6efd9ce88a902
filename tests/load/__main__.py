"""Faults under load: `python -m tests.load`. Some need root and Debian's tools: that is told at the start."""

import sys

from tests.load.catalogue import FAULTS, ROOT_FAULTS
from tests.load.running import main
from tests.load.stage import run
from tests.support.means import wanting

if __name__ == "__main__":
    if missing := wanting("ip", "mkfs.ext4", "mount", "nft", "nsenter", "umount"):
        sys.exit("\n".join(missing))
    sys.exit(main("faults", (*FAULTS, *ROOT_FAULTS), run))
