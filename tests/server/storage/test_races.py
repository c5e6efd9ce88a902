"""Two transactions at the same thing at once, on PostgreSQL: one of them has it, or neither waits.

The first one has done its work and not yet committed when the second one comes; it is the test that
ends it. On SQLite there is one writer, and the contract suite says the same.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from miss_protocol.digest import EMPTY
from miss_protocol.errors import Code, Refused
from miss_protocol.identity import charter
from miss_protocol.identity import prekeys as prekey
from miss_protocol.identity.roster import Roster, RosterEntry, succeed
from miss_protocol.ids import DeviceId
from miss_server.storage.accounts import Enrolment, RosterChange
from miss_server.storage.schema import envelopes, sends
from miss_server.storage.sql import accounts, devices, endings, epochs, prekeys, rosters
from miss_server.storage.states import RecipientState, decode_states, encode_states
from tests.support.databases import empty_database, opened, outcome, run, until_it_waits
from tests.support.devices import NOW, Person, address
from tests.support.postgres import PostgresProcess


@pytest.fixture
async def engine(postgres: PostgresProcess) -> AsyncIterator[AsyncEngine]:
    """A database with nobody in it."""
    async with empty_database(postgres) as engine:
        yield engine


def enrolling(person: Person, code: str, keys: int = 3) -> Callable[[Connection], object]:
    """Enrols a person's first device, with so many one-time prekeys."""
    first = person.device
    accepted = charter.accept(
        first.signing_key, first.certificate, version="1", text_hash=bytes(32), at_ms=NOW
    )
    given = [*first.new_prekeys(keys, now_ms=NOW), first.new_last_resort(now_ms=NOW)]
    brought = Enrolment(code, person.roster, given, accepted, "test")
    return lambda connection: accounts.enrol(connection, brought, NOW)


def invited(person: Person, code: str) -> Callable[[Connection], None]:
    """Opens an account with a code."""

    def work(connection: Connection) -> None:
        accounts.create(connection, None, "Dr Fictif", person.account, NOW)
        accounts.add_code(connection, person.account, code, NOW + 1000, NOW)

    return work


async def enrolled(engine: AsyncEngine, keys: int = 3) -> Person:
    """Somebody with one device."""
    person = Person()
    await run(engine, invited(person, "CODE" + person.account))
    await run(engine, enrolling(person, "CODE" + person.account, keys))
    return person


def claiming(device: DeviceId) -> Callable[[Connection], prekey.SignedPrekey]:
    """Claims one prekey."""
    return lambda connection: prekey.decode(prekeys.claim(connection, [device])[device])


async def test_the_last_prekey_is_claimed_by_one(engine: AsyncEngine) -> None:
    person = await enrolled(engine, keys=1)
    device = person.device.certificate.device
    async with opened(engine, claiming(device)) as (_, given):
        assert not given.last_resort
        second = await run(engine, claiming(device))
        assert second.last_resort
        # The first one is undone: nobody was told of its key.
    async with opened(engine, claiming(device)) as (first, again):
        assert again == given
        await first.commit()
    assert (await run(engine, claiming(device))).last_resort


async def test_many_claims_at_once_have_a_prekey_each(engine: AsyncEngine) -> None:
    person = await enrolled(engine, keys=100)
    device = person.device.certificate.device
    given = await asyncio.gather(*(run(engine, claiming(device)) for _ in range(120)))
    once = [key.id for key in given if not key.last_resort]
    # One that was being taken by a neighbour is passed over, so a few may be left.
    left, _ = await run(engine, lambda connection: prekeys.count(connection, device))
    assert len(set(once)) == len(once) == 100 - left
    rest = [await run(engine, claiming(device)) for _ in range(left + 1)]
    assert [key.last_resort for key in rest] == [False] * left + [True]
    assert len({key.id for key in rest} | set(once)) == 101


async def test_claims_of_the_same_devices_do_not_wait_in_a_circle(engine: AsyncEngine) -> None:
    people = [await enrolled(engine, keys=20) for _ in range(3)]
    some = [person.device.certificate.device for person in people]

    def claim(order: list[DeviceId], connection: Connection) -> int:
        return len(prekeys.claim(connection, order))

    orders = [some, some[::-1], some[1:] + some[:1]] * 5
    assert await asyncio.gather(*(run(engine, partial(claim, o)) for o in orders)) == [3] * 15


def proposal(person: Person, *, remove: DeviceId | None = None) -> Roster:
    """The next roster, with a device more, or one less."""
    added = [RosterEntry(person.make_device().certificate, "x", False)] if remove is None else []
    return succeed(
        person.roster,
        person.device.signing_key,
        person.device.certificate.device,
        add=added,
        revoke=[remove] if remove is not None else [],
        now_ms=NOW,
    )


def changing(roster: Roster) -> Callable[[Connection], RosterChange]:
    """Changes a roster."""
    return lambda connection: rosters.change(connection, roster, NOW)


@pytest.mark.parametrize("commits", [True, False])
async def test_of_two_rosters_one_is_the_next(engine: AsyncEngine, commits: bool) -> None:
    person = await enrolled(engine)
    async with opened(engine, changing(proposal(person))) as (first, _):
        second = asyncio.ensure_future(outcome(run(engine, changing(proposal(person)))))
        await until_it_waits(engine, second)
        await (first.commit() if commits else first.rollback())
    lost = await second
    if commits:
        assert isinstance(lost, Refused)
        assert lost.code is Code.ROSTER_CONFLICT
    else:
        assert isinstance(lost, RosterChange)
    account = await run(engine, lambda connection: accounts.find(connection, person.account))
    assert account is not None
    assert (account.roster_version, account.devices) == (2, 2)


async def test_the_same_roster_twice_at_once_is_one_change(engine: AsyncEngine) -> None:
    person = await enrolled(engine)
    next_one = proposal(person)
    done = await asyncio.gather(*(run(engine, changing(next_one)) for _ in range(8)))
    assert sorted(len(change.added) for change in done) == [0] * 7 + [1]


async def test_a_send_under_way_holds_up_a_revocation_that_then_sees_it(
    engine: AsyncEngine,
) -> None:
    sender, person = await enrolled(engine), await enrolled(engine)
    tablet = person.add_device().certificate.device
    await run(engine, changing(person.roster))
    gone = proposal(person, remove=tablet)
    from_device = sender.device.certificate.device

    def send(connection: Connection) -> None:
        """What any engine's send holds and writes."""
        connection.execute(
            text("SELECT 1 FROM accounts WHERE address = :a FOR SHARE"), {"a": person.account}
        )
        connection.execute(
            insert(envelopes).values(
                device=tablet,
                position=1,
                row_hash=bytes(32),
                digest=EMPTY,
                sender_account=sender.account,
                sender_device=from_device,
                message=b"m" * 16,
                body=b"body",
                wrap=b"wrap",
                kind="message",
                urgency="normal",
                at_ms=NOW,
                expires_ms=NOW + 1000,
            )
        )
        connection.execute(
            insert(sends).values(
                device=from_device,
                sn=1,
                message=b"m" * 16,
                fingerprint=bytes(32),
                reply=b"",
                states=encode_states([RecipientState(tablet, False, "waiting", NOW)]),
                kind="message",
                open=1,
            )
        )

    async with opened(engine, send) as (first, _):
        revocation = asyncio.ensure_future(run(engine, changing(gone)))
        await until_it_waits(engine, revocation)
        await first.commit()
    change = await revocation
    assert (list(change.revoked), list(change.ring)) == ([tablet], [from_device])

    def look(connection: Connection) -> tuple[int, str, int]:
        waiting = connection.execute(select(func.count()).select_from(envelopes)).scalar_one()
        states, tick = connection.execute(select(sends.c.states, sends.c.tick)).one()
        return waiting, decode_states(states)[0].state, tick

    assert await run(engine, look) == (0, "revoked", 1)


@pytest.mark.parametrize("commits", [True, False])
async def test_a_code_enrols_one_device(engine: AsyncEngine, commits: bool) -> None:
    person = Person()
    thief = Person(person.account)
    await run(engine, invited(person, "CODE"))
    async with opened(engine, enrolling(person, "CODE")) as (first, _):
        second = asyncio.ensure_future(outcome(run(engine, enrolling(thief, "CODE"))))
        await until_it_waits(engine, second)
        await (first.commit() if commits else first.rollback())
    came = await second
    if commits:
        assert isinstance(came, Refused)
        assert came.code is Code.CODE_USED
    else:
        assert came == person.account
    holder = (person if commits else thief).device.certificate.device
    found = await run(engine, lambda connection: devices.find(connection, holder))
    assert found is not None
    account = await run(engine, lambda connection: accounts.find(connection, person.account))
    assert account is not None
    assert account.devices == 1


async def test_a_new_code_waits_for_the_use_of_the_old_one(engine: AsyncEngine) -> None:
    person = Person()
    await run(engine, invited(person, "OLD"))
    async with opened(engine, enrolling(person, "OLD")) as (first, _):
        second = asyncio.ensure_future(
            run(engine, lambda c: accounts.add_code(c, person.account, "NEW", NOW + 1000, NOW))
        )
        await until_it_waits(engine, second)
        await first.commit()
    await second
    used = await outcome(run(engine, lambda c: accounts.account_of_code(c, "OLD", NOW)))
    assert isinstance(used, Refused)
    assert used.code is Code.CODE_USED


@pytest.mark.parametrize("commits", [True, False])
async def test_a_nonce_that_is_replayed_at_once_counts_once(
    engine: AsyncEngine, commits: bool
) -> None:
    person = await enrolled(engine)
    device = person.device.certificate.device

    def use(connection: Connection) -> bool:
        return accounts.use_nonce(connection, device, "nonce", NOW + 1000)

    async with opened(engine, use) as (first, fresh):
        assert fresh
        second = asyncio.ensure_future(run(engine, use))
        await until_it_waits(engine, second)
        await (first.commit() if commits else first.rollback())
    assert await second is not commits


async def test_two_accounts_for_one_person_at_once_are_one(engine: AsyncEngine) -> None:
    def create(connection: Connection) -> str:
        return accounts.create(connection, "810000000017", "Dr Fictif", address(), NOW)

    async with opened(engine, create) as (first, made):
        second = asyncio.ensure_future(run(engine, create))
        await until_it_waits(engine, second)
        await first.commit()
    assert await second == made


async def test_prekeys_on_their_way_do_not_outlive_a_new_epoch(engine: AsyncEngine) -> None:
    person = await enrolled(engine)
    device = person.device.certificate.device
    fresh = person.device.new_prekeys(5, now_ms=NOW)

    def change(connection: Connection) -> bytes:
        epochs.take(connection)
        return epochs.change(connection, NOW, after=1)

    async with opened(engine, lambda c: prekeys.add(c, device, fresh, b"")) as (first, counted):
        assert counted[0] == 8
        second = asyncio.ensure_future(run(engine, change))
        await until_it_waits(engine, second)
        await first.commit()
    await second
    assert (await run(engine, lambda c: prekeys.count(c, device)))[0] == 0
    more = person.device.new_prekeys(1, now_ms=NOW)
    late = await outcome(run(engine, lambda c: prekeys.add(c, device, more, b"")))
    assert isinstance(late, Refused)
    assert late.code is Code.PREKEYS_STALE


async def test_one_node_at_a_time_lets_messages_expire(engine: AsyncEngine) -> None:
    expire = partial(endings.expire, protected={}, now_ms=NOW)
    clean = partial(endings.clean, now_ms=NOW)
    async with opened(engine, lambda c: accounts.use_nonce(c, DeviceId(bytes(16)), "n", 1)) as (
        first,
        _,
    ):
        await first.commit()
    async with opened(engine, lambda connection: expire(connection)):
        assert await run(engine, lambda connection: clean(connection)) == 0
    assert await run(engine, lambda connection: clean(connection)) == 1
