"""Named points that a process passes, and at one of which it ends as if the power had failed."""

import os
import threading
from collections import Counter
from pathlib import Path

import msgspec

CRASHED = 86
"""The exit status of a process that ended at its point."""


class Points:
    """Counts the points that the process passes, and ends it at the chosen one."""

    def __init__(self, at: str, nth: int, trace: Path | None) -> None:
        self._at, self._nth = at, nth
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._trace = None if trace is None else os.open(trace, flags, 0o600)

    def reached(self, point: str) -> bool:
        """Note a point; whether the process is to end there."""
        with self._lock:
            self._seen[point] += 1
            if self._trace is not None:
                os.write(self._trace, f"{point}\n".encode())
            return point == self._at and self._seen[point] == self._nth

    def passed(self, point: str) -> None:
        """Note a point, and end there if it is the chosen one."""
        if self.reached(point):
            end()


def end() -> None:
    """End at once: nothing is flushed, closed or told."""
    os._exit(CRASHED)


def ops_of(data: bytes | str) -> list[str]:
    """The names of the frames of a WebSocket message, in MessagePack (bytes) or JSON."""
    try:
        if isinstance(data, str):
            frames = msgspec.json.decode(data)
        else:
            frames = msgspec.msgpack.decode(data)
        return [frame["op"] for frame in frames]
    except (msgspec.MsgspecError, TypeError, KeyError):
        return []  # not frames: a test may write anything


def name_of_call(method: str, path: str) -> str:
    """An HTTP call's name, the same for every account."""
    named = ["{address}" if "@" in part else part for part in path.split("/")]
    return f"{method} {'/'.join(named)}"
