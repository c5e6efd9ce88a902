"""What goes wrong with nodes: killed, stopped, frozen, replaced by a newer version, or left by devices."""

import asyncio
import signal
import sys
from collections.abc import Sequence

from miss_server.storage.schema import SCHEMA_VERSION
from tests.chaos.service import Shape
from tests.chaos.stage import Fault, Stage
from tests.support.commands import command
from tests.support.forks import ForkedServer
from tests.support.points import CRASHED

_KILLED = frozenset({-signal.SIGKILL})
_SEND = (
    "taken send",
    "commit.before submit",
    "commit.after submit",
    "ring.before",
    "reply.before sent",
)
_DELIVERY = ("delivery.before deliver", "delivery.after deliver", "delivery.before status")
_ACK = ("taken ack", "commit.before acknowledge", "commit.after acknowledge", "reply.after acked")


async def kill_nodes(stage: Stage) -> None:
    """SIGKILL, one node or the other, in mid-send, mid-delivery, mid-ack."""
    times = [0] * len(stage.supervisors)
    for _ in range(4 if stage.short else 30):
        await stage.pause(0.1, 0.6)
        number = stage.chance.randrange(len(times))
        await stage.service.nodes[number].kill()
        times[number] += 1
        await stage.supervisors[number].restarted(times[number])
    await stage.all_back()


async def end_at_points(stage: Stage) -> None:
    """End in the middle of a send, a delivery or an acknowledgement, in every life of a node."""
    plans = []
    for number in range(len(stage.supervisors)):
        points = [*_SEND, *_DELIVERY, *_ACK]
        stage.chance.shuffle(points)
        plans.append(_end_at(stage, number, points[:3] if stage.short else points))
    await asyncio.gather(*plans)
    await stage.all_back()


async def _end_at(stage: Stage, number: int, points: Sequence[str]) -> None:
    node, supervisor = stage.service.nodes[number], stage.supervisors[number]
    assert isinstance(node, ForkedServer)
    for times, point in enumerate(points, 1):
        node.crashing = ("--at", point, "--nth", str(stage.chance.randint(1, 40)))
        if times == 1:
            await node.kill()
        # Its former life ends at the point that it was born with.
        await supervisor.restarted(times)
    node.crashing = ()
    await supervisor.restarted(len(points) + 1)
    if supervisor.ends != [-signal.SIGKILL, *[CRASHED] * len(points)]:
        stage.faults.append(f"a node ended with {supervisor.ends}, not at its points")


async def kill_all(stage: Stage) -> None:
    """Every node at the same moment, so that everybody comes back at once."""
    for times in range(1, (1 if stage.short else 2) + 1):
        await stage.pause(0.5, 1.5)
        await asyncio.gather(*(node.kill() for node in stage.service.nodes))
        await asyncio.gather(*(each.restarted(times) for each in stage.supervisors))
        await stage.all_back()


async def roll(stage: Stage) -> None:
    """Restart one node after the other, in order, as an upgrade does."""
    for times in range(1, (1 if stage.short else 2) + 1):
        for node, supervisor in zip(stage.service.nodes, stage.supervisors, strict=True):
            await stage.pause(0.3, 0.8)
            await node.stop()
            await supervisor.restarted(times)
            await stage.all_back()


async def upgrade(stage: Stage) -> None:
    """Bring one node after the other to this version, then the tables, as server/README.md says."""
    if await _schema(stage) >= SCHEMA_VERSION:
        stage.faults.append("the older version made the tables of this one: nothing is upgraded")
    for node, supervisor in zip(stage.service.nodes, stage.supervisors, strict=True):
        await stage.pause(1.0, 2.0)
        del node.settings["PYTHONPATH"]
        node.budgets = False  # this version's are lifted, as for every other play
        await node.stop()
        await supervisor.restarted(1)
        await stage.all_back()
    await stage.pause(0.5, 1.0)
    dsn = stage.service.dsn
    await command(sys.executable, "-m", "miss_server", "db", "upgrade", "--database", dsn)
    await stage.pause(0.5, 1.0)
    if await _schema(stage) != SCHEMA_VERSION:
        stage.faults.append("the tables are not those of this version")


async def _schema(stage: Stage) -> int:
    connection = await stage.service.postgres.connect(stage.service.database)
    try:
        return int(await connection.fetchval("SELECT value FROM settings WHERE name = 'schema'"))
    finally:
        await connection.close()


async def freeze_node(stage: Stage) -> None:
    """SIGSTOP, then SIGCONT: it wakes with sessions that live elsewhere, and with late acks."""
    await stage.pause(0.5, 1.0)
    process = stage.service.nodes[0].process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(stage.seconds(60.0, 8.0))
    process.send_signal(signal.SIGCONT)
    await stage.all_back()


async def change_nodes(stage: Stage) -> None:
    """Devices go to any node again and again, amid what they do; the old connection stays open.

    What was sent on it may be stored or not, its answer is never read, and its retry comes in
    elsewhere. One in four moves on at once, so that two nodes begin a session at the same time.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + stage.seconds(10.0, 3.0)
    hops = 0
    while loop.time() < end:
        await stage.pause(0.0, 0.05)
        phone = stage.chance.choice(stage.crowd.online)
        hops += phone.move(hastily=stage.chance.random() < 0.25)
    stage.notes.append(f"{hops} changes")
    if not hops:
        stage.faults.append("no device changed nodes")
    await stage.all_back()


async def nothing(stage: Stage) -> None:
    """What is wrong is wrong from the start."""
    await stage.pause(2.0, 3.0)


FAULTS = (
    Fault("nodes killed in turn", kill_nodes, ends=_KILLED, in_tests=True),
    Fault("nodes ended in mid-send, mid-delivery, mid-ack", end_at_points, Shape(ends_at_points=True), ends=_KILLED | {CRASHED}, in_tests=True),
    Fault("all nodes killed, all come back at once", kill_all, ends=_KILLED),
    Fault("nodes restarted in turn", roll, ends=frozenset({0}), in_tests=True),
    Fault("nodes upgraded in turn from an older version", upgrade, Shape(older=True), ends=frozenset({0})),
    Fault("a node stopped for a minute, then woken", freeze_node, rate=50.0),
    Fault("devices change nodes, two at once", change_nodes, in_tests=True),
    Fault("a node's clock a day ahead", nothing, Shape(modules=("tests.support.a_day_ahead", "miss_server"))),
    Fault("a node's clock a day behind", nothing, Shape(modules=("tests.support.a_day_behind", "miss_server"))),
    Fault("three nodes, rung by PostgreSQL alone, killed in turn", kill_nodes, Shape(nodes=3, rung_by="postgres"), ends=_KILLED, in_tests=True),
)  # fmt: skip
