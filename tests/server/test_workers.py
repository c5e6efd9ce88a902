"""The parent of workers: starts them, starts those anew that end, and stops them all in order; one that
never served ends them all."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.support.server import environment

PATIENCE = 60.0

SCRIPT = """
import os, signal, sys, threading
from pathlib import Path
from miss_server.refusals import Refusal
from miss_server.workers import Workers, WorkersError

folder, count = Path(sys.argv[1]), int(sys.argv[2])
parent = os.getpid()

def work(number, ready):
    if (folder / "refuse").exists() and number == count:
        raise Refusal("this cannot work", "do that")
    if (folder / "break").exists() and number == count:
        os.kill(os.getpid(), signal.SIGKILL)
    ready()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, lambda *_: (folder / f"hup-{number}").write_text(str(os.getpid())))
    (folder / f"{number}.new").write_text(str(os.getpid()))
    (folder / f"{number}.new").replace(folder / f"worker-{number}")
    while not stop.wait(0.01):
        pass
    (folder / f"stopped-{number}").touch()
    if (folder / "fail").exists():
        sys.exit(7)

try:
    sys.exit(Workers(count, work, 1.0).run())
except WorkersError as error:
    sys.exit(str(error))
"""


async def until(what: Callable[[], bool]) -> None:
    """Wait until files are as wanted."""
    async with asyncio.timeout(PATIENCE):
        while not what():  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # a file tells nobody that it is there


def pids(folder: Path) -> dict[str, int]:
    """Who is at work."""
    return {one.name: int(one.read_text()) for one in folder.glob("worker-*")}


@asynccontextmanager
async def parent(folder: Path, count: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Workers and their parent, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SCRIPT, str(folder), str(count)), env=environment()
    )
    try:
        await until(lambda: len(pids(folder)) == count)
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def lives(pid: int) -> bool:
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_all_are_stopped_in_order(tmp_path: Path) -> None:
    async with parent(tmp_path, 3) as process:
        assert len(set(pids(tmp_path).values())) == 3
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
        assert len(list(tmp_path.glob("stopped-*"))) == 3


async def test_one_that_ends_is_started_anew_and_the_others_stay(tmp_path: Path) -> None:
    async with parent(tmp_path, 2) as process:
        before = pids(tmp_path)
        for _ in range(2):
            victim = pids(tmp_path)["worker-1"]
            os.kill(victim, signal.SIGKILL)
            await until(lambda victim=victim: pids(tmp_path)["worker-1"] != victim)  # type: ignore[misc]
        assert pids(tmp_path)["worker-2"] == before["worker-2"]
        process.send_signal(signal.SIGHUP)
        await until(lambda: len(list(tmp_path.glob("hup-*"))) == 2)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0


async def test_a_worker_that_fails_to_stop_in_order_shows_in_the_status(tmp_path: Path) -> None:
    async with parent(tmp_path, 2) as process:
        (tmp_path / "fail").touch()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 7


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("refuse", "this cannot work. do that"),
        ("break", "worker 3 ended with 9 before it served"),
    ],
)
async def test_one_that_never_served_ends_them_all(tmp_path: Path, what: str, said: str) -> None:
    (tmp_path / what).touch()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SCRIPT, str(tmp_path), "3"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    async with asyncio.timeout(PATIENCE):
        _, errors = await process.communicate()  # the pipes close when the last of them is gone
    assert process.returncode == 1
    assert errors.decode().splitlines() == [said]


async def test_one_that_served_is_started_anew_whatever_it_says_then(tmp_path: Path) -> None:
    async with parent(tmp_path, 2) as process:
        (tmp_path / "refuse").touch()
        os.kill(pids(tmp_path)["worker-2"], signal.SIGKILL)
        (tmp_path / "worker-2").unlink()
        os.kill(pids(tmp_path)["worker-1"], signal.SIGKILL)
        (tmp_path / "worker-1").unlink()
        await until(lambda: "worker-1" in pids(tmp_path))
        (tmp_path / "refuse").unlink()
        await until(lambda: "worker-2" in pids(tmp_path))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0


async def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    async with parent(tmp_path, 2) as process:
        running = list(pids(tmp_path).values())
        process.kill()
        await process.wait()
        await until(lambda: not any(lives(pid) for pid in running))
