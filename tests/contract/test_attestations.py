"""The contract of `storage.attestations`: who may vouch, for whom, for how many, and what ends with it."""

import asyncio

import pytest

from miss_protocol.directory import Entry
from miss_protocol.errors import Code, Refused
from miss_server.storage.departures import Cause
from tests.contract.test_accounts import code_of, enrolment
from tests.contract.test_departures import DR, GRACE, OTHER, enrolled, entry, suspended, sweep
from tests.support.devices import NOW, Person, address
from tests.support.in_force import Store, put_in_force, source

AIDE, SECOND = "local.members.7", "local.members.8"
MAILBOX = "bal.0123456789abcdef"
WITHIN = "3599900018/S-12"
FILES = [source("RPPS"), source("MSSANTE"), source("FINESS"), source("members")]
HOME = Entry("local.members.ho", "organisation", "EHPAD FICTIF")
PEOPLE = [entry(DR), entry(OTHER), entry(AIDE), entry(SECOND), entry(MAILBOX), entry(WITHIN), HOME]


async def attest(store: Store, by: Person, person: str = AIDE, most: int = 20) -> None:
    await store.attest(by.account, person, most=most, now_ms=NOW)


async def test_an_attestation_is_given_shown_and_withdrawn(store: Store) -> None:
    doctor = await enrolled(store, DR)
    await put_in_force(store, PEOPLE, FILES)
    await attest(store, doctor)
    await attest(store, doctor)
    [one] = await store.attestations_by(doctor.account)
    assert (one.person, one.attester, one.name, one.at_ms, one.holds) == (
        *(AIDE, doctor.account, "Dr Fictif", NOW, True),
    )
    assert await store.attestations_of([AIDE, SECOND]) == [one]
    assert await store.attestations_of([]) == []
    await store.withdraw_attestation(doctor.account, AIDE, now_ms=NOW)
    assert await store.attestations_of([AIDE]) == []
    assert await code_of(store.withdraw_attestation(doctor.account, AIDE, now_ms=NOW)) is (
        Code.NOT_FOUND
    )
    await attest(store, doctor)
    assert len(await store.attestations_by(doctor.account)) == 1


async def test_who_may_not_vouch(store: Store) -> None:
    aide, gone = await enrolled(store, AIDE), await enrolled(store, "810000000033")
    within = await enrolled(store, WITHIN)
    await put_in_force(store, PEOPLE, FILES)
    unknown = Person()
    opened = Person(await store.create(OTHER, "Dr Fictif", address(), now_ms=NOW))
    nameless = Person(await store.create(None, "Dr Fictif", address(), now_ms=NOW))
    for by in (aide, within, gone, unknown, opened, nameless):
        assert await code_of(attest(store, by, SECOND)) is Code.NOT_ALLOWED


@pytest.mark.parametrize("person", [OTHER, HOME.person, "local.members.99", ""])
async def test_who_cannot_be_vouched_for(store: Store, person: str) -> None:
    doctor = await enrolled(store, DR)
    await put_in_force(store, PEOPLE, FILES)
    assert await code_of(attest(store, doctor, person)) is Code.NOT_FOUND


async def test_the_number_is_limited_also_for_calls_at_once(store: Store) -> None:
    doctor = await enrolled(store, DR)
    many = [f"local.members.{number}" for number in range(8)]
    await put_in_force(store, [entry(DR), *map(entry, many)], FILES)
    done = await asyncio.gather(
        *(attest(store, doctor, one, most=3) for one in many), return_exceptions=True
    )
    refused = [one for one in done if isinstance(one, Refused)]
    assert [one.code for one in refused] == [Code.LIMIT_REACHED] * 5
    given = await store.attestations_by(doctor.account)
    assert len(given) == 3
    await store.withdraw_attestation(doctor.account, given[0].person, now_ms=NOW)
    await attest(store, doctor, given[0].person, most=3)


@pytest.mark.parametrize("person", [AIDE, MAILBOX, WITHIN])
async def test_access_ends_with_the_last_attestation(store: Store, person: str) -> None:
    doctor, second, aide = [await enrolled(store, one) for one in (DR, OTHER, person)]
    await put_in_force(store, PEOPLE, FILES)
    await attest(store, doctor, person)
    await attest(store, second, person)
    await store.withdraw_attestation(doctor.account, person, now_ms=NOW)
    assert (await sweep(store, NOW)).begun == ()
    await store.withdraw_attestation(second.account, person, now_ms=NOW)
    assert (await sweep(store, NOW)).begun == (aide.account,)
    [told] = await store.departures(aide.account)
    assert told.cause is Cause.UNATTESTED
    late = NOW + GRACE
    await put_in_force(store, PEOPLE, [source(file.name, date_ms=late) for file in FILES])
    assert (await sweep(store, NOW + GRACE)).suspended == (aide.account,)
    await attest(store, second, person)
    assert (await sweep(store, NOW + GRACE)).cancelled == (aide.account,)
    assert not await suspended(store, aide.account)


@pytest.mark.parametrize("person", [AIDE, MAILBOX, WITHIN])
async def test_who_was_never_vouched_for_is_told_so_until_somebody_does(
    store: Store, person: str
) -> None:
    """That a list or a mailbox names somebody is nobody's word for them."""
    doctor, aide = await enrolled(store, DR), await enrolled(store, person)
    await put_in_force(store, PEOPLE, FILES)
    assert (await sweep(store, NOW)).begun == (aide.account,)
    [told] = await store.departures(aide.account)
    assert (told.cause, told.due_ms) == (Cause.UNATTESTED, NOW + GRACE)
    await attest(store, doctor, person)
    assert (await sweep(store, NOW)).cancelled == (aide.account,)


@pytest.mark.parametrize("person", [AIDE, MAILBOX, WITHIN])
async def test_who_lacks_somebody_who_vouches(store: Store, person: str) -> None:
    doctor = await enrolled(store, DR)
    everybody = [DR, person, HOME.person, "local.members.99"]
    assert await store.lacking(everybody) == set()  # nobody is in the directory yet
    await put_in_force(store, PEOPLE, FILES)
    assert await store.lacking([]) == set()
    assert await store.lacking(everybody) == {person}
    await attest(store, doctor, person)
    assert await store.lacking(everybody) == set()
    await store.withdraw_attestation(doctor.account, person, now_ms=NOW)
    assert await store.lacking(everybody) == {person}
    employed = [entry(person, part_of=HOME.person), HOME]
    await put_in_force(store, employed, FILES)
    assert await store.lacking(everybody) == set()
    await put_in_force(store, employed[:1], FILES)  # the home has closed
    assert await store.lacking(everybody) == {person}


@pytest.mark.parametrize("person", [AIDE, MAILBOX, WITHIN])
async def test_a_code_is_of_no_use_once_nobody_vouches(store: Store, person: str) -> None:
    """For whatever reason: who vouched withdrew, or left, or the home closed."""
    doctor, second = await enrolled(store, DR), await enrolled(store, OTHER)
    await put_in_force(store, PEOPLE, FILES)
    await attest(store, doctor, person)
    await attest(store, second, person)
    aide = Person(await store.create(person, "Mme Fictive", address(), now_ms=NOW))
    await store.add_code(aide.account, "CODE", expires_ms=NOW + GRACE, now_ms=NOW)
    await store.withdraw_attestation(doctor.account, person, now_ms=NOW)
    assert (await store.account_of_code("CODE", now_ms=NOW)).address == aide.account
    await put_in_force(store, [one for one in PEOPLE if one.person != OTHER], FILES)
    assert (await sweep(store, NOW)).begun == (second.account,)
    given = enrolment(aide, "CODE")
    assert await code_of(store.enrol(given, now_ms=NOW)) is Code.NOT_ALLOWED
    await put_in_force(store, [entry(person, part_of=HOME.person), HOME], FILES)
    assert await store.enrol(given, now_ms=NOW) == aide.account
    await put_in_force(store, PEOPLE, FILES)
    assert await store.enrol(given, now_ms=NOW) == aide.account  # a repetition: the sweep's affair


async def test_the_last_who_vouched_ends_a_code_for_good_by_withdrawing(store: Store) -> None:
    doctor, second = await enrolled(store, DR), await enrolled(store, OTHER)
    await put_in_force(store, PEOPLE, FILES)
    for by in (doctor, second):
        await attest(store, by)
    await attest(store, doctor, SECOND)  # who has no account at all
    aide = Person(await store.create(AIDE, "Mme Fictive", address(), now_ms=NOW))
    await store.add_code(aide.account, "CODE", expires_ms=NOW + GRACE, now_ms=NOW)
    for by in (doctor, second):
        await store.account_of_code("CODE", now_ms=NOW)
        await store.withdraw_attestation(by.account, AIDE, now_ms=NOW)
    assert await code_of(store.account_of_code("CODE", now_ms=NOW)) is Code.CODE_EXPIRED
    await attest(store, doctor)
    assert await code_of(store.enrol(enrolment(aide, "CODE"), now_ms=NOW)) is Code.CODE_EXPIRED
    await store.withdraw_attestation(doctor.account, SECOND, now_ms=NOW)


async def test_a_withdrawal_and_an_enrolment_at_once_leave_nobody_let_in_unvouched(
    store: Store,
) -> None:
    doctor = await enrolled(store, DR)
    await put_in_force(store, PEOPLE, FILES)
    await attest(store, doctor)
    aide = Person(await store.create(AIDE, "Mme Fictive", address(), now_ms=NOW))
    await store.add_code(aide.account, "CODE", expires_ms=NOW + GRACE, now_ms=NOW)
    withdrawn, done = await asyncio.gather(
        store.withdraw_attestation(doctor.account, AIDE, now_ms=NOW),
        store.enrol(enrolment(aide, "CODE"), now_ms=NOW),
        return_exceptions=True,
    )
    assert withdrawn is None
    # Either it came first, and a notice follows, or the code was over.
    assert done == aide.account or getattr(done, "code", None) is Code.CODE_EXPIRED
    assert (await sweep(store, NOW)).begun == ((aide.account,) if done == aide.account else ())


async def test_an_attester_who_leaves_takes_the_attestation_along(store: Store) -> None:
    doctor, aide = await enrolled(store, DR), await enrolled(store, AIDE)
    await put_in_force(store, PEOPLE, FILES)
    await attest(store, doctor)
    await put_in_force(store, PEOPLE[1:], FILES)
    assert (await sweep(store, NOW)).begun == (doctor.account,)
    [one] = await store.attestations_of([AIDE])
    assert not one.holds
    assert (await sweep(store, NOW)).begun == (aide.account,)
    assert await code_of(attest(store, doctor, SECOND)) is Code.NOT_ALLOWED
    await put_in_force(store, PEOPLE, FILES)
    assert (await sweep(store, NOW)).cancelled == (doctor.account,)
    assert (await sweep(store, NOW)).cancelled == (aide.account,)
