"""Runs a command that has child processes, so that no signal leaves them behind."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


def run_to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Run `work`; SIGINT and SIGTERM cancel it, so that what it started is stopped in order.

    Raises:
        KeyboardInterrupt: it was cancelled by a signal.
    """
    stopped = False

    async def whole() -> None:
        task = asyncio.ensure_future(work)

        def stop() -> None:
            nonlocal stopped
            stopped = True
            task.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        await task

    try:
        asyncio.run(whole())
    except asyncio.CancelledError:
        if not stopped:
            raise
        raise KeyboardInterrupt from None
