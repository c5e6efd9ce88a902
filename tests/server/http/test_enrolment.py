"""Enrolment over HTTP: codes used once, guesses limited, nothing forged let in."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace

import httpx2
import msgspec
import pytest
from nacl.signing import SigningKey

from miss_protocol import api
from miss_protocol.encoding import pack
from miss_protocol.identity import prekeys
from miss_protocol.identity import roster as rosters
from miss_protocol.identity.roster import RosterEntry
from tests.support.devices import Person, address
from tests.support.server import ServerProcess
from tests.support.wire import (
    Device,
    beside,
    charter_signed,
    code_of,
    enrol_body,
    enrolled,
    json_problem,
    new_account,
    now_ms,
    open_call,
    server_info,
)

PATH = "/v1/enrolment"


async def enrol(
    server: ServerProcess, body: object, address: str = "203.0.113.9"
) -> httpx2.Response:
    """Hand an enrolment in, as from an address behind the operator's proxy."""
    return await open_call(server, "POST", PATH, body, headers={"x-forwarded-for": address})


async def newcomer(server: ServerProcess) -> tuple[Person, api.Enrol]:
    """Somebody with a code, and the enrolment that would be accepted."""
    account, code = await new_account(server)
    person = Person(account)
    return person, await enrol_body(server, person, code)


async def test_a_code_enrols_one_device_and_shows_whose_it_is_before(
    standing: ServerProcess,
) -> None:
    person, body = await newcomer(standing)
    typed = "-".join([body.code[:4].lower(), body.code[4:]]) + " "
    shown = await open_call(standing, "POST", PATH + "/preview", api.CodeGiven(typed))
    preview = msgspec.json.decode(shown.content, type=api.EnrolmentPreview)
    assert (preview.account, preview.name) == (person.account, "Dr Fictif")
    assert preview.charter == (await server_info(standing)).charter
    answer = await enrol(standing, body)
    assert msgspec.json.decode(answer.content, type=api.Enrolled) == api.Enrolled(
        person.account, person.device.certificate.device, 1
    )
    async with Device(standing, person).online() as line:
        await line.caught_up()


async def test_a_lost_reply_costs_no_code_and_nobody_else_may_use_it(
    standing: ServerProcess,
) -> None:
    person, body = await newcomer(standing)
    first = await enrol(standing, body)
    # More often than a code may be used after its end: a repetition is none.
    again = await asyncio.gather(*(enrol(standing, body, "198.51.100.1") for _ in range(22)))
    assert {answer.content for answer in again} == {first.content}
    thief = Person(person.account)
    stolen = await enrol_body(standing, thief, body.code)
    forged = msgspec.structs.replace(stolen, roster=pack(b"\1", b"x"))
    for tried, code, where in (
        (stolen, "code_used", "198.51.100.2"),
        (forged, "malformed", "198.51.100.3"),
    ):
        tries = [code_of(await enrol(standing, tried, where)) for _ in range(21)]
        assert tries == [code] * 20 + ["rate_limited"]
    shown = await open_call(standing, "POST", PATH + "/preview", api.CodeGiven(body.code))
    assert code_of(shown) == "code_used"


async def test_two_devices_racing_for_one_code_make_one_genesis(standing: ServerProcess) -> None:
    account, code = await new_account(standing)
    bodies = [await enrol_body(standing, Person(account), code) for _ in range(4)]
    answers = await asyncio.gather(*(enrol(standing, body) for body in bodies))
    assert sorted(a.status_code for a in answers) == [200, 410, 410, 410]
    assert {code_of(a) for a in answers if not a.is_success} == {"code_used"}


async def test_an_expired_code_and_one_that_a_newer_one_ended(standing: ServerProcess) -> None:
    account, code = await new_account(standing, ttl_ms=-1)
    body = await enrol_body(standing, Person(account), code)
    assert code_of(await enrol(standing, body)) == "code_expired"
    shown = await open_call(standing, "POST", PATH + "/preview", api.CodeGiven(code))
    assert code_of(shown) == "code_expired"


async def test_an_account_that_has_devices_takes_no_second_genesis(
    standing: ServerProcess,
) -> None:
    device = await enrolled(standing)
    code = os.urandom(6).hex().upper()
    async with beside(standing) as store:
        await store.add_code(
            device.person.account, code, expires_ms=now_ms() + 60_000, now_ms=now_ms()
        )
    other = Person(device.person.account)
    answer = await enrol(standing, await enrol_body(standing, other, code))
    assert code_of(answer) == "already_enrolled"


async def several_devices(body: api.Enrol, person: Person, _: api.Charter) -> api.Enrol:
    second = person.make_device()
    entries = [RosterEntry(d.certificate, "x", True) for d in (person.device, second)]
    founded = rosters.found(SigningKey.generate(), person.account, *entries, now_ms=1)
    return msgspec.structs.replace(body, roster=founded.encode())


async def unsigned_genesis(body: api.Enrol, person: Person, _: api.Charter) -> api.Enrol:
    forged = replace(person.roster, signature=bytes(64))
    return msgspec.structs.replace(body, roster=forged.encode())


async def second_version(body: api.Enrol, person: Person, _: api.Charter) -> api.Enrol:
    person.add_device()
    return msgspec.structs.replace(body, roster=person.roster.encode())


async def another_account(body: api.Enrol, person: Person, shown: api.Charter) -> api.Enrol:
    other = Person(address())
    first = other.device
    keys = [first.new_last_resort(now_ms=1)]
    return msgspec.structs.replace(
        body,
        roster=other.roster.encode(),
        prekeys=tuple(key.encode() for key in keys),
        charter=charter_signed(other, shown),
    )


async def anothers_prekeys(body: api.Enrol, person: Person, _: api.Charter) -> api.Enrol:
    keys = [Person().device.new_last_resort(now_ms=1).encode()]
    return msgspec.structs.replace(body, prekeys=tuple(keys))


async def badly_signed_prekeys(body: api.Enrol, person: Person, _: api.Charter) -> api.Enrol:
    forged = [
        replace(prekeys.decode(key), signature=os.urandom(64)).encode() for key in body.prekeys
    ]
    return msgspec.structs.replace(body, prekeys=tuple(forged))


async def no_last_resort(body: api.Enrol, person: Person, _: api.Charter) -> api.Enrol:
    return msgspec.structs.replace(body, prekeys=body.prekeys[:-1])


async def broken_prekeys(body: api.Enrol, person: Person, _: api.Charter) -> api.Enrol:
    return msgspec.structs.replace(body, prekeys=(b"\0\0\0\1", *body.prekeys))


async def broken_roster(body: api.Enrol, person: Person, _: api.Charter) -> api.Enrol:
    return msgspec.structs.replace(body, roster=pack(b"\1", b"x"))


async def older_charter(body: api.Enrol, person: Person, shown: api.Charter) -> api.Enrol:
    older = msgspec.structs.replace(shown, version="1999-1")
    return msgspec.structs.replace(body, charter=charter_signed(person, older))


async def other_charter_text(body: api.Enrol, person: Person, shown: api.Charter) -> api.Enrol:
    other = msgspec.structs.replace(shown, en="I may do as I like.")
    return msgspec.structs.replace(body, charter=charter_signed(person, other))


async def unsigned_charter(body: api.Enrol, person: Person, _: api.Charter) -> api.Enrol:
    return msgspec.structs.replace(
        body, charter=msgspec.structs.replace(body.charter, signature=bytes(64))
    )


async def prekey_id_above_all_numbers(body: api.Enrol, person: Person, _: api.Charter) -> api.Enrol:
    last = prekeys.decode(body.prekeys[-1])
    high = prekeys.issue(
        person.device.signing_key, last.device, 2**63, last.otk, last.pq, last_resort=True
    )
    return msgspec.structs.replace(body, prekeys=(*body.prekeys[:-1], high.encode()))


Forgery = Callable[[api.Enrol, Person, api.Charter], Awaitable[api.Enrol]]


@pytest.mark.parametrize(
    ("forge", "code"),
    [
        (several_devices, "untrusted"),
        (unsigned_genesis, "untrusted"),
        (second_version, "untrusted"),
        (another_account, "untrusted"),
        (anothers_prekeys, "untrusted"),
        (badly_signed_prekeys, "untrusted"),
        (no_last_resort, "untrusted"),
        (broken_prekeys, "malformed"),
        (broken_roster, "malformed"),
        (older_charter, "charter_required"),
        (other_charter_text, "charter_required"),
        (unsigned_charter, "untrusted"),
        (prekey_id_above_all_numbers, "malformed"),
    ],
)
async def test_a_forged_enrolment_is_refused_and_the_code_still_works(
    standing: ServerProcess, forge: Forgery, code: str
) -> None:
    account, given = await new_account(standing)
    person = Person(account)
    founding = person.roster
    good = await enrol_body(standing, person, given)
    shown = (await server_info(standing)).charter
    answer = await enrol(standing, await forge(good, person, shown))
    assert code_of(answer) == code
    person.roster = founding
    assert (await enrol(standing, good)).is_success


async def guess(server: ServerProcess, address: str) -> httpx2.Response:
    return await open_call(
        server,
        "POST",
        PATH + "/preview",
        api.CodeGiven(os.urandom(6).hex()),
        headers={"x-forwarded-for": address},
    )


async def test_guessing_is_limited_by_address_while_everybody_else_there_goes_on(
    server: ServerProcess,
) -> None:
    device = await enrolled(server)
    person, body = await newcomer(server)
    answers = [await guess(server, "192.0.2.1") for _ in range(21)]
    assert {code_of(a) for a in answers[:20]} == {"code_unknown"}
    assert code_of(answers[20]) == "rate_limited"
    assert json_problem(answers[20]).retry_after == 10.0
    # A wrong one is told nothing more from there, on whatever path, and no signature is checked for it.
    link = api.LinkRequest("ABCDEFGHJK", person.device.certificate.encode(), "x")
    unknown = msgspec.structs.replace(body, code="ABCDEFGHJKMN")
    endless = msgspec.structs.replace(unknown, prekeys=body.prekeys[:1])  # no last resort
    for path, call in (
        ("/v1/links", link),
        ("/v1/links/status", link),
        ("/v1/recoveries", endless),
        (PATH, endless),
    ):
        answer = await open_call(
            server, "POST", path, call, headers={"x-forwarded-for": "192.0.2.1"}
        )
        assert code_of(answer) == "rate_limited"
    # The hospital behind the same address works on, and so does everybody elsewhere.
    signed = await device.call("GET", "/v1/prekeys", headers={"x-forwarded-for": "192.0.2.1"})
    assert signed.status_code == 200
    async with device.online() as line:
        await line.ping()
    assert (await enrol(server, body, "192.0.2.1")).is_success
    _, elsewhere = await newcomer(server)
    assert (await enrol(server, elsewhere, "192.0.2.2")).is_success


async def test_a_ward_enrols_while_bots_at_its_address_guess_without_pause(
    server: ServerProcess,
) -> None:
    ward = [await newcomer(server) for _ in range(12)]
    done = asyncio.Event()
    told: list[str] = []

    async def bot() -> None:
        while not done.is_set():
            told.append(code_of(await guess(server, "192.0.2.1")))

    async with asyncio.TaskGroup() as bots:
        for _ in range(8):
            bots.create_task(bot())
        while "rate_limited" not in told:
            await guess(server, "192.0.2.1")
        answers = await asyncio.gather(*(enrol(server, body, "192.0.2.1") for _, body in ward))
        done.set()
    assert {answer.status_code for answer in answers} == {200}
    assert set(told) == {"code_unknown", "rate_limited"}


async def test_a_code_that_is_over_is_worn_out_by_its_bearer_for_nobody_else(
    server: ServerProcess,
) -> None:
    account, old = await new_account(server, ttl_ms=-1)
    late = await enrol_body(server, Person(account), old)
    tries = [code_of(await enrol(server, late, "192.0.2.1")) for _ in range(21)]
    assert tries == ["code_expired"] * 20 + ["rate_limited"]
    _, body = await newcomer(server)
    assert (await enrol(server, body, "192.0.2.1")).is_success
    assert code_of(await guess(server, "192.0.2.1")) == "code_unknown"


async def test_one_subscribers_ipv6_addresses_count_together(server: ServerProcess) -> None:
    answers = [
        await open_call(
            server,
            "POST",
            PATH + "/preview",
            api.CodeGiven("ABCD"),
            headers={"x-forwarded-for": f"2001:db8:1:2::{n:x}"},
        )
        for n in range(21)
    ]
    assert code_of(answers[20]) == "rate_limited"
    other = await open_call(
        server,
        "POST",
        PATH + "/preview",
        api.CodeGiven("ABCD"),
        headers={"x-forwarded-for": "2001:db8:1:3::1"},
    )
    assert code_of(other) == "code_unknown"
