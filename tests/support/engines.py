"""What all servers need that tests start beside their own: a port, an ordinary user, time to start."""

import asyncio
import os
import shutil
import socket
from collections.abc import Awaitable, Callable, Sequence

NOBODY = 65534
"""The user without rights of every Linux: a server for tests needs none."""


class Missing(Exception):
    """This machine cannot run what the test needs; the text says what to install."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def as_ordinary_user(ending: str) -> Sequence[str]:
    """What a server runs under: without root's rights, and told by a signal if the tests are killed.

    Args:
        ending: the signal's name.
    """
    words = [_setpriv(), "--pdeathsig", ending]
    if os.geteuid() == 0:
        words += [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return words


def without_roots_rights() -> Sequence[str]:
    """What a server runs under that may write only where its user may, as anybody: who it is stays the
    same, because Python and the tests' folders are often where nobody else can look."""
    return [_setpriv(), "--bounding-set=-all"] if os.geteuid() == 0 else []


def _setpriv() -> str:
    setpriv = shutil.which("setpriv", path=f"{os.environ.get('PATH', '')}:/usr/bin:/bin")
    if setpriv is None:
        raise Missing("no setpriv on the PATH: apt install util-linux")
    return setpriv


async def until_it_answers(
    process: asyncio.subprocess.Process,
    answers: Callable[[], Awaitable[bool]],
    seconds: float,
    *,
    every: float,
) -> bool:
    """Wait until a server that was just started answers; returns whether it does.

    Raises:
        TimeoutError: it neither answered nor ended.
    """
    ended = asyncio.create_task(process.wait())
    try:
        async with asyncio.timeout(seconds):
            while not ended.done():
                if await answers():
                    return True
                # A port tells nobody that it opened: try again soon.
                await asyncio.wait({ended}, timeout=every)
        return False
    finally:
        ended.cancel()
