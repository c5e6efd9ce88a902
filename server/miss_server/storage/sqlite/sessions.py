"""Begins and ends sessions: generations, counts, digests, and the epoch (rule C6)."""

import sqlite3
from typing import Any

from sqlalchemy import Connection

from miss_protocol.ids import DeviceId
from miss_server.storage import epoch_ids
from miss_server.storage.messages import Greeting, SessionRefused, SessionStart
from miss_server.storage.settlement.sessions import Comparison, Known
from miss_server.storage.sql import epochs
from miss_server.storage.sqlite.engine import driver

_KNOWN = (
    "SELECT d.account, d.sn, d.generation, d.epoch, d.tick_acked, d.seen_ms, d.window,"
    " a.roster_version, a.confirmed, m.head, m.digest, m.acked, m.acked_digest,"
    " (SELECT digest FROM envelopes WHERE device = ?1 AND position = ?2),"
    " (SELECT count(*) FROM prekeys WHERE device = ?1 AND last_resort = 0),"
    " coalesce((SELECT version FROM charters WHERE account = d.account"
    " ORDER BY at_ms DESC LIMIT 1), '')"
    " FROM devices d JOIN accounts a ON a.address = d.account"
    " JOIN mailboxes m ON m.device = d.id WHERE d.id = ?1 AND d.revoked_ms IS NULL"
)


def begin(connection: Connection, greeting: Greeting, now_ms: int) -> SessionStart | SessionRefused:
    """Compare what both ends remember and open a session."""
    db = driver(connection)
    row = db.execute(_KNOWN, (greeting.device, greeting.position)).fetchone()
    if row is None:
        return SessionRefused(revoked=True)
    settings: dict[str, bytes] = dict(
        db.execute(
            "SELECT name, value FROM settings WHERE name IN ('epoch', 'epoch_ms', 'pepper')"
        ).fetchall()
    )
    since = int.from_bytes(settings["epoch_ms"], "big")
    values: list[Any] = [*row, settings["epoch"], since, settings["pepper"]]
    known = Known(*values)
    comparison = Comparison(greeting, known)
    if comparison.refused is not None:
        return comparison.refused
    after, began = comparison.proven_after, None
    if comparison.differs and epochs.may_tell(connection, known.account, now_ms):
        after = epoch_ids.number(known.epoch)
    if after is not None:
        began = epochs.change(connection, now_ms, after=after)
    opened = comparison.open(now_ms, began)
    if opened.confirmed is not None:
        db.execute(
            "UPDATE accounts SET confirmed = ? WHERE address = ?",
            (opened.confirmed, known.account),
        )
    db.execute(
        "UPDATE devices SET generation = ?, sn = ?, epoch = ?, seen_ms = ?, app = ? WHERE id = ?",
        (opened.generation, opened.sn, opened.noted, now_ms, greeting.app, greeting.device),
    )
    return opened.start


def end(
    db: sqlite3.Connection, device_id: DeviceId, generation: int, window: int, now_ms: int
) -> None:
    """Note when a session ended; a newer one of the same device is left alone."""
    db.execute(
        "UPDATE devices SET seen_ms = max(seen_ms, ?), window = ? WHERE id = ? AND generation = ?",
        (now_ms, window, device_id, generation),
    )
