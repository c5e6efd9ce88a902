"""Where and on what a figure was measured."""

import asyncio
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path


def commit() -> str:
    """The commit, with a mark if the tree differs from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def machine() -> str:
    """Processor, cores, memory, kernel and Python, in one line."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    return (
        f"{os.cpu_count()} x {model}, {memory} GiB, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}"
    )


def busy() -> str:
    """A warning if others use this machine now, else nothing."""
    load = os.getloadavg()[0]
    return f"The machine is busy (load {load:.1f}): these figures are noise.\n" if load > 1 else ""


def fsync_ms(folder: Path, count: int = 200) -> list[float]:
    """How long appending 4 KiB to a file takes until it is on disk: `count` times, sorted."""
    taken: list[float] = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(count):
            begun = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - begun) * 1000)
    return sorted(taken)


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """The processes that a process started and that live: workers, or those of PostgreSQL."""
    return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def family_cpu_seconds(pid: int) -> float:
    """The same of a process with its children, those that ended among them."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    used = sum(int(fields[place]) for place in (11, 12, 13, 14)) / os.sysconf("SC_CLK_TCK")
    for child in children(pid):
        with suppress(FileNotFoundError, ProcessLookupError):  # ended just now
            used += cpu_seconds(child)
    return used


def family_memory_kib(pid: int) -> int:
    """Proportional set size of a process with its children, in KiB: what they share counts once."""
    return memory_kib(pid) + sum(memory_kib(child) for child in children(pid))


def memory_kib(pid: int) -> int:
    """Proportional set size of a process, in KiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def allow_open_files(wanted: int) -> None:
    """Raise this process's limit of open files, which its children inherit.

    Raises:
        ValueError: the system allows no more to this user; the text says what to allow.
    """
    if open_files_allowed() < wanted:
        raise ValueError(f"{wanted} open files are needed: ulimit -Hn {wanted}, as root")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def open_files_allowed() -> int:
    """The hard limit of open files of one process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


async def still(pid: int) -> None:
    """Wait until a process and its children use less than a tenth of a core: they have done what
    they were asked, and only their clocks tick."""
    before = -1.0
    while (used := family_cpu_seconds(pid)) - before > 0.05:
        before = used
        await asyncio.sleep(0.5)


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000
