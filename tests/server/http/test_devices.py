"""A person's devices over HTTP: invited, compared, approved, revoked; rosters by compare-and-swap."""

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx2
import msgspec
import pytest

from miss_protocol import api, limits
from miss_protocol.crypto.endpoint import Endpoint
from miss_protocol.identity import certificate as certificates
from miss_protocol.identity import roster as rosters
from miss_protocol.identity.roster import Roster, RosterEntry
from tests.support.devices import address
from tests.support.hosted import hosted
from tests.support.mailing import revoke
from tests.support.server import ServerProcess
from tests.support.wire import (
    Device,
    charter_signed,
    code_of,
    enrolled,
    further,
    now_ms,
    open_call,
    publish,
    server_info,
)


@pytest.fixture
async def device(standing: ServerProcess) -> Device:
    """The first device of a person."""
    return await enrolled(standing)


async def invitation(device: Device) -> str:
    """An invitation's code."""
    answer = await device.result("POST", "/v1/links/invitations", None, api.LinkInvitation)
    assert now_ms() < answer.expires <= now_ms() + limits.LINK_TTL * 1000
    return answer.code


async def ask(device: Device, code: str, new: Endpoint, name: str = "tablette") -> httpx2.Response:
    """A new device asks to be approved."""
    request = api.LinkRequest(code, new.certificate.encode(), name)
    return await open_call(device.server, "POST", "/v1/links", request)


async def status(device: Device, code: str, new: Endpoint) -> api.LinkStatus:
    """What a new device hears when it asks again."""
    request = api.LinkRequest(code, new.certificate.encode(), "tablette")
    answer = await open_call(device.server, "POST", "/v1/links/status", request)
    assert answer.is_success, answer.content
    return msgspec.json.decode(answer.content, type=api.LinkStatus)


async def propose(device: Device, roster: Roster) -> httpx2.Response:
    """Propose a roster."""
    return await device.call("POST", "/v1/rosters", api.RosterProposed(roster.encode()))


def following(device: Device, *added: Endpoint, approve: bool = False) -> Roster:
    """The roster after the person's newest, with devices added, signed by `device`."""
    return rosters.succeed(
        device.person.roster,
        device.key,
        device.id,
        add=[RosterEntry(one.certificate, "tablette", approve) for one in added],
        now_ms=now_ms(),
    )


async def test_a_new_device_is_invited_approved_and_connects(device: Device) -> None:
    code = await invitation(device)
    new = device.person.make_device()
    shown = await open_call(device.server, "POST", "/v1/links/preview", api.CodeGiven(code.lower()))
    assert shown.json()["account"] == device.person.account
    for _ in range(2):  # the reply was lost: asking again is the same
        assert (await ask(device, code, new)).status_code == 202
    [waiting] = (await device.result("GET", "/v1/links", None, api.PendingLinks)).links
    assert (waiting.certificate, waiting.name) == (new.certificate.encode(), "tablette")
    assert (await status(device, code, new)).rosters == ()
    device.person.roster = following(device, new)
    device.person.devices.append(new)
    assert (await propose(device, device.person.roster)).json() == {"version": 2}
    assert (await propose(device, device.person.roster)).json() == {"version": 2}
    assert (await device.result("GET", "/v1/links", None, api.PendingLinks)).links == ()
    told = await status(device, code, new)
    newest = rosters.verify_chain(told.rosters, account=device.person.account, known=None)
    assert newest.find(new.certificate.device) is not None
    async with Device(device.server, device.person, 1).online() as line:
        await line.caught_up()


async def test_invitations_that_are_unknown_used_or_foreign(device: Device) -> None:
    code, new = await invitation(device), device.person.make_device()
    assert code_of(await ask(device, "WRONG-CODE9", new)) == "code_unknown"
    stranger = await enrolled(device.server)
    assert code_of(await ask(device, code, stranger.person.make_device())) == "untrusted"
    assert (await ask(device, code, new)).status_code == 202
    assert code_of(await ask(device, code, device.person.make_device())) == "code_used"
    assert (await status(device, code, stranger.person.device)).rosters == ()
    assert (await status(device, code, device.person.make_device())).rosters == ()


async def test_an_invitation_past_its_time(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        device = await enrolled(server)
        code, new = await invitation(device), device.person.make_device()
        assert (await ask(device, code, new)).status_code == 202
        server.clock.ahead += limits.LINK_TTL
        assert code_of(await ask(device, code, new)) == "code_expired"
        preview = await open_call(server, "POST", "/v1/links/preview", api.CodeGiven(code))
        assert code_of(preview) == "code_expired"
        server.clock.ahead = 0
        await server.store.clean(now_ms=now_ms() + limits.LINK_TTL * 1000 + 1)
        assert code_of(await ask(device, code, new)) == "code_unknown"


@pytest.mark.parametrize("name", ["\x1b[2Jtablette", "a\nb", "é" * 40])
async def test_a_name_that_no_roster_could_hold(device: Device, name: str) -> None:
    code = await invitation(device)
    answer = await ask(device, code, device.person.make_device(), name)
    assert code_of(answer) == "malformed"


async def test_a_certificate_that_does_not_hold(device: Device) -> None:
    code = await invitation(device)
    forged = replace(device.person.make_device().certificate, created_ms=5).encode()
    for blob, expected in ((forged, "untrusted"), (b"\0\0\0\1", "malformed")):
        for path in ("/v1/links", "/v1/links/status"):
            request = api.LinkRequest(code, blob, "x")
            answer = await open_call(device.server, "POST", path, request)
            assert code_of(answer) == expected


async def test_two_approvals_race_and_one_must_try_again(device: Device) -> None:
    tablet = await further(device, approve=True)
    one, two = device.person.make_device(), device.person.make_device()
    proposals = [following(device, one), following(tablet, two)]
    answers = await asyncio.gather(propose(device, proposals[0]), propose(tablet, proposals[1]))
    codes = sorted("ok" if a.is_success else code_of(a) for a in answers)
    assert codes == ["ok", "roster_conflict"]
    chain = await device.result(
        "GET", f"/v1/accounts/{device.person.account}/rosters?after=2", None, api.Rosters
    )
    [newest] = [rosters.decode(blob) for blob in chain.rosters]
    assert newest.encode() == proposals[0 if answers[0].is_success else 1].encode()


async def test_stale_and_leaping_versions(device: Device) -> None:
    first = following(device, device.person.make_device())
    second = rosters.succeed(first, device.key, device.id, now_ms=now_ms())
    assert code_of(await propose(device, second)) == "roster_conflict"
    assert (await propose(device, first)).is_success
    assert code_of(await propose(device, device.person.roster)) == "roster_conflict"
    other = following(device, device.person.make_device())
    assert code_of(await propose(device, other)) == "roster_conflict"


async def test_who_may_not_change_a_roster(device: Device) -> None:
    tablet = await further(device)  # without the right to approve
    stranger = await enrolled(device.server)
    mine = following(device, device.person.make_device())
    without_right = replace(mine, signer=tablet.id)
    forgeries = [
        (tablet, replace(without_right, signature=mine.signature)),
        (device, replace(mine, signature=bytes(64))),
        (device, replace(mine, previous=bytes(32))),
        (device, replace(mine, account_key=stranger.person.roster.account_key)),
        (stranger, mine),
    ]
    for caller, roster in forgeries:
        assert code_of(await propose(caller, roster)) == "untrusted"
    assert (await propose(device, mine)).is_success


async def test_a_revoked_device_cannot_come_back_nor_propose(device: Device) -> None:
    tablet = await further(device, approve=True)
    comeback = following(tablet, device.person.make_device())
    revoke(device.person, tablet.id)
    await publish(device)
    assert code_of(await propose(tablet, comeback)) == "revoked"
    assert code_of(await propose(device, comeback)) == "roster_conflict"
    again = RosterEntry(tablet.person.devices[1].certificate, "again", True)
    forged = replace(
        device.person.roster,
        version=4,
        previous=device.person.roster.hash,
        entries=tuple(sorted((*device.person.roster.entries, again), key=lambda e: e.device)),
    )
    assert code_of(await propose(device, forged)) == "untrusted"


async def test_a_device_id_that_is_in_use_is_nobody_elses(device: Device) -> None:
    stranger = await enrolled(device.server)
    mine = device.person.make_device()
    copied = certificates.issue(
        mine.signing_key, device.person.account, stranger.id, mine.certificate.olm_key, now_ms()
    )
    taken = rosters.succeed(
        device.person.roster,
        device.key,
        device.id,
        add=[RosterEntry(copied, "x", False)],
        now_ms=now_ms(),
    )
    assert code_of(await propose(device, taken)) == "untrusted"


async def test_the_chain_is_told_from_any_version_with_who_is_dormant(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        device = await enrolled(server)
        await further(device)
        path = f"/v1/accounts/{device.person.account}/rosters"
        asking = await enrolled(server)
        for after, count in ((0, 2), (1, 1), (2, 0), (9, 0)):
            chain = await asking.result("GET", f"{path}?after={after}", None, api.Rosters)
            assert len(chain.rosters) == count
        assert (chain.name, chain.person, chain.attested) == ("Dr Fictif", "", "operator")
        assert chain.dormant == ()
        with pytest.raises(AssertionError):
            await asking.result("GET", f"/v1/accounts/{address()}/rosters", None, api.Rosters)


async def test_a_charter_is_signed_anew_by_a_listed_device(device: Device) -> None:
    shown = (await server_info(device.server)).charter
    signed = charter_signed(device.person, shown)
    for _ in range(2):
        answer = await device.call("POST", "/v1/charter", signed)
        assert answer.json() == {"version": shown.version}
    older = charter_signed(device.person, msgspec.structs.replace(shown, version="1999-1"))
    assert code_of(await device.call("POST", "/v1/charter", older)) == "charter_required"
    tablet = await further(device)
    # Signed by the phone, handed in by the tablet.
    assert code_of(await tablet.call("POST", "/v1/charter", signed)) == "untrusted"
    own = charter_signed(device.person, shown, 1)
    assert (await tablet.call("POST", "/v1/charter", own)).is_success
