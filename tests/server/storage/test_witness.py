"""The witness beside the database: an older copy is noticed at start, and nothing else is."""

import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from unittest.mock import patch

import pytest

from miss_protocol import limits
from miss_protocol.errors import Code, Refused
from miss_protocol.identity import prekeys as prekey
from miss_protocol.ids import DeviceId
from miss_server.storage import witness as witnesses
from miss_server.storage.disk import EXIT_DISK
from miss_server.storage.messages import NotDurable
from miss_server.storage.sqlite.store import SqliteStore, WitnessError, prepare
from miss_server.storage.witness import Witness, beside
from tests.support.devices import DOMAIN, NOW, Person
from tests.support.mailing import Phone, Store, enrol, pair
from tests.support.meeting import LIFTED

LATER = NOW + 60_000


class Served(SqliteStore, Store):
    """The store as what it is: both interfaces."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database without anybody in it."""
    made = tmp_path / "data" / "miss.sqlite"
    prepare(made, domain=DOMAIN, now_ms=NOW)
    return made


@asynccontextmanager
async def life(path: Path, *, restored: bool = False) -> AsyncIterator[Served]:
    """One start of the server until its end; `restored` is what it must find out at its start."""
    store = Served(path)
    assert store.begin_life(now_ms=LATER) is restored
    store.open()
    yield store
    await store.close()


def copy(path: Path, name: str) -> Path:
    """A backup, as made beside a running server."""
    made = path.with_name(name)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(made)) as target:
        source.backup(target)
    return made


def put_back(path: Path, backup: Path) -> None:
    """Restore the database file, and nothing else."""
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    shutil.copy(backup, path)


async def claim(store: SqliteStore, device: DeviceId) -> prekey.SignedPrekey:
    """Take one prekey."""
    return prekey.decode((await store.claim_prekeys([device], now_ms=NOW))[device])


async def test_starts_claims_and_ends_of_one_database_are_no_restore(path: Path) -> None:
    person = Person()
    device = person.device.certificate.device
    async with life(path) as store:
        await enrol(store, person)
        epoch = await store.epoch()
        given = [await claim(store, device)]
    assert beside(path).stat().st_mode & 0o777 == 0o600
    async with life(path) as store:
        given.append(await claim(store, device))
        assert await store.epoch() == epoch
    async with life(path) as store:
        assert await store.count_prekeys(device) == (1, 4)
    assert len({key.id for key in given}) == 2
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, beside(path).name]


async def test_a_copy_of_the_same_life_hands_nothing_out_again(path: Path) -> None:
    person = Person()
    device = person.device.certificate.device
    async with life(path) as store:
        await enrol(store, person)
        backup = copy(path, "backup.sqlite")
        before = await store.epoch()
        first = await claim(store, device)
        assert not first.last_resort
    put_back(path, backup)
    async with life(path, restored=True) as store:
        assert await store.epoch() != before
        assert (await claim(store, device)).last_resort
        account = await store.find(person.account)
        assert account is not None
        assert account.roster_version == 1
    async with life(path) as store:  # told once
        assert (await claim(store, device)).last_resort
    put_back(path, backup)
    async with life(path, restored=True) as store:
        assert (await claim(store, device)).last_resort


async def test_a_copy_of_an_earlier_life_is_noticed_though_nothing_was_handed_out(
    path: Path,
) -> None:
    async with life(path):
        backup = copy(path, "backup.sqlite")
    async with life(path):
        pass
    put_back(path, backup)
    async with life(path, restored=True):
        pass


async def test_a_copy_since_which_nothing_was_handed_out_goes_on(path: Path) -> None:
    person = Person()
    device = person.device.certificate.device
    async with life(path) as store:
        await enrol(store, person)
        first = await claim(store, device)
        backup = copy(path, "backup.sqlite")
        # The last resort is given to many, so it does not count.
        await claim(store, device)
        await claim(store, device)
        later = copy(path, "later.sqlite")
        for _ in range(2):
            assert (await claim(store, device)).last_resort
    put_back(path, later)
    async with life(path) as store:
        assert (await claim(store, device)).last_resort
    put_back(path, backup)
    async with life(path, restored=True) as store:
        assert (await claim(store, device)).last_resort
    assert not first.last_resort


async def test_copies_of_a_line_that_was_given_up_are_older_too(path: Path) -> None:
    person = Person()
    device = person.device.certificate.device
    async with life(path) as store:
        await enrol(store, person)
        early = copy(path, "early.sqlite")
        for _ in range(3):
            await claim(store, device)
        late = copy(path, "late.sqlite")
    put_back(path, early)
    async with life(path, restored=True) as store:
        epochs = {await store.epoch()}
    for backup in (late, early, late):
        put_back(path, backup)
        async with life(path, restored=True) as store:
            epochs.add(await store.epoch())
    assert len({epoch[:4] for epoch in epochs}) == 4  # each a higher number than all before


async def test_a_crash_between_commit_and_witness_is_no_restore(path: Path) -> None:
    person = Person()
    device = person.device.certificate.device
    async with life(path) as store:
        await enrol(store, person)
        stale = beside(path).read_bytes()
        await claim(store, device)
        backup = copy(path, "backup.sqlite")
        witnessed = beside(path).read_bytes()
        await claim(store, device)
    assert stale != witnessed
    beside(path).write_bytes(witnessed)
    async with life(path) as store:
        assert await store.count_prekeys(device) == (1, 4)
    # Before its answer the second key was told to nobody: a copy that still has it may go on.
    beside(path).write_bytes(witnessed)
    put_back(path, backup)
    async with life(path) as store:
        assert await store.count_prekeys(device) == (2, 4)


async def test_an_epoch_that_a_hello_began_is_witnessed(path: Path) -> None:
    async with life(path) as store:
        gp, doctor = await pair(store)
        backup = copy(path, "backup.sqlite")
        doctor.position, doctor.digest = 5, b"\x07" * 32
        await store.begin_session(doctor.greeting(), now_ms=NOW)
        changed = await store.epoch()
    async with life(path) as store:
        assert await store.epoch() == changed
    put_back(path, backup)
    async with life(path, restored=True) as store:
        assert await store.epoch() not in (changed, gp.epoch)


async def test_a_device_that_has_not_heard_of_the_epoch_cannot_bring_keys_back(path: Path) -> None:
    async with life(path) as store:
        _, doctor = await pair(store)
        before = await store.epoch()
        backup = copy(path, "backup.sqlite")
        endpoint = next(d for d in doctor.person.devices if d.certificate.device == doctor.id)
        lost = endpoint.new_prekeys(2, now_ms=NOW)
        await store.add_prekeys(doctor.id, lost, now_ms=NOW)
        for _ in range(5):
            assert not (await claim(store, doctor.id)).last_resort
    put_back(path, backup)
    async with life(path, restored=True) as store:
        with pytest.raises(Refused) as refused:
            await store.add_prekeys(doctor.id, lost, now_ms=NOW)
        assert refused.value.code is Code.PREKEYS_STALE
        assert (await claim(store, doctor.id)).last_resort
        phone = Phone(store, doctor.certificate, doctor.person)
        assert (await phone.connect()).restored_since == LATER
        # Nor by a request that was on its way while it was told.
        for named in (before, b""):
            with pytest.raises(Refused) as refused:
                await store.add_prekeys(doctor.id, lost, epoch=named, now_ms=NOW)
            assert refused.value.code is Code.PREKEYS_STALE
        fresh = endpoint.new_prekeys(1, now_ms=NOW)
        epoch = await store.epoch()
        assert (await store.add_prekeys(doctor.id, fresh, epoch=epoch, now_ms=NOW))[0] == 1
        assert await claim(store, doctor.id) == fresh[0]


async def test_devices_that_a_restore_undid_and_that_are_listed_again(path: Path) -> None:
    person, colleague = Person(), Person()
    async with life(path) as store:
        await enrol(store, person)
        backup = copy(path, "backup.sqlite")
        tablet = person.add_device()
        await store.change_roster(person.roster, now_ms=NOW)
        device = tablet.certificate.device
        lost = tablet.new_prekeys(1, now_ms=NOW)
        await store.add_prekeys(device, lost, now_ms=NOW)
        await enrol(store, colleague)
        taken = [await claim(store, one) for one in (device, colleague.device.certificate.device)]
    assert not any(key.last_resort for key in taken)
    put_back(path, backup)
    async with life(path, restored=True) as store:
        await store.change_roster(person.roster, now_ms=LATER)
        with pytest.raises(Refused) as refused:
            await store.add_prekeys(device, lost, now_ms=LATER)
        assert refused.value.code is Code.PREKEYS_STALE
        for _ in range(2):  # until it shows the epoch: the welcome that told it may get lost
            phone = Phone(store, tablet.certificate, person)
            assert (await phone.connect(LATER)).restored_since == LATER
        phone.epoch = await store.epoch()
        assert (await phone.connect(LATER)).restored_since is None
        assert (await phone.connect(LATER)).restored_since is None
        # An enrolment whose answer was lost is asked again, and finds nothing.
        await enrol(store, colleague, now_ms=LATER)
        assert (await claim(store, colleague.device.certificate.device)).last_resort
        # One that was made well after the restore is nobody's past.
        later = LATER + limits.CLOCK_SKEW_MAX * 1000 + 1
        new = person.add_device(now_ms=later)
        await store.change_roster(person.roster, now_ms=later)
        fresh = new.new_prekeys(1, now_ms=later)
        phone = Phone(store, new.certificate, person)
        begun = await phone.connect(later)
        assert begun.restored_since is None
        added = await store.add_prekeys(phone.id, fresh, epoch=begun.epoch, now_ms=later)
        assert added[0] == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: b"",
        lambda line: line[:-1],
        lambda line: line + b"\n",
        lambda line: line.replace(b" 2 ", b" 1 "),
        lambda line: b"MiSS witness 2" + line[14:],
        lambda line: b"\xff" * len(line),
        lambda line: line[:-3] + (b"00\n" if line[-3:-1] != b"00" else b"01\n"),
    ],
)
async def test_a_damaged_witness_begins_a_new_epoch(
    path: Path, damage: Callable[[bytes], bytes]
) -> None:
    for _ in range(2):
        async with life(path) as store:
            before = await store.epoch()
    line = beside(path).read_bytes()
    assert damage(line) != line
    beside(path).write_bytes(damage(line))
    async with life(path, restored=True) as store:
        assert await store.epoch() != before
    async with life(path):
        pass


async def test_another_databases_witness_is_none_of_ours(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "miss.sqlite"
    prepare(other, domain=DOMAIN, now_ms=NOW)
    async with life(other), life(path):
        pass
    shutil.copy(beside(other), beside(path))
    async with life(path, restored=True):
        pass


async def test_a_witness_that_is_missing_means_a_restore_unless_there_never_was_one(
    path: Path,
) -> None:
    async with life(path) as store:
        before = await store.epoch()
    beside(path).unlink()
    async with life(path, restored=True) as store:
        assert await store.epoch() != before
    assert beside(path).exists()


def test_a_witness_that_cannot_be_read_or_written_stops_the_start(path: Path) -> None:
    store = SqliteStore(path, LIFTED)
    beside(path).mkdir()
    with pytest.raises(WitnessError, match="witness: Is a directory"):
        store.begin_life(now_ms=NOW)
    beside(path).rmdir()
    beside(path).with_name(beside(path).name + ".new").mkdir()
    with pytest.raises(WitnessError, match="witness: Is a directory"):
        store.begin_life(now_ms=NOW)
    beside(path).with_name(beside(path).name + ".new").rmdir()
    assert not store.begin_life(now_ms=NOW)


def test_the_first_start_may_fail_at_any_point(path: Path) -> None:
    real = Witness.write
    written: list[int] = []

    def fails(self: Witness, now: witnesses.Testimony) -> None:
        written.append(now.count)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        real(self, now)

    with patch.object(Witness, "write", fails), pytest.raises(WitnessError, match="No space"):
        SqliteStore(path).begin_life(now_ms=NOW)
    assert written == [0, 1]
    assert not SqliteStore(path).begin_life(now_ms=NOW)


async def test_what_cannot_be_witnessed_is_not_answered(path: Path) -> None:
    person = Person()
    device = person.device.certificate.device
    async with life(path) as store:
        await enrol(store, person)
        in_the_way = beside(path).with_name(beside(path).name + ".new")
        in_the_way.mkdir()
        with pytest.raises(NotDurable):
            await store.claim_prekeys([device], now_ms=NOW)
        assert await store.count_prekeys(device) == (2, 4)  # lost, and never used twice
        assert (await store.heads([device])) == {device: (0, 0, 0)}
        in_the_way.rmdir()
        assert not (await claim(store, device)).last_resort
    async with life(path) as store:
        assert await store.count_prekeys(device) == (1, 4)


async def test_a_disk_that_fails_under_the_witness_ends_the_process(path: Path) -> None:
    ended: list[int] = []

    class Ended(BaseException):
        pass

    def end(status: int) -> None:
        ended.append(status)
        raise Ended

    witness = Witness(beside(path), b"secret")
    now = witnesses.Testimony(bytes(16), 1)
    with (
        patch.object(os, "fsync", side_effect=OSError(5, "Input/output error")),
        pytest.raises(witnesses.FsyncFailed),
    ):
        witness.write(now)
    store = SqliteStore(path, LIFTED)
    store._writer.witness = witness
    with (
        patch.object(os, "_exit", end),
        patch.object(os, "fsync", side_effect=OSError(5, "Input/output error")),
        pytest.raises(Ended),
    ):
        store._writer._tell_witness(now, [])
    assert ended == [EXIT_DISK]


def test_written_in_part_is_not_written(path: Path) -> None:
    witness = Witness(beside(path), b"secret")
    now = witnesses.Testimony(bytes(16), 1)
    witness.write(now)
    with patch.object(os, "write", return_value=3), pytest.raises(OSError, match="in part"):
        witness.write(witnesses.Testimony(bytes(16), 2))
    assert witness.read() == now
