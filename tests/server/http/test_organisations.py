"""What administrators may do over HTTP, with what follows for sessions, senders and contacts."""

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from structlog.testing import capture_logs

from miss_protocol import api
from miss_protocol.account import AccountNotices
from miss_protocol.directory import Entry
from miss_protocol.identity.roster import succeed
from miss_protocol.ids import parse_address
from miss_protocol.organisations import (
    Administered,
    AdministeredList,
    CodeIssued,
    CodeWanted,
    DevicesNamed,
    OrganisationPage,
    PersonOfOrganisation,
)
from tests.support.devices import Person
from tests.support.hosted import Hosted, hosted
from tests.support.in_force import put_in_force
from tests.support.organisations import (
    AIDE,
    CLAIRE,
    DOCTOR,
    ELSEWHERE,
    FILES,
    HOME,
    NURSE,
    OTHER_HOME,
    PEOPLE,
    STRANGER,
    WARD,
    person,
)
from tests.support.wire import (
    Device,
    code_of,
    enrol_body,
    enrolled,
    further,
    now_ms,
    open_call,
    publish,
)

BASE = f"/v1/organisations/{HOME}"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Hosted]:
    """A server whose directory has two establishments; five codes a day."""
    async with hosted(tmp_path, organisation_codes_per_day=5) as running:
        await put_in_force(running.store, PEOPLE, FILES)
        yield running


async def chief(server: Hosted, who: str = DOCTOR, of: str = HOME) -> Device:
    """Somebody who acts for an establishment."""
    device = await enrolled(server, person=who)
    await server.store.add_administrator(of, device.person.account, actor=CLAIRE, now_ms=now_ms())
    return device


async def post(device: Device, path: str, body: object = None, base: str = BASE) -> str:
    """Make a call; returns `done`, or the code of the refusal."""
    answer = await device.call("POST", f"{base}/{path}", body)
    return "done" if answer.is_success else code_of(answer)


async def issue(device: Device, whom: str, request: bytes | None = None) -> CodeIssued:
    body = CodeWanted(whom, request or os.urandom(16))
    return await device.result("POST", f"{BASE}/codes", body, CodeIssued)


async def people(device: Device, cursor: str = "") -> OrganisationPage:
    path = f"{BASE}/people" + (f"?cursor={cursor}" if cursor else "")
    return await device.result("GET", path, None, OrganisationPage)


async def joined(server: Hosted, code: str) -> Device:
    """Whoever holds a code, enrolled with it."""
    preview = await open_call(server, "POST", "/v1/enrolment/preview", api.CodeGiven(code))
    shown = msgspec.json.decode(preview.content, type=api.EnrolmentPreview)
    someone = Person(parse_address(shown.account))
    body = await enrol_body(server, someone, code)
    assert (await open_call(server, "POST", "/v1/enrolment", body)).is_success
    return Device(server, someone)


async def rosters(device: Device, of: Device) -> api.Rosters:
    path = f"/v1/accounts/{of.person.account}/rosters"
    return await device.result("GET", path, None, api.Rosters)


async def test_an_administrator_enrols_people_and_contacts_see_whose_code_it_was(
    server: Hosted,
) -> None:
    doctor = await chief(server)
    listed = await doctor.result("GET", "/v1/organisations", None, AdministeredList)
    assert listed.organisations == (Administered(HOME, "EHPAD 14", 5),)
    request = os.urandom(16)
    made = await issue(doctor, NURSE, request)
    assert (made.person, made.name) == (NURSE, "FICTIF 25")
    assert await issue(doctor, NURSE, request) == made
    await issue(doctor, AIDE)
    assert [(one.person, one.name, one.state) for one in (await people(doctor)).people] == [
        (NURSE, "FICTIF 25", "invited"),
        (AIDE, "FICTIF .7", "invited"),
    ]
    nurse = await joined(server, made.code)
    shown = await rosters(doctor, nurse)
    assert (shown.attested, shown.enrolled_by) == ("operator", "EHPAD 14")
    assert (await rosters(nurse, doctor)).enrolled_by is msgspec.UNSET
    assert await post(doctor, "people/end", PersonOfOrganisation(NURSE)) == "done"
    assert (await rosters(doctor, nurse)).enrolled_by == "EHPAD 14"
    assert (await nurse.call("GET", "/v1/directory?q=fictif")).is_success  # the account stays
    listed = await doctor.result("GET", "/v1/organisations", None, AdministeredList)
    assert [one.left for one in listed.organisations] == [3]


async def test_the_codes_of_a_day_come_to_an_end_with_the_time_to_wait(server: Hosted) -> None:
    doctor = await chief(server)
    for _ in range(5):
        await issue(doctor, AIDE)
    answer = await doctor.call("POST", f"{BASE}/codes", CodeWanted(AIDE, os.urandom(16)))
    assert (answer.status_code, code_of(answer)) == (429, "rate_limited")
    assert 86_000 < float(answer.headers["retry-after"]) <= 86_400
    server.clock.ahead = 86_400
    # The device's own clock is behind now: the store is asked as the call would ask it.
    left = await server.store.administered(
        doctor.person.account, most=5, now_ms=server.clock.now_ms()
    )
    assert left == [(HOME, 5)]


async def test_an_end_closes_the_session_with_the_reason_and_unsays_the_organisation(
    server: Hosted,
) -> None:
    doctor, aide = await chief(server), await enrolled(server, person=AIDE)
    found = await doctor.result("GET", f"/v1/directory/{AIDE}", None, Entry)
    assert (found.part_of, found.attested_by) == (HOME, ("EHPAD 14",))
    async with aide.online() as line:
        assert await post(doctor, "people/end", PersonOfOrganisation(AIDE)) == "done"
        told = await line.error()
        assert (told.code, "attest" in str(told.reason)) == ("suspended", True)
        assert await line.closed() == 4501
    assert code_of(await aide.call("GET", "/v1/account/notices")) == "suspended"
    found = await doctor.result("GET", f"/v1/directory/{AIDE}", None, Entry)
    assert (found.part_of, found.attested_by) == ("", ())
    assert await post(doctor, "people", PersonOfOrganisation(AIDE)) == "done"
    async with aide.online():
        assert [one.state for one in (await people(doctor)).people] == ["enrolled"]


async def test_an_organisation_that_is_gone_vouches_for_nobody(server: Hosted) -> None:
    doctor = await chief(server)
    gone = [one for one in PEOPLE if one.person != HOME]
    await put_in_force(server.store, gone, FILES)
    shown = {
        one: await doctor.result("GET", f"/v1/directory/{one}", None, Entry)
        for one in (AIDE, ELSEWHERE, NURSE)
    }
    assert {one: entry.part_of for one, entry in shown.items()} == {
        AIDE: "",
        ELSEWHERE: OTHER_HOME,
        NURSE: HOME,
    }
    assert shown[AIDE].attested_by == ()
    assert shown[ELSEWHERE].attested_by == ("EHPAD 10",)


async def test_a_device_is_ended_and_senders_leave_it_out(server: Hosted) -> None:
    doctor, aide = await chief(server), await enrolled(server, person=AIDE)
    aide_too = await further(aide)
    named = DevicesNamed(AIDE, (aide_too.id,))
    async with aide_too.online() as line:
        assert await post(doctor, "devices/end", named) == "done"
        assert await line.closed() == 4503
    assert await post(doctor, "devices/end", named) == "done"
    assert code_of(await aide_too.call("GET", "/v1/account/notices")) == "revoked"
    assert (await rosters(doctor, aide)).dormant == (aide_too.id,)
    told = await aide.result("GET", "/v1/account/notices", None, AccountNotices)
    assert told.ended == (aide_too.id,)
    aide.person.roster = succeed(
        aide.person.roster, aide.key, aide.id, revoke=[aide_too.id], now_ms=now_ms()
    )
    await publish(aide)
    told = await aide.result("GET", "/v1/account/notices", None, AccountNotices)
    assert told.ended == ()
    assert (await rosters(doctor, aide)).dormant == ()


async def test_what_is_refused_and_how(server: Hosted) -> None:
    doctor = await chief(server)
    stranger = await chief(server, STRANGER, OTHER_HOME)
    aide, nurse = await enrolled(server, person=AIDE), await enrolled(server, person=NURSE)
    calls: dict[str, Callable[[str], object]] = {
        "people": PersonOfOrganisation,
        "people/end": PersonOfOrganisation,
        "codes/end": PersonOfOrganisation,
        "codes": lambda whom: CodeWanted(whom, bytes(16)),
        "devices/end": lambda whom: DevicesNamed(whom, (bytes(16),)),
    }
    for path, body in calls.items():
        for caller, whom, code in (
            (stranger, AIDE, "not_allowed"),
            (nurse, AIDE, "not_allowed"),
            (doctor, ELSEWHERE, "not_found"),
            (doctor, STRANGER, "not_found"),
            (doctor, "", "malformed"),
            (doctor, "8\0", "malformed"),
        ):
            assert await post(caller, path, body(whom)) == code, (path, whom)
    for base in ("/v1/organisations/x%00", f"/v1/organisations/{'x' * 97}"):
        assert await post(doctor, "people", PersonOfOrganisation(AIDE), base) == "malformed"
    ward = f"/v1/organisations/{WARD}"
    assert await post(doctor, "people", PersonOfOrganisation(AIDE), ward) == "not_allowed"
    assert await post(doctor, "people", PersonOfOrganisation(NURSE)) == "not_found"
    assert await post(doctor, "codes", CodeWanted(NURSE, bytes(16))) == "already_enrolled"
    for whom, device in ((NURSE, nurse), (DOCTOR, doctor)):
        named = DevicesNamed(whom, (device.id,))
        assert await post(doctor, "devices/end", named) == "not_allowed"
    assert await post(doctor, "devices/end", DevicesNamed(AIDE, (nurse.id,))) == "not_found"
    assert await post(doctor, "devices/end", {"person": AIDE, "devices": []}) == "malformed"
    assert await post(doctor, "codes", {"person": AIDE, "request": "AAAA"}) == "malformed"
    for cursor in ("%00", "é", "a" * 999, "AA", "%"):
        answer = await doctor.call("GET", f"{BASE}/people?cursor={quote(cursor)}")
        assert code_of(answer) == "malformed", cursor
    assert (await aide.call("GET", "/v1/account/notices")).is_success


async def test_people_come_in_pages(server: Hosted) -> None:
    doctor = await chief(server)
    many = [f"local.members.{number}" for number in range(1000, 1052)]
    everybody = [*PEOPLE, *(person(one, part_of=HOME) for one in many)]
    await put_in_force(server.store, everybody, FILES)
    for one in many:
        await server.store.attest_own(doctor.person.account, HOME, one, now_ms=now_ms())
    first = await people(doctor)
    assert first.next is not None
    rest = await people(doctor, first.next)
    assert [one.person for one in (*first.people, *rest.people)] == many
    assert rest.next is None


async def test_who_leaves_acts_no_more_and_the_last_one_is_seen(server: Hosted) -> None:
    doctor = await chief(server)
    with capture_logs() as logged:
        for _ in range(2):
            assert await post(doctor, "leave", {}) == "done"
    [warned, *_] = [one for one in logged if one["log_level"] == "warning"]
    assert (warned["event"], warned["organisation"]) == ("nobody acts for an organisation", HOME)
    listed = await doctor.result("GET", "/v1/organisations", None, AdministeredList)
    assert listed.organisations == ()
    assert await post(doctor, "people", PersonOfOrganisation(AIDE)) == "not_allowed"
    [entry] = await server.store.audit_entries(subject=doctor.person.account, after=2)
    assert (entry.actor, entry.action) == (
        f"account:{doctor.person.account}",
        "administrator_removed",
    )
