"""Rosters brought by a device that a restored server does not know (spec 03-session §6)."""

import time
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from miss_protocol import api, http_signature, limits
from miss_protocol.errors import CloseCode
from miss_protocol.identity import certificate as certificates
from miss_protocol.identity import roster as rosters
from miss_protocol.identity.roster import Roster, RosterEntry
from miss_server.http import throttle
from miss_server.storage.audit import operator
from miss_server.storage.standing import State
from tests.support.devices import NOW, address
from tests.support.hosted import hosted
from tests.support.mailing import revoke
from tests.support.server import ServerProcess
from tests.support.signing import Signing
from tests.support.wire import Device, code_of, enrolled, exchange, further, now_ms, publish


class Replaced:
    """A person whose phone was replaced in the time that a restore undid: the server knows the first
    device and the first roster alone. `lost` are the two that followed."""

    def __init__(self, first: Device) -> None:
        person = first.person
        person.add_device(approve=True)
        self.old, self.new = first, Device(first.server, person, 1)
        listing = person.roster
        person.roster = rosters.succeed(
            listing, self.new.key, self.new.id, revoke=[first.id], now_ms=NOW
        )
        self.lost = (listing, person.roster)


def certificate(device: Device) -> bytes:
    """A device's own certificate."""
    return device.person.devices[device.index].certificate.encode()


async def bring(
    device: Device, roster: Roster, blob: bytes | None = None, how: Signing | None = None
) -> httpx2.Response:
    """Propose a roster, with the device's certificate or `blob`."""
    body = api.RosterProposed(roster.encode(), certificate(device) if blob is None else blob)
    return await device.call("POST", "/v1/rosters", body, signing=how or Signing())


@pytest.fixture
async def replaced(standing: ServerProcess) -> Replaced:
    """Somebody at the standing server."""
    return Replaced(await enrolled(standing))


async def test_it_gives_back_what_was_lost_and_is_known_again(replaced: Replaced) -> None:
    old, new = replaced.old, replaced.new
    async with new.line() as line:
        await line.greet()
        assert await line.closed() == CloseCode.AUTH
    for version, roster in enumerate(replaced.lost, 2):
        for _ in range(2):  # the reply was lost
            assert (await bring(new, roster)).json() == {"version": version}
    async with new.online() as line:
        await line.caught_up()
    assert code_of(await old.call("GET", "/v1/prekeys")) == "revoked"


async def test_a_device_that_only_the_last_of_several_lists(standing: ServerProcess) -> None:
    first = await enrolled(standing)
    chain = []
    for _ in range(3):
        first.person.add_device()
        chain.append(first.person.roster)
    last = Device(standing, first.person, 3)
    assert code_of(await bring(last, chain[1])) == "roster_conflict"
    for roster in chain:
        assert (await bring(last, roster)).is_success
    assert code_of(await bring(last, chain[1])) == "roster_conflict"
    assert (await last.call("GET", "/v1/prekeys")).is_success


async def test_the_same_call_once_more_does_nothing_more(standing: ServerProcess) -> None:
    first = await enrolled(standing)
    first.person.add_device()
    listing = first.person.roster
    first.person.add_device()
    last = Device(standing, first.person, 2)
    body = api.RosterProposed(listing.encode(), certificate(last))
    request = last.request("POST", "/v1/rosters", body)
    for _ in range(2):
        assert (await exchange(request)).json() == {"version": 2}
    assert (await bring(last, first.person.roster)).is_success
    assert code_of(await exchange(request)) == "roster_conflict"


async def test_who_does_not_prove_the_key_of_a_certificate(replaced: Replaced) -> None:
    old, new, roster = replaced.old, replaced.new, replaced.lost[0]
    stranger = await enrolled(old.server)
    made = new.person.make_device()
    olm_key = made.certificate.olm_key
    unopened = certificates.issue(made.signing_key, address(), new.id, olm_key, NOW)
    forged = replace(new.person.devices[1].certificate, created_ms=5).encode()
    for how, blob in (
        (Signing(key=old.key), certificate(new)),
        (Signing(), b""),
        (Signing(), b"\0\0\0\1"),
        (Signing(), forged),
        (Signing(), certificate(stranger)),
        (Signing(key=made.signing_key), certificate(new)),
        (Signing(key=made.signing_key), made.certificate.encode()),
        (Signing(key=made.signing_key), unopened.encode()),
        (Signing(key_id=http_signature.key_id(stranger.id)), certificate(new)),
        (Signing(nonce=""), certificate(new)),
        (Signing(tag=None), certificate(new)),
    ):
        answer = await bring(new, roster, blob, how)
        assert code_of(answer) == "auth_failed"
        assert answer.headers["connection"] == "close"
    early = Signing(created_s=int(time.time()) - limits.CLOCK_SKEW_MAX - 60)
    assert code_of(await bring(new, roster, how=early)) == "clock_skew"
    assert (await bring(new, roster)).is_success


async def test_it_may_make_no_other_call(replaced: Replaced) -> None:
    new = replaced.new
    body = {"certificate": certificate(new), "devices": [], "prekeys": []}
    for method, path in (
        ("POST", "/v1/prekeys"),
        ("POST", "/v1/prekeys/claim"),
        ("GET", "/v1/links"),
    ):
        assert code_of(await new.call(method, path, body)) == "auth_failed"
    invited = f"/v1/accounts/{new.person.account}/rosters"
    assert code_of(await new.call("GET", invited)) == "auth_failed"


async def test_a_stranger_brings_what_the_devices_signed_and_nothing_else(
    replaced: Replaced,
) -> None:
    old, listing = replaced.old, replaced.lost[0]
    impostor = old.person.make_device()
    old.person.devices.append(impostor)
    stranger = Device(old.server, old.person, len(old.person.devices) - 1)
    listed = RosterEntry(impostor.certificate, "x", True)
    entries = sorted((*listing.entries, listed), key=lambda entry: entry.device)
    for forgery in (
        replace(listing, entries=tuple(entries)),
        replace(listing, signer=stranger.id),
        replace(listing, signature=bytes(64)),
        replace(listing, previous=bytes(32)),
    ):
        assert code_of(await bring(stranger, forgery)) == "untrusted"
    other = await enrolled(old.server)
    assert code_of(await bring(stranger, other.person.roster)) == "untrusted"
    assert (await bring(stranger, listing)).is_success
    assert code_of(await stranger.call("GET", "/v1/prekeys")) == "auth_failed"


async def test_a_revoked_device_stays_refused(standing: ServerProcess) -> None:
    first = await enrolled(standing)
    tablet = await further(first, approve=True)
    revoke(first.person, tablet.id)
    await publish(first)
    assert code_of(await bring(tablet, first.person.roster)) == "revoked"


async def test_a_suspended_account_looks_like_none(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        replaced = Replaced(await enrolled(server))
        await server.store.set_standing(
            replaced.new.person.account,
            State.SUSPENDED,
            reason="x",
            actor=operator("claire"),
            now_ms=now_ms(),
        )
        assert code_of(await bring(replaced.new, replaced.lost[0])) == "auth_failed"


async def test_an_address_that_brings_too_many_is_refused_and_no_known_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "INTRODUCTIONS_PER_HOUR", 2)
    async with hosted(tmp_path) as server:
        replaced, other = Replaced(await enrolled(server)), await enrolled(server)
        for _ in range(2):
            assert code_of(await bring(replaced.new, replaced.lost[1])) == "roster_conflict"
        refused = await bring(replaced.new, replaced.lost[0])
        assert code_of(refused) == "rate_limited"
        assert int(refused.headers["retry-after"]) > 0
        await further(other)
