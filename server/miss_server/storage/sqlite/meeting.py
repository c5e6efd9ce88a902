"""Loads what the first contacts of a batch are decided by, and keeps what was decided."""

import sqlite3
from collections.abc import Sequence

from miss_server.storage.settlement.meeting import DAY_MS, Meeting, Row
from miss_server.storage.sql.meeting_words import ANSWERED, ended_by, reach_of, traits_of
from miss_server.storage.sqlite.kept import Kept
from miss_server.storage.sqlite.rows import select_many, select_pairs

_THERE = "SELECT count(*) FROM sqlite_schema WHERE name = 'relations'"
_RELATIONS = (
    "SELECT owner, peer, first_ms, unanswered, accepted_ms, declined_ms, blocked_ms"
    " FROM wanted CROSS JOIN relations ON owner = wanted.device AND peer = wanted.what"
)
_BUDGETS = (
    "SELECT account, per_hour, per_day FROM wanted CROSS JOIN budgets ON account = key"
    " UNION ALL SELECT account, -1, -1 FROM wanted CROSS JOIN standings ON account = key"
    " AND state = 'restricted'"
)
_SPENT = (
    "SELECT mine.owner, mine.first_ms FROM relations mine"
    " WHERE mine.owner = ? AND mine.first_ms > ? AND NOT ANSWERED"
).replace("ANSWERED", ANSWERED)
_REACH = (
    "SELECT account, reached_by, professions, establishments"
    " FROM wanted CROSS JOIN reach_rules ON account = key"
)
_ENTRIES = (
    "SELECT a.address, e.entry, ENDED FROM wanted CROSS JOIN accounts a ON a.address = key"
    " JOIN directory_persons_{slot} p ON p.person = a.person"
    " JOIN directory_entries_{slot} e ON e.id = p.id AND e.person = p.person"
).replace("ENDED", ended_by("group_concat"))
_ADMINISTRATORS = (
    "SELECT account FROM wanted CROSS JOIN administrators ON account = key AND removed_ms IS NULL"
)
_KEEP = (
    "INSERT INTO relations (owner, peer, first_ms, unanswered, accepted_ms, declined_ms,"
    " blocked_ms) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (owner, peer) DO UPDATE SET"
    " first_ms = excluded.first_ms, unanswered = excluded.unanswered,"
    " accepted_ms = excluded.accepted_ms, declined_ms = excluded.declined_ms,"
    " blocked_ms = excluded.blocked_ms"
)
_SILENCE = "INSERT INTO silenced (device, sender_device, message, expires_ms) VALUES (?, ?, ?, ?)"


def load(db: sqlite3.Connection, meeting: Meeting, kept: Kept, now_ms: int) -> None:
    """Give `meeting` its rows; after this, sends can be decided. Under the write lock."""
    if kept.meets is None:
        kept.meets = db.execute(_THERE).fetchone()[0] > 0
    if not kept.meets:
        meeting.turn_off()
        return
    meeting.see(kept.unsettled(db, meeting.pairs))
    if not meeting.writers:
        return
    # Nobody else writes now, so what was read is still true.
    reach = [reach_of(*row) for row in select_many(db, _REACH, meeting.strangers)]
    traits = []
    if meeting.by_role or any(rule.reached_by == "listed" for _, rule in reach):
        slot = (db.execute("SELECT max(generation) FROM directory_state").fetchone()[0] or 0) % 2
        found = select_many(db, _ENTRIES.format(slot=slot), meeting.writers)
        traits = [(account, traits_of(entry, ended)) for account, entry, ended in found]
    meeting.see_again(
        select_pairs(db, _RELATIONS, meeting.again),
        select_many(db, _BUDGETS, meeting.writers),
        [
            row
            for account in meeting.writers
            for row in db.execute(_SPENT, (account, now_ms - DAY_MS))
        ],
        reach,
        traits,
        [account for (account,) in select_many(db, _ADMINISTRATORS, meeting.writers)]
        if meeting.by_role
        else (),
    )


def keep(
    db: sqlite3.Connection,
    relations: Sequence[Row],
    silenced: Sequence[tuple[bytes, bytes, bytes, int]],
) -> None:
    """Write what changed."""
    db.executemany(_KEEP, relations)
    db.executemany(_SILENCE, silenced)
