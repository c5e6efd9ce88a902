"""The contract of `storage.organisations`: codes that administrators issue, and what is told of them."""

import asyncio
import json
from collections import Counter
from dataclasses import replace

import msgspec
from sqlalchemy import Connection, select

from miss_protocol.directory import Place
from miss_protocol.errors import Code, Refused
from miss_server.storage.audit import administrator
from miss_server.storage.code_letters import CODE_ALPHABET, CODE_LENGTH
from miss_server.storage.organisation_tables import issued_codes
from miss_server.storage.organisations import CodeRequest
from miss_server.storage.sql.endings import CODES_KEPT_MS
from tests.contract.test_accounts import enrolment
from tests.contract.test_departures import enrolled
from tests.contract.test_own_people import chief, end, states
from tests.contract.test_recoveries import DUE, begin
from tests.support.devices import DAY_MS, NOW, Person, address
from tests.support.in_force import Store, put_in_force
from tests.support.organisations import (
    AIDE,
    DOCTOR,
    FILES,
    HOME,
    NURSE,
    OTHER_HOME,
    PEOPLE,
    SECRETARY,
    STRANGER,
    TTL_MS,
    WARD,
    code_for,
    name,
    person,
    refusal,
)

REQUEST = b"request-" * 2


async def test_a_code_enrols_and_tells_whose_it_was(store: Store) -> None:
    doctor = await chief(store)
    made = await code_for(store, doctor, NURSE)
    assert (made.person, made.name, made.expires_ms) == (NURSE, "FICTIF 25", NOW + TTL_MS)
    assert len(made.code) == CODE_LENGTH
    assert set(made.code) <= set(CODE_ALPHABET)
    opened = await store.account_of_code(made.code, now_ms=NOW)
    assert (opened.person, opened.name) == (NURSE, "FICTIF 25")
    nurse = Person(opened.address)
    await store.enrol(enrolment(nurse, made.code), now_ms=NOW)
    assert await store.enrolled_by(nurse.account) == HOME
    assert await store.enrolled_by(doctor.account) == ""
    [entry, *_] = await store.audit_entries(subject=nurse.account)
    assert (entry.actor, entry.action) == (administrator(doctor.account), "code_made")
    assert json.loads(entry.detail) == {"expires_ms": NOW + TTL_MS, "organisation": HOME}
    assert made.code not in entry.detail


async def test_the_same_request_gives_the_same_code_and_no_second_one(store: Store) -> None:
    doctor = await chief(store)
    made = [await code_for(store, doctor, AIDE, request=REQUEST, now_ms=NOW + n) for n in (0, 5)]
    at_once = await asyncio.gather(
        *(code_for(store, doctor, AIDE, request=REQUEST) for _ in range(4))
    )
    assert made[0] == made[1] == at_once[0]
    assert len({one.code for one in at_once}) == 1
    entries = await store.audit_entries()
    assert Counter(one.action for one in entries)["code_made"] == 2  # the doctor's own, and this
    assert await store.administered(doctor.account, most=9, now_ms=NOW) == [(HOME, 8)]
    another = await code_for(store, doctor, AIDE)
    assert another.code != made[0].code
    assert await refusal(store.account_of_code(made[0].code, now_ms=NOW)) is Code.CODE_EXPIRED


async def test_a_request_id_is_one_requests_of_one_administrator(store: Store) -> None:
    doctor = await chief(store)
    nurse = await enrolled(store, NURSE)
    await name(store, nurse.account)
    await name(store, doctor.account, WARD)
    made = await code_for(store, doctor, AIDE, request=REQUEST)
    other = code_for(store, doctor, SECRETARY, request=REQUEST)
    assert await refusal(other) is Code.OUT_OF_PLACE
    theirs = await code_for(store, nurse, SECRETARY, request=REQUEST)
    assert theirs.code != made.code


async def test_a_repetition_too_late_gives_nothing_that_could_be_used(store: Store) -> None:
    doctor = await chief(store)
    made = await code_for(store, doctor, AIDE, request=REQUEST)
    late = code_for(store, doctor, AIDE, request=REQUEST, now_ms=NOW + TTL_MS)
    assert await refusal(late) is Code.CODE_EXPIRED
    aide = Person((await store.account_of_code(made.code, now_ms=NOW)).address)
    await store.enrol(enrolment(aide, made.code), now_ms=NOW)
    assert await refusal(code_for(store, doctor, AIDE, request=REQUEST)) is Code.CODE_USED
    assert await refusal(code_for(store, doctor, AIDE)) is Code.ALREADY_ENROLLED


async def test_only_unused_codes_of_the_organisation_are_ended(store: Store) -> None:
    doctor = await chief(store)

    async def end_codes(whom: str) -> Code | None:
        return await refusal(store.end_codes(doctor.account, HOME, whom, now_ms=NOW))

    assert await end_codes(NURSE) is Code.NOT_FOUND  # who is a stranger to it until it issues one
    await code_for(store, doctor, NURSE)
    by_operator = await store.create(NURSE, "Dr Fictif", address(), now_ms=NOW)
    await store.add_code(by_operator, "OPERATORS", expires_ms=NOW + 9, now_ms=NOW)
    assert await end_codes(NURSE) is None
    assert (await store.account_of_code("OPERATORS", now_ms=NOW)).person == NURSE
    made = await code_for(store, doctor, AIDE)
    for _ in range(2):
        assert await end_codes(AIDE) is None
    assert await refusal(store.account_of_code(made.code, now_ms=NOW)) is Code.CODE_EXPIRED
    assert await states(store, doctor) == {AIDE: "uninvited", NURSE: "uninvited"}
    assert await end_codes(SECRETARY) is None  # who never had one
    ended = [one for one in await store.audit_entries() if one.action == "code_ended"]
    assert [one.actor for one in ended] == [administrator(doctor.account)]


async def test_two_establishments_of_one_professional_do_not_end_each_others_codes(
    store: Store,
) -> None:
    doctor = await chief(store)
    stranger = await enrolled(store, STRANGER)
    await name(store, stranger.account, OTHER_HOME)
    both = (Place(establishment=HOME), Place(establishment=OTHER_HOME))
    shared = msgspec.structs.replace(person(NURSE), places=both)
    await put_in_force(store, [one for one in PEOPLE if one.person != NURSE] + [shared], FILES)
    first = await code_for(store, doctor, NURSE)
    theirs = await code_for(store, stranger, NURSE, at=OTHER_HOME)
    again = await code_for(store, doctor, NURSE)
    assert await refusal(store.account_of_code(first.code, now_ms=NOW)) is Code.CODE_EXPIRED
    nurse = Person((await store.account_of_code(theirs.code, now_ms=NOW)).address)
    await store.enrol(enrolment(nurse, theirs.code), now_ms=NOW)
    assert await store.enrolled_by(nurse.account) == OTHER_HOME
    late = store.enrol(enrolment(Person(nurse.account), again.code), now_ms=NOW)
    assert await refusal(late) is Code.ALREADY_ENROLLED
    assert await store.enrolled_by(nurse.account) == OTHER_HOME


async def test_codes_of_a_day_are_counted_for_the_organisation(store: Store) -> None:
    doctor = await chief(store)
    nurse = await enrolled(store, NURSE)
    await name(store, nurse.account)
    done = await asyncio.gather(
        *(code_for(store, by, AIDE, most=3) for by in (doctor, nurse) * 3), return_exceptions=True
    )
    refused = [one for one in done if isinstance(one, Refused)]
    assert [(one.code, one.retry_after) for one in refused] == [(Code.RATE_LIMITED, 86_400.0)] * 3
    assert await store.administered(nurse.account, most=3, now_ms=NOW) == [(HOME, 0)]
    early, late = NOW + DAY_MS - 1, NOW + DAY_MS
    assert await refusal(code_for(store, doctor, AIDE, most=3, now_ms=early)) is Code.RATE_LIMITED
    assert await refusal(code_for(store, doctor, AIDE, most=3, now_ms=late)) is None
    assert await refusal(code_for(store, doctor, AIDE, most=0, now_ms=late)) is Code.RATE_LIMITED
    none = CodeRequest(doctor.account, WARD, AIDE, REQUEST, address())
    assert await refusal(store.issue_code(none, ttl_ms=1, most=0, now_ms=NOW)) is Code.NOT_ALLOWED


async def test_with_none_allowed_the_first_is_refused_for_a_day(store: Store) -> None:
    doctor = await chief(store)
    wanted = CodeRequest(doctor.account, HOME, AIDE, REQUEST, address())
    for most in (0, 1):
        refused = await refusal(store.issue_code(wanted, ttl_ms=TTL_MS, most=most, now_ms=NOW))
        assert refused is (None if most else Code.RATE_LIMITED)
    assert await refusal(
        store.issue_code(replace(wanted, request=bytes(16)), ttl_ms=1, most=1, now_ms=NOW - 9)
    ) is (Code.RATE_LIMITED)


async def test_a_code_makes_who_was_ended_one_of_its_people_again(store: Store) -> None:
    doctor = await chief(store)
    await end(store, doctor, AIDE)
    await code_for(store, doctor, AIDE)
    assert await states(store, doctor) == {AIDE: "invited"}
    assert await store.unvouched([AIDE]) == set()
    actions = [one.action for one in await store.audit_entries(subject=AIDE)]
    assert actions == ["attestation_ended", "attestation_made"]


async def test_another_genesis_is_not_the_organisations(store: Store) -> None:
    doctor = await chief(store)
    made = await code_for(store, doctor, NURSE)
    nurse = Person((await store.account_of_code(made.code, now_ms=NOW)).address)
    await store.enrol(enrolment(nurse, made.code), now_ms=NOW)
    await begin(store, nurse)
    assert await store.complete_recoveries(now_ms=DUE)
    assert await store.enrolled_by(nurse.account) == ""
    assert await states(store, doctor) == {NURSE: "enrolled"}


async def test_neither_codes_nor_requests_are_kept(store: Store) -> None:
    doctor = await chief(store)
    made = await code_for(store, doctor, AIDE, request=REQUEST)

    def rows(connection: Connection) -> list[bytes]:
        return [repr(tuple(row)).encode() for row in connection.execute(select(issued_codes))]

    [row] = await store.read_with(rows)
    assert made.code.encode() not in row
    assert repr(REQUEST).encode() not in row
    await store.clean(now_ms=NOW + TTL_MS + CODES_KEPT_MS - 1)
    assert await store.read_with(rows)
    await store.clean(now_ms=NOW + TTL_MS + CODES_KEPT_MS)
    assert not await store.read_with(rows)
    assert DOCTOR not in await states(store, doctor)
