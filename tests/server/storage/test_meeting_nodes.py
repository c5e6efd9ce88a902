"""Two nodes of one PostgreSQL at the same moment: nothing that people may do once is done twice."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from miss_protocol import frames as f
from miss_server.storage.postgres.store import PostgresStore
from tests.support.devices import NOW, Person
from tests.support.mailing import Phone, enrol, phone
from tests.support.postgres import PostgresProcess
from tests.support.stores import prepared

ROUNDS = 8


@pytest.fixture
async def nodes(postgres: PostgresProcess) -> AsyncIterator[tuple[PostgresStore, PostgresStore]]:
    options = await prepared(postgres)
    stores = PostgresStore(options), PostgresStore(options)
    yield stores
    for store in stores:
        await store.close()


async def people(store: PostgresStore, count: int) -> list[Person]:
    made = [Person() for _ in range(count)]
    for person in made:
        await enrol(store, person)  # type: ignore[arg-type]  # it is all that is asked of it
    return made


async def two_devices(nodes: tuple[PostgresStore, PostgresStore]) -> tuple[Phone, Phone]:
    """Those of one account, each at a node."""
    [gp] = await people(nodes[0], 1)
    gp.add_device()
    await nodes[0].change_roster(gp.roster, now_ms=NOW)
    first, second = (phone(node, gp, index) for index, node in enumerate(nodes))  # type: ignore[arg-type]
    return first, second


async def at_once(*sends: tuple[Phone, f.Send]) -> list[str]:
    """Hand all in at the same moment; the codes, `sent` for none."""
    settled = await asyncio.gather(*(one.submit(send) for one, send in sends))
    return [one.reply.code if isinstance(one.reply, f.Refused) else "sent" for one in settled]


async def test_two_nodes_do_not_both_spend_the_last_of_a_budget(
    nodes: tuple[PostgresStore, PostgresStore],
) -> None:
    first, second = await two_devices(nodes)
    own = first.person.account
    for spent in range(ROUNDS):
        await nodes[0].set_budget(own, (spent + 1, 1000), now_ms=NOW)
        one, other = await people(nodes[1], 2)
        answers = await at_once((first, first.send(one)), (second, second.send(other)))
        assert sorted(answers) == ["budget_spent", "sent"]


async def test_two_nodes_do_not_both_take_the_last_message_before_an_answer(
    nodes: tuple[PostgresStore, PostgresStore],
) -> None:
    first, second = await two_devices(nodes)
    await nodes[0].set_budget(first.person.account, (1000, 1000), now_ms=NOW)
    for person in await people(nodes[1], ROUNDS):
        sends = [(one, one.send(person)) for one in (first, second, first)]
        # In the order of their numbers at each node, and the nodes beside each other.
        answers = await at_once(*sends)
        assert sorted(answers) == ["sent", "sent", "unanswered"]


async def test_a_block_is_in_force_at_every_node_once_it_is_said(
    nodes: tuple[PostgresStore, PostgresStore],
) -> None:
    gp, nurse = await people(nodes[0], 2)
    writer, reader = phone(nodes[0], gp), phone(nodes[1], nurse)  # type: ignore[arg-type]
    await nodes[1].act(nurse.account, gp.account, "accept", now_ms=NOW)
    for _ in range(ROUNDS):
        sends = [writer.send(nurse) for _ in range(3)]
        blocking = nodes[1].act(nurse.account, gp.account, "block", now_ms=NOW)
        await asyncio.gather(blocking, *(writer.submit(send) for send in sends))
        here = len((await reader.fetch()).rows)
        assert await at_once((writer, writer.send(nurse))) == ["sent"]
        assert not (await reader.fetch()).rows
        assert 0 <= here <= 3
        await nodes[1].act(nurse.account, gp.account, "unblock", now_ms=NOW)
