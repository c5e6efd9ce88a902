"""The server with a look at where its time goes: `python -m tests.bench.profiled serve`.

Every two milliseconds of CPU time the kernel interrupts it; what each thread has used since is put
down to the function in which it stands, and to those that called it. Time inside SQLite or a codec
counts for the Python function that called it. `BENCH_PROFILE` is the file that is written at the
end, JSON: thread, file, function, seconds there, seconds there and below.
"""

import atexit
import json
import os
import signal
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType

from miss_server.cli import main

EVERY_SECONDS = 0.002

Place = tuple[str, str, str]


class Sampler:
    """Counts CPU seconds by thread and function."""

    def __init__(self) -> None:
        self.own: defaultdict[Place, float] = defaultdict(float)
        self.with_callees: defaultdict[Place, float] = defaultdict(float)
        self._used: dict[int, float] = {}

    def start(self) -> None:
        """From now on; only from the main thread."""
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, EVERY_SECONDS)

    def write(self, path: Path) -> None:
        """Stop, and write what was seen."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        rows = [
            [*place, round(self.own[place], 4), round(seconds, 4)]
            for place, seconds in self.with_callees.items()
        ]
        path.write_text(json.dumps(rows, indent=1) + "\n")

    def _look(self, _: int, interrupted: FrameType | None) -> None:
        frames = sys._current_frames()
        for thread in threading.enumerate():
            if thread.ident is None or thread.ident not in frames:
                continue
            used = _cpu_seconds(thread.ident)
            spent = used - self._used.get(thread.ident, used)
            self._used[thread.ident] = used
            if spent > 0:
                main_thread = thread is threading.main_thread()
                self._count(
                    thread.name, interrupted if main_thread else frames[thread.ident], spent
                )
        # This look itself is not the server's time.
        self._used[threading.get_ident()] = _cpu_seconds(threading.get_ident())
        signal.setitimer(signal.ITIMER_PROF, EVERY_SECONDS)

    def _count(self, thread: str, frame: FrameType | None, seconds: float) -> None:
        seen: set[Place] = set()
        while frame is not None:
            code = frame.f_code
            place = (thread, _short(code.co_filename), code.co_qualname)
            if not seen:
                self.own[place] += seconds
            if place not in seen:
                seen.add(place)
                self.with_callees[place] += seconds
            frame = frame.f_back


def _cpu_seconds(thread: int) -> float:
    return time.clock_gettime(time.pthread_getcpuclockid(thread))


def _short(file: str) -> str:
    return "/".join(Path(file).parts[-2:])


if __name__ == "__main__":
    sampler = Sampler()
    atexit.register(sampler.write, Path(os.environ["BENCH_PROFILE"]))
    sampler.start()
    sys.argv[0] = "miss-server"
    main()
