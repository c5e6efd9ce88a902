"""Reads mailboxes and statuses."""

import sqlite3
from collections.abc import Sequence

from miss_protocol import frames as f
from miss_protocol.ids import DeviceId
from miss_server.storage.messages import Fetched, Head, Row, Wanted
from miss_server.storage.sqlite.rows import select_many
from miss_server.storage.states import decode_states, for_wire

ROWS_AT_ONCE = 256
"""Rows read for one connection at a time; more come with its next acknowledgement."""

_COLUMNS = (
    'position, row_hash, digest, gap, "count", sender_account, sender_device, message, body,'
    " wrap, kind, urgency, at_ms"
)


def fetch(db: sqlite3.Connection, wanted: Wanted) -> Fetched:
    """Read what one connection has room for."""
    head = db.execute("SELECT head FROM mailboxes WHERE device = ?", (wanted.device,)).fetchone()
    if head is None:
        return Fetched()
    rows = _rows(db, wanted) if wanted.max_bytes > 0 and wanted.after < head[0] else []
    return Fetched(rows, _statuses(db, wanted), head[0])


def _rows(db: sqlite3.Connection, wanted: Wanted) -> list[Row]:
    rows: list[Row] = []
    room = wanted.max_bytes
    cursor = db.execute(
        f"SELECT {_COLUMNS} FROM envelopes WHERE device = ? AND position > ?"  # noqa: S608  # constants
        " ORDER BY position LIMIT ?",
        (wanted.device, wanted.after, ROWS_AT_ONCE),
    )
    for values in cursor:
        row = Row(*values)
        if rows and row.size > room:
            break
        rows.append(row)
        room -= row.size
    return rows


def _statuses(db: sqlite3.Connection, wanted: Wanted) -> list[f.Status]:
    if wanted.max_statuses <= 0:
        return []
    return [
        f.Status(tick, message, sn, for_wire(decode_states(states)))
        for tick, message, sn, states in db.execute(
            "SELECT tick, message, sn, states FROM sends WHERE device = ?1"
            " AND tick > max(?2, (SELECT tick_acked FROM devices WHERE id = ?1))"
            " ORDER BY tick LIMIT ?3",
            (wanted.device, wanted.ticks_after, wanted.max_statuses),
        )
    ]


def heads(db: sqlite3.Connection, devices: Sequence[DeviceId]) -> dict[DeviceId, Head]:
    """The last position, status tick and session of each device that is not revoked."""
    return {
        DeviceId(device): Head(*head)
        for device, *head in select_many(
            db,
            "SELECT m.device, m.head, d.tick, d.generation FROM wanted"
            " CROSS JOIN mailboxes m ON m.device = key"
            " JOIN devices d ON d.id = m.device WHERE d.revoked_ms IS NULL",
            devices,
        )
    }
