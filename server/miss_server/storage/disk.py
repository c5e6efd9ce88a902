"""What a disk that failed means: nobody knows what is on it, so the process ends (rule C4)."""

import os
import sys
from typing import NoReturn

EXIT_DISK = 74
"""EX_IOERR: after a failed fsync nobody knows what is on disk; a restart reads what is (C4)."""


def stop_for_the_disk(error: Exception) -> NoReturn:
    """End the process at once: nothing that waits may be answered."""
    sys.stderr.write(f"miss-server: the disk failed ({error}); stopping at once\n")
    sys.stderr.flush()
    os._exit(EXIT_DISK)
