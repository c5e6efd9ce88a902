"""Some of the devices of a large crowd, in a process of their own: one may not have enough open files.

The process does one thing at a time, as it is asked: `log_in` everybody, or `break_off`. Between two
askings the connections live on.
"""

import asyncio
import multiprocessing
import ssl
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import uvloop

from tests.bench.link import Link, log_in
from tests.bench.machine import allow_open_files
from tests.bench.population import Peer

AT_ONCE = 250
"""Logins of a herd that are under way; the others of it wait, as those wait whose turn a phone's
random pause has not brought yet."""
Word = Literal["log_in", "break_off"]


class Herd:
    """A process with `peers`, whose first is number `first` of the crowd; `start` and `end` it."""

    def __init__(self, peers: Sequence[Peer], first: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(theirs, peers, first), daemon=True)
        self._process.start()
        theirs.close()

    async def ask(self, word: Word, url: str = "", authority: Path | None = None) -> int:
        """Have it done by all its devices; returns when the last one is done, and how often one of them
        was sent away for a moment.

        Args:
            authority: whose certificates are believed, for `log_in` by TLS.

        Raises:
            RuntimeError: it could not be done; the text says why.
        """
        self._pipe.send((word, url, authority))
        fault: str
        away: int
        fault, away = await asyncio.to_thread(self._pipe.recv)
        if fault:
            raise RuntimeError(f"a herd could not {word}: {fault}")
        return away

    def end(self) -> None:
        """End the process; its connections break off."""
        self._pipe.close()
        self._process.join()


def herds(peers: Sequence[Peer], count: int) -> list[Herd]:
    """The crowd in so many processes."""
    size = -(-len(peers) // count)
    return [Herd(peers[first : first + size], first) for first in range(0, len(peers), size)]


def _run(pipe: Connection, peers: Sequence[Peer], first: int) -> None:
    uvloop.run(_obey(pipe, peers, first))


async def _obey(pipe: Connection, peers: Sequence[Peer], first: int) -> None:
    allow_open_files(len(peers) + 100)
    links: list[Link] = []
    while True:
        try:
            word, url, authority = await asyncio.to_thread(pipe.recv)
        except EOFError:
            return
        fault, away = "", 0
        try:
            if word == "log_in":
                tls = None if authority is None else ssl.create_default_context(cafile=authority)
                loop = asyncio.get_running_loop()
                links = [Link(peer, loop) for peer in peers]
                away = await log_in(url, links, first=first, at_once=AT_ONCE, tls=tls)
            else:
                await asyncio.gather(*(link.break_off() for link in links))
        except Exception as error:  # noqa: BLE001  # told to whoever asked
            fault = f"{type(error).__name__}: {error}"
        pipe.send((fault, away))
