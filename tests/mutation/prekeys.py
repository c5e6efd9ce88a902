"""Named faults of prekeys and of the witness beside the database; see `faults`."""

import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack
from unittest.mock import patch

from miss_protocol.identity.prekeys import SignedPrekey
from miss_protocol.ids import DeviceId
from miss_server.storage.sqlite import prekeys, sessions, witness
from miss_server.storage.sqlite.writer import Writer, _Job


def witness_not_compared(stack: ExitStack) -> None:
    """A database is taken for the newest, whatever its witness saw."""
    stack.enter_context(patch.object(witness, "is_older", lambda *_: False))


def witness_written_before_the_commit(stack: ExitStack) -> None:
    """The witness hears of what may yet be undone by a crash."""
    real = Writer._settle

    def settle(self: Writer, db: sqlite3.Connection, jobs: list[_Job]) -> None:
        real(self, db, jobs)
        self._tell_witness(self._news_for_the_witness(db, jobs), jobs)

    stack.enter_context(patch.object(Writer, "_settle", settle))


def one_time_prekeys_survive_an_epoch(stack: ExitStack) -> None:
    """A new epoch leaves the prekeys of the lost time where they are."""
    real = sessions.change_epoch

    def change(db: sqlite3.Connection, now_ms: int, *, after: int) -> bytes:
        kept = db.execute("SELECT device, id, last_resort, prekey FROM prekeys").fetchall()
        epoch = real(db, now_ms, after=after)
        db.executemany("INSERT INTO prekeys VALUES (?, ?, ?, ?)", kept)
        return epoch

    stack.enter_context(patch.object(sessions, "change_epoch", change))


def stale_prekeys_accepted(stack: ExitStack) -> None:
    """A device that has not heard of the new epoch may bring its prekeys back."""

    def add(
        db: sqlite3.Connection, device: DeviceId, given: Sequence[SignedPrekey], epoch: bytes
    ) -> tuple[int, int]:
        return prekeys.keep(db, device, given)

    stack.enter_context(patch.object(prekeys, "add", add))


def one_prekey_for_two_claims(stack: ExitStack) -> None:
    """Claims of one transaction see the prekeys as they were before it."""
    real = prekeys.claim
    real_commit = Writer._answer
    seen: dict[DeviceId, bytes] = {}

    def claim(db: sqlite3.Connection, devices: Sequence[DeviceId]) -> dict[DeviceId, bytes]:
        found = {device: seen[device] for device in devices if device in seen}
        found |= real(db, [device for device in devices if device not in seen])
        seen.update(found)
        return found

    def answer(self: Writer, jobs: Sequence[_Job]) -> None:
        seen.clear()
        real_commit(self, jobs)

    stack.enter_context(patch.object(prekeys, "claim", claim))
    stack.enter_context(patch.object(Writer, "_answer", answer))


def prekey_ids_forgotten(stack: ExitStack) -> None:
    """A repeated upload is kept once more, what was handed out of it too."""
    real = prekeys.keep

    def keep(
        db: sqlite3.Connection, device: DeviceId, given: Sequence[SignedPrekey]
    ) -> tuple[int, int]:
        db.execute("UPDATE devices SET prekey_high = -1 WHERE id = ?", (device,))
        db.executemany(
            "DELETE FROM prekeys WHERE device = ? AND id = ?", [(device, key.id) for key in given]
        )
        return real(db, device, given)

    stack.enter_context(patch.object(prekeys, "keep", keep))
