"""The contract of `storage.departures`: notice, grace, suspension, and back, on every engine."""

import asyncio

import pytest
from msgspec import structs

from miss_protocol.directory import Entry
from miss_protocol.ids import AccountAddress
from miss_server.storage.departures import STALE_AFTER_MS, Cause, Swept
from miss_server.storage.standing import State
from tests.contract.test_accounts import enrolment
from tests.contract.test_proofs import SHOWN, confirmed
from tests.support.devices import DAY_MS, NOW, Person, address
from tests.support.in_force import Store, put_in_force, source
from tests.support.mailing import phone

GRACE = 30 * DAY_MS
DR, OTHER = "810000000017", "810000000025"


def entry(person: str, **fields: str) -> Entry:
    return Entry(person, "person", f"FICTIF {person[-2:]}", **fields)  # type: ignore[arg-type]


async def enrolled(store: Store, person: str) -> Person:
    """Somebody of the directory with a device."""
    made = Person(await store.create(person, "Dr Fictif", address(), now_ms=NOW))
    await store.add_code(made.account, person, expires_ms=NOW + 1000, now_ms=NOW)
    await store.enrol(enrolment(made, person), now_ms=NOW)
    return made


async def sweep(store: Store, now_ms: int) -> Swept:
    found = await store.find_departures(now_ms=now_ms)
    return await store.note_departures(found, grace_ms=GRACE, now_ms=now_ms)


async def suspended(store: Store, account: AccountAddress) -> bool:
    found = await store.find(account)
    assert found is not None
    return found.suspended


async def test_who_leaves_is_told_then_suspended_and_may_come_back(store: Store) -> None:
    person = await enrolled(store, DR)
    device = phone(store, person)  # type: ignore[arg-type]  # it is both interfaces
    start = await device.connect()
    await put_in_force(store, [entry(DR), entry(OTHER)])
    assert await sweep(store, NOW) == Swept()
    await put_in_force(store, [entry(OTHER)])
    begun = await sweep(store, NOW)
    assert (begun.begun, begun.suspended, begun.devices) == ((person.account,), (), ())
    [told] = await store.departures(person.account)
    assert (told.cause, told.since_ms, told.due_ms) == (Cause.LEFT, NOW, NOW + GRACE)
    assert (told.person, told.name, told.suspended_ms) == (DR, "Dr Fictif", None)
    assert await store.departures() == [told]
    early = NOW + GRACE - 1
    await put_in_force(store, [entry(OTHER)], [source("RPPS", date_ms=early)])
    assert await sweep(store, early) == Swept()
    assert not await suspended(store, person.account)
    late = NOW + GRACE
    over = await sweep(store, late)
    assert (over.suspended, over.devices) == ((person.account,), (device.id,))
    assert await suspended(store, person.account)
    [told] = await store.departures()
    assert told.suspended_ms == late
    record = await store.device(device.id)
    assert record is not None
    assert record.suspended
    [head] = (await store.heads([device.id])).values()
    assert head.generation > start.generation  # a session anywhere ends by that
    assert await sweep(store, late + 1) == Swept()
    await put_in_force(store, [entry(DR)], [source("RPPS", date_ms=late)])
    back = await sweep(store, late + 2)
    assert back.cancelled == (person.account,)
    assert not await suspended(store, person.account)
    assert await store.departures() == []


async def test_who_is_back_before_the_end_stays(store: Store) -> None:
    person = await enrolled(store, DR)
    await put_in_force(store, [entry(OTHER)])
    await sweep(store, NOW)
    await put_in_force(store, [entry(DR)])
    assert (await sweep(store, NOW + 2 * GRACE)).cancelled == (person.account,)
    assert not await suspended(store, person.account)


@pytest.mark.parametrize(
    ("person", "files"),
    [
        (DR, [source("FINESS"), source("MSSANTE")]),
        (DR, [source("RPPS", date_ms=NOW - STALE_AFTER_MS - 1)]),
        (DR, [source("RPPS", since_ms=NOW - STALE_AFTER_MS - 1)]),
        ("bal.0123456789abcdef", [source("RPPS")]),
        ("1599900018/S-12", [source("RPPS"), source("FINESS")]),
        ("3599900018/S-12", [source("RPPS", since_ms=NOW - STALE_AFTER_MS - 1), source("MSSANTE")]),
        ("local.others.7", [source("members", date_ms=NOW - 400 * DAY_MS)]),
    ],
)
async def test_a_source_that_is_missing_or_stands_still_ends_nobodys_access(
    store: Store, person: str, files: list[object]
) -> None:
    await enrolled(store, person)
    assert await sweep(store, NOW) == Swept()  # before the first import
    await put_in_force(store, [entry(OTHER)], files)  # type: ignore[arg-type]
    assert await sweep(store, NOW) == Swept()


async def test_a_source_that_stops_later_does_not_suspend_either(store: Store) -> None:
    person = await enrolled(store, DR)
    await put_in_force(store, [entry(OTHER)])
    await sweep(store, NOW)
    late = NOW + GRACE
    assert await sweep(store, late) == Swept()  # the register is thirty days old
    await put_in_force(store, [entry(OTHER)], [source("RPPS", date_ms=late)])
    assert (await sweep(store, late)).suspended == (person.account,)


async def test_a_local_list_ends_access_however_old_it_is(store: Store) -> None:
    person = await enrolled(store, "local.members.7")
    await put_in_force(store, [entry(OTHER)], [source("members", date_ms=NOW - 400 * DAY_MS)])
    assert (await sweep(store, NOW)).begun == (person.account,)
    assert (await sweep(store, NOW + GRACE)).suspended == (person.account,)


async def test_another_suspension_is_not_lifted_by_coming_back(store: Store) -> None:
    person = await enrolled(store, DR)
    await put_in_force(store, [entry(OTHER)])
    await sweep(store, NOW)
    await store.set_standing(
        person.account, State.SUSPENDED, reason="Fictif.", actor="operator:test", now_ms=NOW
    )
    late = NOW + GRACE
    await put_in_force(store, [entry(OTHER)], [source("RPPS", date_ms=late)])
    assert (await sweep(store, late)).devices == ()
    await put_in_force(store, [entry(DR)], [source("RPPS", date_ms=late)])
    assert (await sweep(store, late)).cancelled == (person.account,)
    assert await suspended(store, person.account)


async def test_coming_back_does_not_stand_for_a_proof_of_identity(store: Store) -> None:
    person = Person()
    secret = await confirmed(store, person, SHOWN)  # type: ignore[arg-type]  # it is every interface
    await store.finish(secret, enrolment(person, ""), now_ms=NOW)
    await put_in_force(store, [entry(OTHER)])
    await sweep(store, NOW)
    late = NOW + GRACE
    assert await store.lapse(before_ms=late, now_ms=late) != []
    await put_in_force(store, [entry(OTHER)], [source("RPPS", date_ms=late)])
    assert (await sweep(store, late)).suspended == (person.account,)
    await put_in_force(store, [entry(SHOWN.person)], [source("RPPS", date_ms=late)])
    assert (await sweep(store, late)).cancelled == (person.account,)
    assert await suspended(store, person.account)
    newer = structs.replace(SHOWN, issued_ms=late)
    secret = await confirmed(store, person, newer, renews=True)  # type: ignore[arg-type]
    await store.finish(secret, None, now_ms=NOW)
    assert not await suspended(store, person.account)


async def test_of_two_causes_the_last_to_end_lifts_the_suspension(store: Store) -> None:
    person = await enrolled(store, DR)
    await store.set_standing(
        person.account, State.SUSPENDED, reason="Fictif.", actor="operator:test", now_ms=NOW
    )
    await put_in_force(store, [entry(OTHER)])
    await sweep(store, NOW)
    late = NOW + GRACE
    await put_in_force(store, [entry(OTHER)], [source("RPPS", date_ms=late)])
    assert (await sweep(store, late)).suspended == (person.account,)
    await store.reinstate(person.account, reason="Levée.", actor="operator:test", now_ms=late)
    assert await suspended(store, person.account)
    await put_in_force(store, [entry(DR)], [source("RPPS", date_ms=late)])
    assert (await sweep(store, late)).cancelled == (person.account,)
    assert not await suspended(store, person.account)


async def test_what_another_directory_has_overtaken_is_not_written(store: Store) -> None:
    await enrolled(store, DR)
    await put_in_force(store, [entry(OTHER)])
    found = await store.find_departures(now_ms=NOW)
    assert found.begin
    await put_in_force(store, [entry(DR)])
    assert await store.note_departures(found, grace_ms=GRACE, now_ms=NOW) == Swept()
    assert await store.departures() == []


async def test_several_nodes_write_it_once(store: Store) -> None:
    people = [await enrolled(store, f"8100000{number:05}") for number in range(5)]
    await put_in_force(store, [entry(OTHER)])
    found = await store.find_departures(now_ms=NOW)
    swept = await asyncio.gather(
        *(store.note_departures(found, grace_ms=GRACE, now_ms=NOW) for _ in range(4))
    )
    begun = [account for one in swept for account in one.begun]
    assert sorted(begun) == sorted(one.account for one in people)


async def test_an_organisation_that_vouched_and_is_gone(store: Store) -> None:
    aide = await enrolled(store, "local.members.7")
    home = Entry("1590000018", "organisation", "EHPAD FICTIF")
    part = entry("local.members.7", part_of=home.person)
    own = [source("members"), source("FINESS")]
    await put_in_force(store, [part, home], own)
    assert await sweep(store, NOW) == Swept()
    await put_in_force(store, [part], own)
    assert (await sweep(store, NOW)).begun == (aide.account,)
    [told] = await store.departures(aide.account)
    assert told.cause is Cause.UNATTESTED
    await put_in_force(store, [part, home], own)
    assert (await sweep(store, NOW)).cancelled == (aide.account,)


@pytest.mark.parametrize("person", ["local.members.7", "bal.0123456789abcdef"])
@pytest.mark.parametrize(
    ("organisation", "name"),
    [("1590000018", "FINESS"), ("3123456789", "MSSANTE"), ("1590000018.ssr", "MSSANTE")],
)
async def test_an_organisation_whose_source_says_nothing_is_not_gone(
    store: Store, person: str, organisation: str, name: str
) -> None:
    aide = await enrolled(store, person)
    listed = [entry(person, part_of=organisation)]
    there = Entry(organisation, "organisation", "EHPAD FICTIF")
    every = [source(one) for one in ("RPPS", "FINESS", "MSSANTE", "members")]
    others = [one for one in every if one.name != name]
    old = NOW - STALE_AFTER_MS - 1
    for files in (others, [*others, source(name, date_ms=old)]):
        await put_in_force(store, listed, files)
        assert await sweep(store, NOW) == Swept()
    await put_in_force(store, [*listed, there], every)
    assert await sweep(store, NOW) == Swept()
    await put_in_force(store, listed, every)
    assert (await sweep(store, NOW)).begun == (aide.account,)
    late = NOW + GRACE
    renewed = [source(one.name, date_ms=late) for one in every]
    await put_in_force(store, listed, [one for one in renewed if one.name != name])
    assert await sweep(store, late) == Swept()
    await put_in_force(store, listed, renewed)
    assert (await sweep(store, late)).suspended == (aide.account,)
