"""What goes wrong with PostgreSQL and with Redis: gone, frozen, full, cut off, or an older copy.

A node that PostgreSQL no longer tells the truth to (an older copy is behind its address) ends itself
with `EXIT_EXCHANGED`, and its supervisor starts it anew.
"""

import asyncio
import shutil
from typing import cast

from miss_server.storage.postgres.store import EXIT_EXCHANGED
from tests.chaos.service import Shape
from tests.chaos.stage import Fault, Stage
from tests.support.postgres import PASSWORD, run_as_ordinary_user
from tests.support.redis import RedisProcess
from tests.support.server import ServerProcess
from tests.support.wire import Server, open_call

FOUND_SECONDS = 15.0
"""Three times the seconds from one sweep to the next."""

# --- PostgreSQL -----------------------------------------------------------------------------------


async def kill_postgres(stage: Stage) -> None:
    """Its processes are gone at once; it recovers from its log."""
    for _ in range(1 if stage.short else 2):
        await stage.pause(0.5, 1.5)
        await stage.service.postgres.restart()
        await stage.pause(0.5, 1.5)


async def restart_postgres(stage: Stage) -> None:
    """A restart in order, as after an update of its packages."""
    for _ in range(1 if stage.short else 2):
        await stage.pause(0.5, 1.5)
        await stage.service.postgres.stop()
        await stage.pause(0.5, 2.0)
        await stage.service.postgres.start()
        await stage.pause(0.5, 1.5)


async def freeze_postgres(stage: Stage) -> None:
    """It answers nothing, and its sockets stay open."""
    await stage.pause(0.5, 1.0)
    stage.service.postgres.freeze()
    await asyncio.sleep(stage.seconds(15.0, 5.0))
    stage.service.postgres.thaw()


async def read_only(stage: Stage) -> None:
    """It serves, but takes nothing, as a primary that was demoted."""
    await stage.pause(0.5, 1.0)
    setting = "default_transaction_read_only"
    await stage.service.postgres.sql(f"ALTER SYSTEM SET {setting} = on", "SELECT pg_reload_conf()")
    await asyncio.sleep(stage.seconds(6.0, 3.0))
    await stage.service.postgres.sql(f"ALTER SYSTEM RESET {setting}", "SELECT pg_reload_conf()")
    if not stage.crowd.history.retries:
        stage.faults.append("nobody was told to repeat")


async def cut_postgres(stage: Stage) -> None:
    """Every connection to it breaks off, again and again."""
    for _ in range(3 if stage.short else 8):
        await stage.pause(0.3, 0.8)
        await stage.service.postgres.cut_clients(stage.service.database)


async def restore_postgres(stage: Stage) -> None:
    """An earlier base backup is put in its place, under clients that saw more."""
    postgres, backup = stage.service.postgres, stage.service.postgres.folder / "backup"
    await stage.pause(0.5, 1.0)
    dsn = postgres.dsn("postgres", user="postgres", password="")
    await asyncio.to_thread(
        run_as_ordinary_user,
        *("pg_basebackup", "-D", str(backup), "-X", "stream", "-c", "fast", "-d", dsn),
        PGPASSWORD=PASSWORD,
    )
    await stage.pause(1.0, 2.0)
    await postgres.kill()
    await asyncio.to_thread(shutil.rmtree, postgres.data)
    await asyncio.to_thread(backup.rename, postgres.data)
    await postgres.start()
    # Each node stored something since the backup, so each must find out by itself.
    await asyncio.gather(*(each.restarted(1) for each in stage.supervisors))
    await stage.all_back()


async def fill_disk(stage: Stage) -> None:
    """No room for a while: senders are told to repeat, and nobody's message is gone."""
    disk, history = stage.service.disk, stage.crowd.history
    assert disk is not None
    await stage.pause(0.5, 1.0)
    ballast = disk.fill()
    if not await history.until(lambda: history.retries > 0, 60.0):
        stage.faults.append("the disk was full and nobody was told to repeat")
    await asyncio.sleep(stage.seconds(5.0, 1.0))
    ballast.unlink()
    if "No space left on device" not in stage.service.postgres.log_text():
        stage.faults.append("PostgreSQL had room all the time")
    # Without room for its log it ends, and its service starts it anew.
    if await stage.service.postgres.revive():
        stage.notes.append("PostgreSQL ended, and was started")


# --- Redis ----------------------------------------------------------------------------------------


def _redis(stage: Stage) -> RedisProcess:
    assert stage.service.redis is not None
    return stage.service.redis


async def _doorbells(stage: Stage, state: str) -> None:
    """Wait until each node's health says so of its way to the others: `ok` or `degraded`."""
    try:
        async with asyncio.timeout(30.0):
            for node in stage.service.nodes:
                while await _doorbell(node) != state:  # noqa: ASYNC110  # nobody would set the event
                    await asyncio.sleep(0.2)
    except TimeoutError:
        stage.faults.append(f"a node's health did not say that its doorbell is {state}")


async def _doorbell(node: ServerProcess) -> str:
    parts = (await open_call(cast(Server, node), "GET", "/health/ready")).json()["parts"]
    [state] = [part["state"] for part in parts if part["part"] == "doorbell"]
    return str(state)


async def _found_without_rings(stage: Stage) -> None:
    """Wait until whoever is online has what was written to them before this moment.

    Meanwhile nobody writes: a message that comes by way of the recipient's own node would be read
    together with those that no ring told of, and hide that nobody looks for them.
    """
    stage.crowd.hushed = True
    now, history = asyncio.get_running_loop().time(), stage.crowd.history
    letters = [one for one in history.letters.values() if one.timed and one.due < now]
    if not await history.until(lambda: all(one.shown for one in letters), FOUND_SECONDS):
        stage.faults.append("what no ring told of was not found")
    stage.crowd.hushed = False


async def kill_redis(stage: Stage) -> None:
    """Gone, and after a while there again, empty."""
    await stage.pause(0.5, 1.0)
    await _redis(stage).kill()
    await _doorbells(stage, "degraded")
    await asyncio.sleep(stage.seconds(6.0, 3.0))
    await _redis(stage).start()
    await _doorbells(stage, "ok")


async def freeze_redis(stage: Stage) -> None:
    """It answers nothing, and its sockets stay open."""
    await stage.pause(0.5, 1.0)
    _redis(stage).freeze()
    await _doorbells(stage, "degraded")
    await asyncio.sleep(stage.seconds(10.0, 3.0))
    _redis(stage).thaw()
    await _doorbells(stage, "ok")


async def empty_redis(stage: Stage) -> None:
    """FLUSHALL, again and again."""
    for _ in range(5):
        await stage.pause(0.2, 0.5)
        await _redis(stage).flush()
    await _doorbells(stage, "ok")


async def cut_redis(stage: Stage) -> None:
    """Every connection to it breaks off, again and again."""
    for _ in range(3 if stage.short else 8):
        await stage.pause(0.2, 0.8)
        await _redis(stage).cut_clients()
    await _doorbells(stage, "ok")


async def do_without_redis(stage: Stage) -> None:
    """It was never there."""
    await _doorbells(stage, "degraded")
    await stage.pause(2.0, 3.0)
    await _found_without_rings(stage)


async def mute_redis(stage: Stage) -> None:
    """Nobody may publish: every ring is dropped, and only the sweep finds what came."""
    await stage.pause(0.5, 1.0)
    await _redis(stage).allow("-publish")
    await _doorbells(stage, "degraded")
    await asyncio.sleep(stage.seconds(6.0, 3.0))
    await _found_without_rings(stage)
    await _redis(stage).allow("+publish")
    await _doorbells(stage, "ok")


FAULTS = (
    Fault("PostgreSQL killed", kill_postgres, in_tests=True),
    Fault("PostgreSQL restarted", restart_postgres),
    Fault("PostgreSQL frozen", freeze_postgres),
    Fault("PostgreSQL read-only", read_only),
    Fault("PostgreSQL cut off from its nodes", cut_postgres),
    Fault("PostgreSQL put back from a base backup", restore_postgres, restores=True, ends=frozenset({EXIT_EXCHANGED}), in_tests=True),
    Fault("Redis killed", kill_redis),
    Fault("Redis frozen", freeze_redis, in_tests=True),
    Fault("Redis emptied", empty_redis),
    Fault("Redis cut off from its nodes", cut_redis),
    Fault("Redis absent from the start", do_without_redis, Shape(rung_by="nothing")),
    Fault("all rings dropped", mute_redis, in_tests=True),
)  # fmt: skip

ROOT_FAULTS = (
    Fault("PostgreSQL's disk full", fill_disk, Shape(small_disk="cluster")),
    Fault("PostgreSQL's disk full, that of its log", fill_disk, Shape(small_disk="log")),
)
