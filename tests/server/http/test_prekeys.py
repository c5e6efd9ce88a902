"""Prekeys over HTTP: handed out at most once, refilled upwards only, claims limited."""

import asyncio
import os

import pytest

from miss_protocol import api, limits
from miss_protocol.identity import prekeys
from tests.support.mailing import revoke
from tests.support.server import ServerProcess
from tests.support.wire import Device, code_of, enrolled, further, now_ms, publish

PATH = "/v1/prekeys"


@pytest.fixture
async def device(standing: ServerProcess) -> Device:
    """A device with three one-time prekeys and a last resort."""
    return await enrolled(standing)


def fresh(device: Device, count: int, *, last_resort: bool = False) -> api.PrekeysUploaded:
    """New prekeys of a device."""
    endpoint = device.person.devices[device.index]
    keys = endpoint.new_prekeys(count, now_ms=now_ms())
    if last_resort:
        keys = [*keys, endpoint.new_last_resort(now_ms=now_ms())]
    return api.PrekeysUploaded(tuple(key.encode() for key in keys))


async def claim(device: Device, *targets: bytes) -> dict[bytes, prekeys.SignedPrekey]:
    """Claim a prekey of each device."""
    call = api.PrekeysClaimed(targets)
    answer = await device.result("POST", PATH + "/claim", call, api.Prekeys)
    return {one.device: prekeys.decode(one.prekey) for one in answer.prekeys}


async def count(device: Device) -> api.PrekeyCount:
    """How many are left."""
    return await device.result("GET", PATH, None, api.PrekeyCount)


async def test_concurrent_claims_give_each_one_time_prekey_to_one(standing: ServerProcess) -> None:
    target = await enrolled(standing, prekeys=50)
    claimers = [await enrolled(standing) for _ in range(8)]
    claims = [
        claim(claimer, target.id) for claimer in claimers for _ in range(200 // len(claimers))
    ]
    given = [answer[target.id] for answer in await asyncio.gather(*claims)]
    once = [key.id for key in given if not key.last_resort]
    assert len(given) == 200
    assert len(once) == len(set(once)) == 50
    assert {key.id for key in given if key.last_resort} == {51}
    assert (await count(target)).count == 0
    for key in given[:5]:
        key.verify(target.person.device.certificate)


async def test_a_claim_of_many_devices_leaves_out_what_has_none(device: Device) -> None:
    tablet = await further(device)
    stranger = os.urandom(16)
    claimer = await enrolled(device.server)
    first = await claim(claimer, device.id, tablet.id, stranger, device.id)
    assert first.keys() == {device.id}
    uploaded = await tablet.result("POST", PATH, fresh(tablet, 1), api.PrekeyCount)
    assert uploaded.count == 1
    assert (await claim(claimer, tablet.id)).keys() == {tablet.id}
    assert (await claim(claimer, tablet.id)) == {}
    revoke(device.person, tablet.id)
    await publish(device)
    assert (await claim(claimer, tablet.id)) == {}


async def test_ids_only_rise_and_a_repeated_upload_adds_nothing(device: Device) -> None:
    before = await count(device)
    upload = fresh(device, 2, last_resort=True)
    after = await device.result("POST", PATH, upload, api.PrekeyCount)
    assert (after.count, after.highest) == (before.count + 2, before.highest + 3)
    claimer = await enrolled(device.server)
    for _ in range(after.count):
        await claim(claimer, device.id)
    again = await device.result("POST", PATH, upload, api.PrekeyCount)
    assert (again.count, again.highest) == (0, after.highest)
    assert (await claim(claimer, device.id))[device.id].last_resort


async def test_prekeys_that_are_stale_forged_or_too_many(device: Device) -> None:
    endpoint = device.person.device
    [key] = endpoint.new_prekeys(1, now_ms=now_ms())
    low = prekeys.issue(device.key, device.id, 1, key.otk, key.pq, last_resort=False)
    high = prekeys.issue(device.key, device.id, 2**53, key.otk, key.pq, last_resort=False)
    other = (await enrolled(device.server)).person.device.new_prekeys(1, now_ms=now_ms())[0]
    swapped = prekeys.SignedPrekey(key.device, key.id, other.otk, key.pq, False, key.signature)
    mixed = (key.encode(), low.encode())
    for keys, code in (
        ((low.encode(),), "prekeys_stale"),
        (mixed, "prekeys_stale"),
        ((key.encode(), key.encode()), "malformed"),
        ((high.encode(),), "malformed"),
        ((b"prekey",), "malformed"),
        ((key.encode(),) * (limits.PREKEYS_UPLOADED + 2), "malformed"),
        ((other.encode(),), "untrusted"),
        ((swapped.encode(),), "untrusted"),
    ):
        answer = await device.call("POST", PATH, api.PrekeysUploaded(keys))
        assert code_of(answer) == code
    assert (await device.result("POST", PATH, api.PrekeysUploaded(()), api.PrekeyCount)).count == 3


async def test_nobody_can_exhaust_a_device(standing: ServerProcess) -> None:
    target = await enrolled(standing, prekeys=40)
    greedy, patient = await enrolled(standing), await enrolled(standing)
    for _ in range(limits.PREKEY_CLAIMS_PER_HOUR):
        assert (await claim(greedy, target.id)).keys() == {target.id}
    refused = await greedy.call("POST", PATH + "/claim", api.PrekeysClaimed((target.id,)))
    assert code_of(refused) == "rate_limited"
    assert refused.headers["retry-after"] == "60"
    # The same account's other device is the same account.
    second = await further(greedy)
    refused = await second.call("POST", PATH + "/claim", api.PrekeysClaimed((target.id,)))
    assert code_of(refused) == "rate_limited"
    assert not (await claim(patient, target.id))[target.id].last_resort
