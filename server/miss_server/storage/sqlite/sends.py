"""Loads what a batch of sends is checked against and writes what was decided, in one transaction.

SQLite's one write lock makes the order of rule C1 unnecessary for safety here; it is kept so that
every engine does the same and the same histories come out.
"""

import sqlite3
from collections.abc import Sequence

from miss_server.storage.messages import Settled, Submission
from miss_server.storage.settlement.meeting import FirstContacts
from miss_server.storage.settlement.sends import Sends
from miss_server.storage.sqlite import meeting
from miss_server.storage.sqlite.kept import Kept
from miss_server.storage.sqlite.rows import select_pairs


def settle(
    db: sqlite3.Connection,
    batch: Sequence[tuple[Submission, int]],
    kept: Kept | None = None,
    first_contacts: FirstContacts = FirstContacts(),  # noqa: B008  # frozen
) -> list[Settled]:
    """Settle `(submission, now_ms)` pairs; the answers are in the order of `batch`.

    Args:
        kept: rows that are still true, and are kept so.
    """
    kept = Kept() if kept is None else kept
    sends = Sends(batch, first_contacts)
    sends.claim(kept.senders(db, sends.senders))
    sends.see(*kept.accounts(db, sends.accounts), kept.mailboxes(db, sends.recipients))
    meeting.load(db, sends.meeting, kept, max(now_ms for _, now_ms in batch))
    answers = sends.decide(
        select_pairs(
            db,
            "SELECT s.device, s.sn, s.fingerprint, s.reply FROM wanted CROSS JOIN sends s"
            " ON s.device = wanted.device AND s.sn = wanted.what",
            sends.earlier,
        ),
        select_pairs(
            db,
            "SELECT e.device, e.position, e.gap FROM wanted CROSS JOIN envelopes e"
            " ON e.device = wanted.device AND e.position = wanted.what",
            sends.ends,
        ),
    )
    _write(db, sends, kept)
    return answers


def _write(db: sqlite3.Connection, sends: Sends, kept: Kept) -> None:
    numbers, mailboxes = sends.numbers, sends.mailboxes
    db.executemany("UPDATE devices SET sn = ?2 WHERE id = ?1", numbers)
    db.executemany(
        "UPDATE mailboxes SET head = ?2, digest = ?3, waiting = ?4, bytes = ?5 WHERE device = ?1",
        mailboxes,
    )
    db.executemany(
        'INSERT INTO envelopes (device, position, row_hash, digest, gap, "count",'
        " sender_account, sender_device, message, body, wrap, kind, urgency, at_ms, expires_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        sends.envelopes,
    )
    if gaps := sends.gaps:
        db.executemany(
            'UPDATE envelopes SET "count" = "count" + ?3 WHERE device = ?1 AND position = ?2', gaps
        )
    db.executemany(
        'INSERT INTO sends (device, sn, message, fingerprint, reply, states, kind, "open",'
        " kept_until_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        sends.results,
    )
    relations, silenced = sends.meeting.relations, sends.silenced
    if relations or silenced:
        meeting.keep(db, relations, silenced)
    kept.sent(numbers, mailboxes)
