"""Faults that need root: of the disk, of what it promises, and of the cable.

The disk is an ext4 file system on a loop device. Its power is cut by the ioctl that stops it without
flushing its log; what fsync does is changed by `strace --inject`.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from miss_server.storage.disk import EXIT_DISK
from tests.load.faults import kill
from tests.load.phone import Manners
from tests.load.stage import Fault, Ground, Stage
from tests.support.loopdisk import LoopDisk, loop_disk
from tests.support.namespace import Namespace, namespace

DISK_MIB = 256
SMALL_DISK_MIB = 64
"""Several times the write-ahead log at its longest: what fills it is the ballast, not the server."""
_SYNCS = ("-q", "-o", "/dev/null", "-e", "trace=fsync,fdatasync")
_TRACED = ("strace", "-D", "-f", "--seccomp-bpf", *_SYNCS)
"""`-D`: the tracer stands aside, the server is the child that signals reach."""


# --- grounds --------------------------------------------------------------------------------------


@asynccontextmanager
async def ext4(folder: Path) -> AsyncIterator[Ground]:
    """A disk whose power can be cut."""
    async with loop_disk(folder, DISK_MIB) as disk:
        yield Ground(disk.point, home=disk)


@asynccontextmanager
async def small_disk(folder: Path) -> AsyncIterator[Ground]:
    """A disk that is soon full."""
    async with loop_disk(folder, SMALL_DISK_MIB) as disk:
        yield Ground(disk.point, home=disk)


@asynccontextmanager
async def lying_disk(folder: Path) -> AsyncIterator[Ground]:
    """A disk that says `done` and has done nothing."""
    async with loop_disk(folder, DISK_MIB) as disk:
        under = (*_TRACED, "-e", "inject=fsync,fdatasync:retval=0")
        yield Ground(disk.point, under, home=disk)


@asynccontextmanager
async def slow_disk(folder: Path) -> AsyncIterator[Ground]:
    """A disk whose fsync takes 3 ms longer."""
    async with loop_disk(folder, DISK_MIB) as disk:
        under = (*_TRACED, "-e", "inject=fsync,fdatasync:delay_enter=3000")
        yield Ground(disk.point, under, home=disk)


@asynccontextmanager
async def other_network(folder: Path) -> AsyncIterator[Ground]:
    """The server in a network of its own."""
    async with namespace() as inside:
        yield Ground(folder, inside.under, ("--host", inside.address), home=inside)


# --- plays ----------------------------------------------------------------------------------------


async def cut_power(stage: Stage) -> None:
    """The disk stops without flushing, the process is gone, and both come back."""
    disk = stage.ground.home
    assert isinstance(disk, LoopDisk)
    for times in range(1, (1 if stage.short else 3) + 1):
        await stage.pause(1.0, 2.0)
        stage.supervisor.may_start.clear()
        disk.cut_power()
        await stage.server.kill()
        await disk.remount()
        stage.supervisor.may_start.set()
        await stage.supervisor.restarted(times)
        await stage.crowd.connected(stage.crowd.online)


async def cut_power_of_a_liar(stage: Stage) -> None:
    """As `cut_power`; the server comes back older than it said, and the devices must notice."""
    await cut_power(stage)
    if not stage.crowd.history.restores:
        stage.faults.append("the disk lied and no device noticed: the fault did not happen")


async def fail_fsync(stage: Stage) -> None:
    """From some moment on every fsync fails; the process must end itself (rule C4)."""
    for times in range(1, (1 if stage.short else 3) + 1):
        await stage.pause(1.0, 2.0)
        assert stage.server.process is not None
        tracer = await asyncio.create_subprocess_exec(
            *("strace", "-f", "-p", str(stage.server.process.pid), *_SYNCS),
            *("-e", "inject=fsync,fdatasync:error=EIO"),
        )
        await stage.supervisor.restarted(times)
        await tracer.wait()
        await stage.crowd.connected(stage.crowd.online)
    if set(stage.supervisor.ends) != {EXIT_DISK}:
        stage.faults.append(f"the process ended with {stage.supervisor.ends}")


async def fill_disk(stage: Stage) -> None:
    """No room for a while: senders are told to repeat, and nobody's message is gone."""
    disk = stage.ground.home
    assert isinstance(disk, LoopDisk)
    await stage.pause(1.0, 2.0)
    ballast = disk.fill()
    history = stage.crowd.history
    if not await history.until(lambda: history.retries > 0, 60.0):
        stage.faults.append("the disk was full and nobody was told to repeat")
    await asyncio.sleep(stage.seconds(5.0, 1.0))
    ballast.unlink()


async def stay_slow(stage: Stage) -> None:
    """The disk is slow all the time."""
    assert stage.server.process is not None
    status = Path(f"/proc/{stage.server.process.pid}/status").read_text()
    if "TracerPid:\t0\n" in status:
        stage.faults.append("nothing slows the server's fsync")
    await stage.pause(1.0, 2.0)


async def pull_cable(stage: Stage) -> None:
    """Packets vanish; both ends still hold sockets of which the other knows nothing."""
    inside = stage.ground.home
    assert isinstance(inside, Namespace)
    history = stage.crowd.history
    for _ in range(1 if stage.short else 2):
        await stage.pause(0.5, 1.0)
        everybody = history.logins + len(stage.crowd.online)
        await inside.cut()
        await asyncio.sleep(stage.seconds(15.0, 5.0))
        await inside.mend()
        if not await history.came_back(everybody, 60.0):
            stage.faults.append("a device did not notice that its connection was dead")


_KILLED = frozenset({-signal.SIGKILL})
_CUT = frozenset({-signal.SIGKILL, EXIT_DISK})
"""Before it is killed, the process may have found that its disk is gone."""

FAULTS = (
    Fault("power cut", cut_power, ground=ext4, ends=_CUT, dead_disk=True),
    Fault("disk full", fill_disk, ground=small_disk),
    Fault(
        "fsync fails (EIO)", fail_fsync, ground=ext4, ends=frozenset({EXIT_DISK}), dead_disk=True
    ),
    Fault("fsync lies, SIGKILL", kill, ground=lying_disk, ends=_KILLED),
    Fault(
        "fsync lies, power cut",
        cut_power_of_a_liar,
        ground=lying_disk,
        ends=_CUT,
        dead_disk=True,
        restores=True,
    ),
    Fault("fsync takes 3 ms longer", stay_slow, ground=slow_disk),
    Fault(
        "half-open sockets, packets dropped",
        pull_cable,
        ground=other_network,
        manners=Manners(ping_every=1.0, patience=2.0),
    ),
)
