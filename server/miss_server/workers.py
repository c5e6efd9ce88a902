"""Several nodes of one machine behind one port: the kernel spreads connections over them.

Each worker is a node like any other; the parent only starts them, starts those anew that end, and
passes signals on. One that ends before it ever served shows that the service cannot run as it is set
up: then all end, and what that one said is told once. Linux only, as SO_REUSEPORT's spreading is.
"""

import ctypes
import gc
import mmap
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

import structlog

from miss_server.refusals import REFUSED, Refusal, line_of

PAUSE_FIRST, PAUSE_MAX = 0.5, 30.0
"""Before a worker that ended is started anew: doubled each time, unless it lived for a minute."""
LIVED = 60.0
STOP_MAX = 60.0
"""Seconds for all to end in order, above any sensible `drain_seconds`."""
PR_SET_PDEATHSIG = 1
SAID_MAX = 4096
"""Bytes of what a worker says of itself."""
OURS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

log = structlog.get_logger()


class WorkersError(Refusal):
    """Workers cannot be run; the text says what to change."""


class Said:
    """What a worker's process tells the parent, in memory that they share: that it served, or why it
    could not. The former stays said, whatever its later lives do."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1 + SAID_MAX)

    @property
    def served(self) -> bool:
        """Whether it ever did."""
        return self._memory[0] == 1

    def serves(self) -> None:
        """It does."""
        self._memory[0] = 1

    @property
    def refusal(self) -> str:
        """Why it could not; empty if it did not say."""
        return self._memory[1:].rstrip(b"\0").decode(errors="replace")

    @refusal.setter
    def refusal(self, text: str) -> None:
        said = text.encode()[:SAID_MAX]
        self._memory[1 : 1 + len(said)] = said


@dataclass(slots=True)
class Worker:
    """One of them: `pid` while it runs, else the time at which it is started."""

    number: int
    said: Said = field(default_factory=Said)
    pid: int | None = None
    started: float = 0.0
    due: float = 0.0
    pause: float = PAUSE_FIRST


class Workers:
    """Runs `count` times `work(number, ready)`, each in a process of its own; `run` returns the status.

    `work` calls `ready` once it serves; before, it may raise one of `REFUSED`.
    """

    def __init__(
        self, count: int, work: Callable[[int, Callable[[], None]], None], drain_seconds: float
    ) -> None:
        self._workers = [Worker(number) for number in range(1, count + 1)]
        self._work = work
        self._stop_max = drain_seconds + STOP_MAX
        self._stop_at: float | None = None
        self._refusal = ""

    def run(self) -> int:
        """Until SIGTERM or SIGINT, and until all have ended; 0 if all did so in order.

        Raises:
            WorkersError: one ended before it ever served, so all did.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, OURS)
        gc.freeze()  # so that the collector does not copy what the workers share
        statuses: list[int] = []
        try:
            while True:
                now = time.monotonic()
                for worker in self._workers:
                    if worker.pid is None and self._stop_at is None and worker.due <= now:
                        self._start(worker, now)
                if self._stop_at is not None and not any(w.pid for w in self._workers):
                    if self._refusal:
                        raise WorkersError(self._refusal)
                    return max(statuses, default=0)
                self._wait(now)
                statuses += self._reap()
        finally:
            self._signal(signal.SIGKILL)

    def _start(self, worker: Worker, now: float) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become(worker, parent)
        worker.pid, worker.started = pid, now
        log.info("worker started", worker=worker.number, pid=pid)

    def _become(self, worker: Worker, parent: int) -> NoReturn:
        """Be the worker, in its own process."""
        status = 1
        try:
            # If the parent is killed nobody would start us anew, or stop us.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, OURS)
            if os.getppid() == parent:
                self._work(worker.number, worker.said.serves)
            status = 0
        except REFUSED as error:
            if worker.said.served:
                log.error("worker cannot serve", error=line_of(error))  # and is started anew
            else:
                worker.said.refusal = line_of(error)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:  # noqa: BLE001  # the last place where it can be told
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _wait(self, now: float) -> None:
        """Until something happens or a worker is due."""
        moments = [worker.due for worker in self._workers if worker.pid is None]
        if self._stop_at is not None:
            moments = [self._stop_at]
        seconds = max(0.0, min(moments, default=now + 3600.0) - now)
        if self._stop_at is not None and seconds == 0.0:
            log.error("workers did not end in time")
            self._signal(signal.SIGKILL)
            self._stop_at = now + STOP_MAX
            return
        heard = signal.sigtimedwait(OURS, seconds)
        if heard is None or heard.si_signo == signal.SIGCHLD:
            return
        if heard.si_signo == signal.SIGHUP:
            self._signal(signal.SIGHUP)
            return
        self._stop(now)

    def _stop(self, now: float) -> None:
        self._stop_at = self._stop_at or now + self._stop_max
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.pid is not None:
                os.kill(worker.pid, number)

    def _reap(self) -> list[int]:
        """Note who ended, several perhaps for one signal; returns their statuses."""
        statuses, now = [], time.monotonic()
        for worker in self._workers:
            if worker.pid is None:
                continue
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid == 0:
                continue
            statuses.append(abs(os.waitstatus_to_exitcode(status)))
            if now - worker.started > LIVED:
                worker.pause = PAUSE_FIRST
            worker.pid, worker.due = None, now + worker.pause
            worker.pause = min(2 * worker.pause, PAUSE_MAX)
            if self._stop_at is not None:
                continue
            if worker.said.served:
                log.error("worker ended", worker=worker.number, status=statuses[-1])
            else:
                ended = f"worker {worker.number} ended with {statuses[-1]} before it served"
                self._refusal = worker.said.refusal or ended
                self._stop(now)
        return statuses if self._stop_at is not None else []
