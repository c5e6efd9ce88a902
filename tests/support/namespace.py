"""A network namespace behind a cable that can be cut. Needs root, `ip`, `nsenter`, `nft`."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.support.commands import command


@dataclass(frozen=True)
class Namespace:
    """A network of its own with one cable to this machine's."""

    name: str
    gateway: str
    """This machine's address at the other end of the cable."""
    address: str
    """The address inside."""
    ends: tuple[str, str]
    """The cable's names: at this machine's end, and inside."""

    @property
    def under(self) -> tuple[str, ...]:
        """What a process runs under to be inside.

        Not `ip netns exec`: that copies the mounts, too, and would hold other tests' disks.
        """
        return ("nsenter", f"--net=/run/netns/{self.name}")

    async def further(self, outside: str, inside: str) -> None:
        """Give both ends another address each, as `172.30.7.1/24`."""
        await command("ip", "addr", "add", outside, "dev", self.ends[0])
        await command("ip", "-n", self.name, "addr", "add", inside, "dev", self.ends[1])

    async def cut(self) -> None:
        """Drop every packet, both ways; nobody is told."""
        await self._nft("add", "table", "inet", "miss")
        for way in ("input", "output"):
            rule = f"{{ type filter hook {way} priority 0; policy drop; }}"
            await self._nft("add", "chain", "inet", "miss", way, rule)

    async def drop(self, way: str, matching: str) -> None:
        """Drop some packets, one way; nobody is told.

        Args:
            way: `input` or `output`, as seen from inside.
            matching: which, in nftables' words.
        """
        hook = f"{{ type filter hook {way} priority 0; policy accept; }}"
        await self._nft("add", "table", "inet", "miss")
        await self._nft("add", "counter", "inet", "miss", "dropped")
        await self._nft("add", "chain", "inet", "miss", way, hook)
        rule = (*matching.split(), "counter", "name", "dropped", "drop")
        await self._nft("add", "rule", "inet", "miss", way, *rule)

    async def dropped(self) -> int:
        """How many packets `drop` dropped since it was told to."""
        said = await self._nft("-j", "list", "counter", "inet", "miss", "dropped")
        [counter] = [each["counter"] for each in json.loads(said)["nftables"] if "counter" in each]
        return int(counter["packets"])

    async def mend(self) -> None:
        """Let packets pass again."""
        await self._nft("delete", "table", "inet", "miss")

    async def _nft(self, *words: str) -> str:
        return await command(*self.under, "nft", *words)


@asynccontextmanager
async def namespace(number: int = 0) -> AsyncIterator[Namespace]:
    """A new one, until the block ends; several stand beside each other, each with its number."""
    process = os.getpid()
    name, here, there = (f"{kind}{process}-{number}" for kind in ("miss", "mh", "mn"))
    net = f"10.{64 + process % 64}.{process // 64 % 256}"
    inside = Namespace(name, f"{net}.{4 * number + 1}", f"{net}.{4 * number + 2}", (here, there))
    await command("ip", "netns", "add", name)
    try:
        await command("ip", "link", "add", here, "type", "veth", "peer", "name", there)
        try:
            await command("ip", "link", "set", there, "netns", name)
            await command("ip", "addr", "add", f"{inside.gateway}/30", "dev", here)
            await command("ip", "link", "set", here, "up")
            await command("ip", "-n", name, "addr", "add", f"{inside.address}/30", "dev", there)
            await command("ip", "-n", name, "link", "set", there, "up")
            yield inside
        finally:
            # The namespace takes the cable with it, but later: the next of this name would find it.
            await command("ip", "link", "del", here)
    finally:
        await command("ip", "netns", "del", name)
