"""Faults that need no root: of the process, of the database beside it, of the crowd itself."""

import asyncio
import signal
import sqlite3
from contextlib import closing

from tests.load.stage import Fault, Stage

RESTARTS = 3


async def kill(stage: Stage) -> None:
    """SIGKILL, again and again."""
    for times in range(1, (1 if stage.short else RESTARTS) + 1):
        await stage.pause(0.5, 1.5)
        await stage.server.kill()
        await stage.supervisor.restarted(times)
        await stage.crowd.connected(stage.crowd.online)


async def stop(stage: Stage) -> None:
    """SIGTERM: everybody is told to come back."""
    for times in range(1, (1 if stage.short else RESTARTS) + 1):
        await stage.pause(0.5, 1.5)
        await stage.server.stop()
        await stage.supervisor.restarted(times)
        await stage.crowd.connected(stage.crowd.online)


async def freeze(stage: Stage) -> None:
    """SIGSTOP for a minute: the sockets stay open and nobody answers."""
    await stage.pause(0.5, 1.0)
    assert stage.server.process is not None
    stage.server.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(stage.seconds(60.0, 4.0))
    stage.server.process.send_signal(signal.SIGCONT)
    await stage.crowd.connected(stage.crowd.online)


async def lock_database(stage: Stage) -> None:
    """Another process holds the write lock for longer than the server waits for it."""
    await stage.pause(0.5, 1.0)
    with closing(sqlite3.connect(stage.server.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(stage.seconds(12.0, 8.0))
        other.execute("ROLLBACK")
    if not stage.crowd.history.retries:
        stage.faults.append("nobody was told to repeat")


FAULTS = (
    Fault("SIGKILL", kill, ends=frozenset({-signal.SIGKILL})),
    Fault("orderly stop", stop, ends=frozenset({0})),
    Fault("SIGSTOP for a minute", freeze, rate=60.0),
    Fault("database locked by another process", lock_database),
)
