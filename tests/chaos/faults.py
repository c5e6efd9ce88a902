"""What goes wrong in a service of several nodes: a node, PostgreSQL, Redis, or all at once.

A node that PostgreSQL no longer tells the truth to (an older copy is behind its address) ends itself
with `EXIT_EXCHANGED`, and its supervisor starts it anew.
"""

import asyncio
import shutil
import signal

from miss_server.storage.postgres.store import EXIT_EXCHANGED
from tests.chaos.stage import Fault, Stage
from tests.support.postgres import PASSWORD, run_as_ordinary_user
from tests.support.redis import RedisProcess

_KILLED = frozenset({-signal.SIGKILL})


# --- nodes ----------------------------------------------------------------------------------------


async def kill_nodes(stage: Stage) -> None:
    """SIGKILL, one node or the other, in mid-send, mid-delivery, mid-ack."""
    times = [0] * len(stage.supervisors)
    for _ in range(4 if stage.short else 40):
        await stage.pause(0.1, 0.6)
        number = stage.chance.randrange(len(times))
        await stage.service.nodes[number].kill()
        times[number] += 1
        await stage.supervisors[number].restarted(times[number])
    await stage.all_back()


async def kill_all(stage: Stage) -> None:
    """Every node at the same moment, so that everybody comes back at once."""
    for times in range(1, (1 if stage.short else 3) + 1):
        await stage.pause(0.5, 1.5)
        await asyncio.gather(*(node.kill() for node in stage.service.nodes))
        await asyncio.gather(*(each.restarted(times) for each in stage.supervisors))
        await stage.all_back()


async def roll(stage: Stage) -> None:
    """Restart one node after the other, in order, as an upgrade does."""
    for times in range(1, (1 if stage.short else 3) + 1):
        for node, supervisor in zip(stage.service.nodes, stage.supervisors, strict=True):
            await stage.pause(0.3, 0.8)
            await node.stop()
            await supervisor.restarted(times)
            await stage.all_back()


async def freeze_node(stage: Stage) -> None:
    """SIGSTOP, then SIGCONT: it wakes with sessions that live elsewhere, and with late acks."""
    await stage.pause(0.5, 1.0)
    process = stage.service.nodes[0].process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(stage.seconds(60.0, 15.0))
    process.send_signal(signal.SIGCONT)
    await stage.all_back()


async def nothing(stage: Stage) -> None:
    """What is wrong is wrong from the start."""
    await stage.pause(2.0, 3.0)


# --- PostgreSQL -----------------------------------------------------------------------------------


async def kill_postgres(stage: Stage) -> None:
    """Its processes are gone at once; it recovers from its log."""
    for _ in range(1 if stage.short else 3):
        await stage.pause(0.5, 1.5)
        await stage.service.postgres.restart()
        await stage.pause(0.5, 1.5)


async def restart_postgres(stage: Stage) -> None:
    """A restart in order, as after an update of its packages."""
    for _ in range(1 if stage.short else 3):
        await stage.pause(0.5, 1.5)
        await stage.service.postgres.stop()
        await stage.pause(0.5, 2.0)
        await stage.service.postgres.start()
        await stage.pause(0.5, 1.5)


async def freeze_postgres(stage: Stage) -> None:
    """It answers nothing, and its sockets stay open."""
    await stage.pause(0.5, 1.0)
    stage.service.postgres.freeze()
    await asyncio.sleep(stage.seconds(20.0, 5.0))
    stage.service.postgres.thaw()


async def read_only(stage: Stage) -> None:
    """It serves, but takes nothing, as a primary that was demoted."""
    await stage.pause(0.5, 1.0)
    setting = "default_transaction_read_only"
    await stage.service.postgres.sql(f"ALTER SYSTEM SET {setting} = on", "SELECT pg_reload_conf()")
    await asyncio.sleep(stage.seconds(8.0, 3.0))
    await stage.service.postgres.sql(f"ALTER SYSTEM RESET {setting}", "SELECT pg_reload_conf()")
    if not stage.crowd.history.retries:
        stage.faults.append("nobody was told to repeat")


async def cut_postgres(stage: Stage) -> None:
    """Every connection to it breaks off, again and again."""
    for _ in range(3 if stage.short else 10):
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


# --- Redis ----------------------------------------------------------------------------------------


def _redis(stage: Stage) -> RedisProcess:
    assert stage.service.redis is not None
    return stage.service.redis


async def kill_redis(stage: Stage) -> None:
    """Gone, and after a while there again, empty."""
    await stage.pause(0.5, 1.0)
    await _redis(stage).kill()
    await asyncio.sleep(stage.seconds(10.0, 3.0))
    await _redis(stage).start()
    await stage.pause(1.0, 2.0)


async def freeze_redis(stage: Stage) -> None:
    """It answers nothing, and its sockets stay open."""
    await stage.pause(0.5, 1.0)
    _redis(stage).freeze()
    await asyncio.sleep(stage.seconds(20.0, 6.0))
    _redis(stage).thaw()
    await stage.pause(1.0, 2.0)


async def empty_redis(stage: Stage) -> None:
    """FLUSHALL, again and again."""
    for _ in range(5):
        await stage.pause(0.2, 0.5)
        await _redis(stage).flush()


async def cut_redis(stage: Stage) -> None:
    """Every connection to it breaks off, again and again."""
    for _ in range(3 if stage.short else 10):
        await stage.pause(0.2, 0.8)
        await _redis(stage).cut_clients()


async def mute_redis(stage: Stage) -> None:
    """Nobody may publish: every ring is dropped, and only the sweep finds what came."""
    await stage.pause(0.5, 1.0)
    await _redis(stage).allow("-publish")
    await asyncio.sleep(stage.seconds(15.0, 6.0))
    await _redis(stage).allow("+publish")


FAULTS = (
    Fault("nodes killed in turn", kill_nodes, ends=_KILLED, in_tests=True),
    Fault("all nodes killed, all come back at once", kill_all, ends=_KILLED),
    Fault("nodes restarted in turn", roll, ends=frozenset({0}), in_tests=True),
    Fault("a node stopped for a minute, then woken", freeze_node, rate=50.0),
    Fault("a node's clock a day ahead", nothing, modules=("tests.support.a_day_ahead", "miss_server")),
    Fault("three nodes, rung by PostgreSQL alone, killed in turn", kill_nodes, rung_by="postgres", nodes=3, ends=_KILLED, in_tests=True),
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
    Fault("Redis absent from the start", nothing, rung_by="nothing"),
    Fault("all rings dropped", mute_redis, in_tests=True),
)  # fmt: skip
