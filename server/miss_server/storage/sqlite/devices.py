"""Reads devices, for `lookups`: in a reader's thread, since the flood of unknown ids that a stranger can send
would wait for the disk in the event loop's own."""

import sqlite3
from collections.abc import Sequence

from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.messages import DeviceRecord

_FIND = (
    "SELECT d.id, d.account, d.signing_key, d.revoked_ms, a.suspended, a.roster_version"
    " FROM devices d JOIN accounts a ON a.address = d.account WHERE d.id = ?"
)


def find(db: sqlite3.Connection, devices: Sequence[DeviceId]) -> list[DeviceRecord | None]:
    """The record of each; None for those that are not there."""
    return [_find(db, device) for device in devices]


def _find(db: sqlite3.Connection, device: DeviceId) -> DeviceRecord | None:
    row = db.execute(_FIND, (device,)).fetchone()
    if row is None:
        return None
    return DeviceRecord(
        DeviceId(row[0]), AccountAddress(row[1]), row[2], row[3] is not None, bool(row[4]), row[5]
    )
