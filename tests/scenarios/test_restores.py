"""Real servers whose database file is put back to an older copy: no one-time prekey goes out twice."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from miss_protocol import api
from miss_protocol.identity import prekeys
from tests.support.server import ServerProcess
from tests.support.wire import Device, code_of, enrolled, now_ms

CLAIM = "/v1/prekeys/claim"


def copied(server: ServerProcess, name: str) -> Path:
    """A backup, as the manual says: beside the running server, the database only."""
    made = server.database.with_name(name)
    with closing(sqlite3.connect(server.database)) as source, closing(sqlite3.connect(made)) as to:
        source.backup(to)
    return made


def put_back(server: ServerProcess, backup: Path) -> None:
    """Restore as the manual says; the server has ended."""
    for suffix in ("-wal", "-shm"):
        server.database.with_name(server.database.name + suffix).unlink(missing_ok=True)
    shutil.copy(backup, server.database)


def witness(server: ServerProcess) -> Path:
    """The file that remembers."""
    return server.database.with_name(server.database.name + ".witness")


async def claim(device: Device, *targets: Device) -> dict[bytes, prekeys.SignedPrekey]:
    """Claim a prekey of each device."""
    call = api.PrekeysClaimed(tuple(target.id for target in targets))
    answer = await device.result("POST", CLAIM, call, api.Prekeys)
    return {one.device: prekeys.decode(one.prekey) for one in answer.prekeys}


def fresh(device: Device, count: int) -> api.PrekeysUploaded:
    """New prekeys of a device."""
    keys = device.person.devices[device.index].new_prekeys(count, now_ms=now_ms())
    return api.PrekeysUploaded(tuple(key.encode() for key in keys), device.epoch)


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_no_one_time_prekey_goes_out_twice_over_a_restore(
    server: ServerProcess, end: str
) -> None:
    gp, nurse, doctor = [await enrolled(server) for _ in range(3)]
    backup = copied(server, "backup.sqlite")
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
        put_back(server, backup)
        await server.start()
        assert "older than its witness" in server.log_text()
        # Nobody has said hello yet, and nothing of the lost time is to be had.
        assert await claim(nurse, doctor, gp) == {}
        late = await doctor.call("POST", "/v1/prekeys", uploaded)
        assert code_of(late) == "prekeys_stale"
        assert await claim(nurse, doctor) == {}
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
    witness(server).unlink()
    await server.start()
    assert "witness='is missing'" in server.log_text()
    assert await claim(gp, doctor) == {}


async def test_a_witness_that_cannot_be_written_is_told_at_start(server: ServerProcess) -> None:
    await server.stop()
    witness(server).unlink()
    witness(server).mkdir()
    with pytest.raises(RuntimeError, match="ended with 1") as refused:
        await server.start()
    assert f"{witness(server)}: Is a directory" in str(refused.value)
    assert "able to write beside its database" in str(refused.value)
    assert "Traceback" not in str(refused.value)
