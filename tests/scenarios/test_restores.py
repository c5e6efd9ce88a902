"""Real servers whose database file is put back to an older copy: no one-time prekey goes out twice."""

import pytest

from miss_protocol import api
from miss_protocol.identity import prekeys
from tests.support.server import ServerProcess
from tests.support.wire import Device, code_of, enrolled, now_ms

CLAIM = "/v1/prekeys/claim"


async def claim(device: Device, *targets: Device) -> dict[bytes, prekeys.SignedPrekey]:
    """Claim a prekey of each device."""
    call = api.PrekeysClaimed(tuple(target.id for target in targets))
    answer = await device.result("POST", CLAIM, call, api.Prekeys)
    return {one.device: prekeys.decode(one.prekey) for one in answer.prekeys}


def all_last_resort(claimed: dict[bytes, prekeys.SignedPrekey], *devices: Device) -> bool:
    """Whether each device can be written to, by a prekey that is for everybody."""
    return claimed.keys() == {device.id for device in devices} and all(
        key.last_resort for key in claimed.values()
    )


def fresh(device: Device, count: int) -> api.PrekeysUploaded:
    """New prekeys of a device."""
    keys = device.person.devices[device.index].new_prekeys(count, now_ms=now_ms())
    return api.PrekeysUploaded(tuple(key.encode() for key in keys), device.epoch)


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_no_one_time_prekey_goes_out_twice_over_a_restore(
    server: ServerProcess, end: str
) -> None:
    gp, nurse, doctor = [await enrolled(server) for _ in range(3)]
    backup = await server.backup()
    uploaded = fresh(doctor, 2)
    await doctor.result("POST", "/v1/prekeys", uploaded, api.PrekeyCount)
    once: list[prekeys.SignedPrekey] = []

    async def take(claimer: Device) -> None:
        while (key := (await claim(claimer, doctor)).get(doctor.id)) and not key.last_resort:
            once.append(key)

    await take(gp)
    assert len(once) == 5
    for _ in range(2):  # the same backup may be put back more than once
        await getattr(server, end)()
        await server.put_back(backup)
        assert "older than its witness" in server.log_text()
        # Nobody has said hello yet, and nothing of the lost time is to be had.
        assert all_last_resort(await claim(nurse, doctor, gp), doctor, gp)
        late = await doctor.call("POST", "/v1/prekeys", uploaded)
        assert code_of(late) == "prekeys_stale"
        assert all_last_resort(await claim(nurse, doctor), doctor)
        async with doctor.line() as line:
            welcome = await line.log_in()
            assert isinstance(welcome.restored, int)
            assert welcome.prekeys == 0
        await doctor.result("POST", "/v1/prekeys", fresh(doctor, 2), api.PrekeyCount)
        await take(nurse)
    assert len(once) == len({key.id for key in once}) == len({key.otk for key in once}) == 9


async def test_a_start_without_a_restore_changes_nothing(server: ServerProcess) -> None:
    gp, doctor = await enrolled(server), await enrolled(server)
    first = (await claim(gp, doctor))[doctor.id]
    for end in (server.kill, server.stop, server.kill):
        await end()
        await server.start()
    async with doctor.line() as line:
        assert (await line.log_in()).prekeys == 2
    assert (await claim(gp, doctor))[doctor.id].id != first.id
    assert "new epoch" not in server.log_text()


async def test_a_server_without_its_witness_begins_a_new_epoch(server: ServerProcess) -> None:
    gp, doctor = await enrolled(server), await enrolled(server)
    await server.stop()
    server.witness.unlink()
    await server.start()
    assert "witness='is missing'" in server.log_text()
    assert all_last_resort(await claim(gp, doctor), doctor)


async def test_a_witness_that_cannot_be_written_is_told_at_start(server: ServerProcess) -> None:
    await server.stop()
    server.witness.unlink()
    server.witness.mkdir()
    with pytest.raises(RuntimeError, match="ended with 1") as refused:
        await server.start()
    assert f"{server.witness}: Is a directory" in str(refused.value)
    assert "able to write beside its database" in str(refused.value)
    assert "Traceback" not in str(refused.value)
