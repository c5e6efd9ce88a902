"""Loads what a batch of acknowledgements touches and writes what was decided, in one transaction."""

import sqlite3
from collections.abc import Sequence

from miss_server.storage.messages import Acknowledged, Acknowledgement
from miss_server.storage.settlement.acks import Acks
from miss_server.storage.sqlite.kept import Kept
from miss_server.storage.sqlite.news import carry_out
from miss_server.storage.sqlite.rows import select_pairs


def settle(
    db: sqlite3.Connection, batch: Sequence[tuple[Acknowledgement, int]], kept: Kept | None = None
) -> list[Acknowledged]:
    """Store `(acknowledgement, now_ms)` pairs; the answers are in the order of `batch`.

    Args:
        kept: rows that are still true, and are kept so.
    """
    kept = Kept() if kept is None else kept
    acks = Acks(batch)
    acks.admit(kept.sessions(db, acks.devices))
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
    kept.acked(acks)
    if telling is not None:
        carry_out(db, telling, kept)
    return acks.answer(telling)
