"""Waits for what sends no event: files, and other processes' insides."""

import asyncio
from collections.abc import Callable

PATIENCE = 60.0


async def until(holds: Callable[[], bool]) -> None:
    """Look again soon until it holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  # nobody would set the event
            await asyncio.sleep(0.05)
