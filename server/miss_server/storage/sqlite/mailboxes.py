"""Reads mailboxes and statuses, and turns rows past their time into gaps."""

import sqlite3
from collections.abc import Mapping, Sequence
from itertools import islice

from miss_protocol import frames as f
from miss_protocol.ids import DeviceId
from miss_server.storage.messages import ROW_OVERHEAD, Fetched, Head, Row, Wanted
from miss_server.storage.sqlite.acks import News, tell
from miss_server.storage.sqlite.rows import select_many
from miss_server.storage.states import decode_states, for_wire

EXPIRED_AT_ONCE = 500
"""Rows of one expiry transaction: a few milliseconds, so that sends are not held up."""
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


def expire(
    db: sqlite3.Connection, protected: Mapping[DeviceId, int], now_ms: int
) -> Sequence[DeviceId]:
    """Turn rows past their time into gaps; returns the devices to ring."""
    rows = db.execute(
        "SELECT id, device, position, sender_device, message, length(body) + length(wrap)"
        " FROM envelopes WHERE expires_ms <= ? ORDER BY expires_ms",
        (now_ms,),
    )
    # Counted after the protected ones are left out: devices that hold on to theirs must not keep
    # everybody else's from expiring.
    due = list(
        islice((r for r in rows if r[2] > protected.get(DeviceId(r[1]), 0)), EXPIRED_AT_ONCE)
    )
    rows.close()
    # The row keeps its hash and digest: the device's rolling digest must come out the same.
    db.executemany(
        "UPDATE envelopes SET gap = 'expired', body = x'', wrap = x'', expires_ms = NULL"
        " WHERE id = ?",
        [(row[0],) for row in due],
    )
    db.executemany(
        "UPDATE mailboxes SET bytes = bytes - ? WHERE device = ?",
        [(row[5] + ROW_OVERHEAD, row[1]) for row in due],
    )
    told, _ = tell(
        db, [News(row[3], row[4], row[1], "expired", now_ms) for row in due], now_ms=now_ms
    )
    return sorted({DeviceId(row[1]) for row in due} | {sender for _, sender, _ in told})
