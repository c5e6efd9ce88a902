"""Many short-lived servers and clients: each is forked from one process that has everything imported.

Starting Python and importing the server takes a second, a fork some milliseconds; the crash tests
start some hundred servers. The forking process (`python -m tests.support.forks`) has no thread and
no event loop; it forks, waits for a child when asked, and ends its children when its input ends.
"""

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from tests.support.server import LIFTED, ServerProcess, environment

SERVER = "tests.support.crashing"
CLIENT = "tests.support.crashing_client"
WARM = (
    SERVER,
    CLIENT,
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "uvicorn.lifespan.on",
    "sqlalchemy.dialects.sqlite.pysqlite",
)


class Forks:
    """The forking process as tests use it; `close` it at the end."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            text=True,
        )

    def start(
        self,
        words: Sequence[str],
        log: Path,
        settings: dict[str, str] | None = None,
        module: str = SERVER,
    ) -> "Forked":
        """Run the `main` of a module of `WARM` with these words in a child of its own."""
        order = {"module": module, "words": list(words), "log": str(log), "settings": settings}
        return Forked(self, self._ask(order))

    def status(self, pid: int) -> int:
        """The exit status of a child that has ended."""
        return self._ask({"wait": pid})

    def _ask(self, order: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the process, and with it whatever child still runs."""
        self._process.communicate(timeout=30)


class Forked:
    """One child: what `ServerProcess` uses of an `asyncio.subprocess.Process`."""

    def __init__(self, forks: Forks, pid: int) -> None:
        self._forks = forks
        self.pid = pid
        self.returncode: int | None = None
        self._handle = os.pidfd_open(pid)
        self._ending: asyncio.Task[int] | None = None

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, number)

    async def wait(self) -> int:
        """Wait for its end; returns its status, negative for a signal."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        return await asyncio.shield(self._ending)  # others may wait, too

    async def _end(self) -> int:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._handle, ended.set)
        await ended.wait()
        loop.remove_reader(self._handle)
        os.close(self._handle)
        self.returncode = self._forks.status(self.pid)
        return self.returncode


@dataclass
class ForkedServer(ServerProcess):
    """A `ServerProcess` that is forked, and that can be told where to end (`tests.support.crashing`).

    `crashing` has that module's options for the next start.
    """

    forks: Forks | None = None
    crashing: Sequence[str] = field(default=())

    async def launch(self, words: Sequence[str]) -> Forked:
        assert self.forks is not None
        return self.forks.start(
            [*self.crashing, "--", *words], self.log, LIFTED | self._place() | self.settings
        )

    async def command(self, *words: str) -> int:
        """Run another `miss-server` command on the database to its end; returns its status."""
        words = (*words, "--database", str(self.database), "--domain", self.domain)
        return await (await self.launch(words)).wait()


def main() -> None:
    """Do as the lines of the input say."""
    for name in WARM:
        __import__(name)
    gc.freeze()
    children: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            children.discard(order["wait"])
            print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201
            continue
        pid = os.fork()
        if pid == 0:
            _run(order)
        children.add(pid)
        print(pid, flush=True)  # noqa: T201
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _run(order: dict[str, Any]) -> NoReturn:
    """The child: becomes the server and ends with its status."""
    status = 1
    try:
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, file in ((0, nothing), (1, log), (2, log)):
            os.dup2(file, number)
        os.environ.update(order["settings"] or {})
        sys.modules[order["module"]].main(order["words"])
        status = 0
    except SystemExit as told:
        status = told.code if isinstance(told.code, int) else 1 if told.code else 0
    except BaseException:  # noqa: BLE001  # nobody above: the parent's loop must not go on here
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
