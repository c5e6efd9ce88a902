"""Loads the sends that news is about and writes what it changes, inside a transaction."""

import sqlite3

from miss_server.storage.settlement.news import Telling
from miss_server.storage.sqlite.kept import Kept
from miss_server.storage.sqlite.rows import select_pairs


def carry_out(db: sqlite3.Connection, telling: Telling, kept: Kept) -> None:
    """Change the sends; afterwards the statuses are in `telling.told`."""
    telling.apply(
        select_pairs(
            db,
            "SELECT s.rowid_, s.device, s.sn, s.message, s.kind, s.states"
            " FROM wanted CROSS JOIN sends s"
            " ON s.device = wanted.device AND s.message = wanted.what",
            telling.wanted,
        )
    )
    telling.number(kept.ticks(db, telling.senders))
    db.executemany("UPDATE devices SET tick = ?2 WHERE id = ?1", telling.ticks)
    db.executemany(
        'UPDATE sends SET states = ?2, tick = ?3, "open" = ?4, kept_until_ms = ?5'
        " WHERE rowid_ = ?1",
        telling.sends,
    )
    kept.ticked(telling)
