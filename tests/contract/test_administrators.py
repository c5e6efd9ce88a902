"""The contract of `storage.organisations`: who is an administrator, and when they may act."""

import asyncio
import json
from collections.abc import Awaitable, Callable

from miss_protocol.errors import Code
from miss_protocol.ids import DeviceId
from miss_server.storage.audit import account as by_account
from miss_server.storage.standing import State
from tests.contract.test_departures import enrolled, sweep
from tests.support.devices import NOW, Person, address
from tests.support.in_force import Store, put_in_force
from tests.support.organisations import (
    AIDE,
    CLAIRE,
    DOCTOR,
    FILES,
    HOME,
    NURSE,
    OTHER_HOME,
    PEOPLE,
    STRANGER,
    WARD,
    code_for,
    name,
    open_house,
    refusal,
)

Call = Callable[[Store, Person, str], Awaitable[object]]

CALLS: dict[str, Call] = {
    "people": lambda store, by, at: store.own_people(by.account, at, after="", limit=9, now_ms=NOW),
    "attest": lambda store, by, at: store.attest_own(by.account, at, AIDE, now_ms=NOW),
    "end": lambda store, by, at: store.end_own(by.account, at, AIDE, now_ms=NOW),
    "code": lambda store, by, at: code_for(store, by, AIDE, at=at),
    "end codes": lambda store, by, at: store.end_codes(by.account, at, AIDE, now_ms=NOW),
    "devices": lambda store, by, at: store.end_devices(
        by.account, at, AIDE, [DeviceId(bytes(16))], now_ms=NOW
    ),
}


async def refusals(store: Store, by: Person, at: str = HOME) -> set[Code | None]:
    """How every call of an administrator ends."""
    return {await refusal(call(store, by, at)) for call in CALLS.values()}


async def test_the_operator_names_and_removes_administrators(store: Store) -> None:
    await open_house(store)
    doctor, nurse = await enrolled(store, DOCTOR), await enrolled(store, NURSE)
    for first in (True, False):
        given = await store.add_administrator(HOME, doctor.account, actor=CLAIRE, now_ms=NOW)
        assert given is first
    await name(store, doctor.account, WARD)
    await name(store, nurse.account)
    assert await store.administered(doctor.account, most=5, now_ms=NOW) == [(HOME, 5), (WARD, 5)]
    listed = await store.administrators(HOME)
    assert {(one.account, one.acts) for one in listed} == {
        (doctor.account, True),
        (nurse.account, True),
    }
    for first in (True, False):
        gone = await store.remove_administrator(HOME, doctor.account, actor=CLAIRE, now_ms=NOW + 1)
        assert gone is first
    assert await store.administered(doctor.account, most=5, now_ms=NOW) == [(WARD, 5)]
    left = by_account(nurse.account)
    assert await store.remove_administrator(HOME, nurse.account, actor=left, now_ms=NOW + 2)
    # The last one's end is there to be seen.
    assert [(one.removed_ms, one.acts) for one in await store.administrators(HOME)] == [
        (NOW + 1, False) if one.account == doctor.account else (NOW + 2, False) for one in listed
    ]
    await name(store, nurse.account)
    assert sorted(one.acts for one in await store.administrators()) == [False, True, True]
    assert not await store.remove_administrator(HOME, address(), actor=CLAIRE, now_ms=NOW)
    log = await store.audit_entries(subject=nurse.account)
    assert [(one.actor, one.action) for one in log[1:]] == [
        (CLAIRE, "administrator_added"),
        (left, "administrator_removed"),
        (CLAIRE, "administrator_added"),
    ]
    assert json.loads(log[-1].detail) == {"organisation": HOME}


async def test_two_commands_at_once_name_one_administrator(store: Store) -> None:
    await open_house(store)
    doctor = await enrolled(store, DOCTOR)
    named = await asyncio.gather(
        *(store.add_administrator(HOME, doctor.account, actor=CLAIRE, now_ms=NOW) for _ in "ab")
    )
    assert sorted(named) == [False, True]


async def test_who_and_what_cannot_be_named(store: Store) -> None:
    await open_house(store)
    doctor = await enrolled(store, DOCTOR)
    opened = await store.create(NURSE, "Dr Fictif", address(), now_ms=NOW)
    for nowhere in ("1999999999", AIDE, ""):
        assert await refusal(name(store, doctor.account, nowhere)) is Code.NOT_FOUND
    for nobody in (address(), opened):
        assert await refusal(name(store, nobody)) is Code.UNKNOWN_ACCOUNT


async def test_nobody_acts_without_the_role_nor_for_another_organisation(store: Store) -> None:
    await open_house(store)
    doctor, stranger = await enrolled(store, DOCTOR), await enrolled(store, STRANGER)
    await enrolled(store, AIDE)
    await name(store, doctor.account)
    await name(store, stranger.account, OTHER_HOME)
    assert await refusals(store, stranger) == {Code.NOT_ALLOWED}
    assert await refusals(store, doctor, WARD) == {Code.NOT_ALLOWED}  # a service is one of its own
    assert await refusals(store, doctor, "1999999999") == {Code.NOT_ALLOWED}
    assert await store.own_people(doctor.account, HOME, after="", limit=9, now_ms=NOW)


async def test_a_role_that_is_taken_away_is_of_no_use_at_once(store: Store) -> None:
    await open_house(store)
    doctor = await enrolled(store, DOCTOR)
    await name(store, doctor.account)
    made = await code_for(store, doctor, AIDE, request=b"r" * 16)
    await store.remove_administrator(HOME, doctor.account, actor=CLAIRE, now_ms=NOW)
    assert await refusals(store, doctor) == {Code.NOT_ALLOWED}
    again = code_for(store, doctor, AIDE, request=b"r" * 16)
    assert await refusal(again) is Code.NOT_ALLOWED  # nor is what was asked before told again
    assert (
        await store.account_of_code(made.code, now_ms=NOW)
    ).person == AIDE  # what was done stays


async def test_who_is_restricted_or_suspended_does_nothing(store: Store) -> None:
    await open_house(store)
    doctor = await enrolled(store, DOCTOR)
    await name(store, doctor.account)
    for state in State:
        await store.set_standing(doctor.account, state, reason="?", actor=CLAIRE, now_ms=NOW)
        assert await refusals(store, doctor) == {Code.NOT_ALLOWED}
        assert await store.administered(doctor.account, most=5, now_ms=NOW) == []
        assert [one.acts for one in await store.administrators()] == [False]
    await store.reinstate(doctor.account, reason="!", actor=CLAIRE, now_ms=NOW)
    assert await store.administered(doctor.account, most=5, now_ms=NOW) == [(HOME, 5)]


async def test_who_leaves_the_register_does_nothing(store: Store) -> None:
    await open_house(store)
    doctor = await enrolled(store, DOCTOR)
    await name(store, doctor.account)
    await put_in_force(store, [one for one in PEOPLE if one.person != DOCTOR], FILES)
    assert (await sweep(store, NOW)).begun == (doctor.account,)
    assert await refusals(store, doctor) == {Code.NOT_ALLOWED}
    assert [one.acts for one in await store.administrators()] == [False]


async def test_an_organisation_that_left_the_directory_has_nobody_act_for_it(store: Store) -> None:
    await open_house(store)
    doctor = await enrolled(store, DOCTOR)
    await name(store, doctor.account)
    await put_in_force(store, [one for one in PEOPLE if one.person != HOME], FILES)
    assert await refusals(store, doctor) == {Code.NOT_FOUND}
    assert await store.administered(doctor.account, most=5, now_ms=NOW) == []


async def test_somebody_without_a_national_number_may_act(store: Store) -> None:
    await open_house(store)
    aide = await enrolled(store, AIDE)
    await name(store, aide.account)
    assert await store.administered(aide.account, most=5, now_ms=NOW) == [(HOME, 5)]
    assert (
        await refusal(store.attest_own(aide.account, HOME, "local.members.8", now_ms=NOW)) is None
    )
