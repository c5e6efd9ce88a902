"""Named faults of the rows that the writer keeps between transactions; see `faults`.

The worlds have neither another process that writes nor a device that repeats a send on the session
in which a commit failed: `tests/server/storage/test_kept.py` is the gate of those two.
"""

import sqlite3
from contextlib import ExitStack
from unittest.mock import patch

from miss_server.storage.jobs import Job
from miss_server.storage.sqlite.kept import Kept
from miss_server.storage.sqlite.writer import Writer


def rows_kept_past_a_job(stack: ExitStack) -> None:
    """A job changes accounts, devices and mailboxes, and the rows from before it are believed."""
    real_settle, real_fresh = Writer._settle, Kept.fresh
    before: list[Kept] = []

    def settle(self: Writer, db: sqlite3.Connection, jobs: list[Job]) -> None:
        before[:] = [self._kept]
        real_settle(self, db, jobs)

    def fresh(self: Kept, db: sqlite3.Connection) -> Kept:
        return real_fresh(before[0], db)

    stack.enter_context(patch.object(Writer, "_settle", settle))
    stack.enter_context(patch.object(Kept, "fresh", fresh))


def rows_kept_past_a_failed_commit(stack: ExitStack) -> None:
    """What a transaction would have written is believed although it was undone."""
    real = Writer._settle

    def settle(self: Writer, db: sqlite3.Connection, jobs: list[Job]) -> None:
        self._kept = self._unsure
        real(self, db, jobs)

    stack.enter_context(patch.object(Writer, "_settle", settle))


def rows_kept_past_another_writer(stack: ExitStack) -> None:
    """Nobody looks whether another process has written."""
    stack.enter_context(patch.object(Kept, "fresh", lambda kept, _: kept))
