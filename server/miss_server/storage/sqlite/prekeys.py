"""Prekeys: kept, handed out at most once, counted."""

import sqlite3
from collections.abc import Sequence

from miss_protocol.errors import Code, Refused
from miss_protocol.identity.prekeys import SignedPrekey
from miss_protocol.ids import DeviceId
from miss_server.storage.sqlite import epochs, witness

ID_MAX = 2**53 - 1
"""What JSON readers hold exactly; a higher id could never be followed by another."""


def add(
    db: sqlite3.Connection, device: DeviceId, prekeys: Sequence[SignedPrekey], epoch: bytes
) -> tuple[int, int]:
    """Keep prekeys that a device made in the epoch in force, and says so."""
    now = witness.stands(db).epoch
    untouched = not epoch and epochs.number(now) == epochs.FIRST
    if prekeys and epoch != now and not untouched:
        # These may be keys that were handed out in the time that a restore undid, under ids that
        # this older database does not remember. That the device was told by now is not enough:
        # the upload may have been on its way meanwhile.
        raise Refused(Code.PREKEYS_STALE, "made before the epoch in force")
    return keep(db, device, prekeys)


def keep(
    db: sqlite3.Connection, device: DeviceId, prekeys: Sequence[SignedPrekey]
) -> tuple[int, int]:
    """Keep prekeys whose ids are above every id that this device ever uploaded."""
    row = db.execute("SELECT prekey_high FROM devices WHERE id = ?", (device,)).fetchone()
    high: int = row[0]
    ids = [prekey.id for prekey in prekeys]
    if len(set(ids)) != len(ids) or max(ids, default=0) > ID_MAX:
        raise Refused(Code.MALFORMED, "a prekey id twice, or one too high")
    if ids and min(ids) <= high:
        if max(ids) <= high and _all_known(db, device, prekeys):
            return count(db, device)
        raise Refused(Code.PREKEYS_STALE)
    if any(prekey.last_resort for prekey in prekeys):
        db.execute("DELETE FROM prekeys WHERE device = ? AND last_resort = 1", (device,))
    db.executemany(
        "INSERT INTO prekeys (device, id, last_resort, prekey) VALUES (?, ?, ?, ?)",
        [(device, prekey.id, prekey.last_resort, prekey.encode()) for prekey in prekeys],
    )
    db.execute("UPDATE devices SET prekey_high = ? WHERE id = ?", (max([high, *ids]), device))
    return count(db, device)


def _all_known(db: sqlite3.Connection, device: DeviceId, prekeys: Sequence[SignedPrekey]) -> bool:
    """Whether this is a repeat of an upload: what is still here of it is byte for byte the same."""
    stored = dict(
        db.execute("SELECT id, prekey FROM prekeys WHERE device = ?", (device,)).fetchall()
    )
    return all(stored.get(prekey.id, prekey.encode()) == prekey.encode() for prekey in prekeys)


def claim(db: sqlite3.Connection, devices: Sequence[DeviceId]) -> dict[DeviceId, bytes]:
    """Take one prekey for each device that has one and is not revoked."""
    claimed: dict[DeviceId, bytes] = {}
    taken = False
    for device in sorted(set(devices)):
        row = db.execute(
            "SELECT p.id, p.prekey, p.last_resort FROM prekeys p JOIN devices d ON d.id = p.device"
            " WHERE p.device = ? AND d.revoked_ms IS NULL ORDER BY p.last_resort, p.id LIMIT 1",
            (device,),
        ).fetchone()
        if row is None:
            continue
        claimed[device] = row[1]
        if not row[2]:
            db.execute("DELETE FROM prekeys WHERE device = ? AND id = ?", (device, row[0]))
            taken = True
    if taken:
        witness.count_up(db)
    return claimed


def count(db: sqlite3.Connection, device: DeviceId) -> tuple[int, int]:
    """(one-time prekeys left, highest id ever uploaded)."""
    left, high = db.execute(
        "SELECT (SELECT count(*) FROM prekeys WHERE device = ? AND last_resort = 0), prekey_high"
        " FROM devices WHERE id = ?",
        (device, device),
    ).fetchone()
    return left, high
