"""Loads what a batch of acknowledgements touches and writes what was decided, in one transaction."""

import sqlite3
from collections.abc import Sequence

from miss_server.storage.messages import Acknowledged, Acknowledgement
from miss_server.storage.settlement.acks import Acks
from miss_server.storage.sqlite.news import carry_out
from miss_server.storage.sqlite.rows import select_many, select_pairs


def settle(
    db: sqlite3.Connection, batch: Sequence[tuple[Acknowledgement, int]]
) -> list[Acknowledged]:
    """Store `(acknowledgement, now_ms)` pairs; the answers are in the order of `batch`."""
    acks = Acks(batch)
    acks.admit(
        select_many(
            db,
            "SELECT id, generation, revoked_ms FROM wanted CROSS JOIN devices ON id = key",
            acks.devices,
        )
    )
    if acks.ticks:
        db.executemany(
            "UPDATE devices SET tick_acked = max(tick_acked, ?2) WHERE id = ?1", acks.ticks
        )
    nacked = select_pairs(
        db,
        "SELECT e.device, e.position, e.sender_device, e.message FROM wanted"
        " CROSS JOIN envelopes e ON e.device = wanted.device AND e.position = wanted.what"
        " WHERE e.gap IS NULL",
        acks.nacked,
    )
    gone = select_pairs(
        db,
        "DELETE FROM envelopes WHERE id IN (SELECT e.id FROM wanted CROSS JOIN envelopes e"
        " ON e.device = wanted.device AND e.position <= wanted.what)"
        " RETURNING device, position, digest, gap, sender_device, message,"
        " length(body) + length(wrap)",
        acks.acked,
    )
    telling = acks.take(nacked, gone)
    db.executemany(
        "UPDATE mailboxes SET acked = ?2, acked_digest = ?3, waiting = waiting - ?4,"
        " bytes = bytes - ?5 WHERE device = ?1",
        acks.mailboxes,
    )
    if telling is not None:
        carry_out(db, telling)
    return acks.answer(telling)
