"""A network namespace behind a cable that can be cut. Needs root, `ip`, `nsenter`, `nft`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.support.commands import command


@dataclass(frozen=True)
class Namespace:
    """A network of its own with one cable to this machine's."""

    name: str
    address: str
    """The address inside."""

    @property
    def under(self) -> tuple[str, ...]:
        """What a process runs under to be inside.

        Not `ip netns exec`: that copies the mounts, too, and would hold other tests' disks.
        """
        return ("nsenter", f"--net=/run/netns/{self.name}")

    async def cut(self) -> None:
        """Drop every packet, both ways; nobody is told."""
        await self._nft("add", "table", "inet", "miss")
        for way in ("input", "output"):
            rule = f"{{ type filter hook {way} priority 0; policy drop; }}"
            await self._nft("add", "chain", "inet", "miss", way, rule)

    async def mend(self) -> None:
        """Let packets pass again."""
        await self._nft("delete", "table", "inet", "miss")

    async def _nft(self, *words: str) -> None:
        await command(*self.under, "nft", *words)


@asynccontextmanager
async def namespace() -> AsyncIterator[Namespace]:
    """A new one, until the block ends; several may stand beside each other, one a process."""
    number = os.getpid()
    name, here, there = f"miss{number}", f"mh{number}", f"mn{number}"
    net = f"10.{64 + number % 64}.{number // 64 % 256}"
    inside = Namespace(name, f"{net}.2")
    await command("ip", "netns", "add", name)
    try:
        await command("ip", "link", "add", here, "type", "veth", "peer", "name", there)
        await command("ip", "link", "set", there, "netns", name)
        await command("ip", "addr", "add", f"{net}.1/30", "dev", here)
        await command("ip", "link", "set", here, "up")
        await command("ip", "-n", name, "addr", "add", f"{net}.2/30", "dev", there)
        await command("ip", "-n", name, "link", "set", there, "up")
        yield inside
    finally:
        await command("ip", "netns", "del", name)
