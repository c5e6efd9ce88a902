"""Hands what is written into temporary files over to the disk as it comes.

Linux keeps what is written to a file that nobody syncs for half a minute, then writes all of it at once.
An import writes some gigabytes of such files, and a server's commit that comes just then waits behind
hundreds of megabytes: up to 0.3 s. In pieces of a moment it waits for one piece at most.
"""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

EVERY = 0.05
"""Seconds between two looks: a disk takes in milliseconds what an import writes in that time."""
NAMES = ("etilqs_", ".import-")
"""Parts of the names of SQLite's own temporary files, and of those in which an index is built."""

_OPEN = Path("/proc/self/fd")
_WRITE = 2
"""SYNC_FILE_RANGE_WRITE: begin to write what is not being written yet, wait for nothing, drop nothing."""


@contextmanager
def trickling(every: float = EVERY) -> Iterator[None]:
    """Look after this process's temporary files until the block ends. On Linux; elsewhere nothing is done."""
    begin = _beginner()
    if begin is None or not _OPEN.is_dir():
        yield
        return
    ended = Event()

    def look() -> None:
        while not ended.wait(every):
            hand_over(begin)

    thread = Thread(target=look, name="miss-trickling", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def hand_over(begin: Callable[[int], object]) -> int:
    """Call `begin` with each temporary file that is open; returns how many there are."""
    count, numbers = 0, list[str]()
    with suppress(OSError):
        numbers = os.listdir(_OPEN)
    for number in numbers:
        # One that is closed meanwhile, even if another file has its number then, is none the worse for it.
        with suppress(OSError):
            if any(part in (_OPEN / number).readlink().name for part in NAMES):
                begin(int(number))
                count += 1
    return count


def _beginner() -> Callable[[int], object] | None:
    """What begins to write all of a file by its number; the standard library has no word for it."""
    found = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if found is None:
        return None
    found.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return lambda number: found(number, 0, 0, _WRITE)
