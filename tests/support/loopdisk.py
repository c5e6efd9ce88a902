"""An ext4 file system in a file, whose power can be cut. Needs root, `mkfs.ext4` and `mount`."""

import errno
import fcntl
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.commands import command

_EXT4_IOC_SHUTDOWN = 0x8004587D
"""`_IOR('X', 125, __u32)` of Linux's ext4.h."""
_NOLOGFLUSH = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH: stop at once, the journal's memory and dirty pages are lost."""


@dataclass
class LoopDisk:
    """A mounted file system."""

    image: Path
    point: Path

    async def mount(self) -> None:
        """Mount it; the journal is replayed as after a power cut."""
        # Its own commits come seldom: what nobody asked to be on the disk is not there.
        await command("mount", "-o", "loop,commit=300", str(self.image), str(self.point))

    async def unmount(self) -> None:
        """Unmount it."""
        await command("umount", str(self.point))

    def cut_power(self) -> None:
        """From now on nothing is read, written or flushed; kill the process, then `remount`."""
        folder = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NOLOGFLUSH))
        finally:
            os.close(folder)

    async def remount(self) -> None:
        """Come back after a power cut, with what had reached the disk."""
        await self.unmount()
        await self.mount()

    def fill(self) -> Path:
        """Write a file until there is no room; returns it."""
        ballast = self.point / "ballast"
        with ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
        return ballast


@asynccontextmanager
async def loop_disk(folder: Path, mebibytes: int) -> AsyncIterator[LoopDisk]:
    """A new file system, mounted below `folder` until the block ends."""
    disk = LoopDisk(folder / "disk.img", folder / "disk")
    with disk.image.open("wb") as image:
        image.truncate(mebibytes << 20)
    disk.point.mkdir()
    await command("mkfs.ext4", "-q", "-F", "-m", "0", str(disk.image))
    await disk.mount()
    try:
        yield disk
    finally:
        await disk.unmount()
