"""Processes of an import: what only computes can be done on another core.

They are begun anew (no copy of this one, which has connections and locks open), know nothing but what they
are sent, and end as soon as this one does: their pipe is closed then. They get what the machine has left:
a server beside them is not to feel them, and none of them holds a lock that it could wait for. One that has
somebody wait for it, a database with its deadlines, is only as nice as this one.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from miss_server.trickling import trickling
from miss_server.words import tr

_processes = get_context("spawn")


class Told(Exception):
    """An error that a process tells the one that began it, where it is raised."""


class Worker:
    """The side of a process: `received` gives what is sent to it, `send` answers."""

    def __init__(self, pipe: "Connection[Any, Any]") -> None:
        self._pipe = pipe

    def received(self) -> Iterator[Any]:
        """What is sent, until nobody sends any more."""
        while True:
            try:
                yield self._pipe.recv()
            except (EOFError, OSError):
                return

    def send(self, answer: Any) -> None:
        """Answer. Ends the process if nobody reads any more."""
        try:
            self._pipe.send(answer)
        except (BrokenPipeError, ConnectionError):
            raise SystemExit from None


def _begin(pipe: "Connection[Any, Any]", serve: Callable[[Worker], None], last: bool) -> None:
    # Ctrl-C reaches every process of a terminal; the one that has the locks tidies up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if last:
        _give_way()
    worker = Worker(pipe)
    try:
        with trickling():
            serve(worker)
    except (Told, OSError) as error:
        worker.send(error)


def _give_way() -> None:
    # Niceness is not enough: whoever wakes up still waits for the end of a nice one's turn.
    with suppress(AttributeError, OSError):  # another system than Linux, or one that forbids it
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


class Crew:
    """Some processes that all run `serve`; a context, at whose end they are gone. With `last` they get what
    nobody else wants of the machine."""

    def __init__(self, serve: Callable[[Worker], None], count: int, *, last: bool = True) -> None:
        self._serve = serve
        self._last = last
        self._pipes: list[Connection[Any, Any]] = []
        self._running: list[Any] = []
        self._count = count

    def __enter__(self) -> Self:
        for _ in range(self._count):
            self._start()
        return self

    def _start(self) -> None:
        mine, its = _processes.Pipe()
        process = _processes.Process(
            target=_begin, args=(its, self._serve, self._last), daemon=True
        )
        process.start()
        its.close()
        self._pipes.append(mine)
        self._running.append(process)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._running:
            if kind is not None:
                process.terminate()
            process.join()
            process.close()

    def mapped(self, jobs: Iterator[Any]) -> Iterator[Any]:
        """The answer to each job, in any order. Each process has one job at a time: two that wrote to each
        other more than a pipe holds would wait for ever.

        Raises:
            Told, OSError: as a process did; `ChildProcessError` if one is gone.
        """
        idle = list(self._pipes)
        busy: list[Connection[Any, Any]] = []
        for job in jobs:
            if not idle:
                for pipe in _ready(busy):
                    yield _answer(pipe)
                    busy.remove(pipe)
                    idle.append(pipe)
            pipe = idle.pop()
            _say(pipe, job)
            busy.append(pipe)
        while busy:
            for pipe in _ready(busy):
                yield _answer(pipe)
                busy.remove(pipe)

    def streamed(self, jobs: list[Any]) -> Iterator[tuple[int, Any]]:
        """(number of the job, each of its answers): one process a job, which answers until None."""
        open_ = {}
        for number, (pipe, job) in enumerate(zip(self._pipes, jobs, strict=True)):
            _say(pipe, job)
            open_[pipe] = number
        while open_:
            for pipe in _ready(list(open_)):
                answer = _answer(pipe)
                if answer is None:
                    del open_[pipe]
                else:
                    yield open_[pipe], answer


def _ready(pipes: "list[Connection[Any, Any]]") -> "list[Connection[Any, Any]]":
    return [pipe for pipe in wait(pipes) if isinstance(pipe, Connection)]


def _answer(pipe: "Connection[Any, Any]") -> Any:
    try:
        answer = pipe.recv()
    except (EOFError, OSError):
        raise _gone() from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _say(pipe: "Connection[Any, Any]", job: Any) -> None:
    try:
        pipe.send(job)
    except OSError:
        raise _gone() from None


def _gone() -> ChildProcessError:
    return ChildProcessError(
        tr(
            "a process of the import has ended (was there too little memory?)",
            "un processus de l'import s'est terminé (manquait-il de mémoire ?)",
        )
    )
