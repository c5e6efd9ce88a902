"""Everything at once on two nodes of one PostgreSQL: nobody waits in a circle, and the sums hold."""

import asyncio
import random

from sqlalchemy import Connection, text

from miss_protocol import frames as f
from miss_protocol.identity.roster import RosterEntry, succeed
from miss_protocol.meeting import Act
from miss_server.storage.messages import ROW_OVERHEAD
from miss_server.storage.postgres.store import PostgresStore
from tests.support.devices import NOW, Person
from tests.support.mailing import Phone, enrol, phone
from tests.support.postgres import PostgresProcess
from tests.support.stores import prepared

SENDS = 15
LATER = NOW + 61_000
_SUMS = text(
    "SELECT m.waiting, m.bytes, count(e.id), coalesce(sum(CASE WHEN e.gap IS NULL THEN"
    " length(e.body) + length(e.wrap) + :overhead ELSE 0 END), 0)"
    " FROM mailboxes m LEFT JOIN envelopes e ON e.device = m.device GROUP BY m.device"
)


async def write_and_read(one: Phone, people: list[Person], draw: random.Random) -> int:
    """Send to others while their rosters change, and read; returns how many were taken."""
    taken = 0
    for _ in range(SENDS):
        others = draw.sample([person for person in people if person is not one.person], 3)
        answer = await one.submit(one.send(*others, ttl=draw.choice((60, 3600))))
        taken += isinstance(answer.reply, f.Sent)
        if (await one.fetch()).rows:
            await one.ack(one.position)
    return taken


async def come_and_go(store: PostgresStore, person: Person) -> None:
    """A second device of a person is listed and removed again."""
    first = person.device
    by = first.signing_key, first.certificate.device
    if person.devices[1:]:
        gone = person.devices[1]
        next_one = succeed(person.roster, *by, revoke=[gone.certificate.device], now_ms=NOW)
        await store.change_roster(next_one, now_ms=NOW)
        person.devices.remove(gone)
    else:
        new = person.make_device()
        entry = RosterEntry(new.certificate, "x", False)
        next_one = succeed(person.roster, *by, add=[entry], now_ms=NOW)
        await store.change_roster(next_one, now_ms=NOW)
        person.devices.append(new)
    person.roster = next_one


async def make_up_its_mind(store: PostgresStore, people: list[Person], draw: random.Random) -> None:
    """Somebody accepts, declines, blocks or takes it back, also who is written to just now."""
    own, other = draw.sample(people, 2)
    what: Act = draw.choice(("accept", "decline", "block", "unblock"))
    await store.act(own.account, other.account, what, now_ms=NOW)


async def keep_house(store: PostgresStore, people: list[Person]) -> None:
    """What a node does by the clock, and what strangers ask for."""
    await store.expire(protected={}, now_ms=LATER)
    await store.clean(now_ms=NOW)
    ids = [device.certificate.device for person in people for device in person.devices]
    await store.note_seen(ids, now_ms=NOW)
    await store.claim_prekeys(ids[::-1], now_ms=NOW)


async def test_nothing_waits_in_a_circle_and_the_sums_hold(postgres: PostgresProcess) -> None:
    options = await prepared(postgres)
    before = len(postgres.log_text())
    nodes = [PostgresStore(options), PostgresStore(options)]
    people = [Person() for _ in range(6)]
    draw = random.Random(7)
    for node in nodes:
        node.open()
    phones: list[Phone] = []
    for number, person in enumerate(people):
        await enrol(nodes[0], person)  # type: ignore[arg-type]  # it is all that is asked of it
        phones.append(phone(nodes[number % 2], person))  # type: ignore[arg-type]
        await phones[-1].connect()
    talking = asyncio.gather(*(write_and_read(one, people, draw) for one in phones))
    while not talking.done():
        # Each on the node where the person's phone is not.
        changing = [
            come_and_go(nodes[n % 2 - 1], person) for n, person in enumerate(people) if n % 3
        ]
        minds = [make_up_its_mind(node, people, draw) for node in nodes]
        await asyncio.gather(*changing, *minds, *(keep_house(node, people) for node in nodes))
        await asyncio.wait({talking}, timeout=0.3)
    assert sum(await talking) > 0

    def sums(connection: Connection) -> list[tuple[int, int, int, int]]:
        return [tuple(row) for row in connection.execute(_SUMS, {"overhead": ROW_OVERHEAD})]

    for waiting, size, rows, held in await nodes[0].read_with(sums):
        assert (waiting, size) == (rows, held)
    for node in nodes:
        await node.close()
    assert "deadlock detected" not in postgres.log_text()[before:]
