"""One process that has the servers' modules imported, and forks each that a test asks for.

Starting Python and importing the server takes a second, measured two; a fork takes some milliseconds,
and a run of the tests starts a thousand. What is forked is a process like any other: its own memory,
sockets, signals and end. What is about the start itself, or about memory, runs `python -m` instead.

The forking process (`python -m tests.support.zygote MODULE...`) has no thread and no event loop. It
is not measured; its children are, each from its first line on, when the run is.
"""

import asyncio
import atexit
import gc
import importlib
import inspect
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from coverage import Coverage

COMMANDS = {
    "miss_server": "miss_server.cli",
    "miss_client": "miss_client.cli",
    "tests.support.provider": "tests.support.provider",
}
"""What `python -m` would run, and the module whose `main` that is."""
_COMMAND_FILES = sorted(
    file.stem for file in (Path(__file__).parents[2] / "server/miss_server/cli").glob("[a-z]*.py")
)
SERVING = (
    "miss_server.app",
    "miss_server.cli.serve",
    "miss_server.stores",
    "miss_server.storage.postgres.store",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "uvicorn.lifespan.on",
    "sqlalchemy.dialects.sqlite.pysqlite",
    *(f"miss_server.cli.{file}" for file in _COMMAND_FILES),
)
"""What a server loads only once it serves, and what it loads for one command only."""

_MEASURED = "COVERAGE_PROCESS_CONFIG"


class Zygote:
    """The forking process as tests use it; `close` it at the end. Threads may share it.

    Args:
        modules: have a `main`, which a child runs; others, too, but these are loaded beforehand.
        besides: loaded beforehand, too.
    """

    def __init__(self, modules: Sequence[str], besides: Sequence[str] = SERVING) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        unmeasured = {name: value for name, value in os.environ.items() if name != _MEASURED}
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.support.zygote"),
                    *(str(theirs.fileno()), *modules, "--", *besides),
                ],
                pass_fds=[theirs.fileno()],
                env=unmeasured,
                cwd=Path(__file__).parents[2],
            )
        self._answers = self._socket.makefile("r")

    def start(
        self,
        module: str,
        words: Sequence[str],
        environment: Mapping[str, str],
        output: int,
        errors: int,
        given: int | None = None,
        cwd: Path | None = None,
    ) -> "Child":
        """Run a module's `main` with these words in a child of its own.

        Args:
            environment: all of it, but for what measures the run.
            output: a file descriptor, as are `errors` and `given`, its input; nothing otherwise.
        """
        measured = os.environ.get(_MEASURED)
        order = {
            "module": module,
            "words": list(words),
            "environment": {**environment, **({_MEASURED: measured} if measured else {})},
            "cwd": str(cwd or Path.cwd()),
        }
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            files = nothing if given is None else given, output, errors
            return Child(self, self._ask(order, files))
        finally:
            os.close(nothing)

    def status(self, pid: int) -> int:
        """The exit status of a child that has ended."""
        return self._ask({"wait": pid}, ())

    def _ask(self, order: dict[str, Any], files: Sequence[int]) -> int:
        line = json.dumps(order).encode() + b"\n"
        with self._lock:
            sent = socket.send_fds(self._socket, [line], files) if files else 0
            self._socket.sendall(line[sent:])
            return int(self._answers.readline())

    def run(
        self,
        module: str,
        words: Sequence[str],
        environment: Mapping[str, str],
        *,
        told: str = "",
        cwd: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, as `subprocess.run` does with `capture_output` and `text`.

        Raises:
            subprocess.TimeoutExpired: it had not ended by then; it is killed.
        """
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as said,
            tempfile.TemporaryFile() as complained,
        ):
            given.write(told.encode())
            given.seek(0)
            output, errors = said.fileno(), complained.fileno()
            child = self.start(module, words, environment, output, errors, given.fileno(), cwd)
            status = child.wait_here(timeout)
            texts = []
            for file in (said, complained):
                file.seek(0)
                texts.append(file.read().decode())
            if status is None:
                raise subprocess.TimeoutExpired([module, *words], timeout, *texts)
            return subprocess.CompletedProcess([module, *words], status, *texts)

    def close(self) -> None:
        """End the process, and with it whatever child still runs."""
        self._answers.close()
        self._socket.close()
        self._process.wait(timeout=30)


_common: list[Zygote] = []
_wanted = False


def keep_one() -> None:
    """From now on the processes of these tests are forked; the forking one starts when first asked."""
    global _wanted
    _wanted = True
    atexit.register(_close)


def _close() -> None:
    for each in _common:
        each.close()


def common(environment: Mapping[str, str]) -> Zygote | None:
    """The forking process that these tests share; None where each process is to start by itself.

    Commands choose the language of their help as they are imported, so English alone is forked.
    """
    if not _wanted or not environment.get("LANG", "").startswith("C."):
        return None
    if not _common:
        _common.append(Zygote(tuple(COMMANDS.values())))
    return _common[0]


class Child:
    """One child: what the tests use of an `asyncio.subprocess.Process`."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self._zygote = zygote
        self.pid = pid
        self.returncode: int | None = None
        self._handle = os.pidfd_open(pid)
        self._ending: asyncio.Task[int] | None = None

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

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
        return self._ended()

    def wait_here(self, timeout: float) -> int | None:
        """The same without a loop; None when the time was over, and it was killed."""
        readable, _, _ = select.select([self._handle], [], [], timeout)
        if not readable:
            self.kill()
            select.select([self._handle], [], [])
        status = self._ended()
        return status if readable else None

    def _ended(self) -> int:
        os.close(self._handle)
        self.returncode = self._zygote.status(self.pid)
        return self.returncode


def main() -> None:
    """Do as the orders on the socket say, until it is closed."""
    number, *names = sys.argv[1:]
    for name in names:
        if name != "--":
            importlib.import_module(name)
    measuring = _measuring()
    # As coverage starts it asks `inspect` for its stack, which looks at each module once: here.
    inspect.stack()
    orders = socket.socket(fileno=int(number))
    gc.freeze()
    children: set[int] = set()
    while taken := _take(orders):
        order, files = taken
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            children.discard(order["wait"])
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                orders.close()
                _become(order, files, measuring)
            children.add(answer)
        for file in files:
            os.close(file)
        orders.sendall(f"{answer}\n".encode())
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _take(orders: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    line, files, _, _ = socket.recv_fds(orders, 1 << 16, 3)
    while line and not line.endswith(b"\n"):
        more = orders.recv(1 << 16)
        if not more:
            return None
        line += more
    return (json.loads(line), files) if line else None


def _measuring() -> "Coverage":
    """What measures a child, not yet started.

    As `coverage.process_startup` would make it, but that it does not list, as a child ends, each file of
    the packages: that takes a third of a server's time, and the run itself does so once for all.
    """
    from coverage import Coverage

    root = Path(__file__).parents[2]
    made = Coverage(
        data_file=os.environ.get("COVERAGE_FILE", str(root / ".coverage")),
        auto_data=True,
        config_file=str(root / "pyproject.toml"),
    )
    made.set_option("run:source_pkgs", [])
    made.set_option(
        "run:include", [f"{root}/{each}/*" for each in ("protocol", "server", "clients")]
    )
    return made


def _become(order: dict[str, Any], files: Sequence[int], measuring: "Coverage") -> NoReturn:
    status = 1
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.environ.clear()
        os.environ.update(order["environment"])
        os.chdir(order["cwd"])
        if _MEASURED in os.environ:
            measuring.start()
        sys.argv = [order["module"], *order["words"]]
        importlib.import_module(order["module"]).main()
        status = 0
    except SystemExit as told:
        if isinstance(told.code, str):
            sys.stderr.write(f"{told.code}\n")
        status = told.code if isinstance(told.code, int) else 1 if told.code else 0
    except BaseException:  # noqa: BLE001  # nobody above: the parent's loop must not go on here
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
