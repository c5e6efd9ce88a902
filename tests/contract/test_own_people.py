"""The contract of `storage.organisations`: what administrators see of their people, and what they end."""

import json

import msgspec
import pytest

from miss_protocol import frames as f
from miss_protocol.errors import Code
from miss_protocol.ids import DeviceId
from miss_server.storage.audit import administrator
from miss_server.storage.departures import Cause
from miss_server.storage.organisations import DevicesEnded, Ended, OwnPerson
from miss_server.storage.standing import State
from tests.contract.test_accounts import enrolment
from tests.contract.test_departures import GRACE, enrolled, suspended, sweep
from tests.contract.test_proofs import SHOWN, confirmed
from tests.support.devices import DAY_MS, NOW, Person
from tests.support.in_force import Store, put_in_force
from tests.support.mailing import Phone, phone
from tests.support.organisations import (
    AIDE,
    CLAIRE,
    DOCTOR,
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
    TTL_MS,
    code_for,
    name,
    open_house,
    person,
    refusal,
)

NOT_THEIRS = (ELSEWHERE, STRANGER, OTHER_HOME, "local.members.99", "")
"""An aide and a doctor of another organisation, that one itself, and nobody."""


async def chief(store: Store) -> Person:
    """The doctor, who is the administrator of the home."""
    await open_house(store)
    doctor = await enrolled(store, DOCTOR)
    await name(store, doctor.account)
    return doctor


async def page(store: Store, by: Person, after: str = "", limit: int = 9) -> list[OwnPerson]:
    return await store.own_people(by.account, HOME, after=after, limit=limit, now_ms=NOW)


async def states(store: Store, by: Person) -> dict[str, str]:
    return {one.person: one.state for one in await page(store, by)}


async def end(store: Store, by: Person, whom: str, at: str = HOME) -> Ended:
    return await store.end_own(by.account, at, whom, now_ms=NOW)


async def attest(store: Store, by: Person, whom: str, at: str = HOME) -> None:
    await store.attest_own(by.account, at, whom, now_ms=NOW)


async def actions(store: Store, subject: str) -> list[tuple[str, str]]:
    return [(one.actor, one.action) for one in await store.audit_entries(subject=subject)]


# --- Seeing ---------------------------------------------------------------------------------------


async def test_people_are_listed_with_what_became_of_them(store: Store) -> None:
    doctor = await chief(store)
    aide = await enrolled(store, AIDE)  # by the operator: the list says whose they are
    await enrolled(store, ELSEWHERE)
    await attest(store, doctor, SECRETARY)
    assert await page(store, doctor) == [
        OwnPerson(AIDE, "enrolled", aide.account),
        OwnPerson(SECRETARY, "uninvited"),
    ]
    made = await code_for(store, doctor, SECRETARY)
    await code_for(store, doctor, NURSE)
    assert await page(store, doctor) == [
        OwnPerson(NURSE, "invited", None, NOW + TTL_MS),
        OwnPerson(AIDE, "enrolled", aide.account),
        OwnPerson(SECRETARY, "invited", None, NOW + TTL_MS),
    ]
    late = await store.own_people(doctor.account, HOME, after="", limit=9, now_ms=NOW + TTL_MS)
    assert [one.state for one in late] == ["uninvited", "enrolled", "uninvited"]
    secretary = Person((await store.account_of_code(made.code, now_ms=NOW)).address)
    await store.enrol(enrolment(secretary, made.code), now_ms=NOW)
    await end(store, doctor, AIDE)
    await end(store, doctor, NURSE)
    assert await states(store, doctor) == {AIDE: "ended", SECRETARY: "enrolled", NURSE: "ended"}


async def test_people_come_in_pages(store: Store) -> None:
    doctor = await chief(store)
    many = [f"local.members.{number}" for number in range(100, 112)]
    await put_in_force(store, [*PEOPLE, *(person(one, part_of=HOME) for one in many)], FILES)
    for one in many[::2]:
        await enrolled(store, one)
    for one in many[1::2]:
        await attest(store, doctor, one)
    seen: list[str] = []
    while some := await page(store, doctor, seen[-1] if seen else "", 5):
        assert len(some) <= 5
        seen += [one.person for one in some]
    assert seen == many


async def test_of_who_has_a_number_only_the_organisations_own_code_is_told(store: Store) -> None:
    doctor = await chief(store)
    made = await code_for(store, doctor, NURSE)
    nurse = await enrolled(store, NURSE)  # by the operator's code, which ended the other
    assert await page(store, doctor) == [OwnPerson(NURSE, "uninvited")]
    assert await refusal(code_for(store, doctor, NURSE)) is Code.ALREADY_ENROLLED
    assert await store.enrolled_by(nurse.account) == ""
    assert await refusal(store.account_of_code(made.code, now_ms=NOW)) is Code.CODE_EXPIRED


# --- Vouching -------------------------------------------------------------------------------------


async def test_others_are_out_of_reach(store: Store) -> None:
    doctor = await chief(store)
    for one in (ELSEWHERE, STRANGER):
        await enrolled(store, one)
    for whom in NOT_THEIRS:
        for work in (
            attest(store, doctor, whom),
            end(store, doctor, whom),
            code_for(store, doctor, whom),
            store.end_codes(doctor.account, HOME, whom, now_ms=NOW),
            store.end_devices(doctor.account, HOME, whom, [DeviceId(bytes(16))], now_ms=NOW),
        ):
            assert await refusal(work) is Code.NOT_FOUND
    assert await states(store, doctor) == {}


async def test_nobody_vouches_for_who_has_a_number(store: Store) -> None:
    doctor = await chief(store)
    assert await refusal(attest(store, doctor, NURSE)) is Code.NOT_FOUND


@pytest.mark.parametrize("whom", [AIDE, MAILBOXED, NUMBERED])
async def test_an_end_stops_access_at_once_and_vouching_again_gives_it_back(
    store: Store, whom: str
) -> None:
    doctor = await chief(store)
    aide = await enrolled(store, whom)
    device = phone(store, aide)  # type: ignore[arg-type]  # it is both interfaces
    start = await device.connect()
    ended = await end(store, doctor, whom)
    [(one, generation)] = ended.sessions
    assert one == device.id
    assert generation > start.generation  # a session on any node ends by that
    assert await suspended(store, aide.account)
    assert "attest" in await store.why_suspended(aide.account)
    [left] = await store.departures(aide.account)
    assert (left.cause, left.due_ms, left.suspended_ms) == (Cause.UNATTESTED, NOW, NOW)
    assert await store.unvouched([whom, SECRETARY]) == {(HOME, whom)}
    assert await end(store, doctor, whom) == Ended()
    assert (await sweep(store, NOW)).cancelled == ()  # the operator's list does not bring it back
    assert await suspended(store, aide.account)
    await attest(store, doctor, whom)
    assert not await suspended(store, aide.account)
    assert await store.departures() == []
    assert await store.unvouched([whom]) == set()
    assert (await sweep(store, NOW)).begun == ()
    by = administrator(doctor.account)
    assert await actions(store, whom) == [(by, "attestation_ended"), (by, "attestation_made")]
    assert (await actions(store, aide.account))[1:] == [
        ("server", "departure_begun"),
        ("server", "account_suspended"),
        ("server", "departure_ended"),
        ("server", "account_reinstated"),
    ]
    last = (await store.audit_entries(subject=whom))[-1]
    assert json.loads(last.detail) == {"organisation": HOME}


async def test_no_sign_in_at_a_provider_is_a_way_past_an_end(store: Store) -> None:
    doctor = await chief(store)
    await end(store, doctor, NUMBERED)
    numbered, shown = Person(), msgspec.structs.replace(SHOWN, person=NUMBERED)
    secret = await confirmed(store, numbered, shown)  # type: ignore[arg-type]  # it is every interface
    given = enrolment(numbered, "")
    assert await refusal(store.finish(secret, given, now_ms=NOW)) is Code.NOT_ALLOWED
    await attest(store, doctor, NUMBERED)
    assert await store.finish(secret, given, now_ms=NOW) == numbered.account


async def test_a_grace_that_runs_is_cut_short_by_an_end(store: Store) -> None:
    doctor = await chief(store)
    aide = await enrolled(store, AIDE)
    await put_in_force(store, [one for one in PEOPLE if one.person != HOME], FILES)
    assert (await sweep(store, NOW - DAY_MS)).begun == (aide.account,)
    await open_house(store)  # and the look that would take the notice back has not come yet
    found = await store.find_departures(now_ms=NOW)
    assert (await end(store, doctor, AIDE)).sessions
    await store.note_departures(found, grace_ms=GRACE, now_ms=NOW)
    assert await suspended(store, aide.account)  # a look from before undoes nothing


async def test_who_else_vouches_keeps_access(store: Store) -> None:
    doctor = await chief(store)
    nurse, aide = await enrolled(store, NURSE), await enrolled(store, AIDE)
    await store.attest(nurse.account, AIDE, most=9, now_ms=NOW)
    assert await end(store, doctor, AIDE) == Ended()
    assert not await suspended(store, aide.account)
    assert (await sweep(store, NOW)).begun == ()
    await store.withdraw_attestation(nurse.account, AIDE, now_ms=NOW)
    assert (await sweep(store, NOW)).begun == (aide.account,)
    await store.attest(nurse.account, AIDE, most=9, now_ms=NOW)
    assert (await sweep(store, NOW)).cancelled == (aide.account,)


async def test_another_suspension_stays_when_the_organisation_vouches_again(store: Store) -> None:
    doctor = await chief(store)
    aide = await enrolled(store, AIDE)
    await store.set_standing(aide.account, State.SUSPENDED, reason="?", actor=CLAIRE, now_ms=NOW)
    assert await end(store, doctor, AIDE) == Ended()  # its sessions were over before
    await attest(store, doctor, AIDE)
    assert await suspended(store, aide.account)
    assert await store.departures() == []


async def test_who_went_to_another_organisation_is_its_own(store: Store) -> None:
    doctor = await chief(store)
    aide = await enrolled(store, AIDE)
    await attest(store, doctor, AIDE)
    moved = [one for one in PEOPLE if one.person != AIDE]
    await put_in_force(store, [*moved, person(AIDE, part_of=OTHER_HOME)], FILES)
    assert await states(store, doctor) == {AIDE: "ended"}
    assert await refusal(attest(store, doctor, AIDE)) is Code.NOT_FOUND
    assert await end(store, doctor, AIDE) == Ended()
    assert not await suspended(store, aide.account)
    assert (await sweep(store, NOW)).begun == ()


async def test_ending_what_was_never_begun_leaves_no_code_behind(store: Store) -> None:
    doctor = await chief(store)
    made = await code_for(store, doctor, AIDE)
    await end(store, doctor, AIDE)
    assert await refusal(store.account_of_code(made.code, now_ms=NOW)) is Code.CODE_EXPIRED
    assert await states(store, doctor) == {AIDE: "ended"}
    await end(store, doctor, SECRETARY)  # nor was there an account
    assert await states(store, doctor) == {AIDE: "ended", SECRETARY: "ended"}


async def test_who_has_a_number_keeps_the_account_whatever_an_organisation_ends(
    store: Store,
) -> None:
    doctor = await chief(store)
    made = await code_for(store, doctor, NURSE)
    nurse = Person((await store.account_of_code(made.code, now_ms=NOW)).address)
    await store.enrol(enrolment(nurse, made.code), now_ms=NOW)
    assert await states(store, doctor) == {NURSE: "enrolled"}
    assert await end(store, doctor, NURSE) == Ended()
    assert await states(store, doctor) == {NURSE: "ended"}
    assert await actions(store, NURSE) == [(administrator(doctor.account), "link_ended")]
    assert not await suspended(store, nurse.account)
    assert (await sweep(store, NOW)).begun == ()
    device = nurse.device.certificate.device
    work = store.end_devices(doctor.account, HOME, NURSE, [device], now_ms=NOW)
    assert await refusal(work) is Code.NOT_ALLOWED
    # Whose code it was stays told: else somebody's own doing could be hidden afterwards.
    assert await store.enrolled_by(nurse.account) == HOME


async def test_administrators_do_not_decide_about_each_other(store: Store) -> None:
    doctor = await chief(store)
    aide = await enrolled(store, AIDE)
    await name(store, aide.account)
    device = aide.device.certificate.device
    for by in (doctor, aide):
        for work in (
            end(store, by, AIDE),
            attest(store, by, AIDE),
            store.end_devices(by.account, HOME, AIDE, [device], now_ms=NOW),
        ):
            assert await refusal(work) is Code.NOT_ALLOWED
    await store.remove_administrator(HOME, aide.account, actor=CLAIRE, now_ms=NOW)
    assert (await end(store, doctor, AIDE)).sessions


# --- Devices --------------------------------------------------------------------------------------


async def connected(store: Store, whom: str) -> Phone:
    made = phone(store, await enrolled(store, whom))  # type: ignore[arg-type]
    await made.connect()
    return made


async def test_devices_of_attested_people_are_ended(store: Store) -> None:
    doctor = await chief(store)
    aide, nurse = await connected(store, AIDE), await connected(store, NURSE)
    second = aide.person.add_device()
    await store.change_roster(aide.person.roster, now_ms=NOW)
    assert isinstance((await nurse.submit(nurse.send(aide.person))).reply, f.Sent)
    theirs = [aide.id, second.certificate.device]
    work = store.end_devices(doctor.account, HOME, AIDE, [nurse.id, aide.id], now_ms=NOW)
    assert await refusal(work) is Code.NOT_FOUND
    done = await store.end_devices(doctor.account, HOME, AIDE, [aide.id], now_ms=NOW)
    assert (done.revoked, done.ring) == ([aide.id], [nurse.id])
    again = await store.end_devices(doctor.account, HOME, AIDE, theirs[:1] * 2, now_ms=NOW)
    assert again == DevicesEnded()
    record = await store.device(aide.id)
    assert record is not None
    assert record.revoked
    [status] = (await nurse.fetch()).statuses
    assert {one.device: one.state for one in status.devices}[aide.id] == "revoked"
    # The roster lists it for as long as nobody signs another; senders leave it out.
    chain = await store.rosters(aide.person.account, after=0, now_ms=NOW)
    assert chain is not None
    assert chain.dormant == [aide.id]
    assert await store.ended_devices(aide.person.account) == [aide.id]
    refused = (await nurse.submit(nurse.send(aide.person))).reply
    assert isinstance(refused, f.Refused)
    assert refused.code == "stale_roster"
    [entry] = [e for e in await store.audit_entries() if e.action == "devices_ended"]
    assert entry.subject == aide.person.account
    assert json.loads(entry.detail) == {"devices": [aide.id.hex()], "organisation": HOME}


async def test_devices_of_whom_others_vouch_for_are_not_ended(store: Store) -> None:
    doctor = await chief(store)
    nurse, aide = await enrolled(store, NURSE), await connected(store, AIDE)

    async def by_the_doctor() -> Code | None:
        return await refusal(store.end_devices(doctor.account, HOME, AIDE, [aide.id], now_ms=NOW))

    await store.attest(nurse.account, AIDE, most=9, now_ms=NOW)
    assert await by_the_doctor() is Code.NOT_ALLOWED
    await store.withdraw_attestation(nurse.account, AIDE, now_ms=NOW)
    await end(store, doctor, AIDE)
    assert await by_the_doctor() is Code.NOT_ALLOWED
    await attest(store, doctor, AIDE)
    assert await by_the_doctor() is None
    assert await refusal(
        store.end_devices(doctor.account, HOME, SECRETARY, [aide.id], now_ms=NOW)
    ) is (Code.NOT_ALLOWED)
