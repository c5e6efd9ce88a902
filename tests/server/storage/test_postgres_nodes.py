"""Two nodes on one PostgreSQL: what they do to the same rows at the same moment."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import pytest

from miss_protocol import frames as f
from miss_protocol.digest import EMPTY, roll
from miss_server.storage.messages import SessionStart
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.store import PostgresStore
from tests.support.devices import NOW, Person
from tests.support.mailing import Phone, enrol, phone, revoke
from tests.support.meeting import LIFTED
from tests.support.postgres import PostgresProcess
from tests.support.stores import prepared

RACES = int(os.environ.get("MISS_RACES", "200"))
"""Of a send with a revocation: `make chaos` runs a thousand."""


@asynccontextmanager
async def node(dsn: str) -> AsyncIterator[PostgresStore]:
    """One node's store."""
    store = PostgresStore(Options(dsn), first_contacts=LIFTED)
    store.open()
    yield store
    await store.close()


@pytest.fixture
async def dsn(postgres: PostgresProcess) -> str:
    """An empty database."""
    return (await prepared(postgres)).dsn


@pytest.fixture
async def nodes(dsn: str) -> AsyncIterator[tuple[PostgresStore, PostgresStore]]:
    """Two nodes on it."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(node(dsn))
        yield first, await stack.enter_async_context(node(dsn))


async def crowd(nodes: tuple[PostgresStore, PostgresStore], count: int) -> list[Phone]:
    """Connected people, in turns on one node and on the other."""
    people = [Person() for _ in range(count)]
    for person in people:
        await enrol(nodes[0], person)  # type: ignore[arg-type]  # it is all that is asked of it
    phones = [phone(nodes[n % 2], one) for n, one in enumerate(people)]  # type: ignore[arg-type]
    await asyncio.gather(*(one.connect() for one in phones))
    return phones


async def test_batches_of_the_same_devices_neither_block_nor_lose(
    nodes: tuple[PostgresStore, PostgresStore],
) -> None:
    phones = await crowd(nodes, 8)
    digests = dict.fromkeys((one.id for one in phones), EMPTY)

    async def write(one: Phone) -> list[f.Send]:
        others = [other.person for other in phones if other is not one]
        sends = [one.send(*others) for _ in range(25)]
        for answer in await asyncio.gather(*(one.submit(send) for send in sends)):
            assert isinstance(answer.reply, f.Sent)
        return sends

    async def read(one: Phone, expected: int) -> None:
        while len(one.rows) < expected:
            # Every other ack without a receipt: its senders are locked out of their turn.
            for row in (await one.fetch()).rows:
                receipts = [one.receipt(row)] if row.position % 2 else []
                acknowledged = await one.ack(row.position, receipts)
                assert not acknowledged.stale

    expected = 25 * (len(phones) - 1)
    async with asyncio.TaskGroup() as group:
        writing = [group.create_task(write(one)) for one in phones]
        for one in phones:
            group.create_task(read(one, expected))
    sent = [task.result() for task in writing]
    written = {send.id for sends in sent for send in sends}
    assert len(written) == 25 * len(phones)
    for one, sends in zip(phones, sent, strict=True):
        assert [row.position for row in one.rows] == list(range(1, expected + 1))
        assert {row.message for row in one.rows} == written - {send.id for send in sends}
        for row in one.rows:
            digests[one.id] = roll(digests[one.id], row.position, row.row_hash)
            assert row.digest == digests[one.id]
        statuses = (await one.fetch(ticks_after=0)).statuses
        assert len(statuses) == len(sends)
        assert {s.state for status in statuses for s in status.devices} == {"delivered"}


@pytest.mark.timeout(600)
async def test_nothing_is_stored_for_a_device_after_its_revocation_was_committed(
    nodes: tuple[PostgresStore, PostgresStore], dsn: str
) -> None:
    senders = (await crowd(nodes, 16))[::2]
    _, there = nodes
    outcomes = {"sent": 0, "refused": 0}

    async def race(sender: Phone, database: "asyncpg.Pool[asyncpg.Record]") -> None:
        person = Person()
        await enrol(there, person)  # type: ignore[arg-type]
        person.add_device()
        await there.change_roster(person.roster, now_ms=NOW)
        tablet = person.devices[1].certificate.device
        send = sender.send(person)
        revoke(person, tablet)
        settled, change = await asyncio.gather(
            sender.submit(send), there.change_roster(person.roster, now_ms=NOW)
        )
        assert list(change.revoked) == [tablet]
        assert (
            await database.fetchval("SELECT count(*) FROM envelopes WHERE device = $1", tablet) == 0
        )
        if isinstance(settled.reply, f.Sent):
            outcomes["sent"] += 1
            states = await database.fetchval(
                "SELECT states FROM sends WHERE device = $1 AND sn = $2", sender.id, send.sn
            )
            assert b"revoked" in states
        else:
            assert isinstance(settled.reply, f.Refused)
            assert settled.reply.code == "stale_roster"
            outcomes["refused"] += 1

    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as database:
        for _ in range(RACES // len(senders)):
            await asyncio.gather(*(race(sender, database) for sender in senders))
    assert sum(outcomes.values()) == RACES
    assert min(outcomes.values()) > 0


async def test_of_two_nodes_that_begin_a_session_of_one_device_one_has_it(
    nodes: tuple[PostgresStore, PostgresStore],
) -> None:
    gp, nurse = await crowd(nodes, 2)
    generations: set[int] = set()
    for _ in range(50):
        both = await asyncio.gather(
            *(store.begin_session(gp.greeting(), now_ms=NOW) for store in nodes)
        )
        starts = [start for start in both if isinstance(start, SessionStart)]
        assert len({start.generation for start in starts}) == 2
        generations.update(start.generation for start in starts)
        sends = []
        for store, start in zip(nodes, starts, strict=True):
            twin = Phone(store, gp.certificate, gp.person, start.generation, gp.sn)  # type: ignore[arg-type]
            sends.append(twin.submit(twin.send(nurse.person)))
        answers = [answer.reply for answer in await asyncio.gather(*sends)]
        assert [type(reply) for reply in answers if reply is not None] == [f.Sent]
        gp.sn += 1
    assert len(generations) == 100
    assert [row.position for row in (await nurse.fetch()).rows] == list(range(1, 51))


async def test_a_restore_that_many_devices_tell_of_at_once_begins_one_epoch(
    nodes: tuple[PostgresStore, PostgresStore],
) -> None:
    phones = await crowd(nodes, 6)
    before = await nodes[0].epoch()
    for one in phones:
        # They saw positions that this database never gave: it must be an older copy.
        one.position, one.digest = 5, bytes([7]) * 32
    starts = await asyncio.gather(*(one.connect(NOW + 5) for one in phones))
    after = await nodes[0].epoch()
    assert after != before
    assert {start.epoch for start in starts} == {after}
    assert sum(start.epoch_changed for start in starts) == 1
    assert all(start.restored_since == NOW + 5 for start in starts)
    one, other = phones[:2]
    assert isinstance((await one.submit(one.send(other.person))).reply, f.Sent)
