"""What a batch on PostgreSQL holds and waits for, and what it knows after it waited (rule C1).

Another node is amid its own transaction: a connection of the test's holds what that one would, or the
other node's batch stands before its COMMIT until the test lets it go.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from miss_protocol import frames as f
from miss_server.doorbell.interface import News
from miss_server.doorbell.memory import MemoryDoorbell
from miss_server.doorbell.postgres import PostgresLine
from miss_server.relay.clock import SystemClock
from miss_server.relay.delivery import Delivery
from miss_server.relay.hub import Hub
from miss_server.storage.postgres.pool import Connection, Options
from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.postgres.writer import Writer
from miss_server.storage.sql import rosters
from tests.support.databases import opened, until_it_waits
from tests.support.devices import DOMAIN, NOW, Person
from tests.support.hosted import TurnedClock
from tests.support.mailing import Phone, enrol, pair, phone, revoke
from tests.support.meeting import LIFTED
from tests.support.postgres import PostgresProcess
from tests.support.stores import lent


@pytest.fixture
async def dsn(postgres: PostgresProcess) -> AsyncIterator[str]:
    """An empty database."""
    async with lent(postgres) as options:
        yield options.dsn


@pytest.fixture
async def nodes(dsn: str) -> AsyncIterator[tuple[PostgresStore, PostgresStore]]:
    """Two nodes on it."""
    stores = PostgresStore(Options(dsn), None, LIFTED), PostgresStore(Options(dsn), None, LIFTED)
    async with AsyncExitStack() as stack:
        for store in stores:
            store.open()
            stack.push_async_callback(store.close)
        yield stores


@pytest.fixture
async def phones(nodes: tuple[PostgresStore, PostgresStore]) -> list[Phone]:
    """Three people: the first two connected to one node, the third to the other."""
    here, there = nodes
    gp, nurse = await pair(here)  # type: ignore[arg-type]  # it is all that is asked of it
    other = Person()
    await enrol(there, other)  # type: ignore[arg-type]
    cardiologist = phone(there, other)  # type: ignore[arg-type]
    await cardiologist.connect()
    return [gp, nurse, cardiologist]


class Watch:
    """A connection that waits until somebody waits."""

    def __init__(self, dsn: str) -> None:
        self._engine = create_async_engine(dsn.replace("postgresql://", "postgresql+asyncpg://"))

    async def until_it_waits(self, task: "asyncio.Future[Any]") -> None:
        await until_it_waits(self._engine, task)

    async def close(self) -> None:
        await self._engine.dispose()


@pytest.fixture
async def watch(dsn: str) -> AsyncIterator[Watch]:
    """Sees who waits for a lock."""
    made = Watch(dsn)
    yield made
    await made.close()


@asynccontextmanager
async def amid_its_commit(store: PostgresStore) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Inside, batches of `store` stand before their COMMIT; what is yielded waits for one to do so."""
    stands, goes = asyncio.Event(), asyncio.Event()

    async def end(db: Connection) -> None:
        stands.set()
        await goes.wait()
        await Writer._end(store._writer, db)

    async def until_it_stands() -> None:
        await stands.wait()

    store._writer._end = end  # type: ignore[method-assign]
    try:
        yield until_it_stands
    finally:
        del store._writer._end
        goes.set()


async def test_a_send_that_waited_for_a_revocation_sees_it(
    nodes: tuple[PostgresStore, PostgresStore], phones: list[Phone], watch: Watch
) -> None:
    gp, nurse, _ = phones
    tablet = nurse.person.add_device().certificate.device
    await nodes[1].change_roster(nurse.person.roster, now_ms=NOW)
    send = gp.send(nurse.person)
    revoke(nurse.person, tablet)
    async with opened(
        watch._engine, lambda connection: rosters.change(connection, nurse.person.roster, NOW)
    ) as (revocation, change):
        assert list(change.revoked) == [tablet]
        submitted = asyncio.ensure_future(gp.submit(send))
        await watch.until_it_waits(submitted)
        await revocation.commit()
    reply = (await submitted).reply
    assert isinstance(reply, f.Refused), "it went to a device that was revoked"
    assert reply.code == "stale_roster"
    assert (await nodes[0].heads([tablet])) == {}


async def test_a_device_that_is_added_waits_for_the_sends_under_way(
    nodes: tuple[PostgresStore, PostgresStore], phones: list[Phone], watch: Watch
) -> None:
    gp, nurse, _ = phones
    send = gp.send(nurse.person)
    async with amid_its_commit(nodes[0]) as until_it_stands:
        submitted = asyncio.ensure_future(gp.submit(send))
        await until_it_stands()
        nurse.person.add_device()
        adding = asyncio.ensure_future(nodes[1].change_roster(nurse.person.roster, now_ms=NOW))
        # Else a message by the old roster would be stored after the new one: it would miss a device.
        await watch.until_it_waits(adding)
    assert isinstance((await submitted).reply, f.Sent)
    assert len((await adding).added) == 1


async def test_two_nodes_give_one_mailbox_one_position_after_the_other(
    nodes: tuple[PostgresStore, PostgresStore], phones: list[Phone], watch: Watch
) -> None:
    gp, nurse, cardiologist = phones
    async with amid_its_commit(nodes[0]) as until_it_stands:
        first = gp.send(nurse.person)
        one = asyncio.ensure_future(gp.submit(first))
        await until_it_stands()
        second = cardiologist.send(nurse.person)
        other = asyncio.ensure_future(cardiologist.submit(second))
        await watch.until_it_waits(other)
    assert [type((await answer).reply) for answer in (one, other)] == [f.Sent, f.Sent]
    rows = [(row.position, row.message) for row in (await nurse.fetch()).rows]
    assert rows == [(1, first.id), (2, second.id)]


async def test_a_repeat_on_another_node_is_the_same_message(
    nodes: tuple[PostgresStore, PostgresStore], phones: list[Phone], watch: Watch
) -> None:
    gp, nurse, _ = phones
    send = gp.send(nurse.person)
    async with amid_its_commit(nodes[0]) as until_it_stands:
        one = asyncio.ensure_future(gp.submit(send))
        await until_it_stands()
        # Its connection broke off; it comes to the other node while this one still commits.
        elsewhere = Phone(nodes[1], gp.certificate, gp.person, sn=gp.sn)  # type: ignore[arg-type]
        coming = asyncio.ensure_future(elsewhere.connect())
        await watch.until_it_waits(coming)
    await coming
    again = await elsewhere.submit(send)
    assert again.reply == (await one).reply
    assert [row.message for row in (await nurse.fetch()).rows] == [send.id]


LOCKED = {"accounts": "address", "devices": "id", "mailboxes": "device"}


@pytest.mark.parametrize("table", list(LOCKED))
async def test_who_waits_for_a_row_holds_none_that_comes_after_it(
    phones: list[Phone], dsn: str, watch: Watch, table: str
) -> None:
    gp, nurse, cardiologist = phones
    cardiologist.store = gp.store
    await cardiologist.connect()
    people = [one.person.account if table == "accounts" else one.id for one in phones]
    first, *_, last = sorted(people[1:] if table == "mailboxes" else people)
    statement = f"SELECT 1 FROM {table} WHERE {LOCKED[table]} = $1 FOR UPDATE NOWAIT"  # noqa: S608  # names of ours
    holder, looker = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    try:
        held = holder.transaction()
        await held.start()
        await holder.fetchval(statement, first)
        # One batch, with all three in it.
        writing = asyncio.gather(
            gp.submit(gp.send(nurse.person, cardiologist.person)),
            nurse.submit(nurse.send(cardiologist.person)),
            cardiologist.submit(cardiologist.send(nurse.person)),
        )
        await watch.until_it_waits(writing)
        # Else two nodes, each with one of the rows, would wait for each other.
        assert await looker.fetchval(statement, last) == 1
        await held.rollback()
        assert {type(settled.reply) for settled in await writing} == {f.Sent}
    finally:
        holder.terminate()
        looker.terminate()


_STAND_IN_COMMIT = """
CREATE FUNCTION stand() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER stands AFTER INSERT ON sends
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION stand()
"""


async def test_nobody_is_told_of_what_is_not_yet_committed(
    nodes: tuple[PostgresStore, PostgresStore], phones: list[Phone], dsn: str, watch: Watch
) -> None:
    gp, nurse, _ = phones
    rung: list[News] = []
    doorbell = MemoryDoorbell(lambda: NOW)
    doorbell.listen(rung.append)
    clock = TurnedClock((NOW - SystemClock().now_ms()) / 1000)
    delivery = Delivery(nodes[0], Hub(nodes[0]), doorbell, clock)
    holder = await asyncpg.connect(dsn)
    try:
        await holder.execute(_STAND_IN_COMMIT)
        await holder.fetchval("SELECT pg_advisory_lock(4711)")
        send = gp.send(nurse.person)
        sending = asyncio.ensure_future(delivery.accepted(gp.id, gp.generation, send))
        # PostgreSQL stands amid the COMMIT.
        await watch.until_it_waits(asyncio.get_running_loop().create_future())
        # Another node would look before there is anything to see.
        told = bool(rung) or sending.done()
        assert not told, "told before it was stored"
        await holder.fetchval("SELECT pg_advisory_unlock(4711)")
        assert isinstance((await sending).reply, f.Sent)
        assert [list(news.devices) for news in rung] == [[nurse.id]]
    finally:
        holder.terminate()


async def test_a_batch_itself_rings_nobody(phones: list[Phone], dsn: str) -> None:
    gp, nurse, _ = phones
    heard: list[object] = []
    listener = await asyncpg.connect(dsn)
    try:
        await listener.add_listener(
            PostgresLine(dsn, DOMAIN)._channel, lambda *said: heard.append(said)
        )
        assert isinstance((await gp.submit(gp.send(nurse.person))).reply, f.Sent)
        await nurse.fetch()
        await nurse.ack(1)
        await listener.fetchval("SELECT 1")  # what was committed before has come by then
    finally:
        listener.terminate()
    # NOTIFY in it would make all nodes commit one after the other (rule C8).
    assert not heard
