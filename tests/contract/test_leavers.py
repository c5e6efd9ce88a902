"""The contract of `storage.organisations` about own people who have left the directory: access that is left ends."""

import pytest
from sqlalchemy import insert, select

from miss_protocol.errors import Code
from miss_server.storage.audit import administrator
from miss_server.storage.departures import Cause
from miss_server.storage.organisation_tables import administrators, organisation_people
from miss_server.storage.organisations import DevicesEnded, Ended, OwnPerson
from miss_server.storage.schema import accounts
from tests.contract.test_accounts import enrolment
from tests.contract.test_departures import GRACE, enrolled, suspended, sweep
from tests.contract.test_own_people import actions, attest, chief, end, page, states
from tests.support.devices import DAY_MS, NOW, Person, address
from tests.support.in_force import Store, put_in_force
from tests.support.organisations import (
    AIDE,
    ELSEWHERE,
    FILES,
    HOME,
    MAILBOXED,
    NUMBERED,
    NURSE,
    OTHER_HOME,
    PEOPLE,
    SECRETARY,
    STRANGER,
    code_for,
    name,
    person,
    refusal,
)
from tests.support.searching import Bench, load_all


async def without(store: Store, *gone: str) -> None:
    """Put in force a directory that has these people no more."""
    await put_in_force(store, [one for one in PEOPLE if one.person not in gone], FILES)


@pytest.mark.parametrize("whom", [AIDE, MAILBOXED, NUMBERED])
@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize("swept", [False, True])
async def test_access_of_who_has_left_ends_at_once(
    store: Store, whom: str, *, acted: bool, swept: bool
) -> None:
    doctor = await chief(store)
    aide = await enrolled(store, whom)
    if acted:
        await attest(store, doctor, whom)
    await without(store, whom)
    if swept:
        assert (await sweep(store, NOW)).begun == (aide.account,)
    assert await page(store, doctor) == [OwnPerson(whom, "enrolled", aide.account)]
    assert [device for device, _ in (await end(store, doctor, whom)).sessions] == [
        aide.device.certificate.device
    ]
    assert await suspended(store, aide.account)
    assert "attest" in await store.why_suspended(aide.account)
    assert (await actions(store, whom))[-1] == (
        *(administrator(doctor.account), "attestation_ended"),
    )
    assert await states(store, doctor) == {whom: "ended"}
    assert await end(store, doctor, whom) == Ended()
    for _ in range(2):
        assert (await sweep(store, NOW)).cancelled == ()
        assert await suspended(store, aide.account)


async def test_who_comes_back_into_the_directory_waits_until_somebody_vouches(store: Store) -> None:
    doctor = await chief(store)
    aide = await enrolled(store, AIDE)
    await without(store, AIDE)
    await sweep(store, NOW)
    await end(store, doctor, AIDE)
    await put_in_force(store, PEOPLE, FILES)
    await sweep(store, NOW)
    assert [one.cause for one in await store.departures()] == [Cause.UNATTESTED]
    assert await suspended(store, aide.account)
    await attest(store, doctor, AIDE)
    assert not await suspended(store, aide.account)
    assert await store.departures() == []


async def test_to_be_struck_off_the_list_as_well_is_no_way_back(store: Store) -> None:
    doctor = await chief(store)
    aide = await enrolled(store, AIDE)
    await end(store, doctor, AIDE)
    await without(store, AIDE)
    swept = await sweep(store, NOW)
    assert (swept.begun, swept.cancelled) == ((aide.account,), ())
    assert await suspended(store, aide.account)


async def test_a_grace_goes_on_when_the_entry_goes_as_well(store: Store) -> None:
    doctor, nurse = await chief(store), await enrolled(store, NURSE)
    aide = await enrolled(store, AIDE)
    await store.attest(nurse.account, AIDE, most=9, now_ms=NOW)
    await end(store, doctor, AIDE)
    await store.withdraw_attestation(nurse.account, AIDE, now_ms=NOW)
    assert (await sweep(store, NOW)).begun == (aide.account,)
    await without(store, AIDE)
    later = NOW + 9 * DAY_MS
    assert (await sweep(store, later)).begun == (aide.account,)
    due = {one.cause: one.due_ms for one in await store.departures(aide.account)}
    assert due == {Cause.UNATTESTED: NOW + GRACE, Cause.LEFT: later + GRACE}
    assert (await sweep(store, NOW + GRACE)).suspended == (aide.account,)


async def test_who_is_attested_after_all_has_left_only(store: Store) -> None:
    """Their attester was leaving, and came back when they had left themselves."""
    doctor, nurse = await chief(store), await enrolled(store, NURSE)
    aide = await enrolled(store, AIDE)
    await store.attest(nurse.account, AIDE, most=9, now_ms=NOW)
    await without(store, NURSE)
    assert (await sweep(store, NOW)).begun == (nurse.account,)
    await end(store, doctor, AIDE)
    assert await suspended(store, aide.account)
    await without(store, AIDE)
    await sweep(store, NOW)
    assert not await store.departures(nurse.account)
    await sweep(store, NOW)
    assert [one.cause for one in await store.departures()] == [Cause.LEFT]
    assert not await suspended(store, aide.account)
    assert await end(store, doctor, AIDE) == Ended()  # the nurse vouches
    await store.withdraw_attestation(nurse.account, AIDE, now_ms=NOW)
    assert (await end(store, doctor, AIDE)).sessions


async def test_codes_and_devices_of_who_has_left_end(store: Store) -> None:
    doctor = await chief(store)
    aide = await enrolled(store, AIDE)
    made = await code_for(store, doctor, SECRETARY)
    await without(store, AIDE, SECRETARY)
    assert await states(store, doctor) == {AIDE: "enrolled", SECRETARY: "invited"}
    await store.end_codes(doctor.account, HOME, SECRETARY, now_ms=NOW)
    assert await refusal(store.account_of_code(made.code, now_ms=NOW)) is Code.CODE_EXPIRED
    assert await states(store, doctor) == {AIDE: "enrolled", SECRETARY: "ended"}
    device = aide.device.certificate.device
    work = store.end_devices(doctor.account, HOME, AIDE, [device], now_ms=NOW)
    assert await work == DevicesEnded([device], [])
    late = store.end_devices(doctor.account, HOME, AIDE, [device], now_ms=NOW)
    await end(store, doctor, AIDE)
    assert await refusal(late) is Code.NOT_ALLOWED
    for again in (attest(store, doctor, AIDE), code_for(store, doctor, AIDE)):
        assert await refusal(again) is Code.NOT_FOUND  # nobody vouches for who is not listed


async def test_the_operators_code_for_who_has_left_ends_too(store: Store) -> None:
    doctor = await chief(store)
    aide = Person(await store.create(AIDE, "Mme Fictive", address(), now_ms=NOW))
    await store.add_code(aide.account, "CODE", expires_ms=NOW + GRACE, now_ms=NOW)
    await without(store, AIDE)
    assert await end(store, doctor, AIDE) == Ended()
    work = store.enrol(enrolment(aide, "CODE"), now_ms=NOW)
    assert await refusal(work) is Code.CODE_EXPIRED


async def test_of_several_organisations_the_last_ends(store: Store) -> None:
    doctor, stranger = await chief(store), await enrolled(store, STRANGER)
    await name(store, stranger.account, OTHER_HOME)
    aide = await enrolled(store, AIDE)
    await attest(store, doctor, AIDE)
    moved = [one for one in PEOPLE if one.person != AIDE]
    await put_in_force(store, [*moved, person(AIDE, part_of=OTHER_HOME)], FILES)
    await store.attest_own(stranger.account, OTHER_HOME, AIDE, now_ms=NOW + 1)
    await put_in_force(store, moved, FILES, at_ms=NOW + 2)
    assert await end(store, doctor, AIDE) == Ended()
    assert (await actions(store, AIDE))[-1][1] == "link_ended"
    device = aide.device.certificate.device
    work = store.end_devices(doctor.account, HOME, AIDE, [device], now_ms=NOW)
    assert await refusal(work) is Code.NOT_FOUND
    assert not await suspended(store, aide.account)
    assert (await end(store, stranger, AIDE, OTHER_HOME)).sessions


async def test_others_who_have_left_are_nobodys(store: Store) -> None:
    doctor = await chief(store)
    stranger, elsewhere = await enrolled(store, STRANGER), await enrolled(store, ELSEWHERE)
    nurse = await enrolled(store, NURSE)
    await without(store, STRANGER, ELSEWHERE, NURSE)
    await sweep(store, NOW)
    for one in (STRANGER, ELSEWHERE, NURSE):
        assert await refusal(end(store, doctor, one)) is Code.NOT_FOUND
    assert await page(store, doctor) == []
    for who in (stranger, elsewhere, nurse):
        assert not await suspended(store, who.account)


async def test_an_organisation_without_an_administrator_is_given_none_to_keep(store: Store) -> None:
    await chief(store)
    await enrolled(store, ELSEWHERE)
    await without(store, ELSEWHERE)
    kept = await store.read_with(
        lambda connection: connection.execute(select(organisation_people.c.person)).all()
    )
    assert kept == []


def test_an_import_keeps_whose_they_were(bench: Bench) -> None:
    column = "Identifiant national;Identifiant local;Nom;Prénom;Nature;Rattachement\n"
    home, aide = (
        ";HO-1;EHPAD du Beffroi;;organisation;\n",
        "S-13;Quesnimont;Paule;;local.members.ho-1\n",
    )
    members = bench.folder / "members.csv"
    members.write_text(f"{column}{home};{aide}", encoding="utf-8")
    load_all(bench, members)
    organisation, whom = "local.members.ho-1", "local.members.s-13"
    given = {"organisation": organisation, "account": address(), "given_ms": NOW}
    opened = {"address": address(), "person": whom, "name": "", "created_ms": NOW}
    bench.shelf.write(lambda on: on.execute(insert(administrators).values(**given)))
    bench.shelf.write(lambda on: on.execute(insert(accounts).values(**opened)))

    def kept() -> list[tuple[str, str, int | None]]:
        row = organisation_people.c
        asked = select(row.organisation, row.person, row.ended_ms)
        return bench.shelf.read(lambda on: [tuple(one) for one in on.execute(asked)])

    load_all(bench, members)
    assert kept() == []
    members.write_text(f"{column}{home}", encoding="utf-8")
    load_all(bench, members)
    assert kept() == [(organisation, whom, None)]
