"""Named faults in delivery and storage: what somebody could get wrong, and which world finds it.

Each fault wraps real functions for the length of a `with` block; nothing in the product knows of
them. Three are of the model device, because what they break is the client's duty (spec 03 §3).
"""

import dataclasses
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import msgspec
from sqlalchemy import Connection

from miss_protocol import client_session as s
from miss_protocol import frames as f
from miss_protocol.client_session import ClientSession
from miss_protocol.ids import DeviceId
from miss_protocol.server_session import ServerSession
from miss_server.relay.keeper import Keeper
from miss_server.storage.jobs import Job
from miss_server.storage.messages import (
    AckLine,
    Acknowledged,
    Acknowledgement,
    Fetched,
    Greeting,
    NotDurable,
    Row,
    Settled,
    Submission,
    Wanted,
)
from miss_server.storage.settlement import acks as settled_acks
from miss_server.storage.settlement.news import News
from miss_server.storage.settlement.sends import Sends
from miss_server.storage.settlement.sessions import Comparison, Known
from miss_server.storage.sql import endings, epochs
from miss_server.storage.sqlite import acks, mailboxes, sends
from miss_server.storage.sqlite import kept as kept_rows
from miss_server.storage.sqlite import rows as sqlite_rows
from miss_server.storage.sqlite.engine import driver
from miss_server.storage.sqlite.kept import Kept
from miss_server.storage.sqlite.writer import Writer
from tests.mutation import kept as kept_faults
from tests.mutation import prekeys
from tests.simulation.letters import Letter
from tests.simulation.phone import Dies, Phone


@dataclasses.dataclass(frozen=True)
class Fault:
    """A mistake, the seeds that must find it, and the words with which what they say begins."""

    put_in: Callable[[ExitStack], None]
    killed_by: tuple[int, ...]
    invariants: tuple[str, ...]

    def is_told_by(self, text: str) -> bool:
        """Whether a text begins with one of `invariants`, as whole words: I14 is not I1."""
        return any(re.match(rf"{re.escape(words)}\b", text) for words in self.invariants)

    @property
    def name(self) -> str:
        """The mistake's name."""
        return self.put_in.__name__.replace("_", " ")

    @contextmanager
    def present(self) -> Iterator[None]:
        """The mistake is made in this block."""
        with ExitStack() as stack:
            self.put_in(stack)
            yield


def sent_before_commit(stack: ExitStack) -> None:
    """Answers leave before the transaction is durable."""
    real = Writer._settle

    def early(self: Writer, db: sqlite3.Connection, jobs: list[Job]) -> None:
        real(self, db, jobs)
        self._answer(jobs)

    stack.enter_context(patch.object(Writer, "_settle", early))


def failed_commit_called_done(stack: ExitStack) -> None:
    """A commit that failed is answered as if it had not."""
    real = Writer._answer

    def hopeful(jobs: Sequence[Job]) -> None:
        for job in jobs:
            if isinstance(job.error, NotDurable) and job.outcome is not None:
                job.error = None
        real(jobs)

    stack.enter_context(patch.object(Writer, "_answer", staticmethod(hopeful)))


def stale_roster_check(stack: ExitStack) -> None:
    """The check of a send sees accounts and devices as they were at the check before."""
    real = sqlite_rows.select_many
    seen: dict[tuple[str, tuple[Any, ...]], list[tuple[Any, ...]]] = {}

    def snapshot(
        db: sqlite3.Connection, statement: str, keys: Sequence[Any]
    ) -> Iterator[tuple[Any, ...]]:
        rows = list(real(db, statement, keys))
        if "JOIN accounts" in statement or "revoked_ms IS NULL" in statement:
            before = seen.get((statement, tuple(keys)), rows)
            seen[statement, tuple(keys)] = rows
            rows = before
        return iter(rows)

    stack.enter_context(patch.object(kept_rows, "select_many", snapshot))


def delete_on_send(stack: ExitStack) -> None:
    """A row leaves its mailbox when it is written to a socket."""
    real = mailboxes.fetch

    def fetch(db: sqlite3.Connection, wanted: Wanted) -> Fetched:
        found = real(db, wanted)
        for row in found.rows:
            db.execute(
                "DELETE FROM envelopes WHERE device = ? AND position = ?",
                (wanted.device, row.position),
            )
            db.execute(
                "UPDATE mailboxes SET waiting = waiting - 1, bytes = bytes - ?, acked = ?,"
                " acked_digest = ? WHERE device = ?",
                (row.size if row.gap is None else 0, row.position, row.digest, wanted.device),
            )
        return found

    stack.enter_context(patch.object(mailboxes, "fetch", fetch))


def no_sweep(stack: ExitStack) -> None:
    """Only a ring makes the server look into a mailbox."""

    async def sweep(self: Keeper) -> None:
        return

    stack.enter_context(patch.object(Keeper, "sweep", sweep))


def no_dedupe(stack: ExitStack) -> None:
    """A repeated send is a new one."""
    real = sends.settle

    def settle(
        db: sqlite3.Connection, batch: Sequence[tuple[Submission, int]], kept: Kept, *more: Any
    ) -> list[Settled]:
        kept._devices.clear()
        for submission, _ in batch:
            send = submission.send
            db.execute(
                "DELETE FROM sends WHERE device = ? AND sn = ?", (submission.device, send.sn)
            )
            db.execute(
                "UPDATE devices SET sn = ? WHERE id = ? AND sn >= ?",
                (send.sn - 1, submission.device, send.sn),
            )
        return real(db, batch, kept, *more)

    stack.enter_context(patch.object(sends, "settle", settle))


def global_positions(stack: ExitStack) -> None:
    """Positions come from one sequence for all mailboxes."""
    real = sends.settle
    real_put = Sends._put
    last = [0]

    def settle(
        db: sqlite3.Connection, batch: Sequence[tuple[Submission, int]], kept: Kept, *more: Any
    ) -> list[Settled]:
        (last[0],) = db.execute("SELECT max(head) FROM mailboxes").fetchone()
        return real(db, batch, kept, *more)

    def put(self: Sends, submission: Submission, *rest: Any) -> Row:
        device = rest[0].device
        heads = [box.head for box in self._mailboxes.values()]
        self._mailboxes[device].head = max(last[0], *heads)
        return real_put(self, submission, *rest)

    stack.enter_context(patch.object(sends, "settle", settle))
    stack.enter_context(patch.object(Sends, "_put", put))


def half_a_send(stack: ExitStack) -> None:
    """Of a send to several devices the last row is lost on its way into the table."""
    real = sends._write

    def write(db: sqlite3.Connection, decided: Sends, kept: Kept) -> None:
        if len(decided.envelopes) > 1:
            device = decided.envelopes[-1][0]
            if sum(row[0] == device for row in decided.envelopes) == 1:
                decided.envelopes.pop()
                decided._mailboxes[bytes(device)].touched = False  # type: ignore[call-overload]  # an id
        real(db, decided, kept)

    stack.enter_context(patch.object(sends, "_write", write))


def silent_expiry(stack: ExitStack) -> None:
    """What is past its time is deleted, and nobody hears of it."""

    def expire(
        connection: Connection, protected: Mapping[DeviceId, int], now_ms: int
    ) -> Sequence[DeviceId]:
        driver(connection).execute("DELETE FROM envelopes WHERE expires_ms <= ?", (now_ms,))
        return ()

    stack.enter_context(patch.object(endings, "expire", expire))


def expiry_changes_hashes(stack: ExitStack) -> None:
    """A row that becomes a gap gets another hash, so that the digest comes out another."""
    real = endings.expire

    def expire(
        connection: Connection, protected: Mapping[DeviceId, int], now_ms: int
    ) -> Sequence[DeviceId]:
        rung = real(connection, protected, now_ms)
        driver(connection).execute(
            "UPDATE envelopes SET row_hash = zeroblob(32) WHERE gap = 'expired'"
        )
        return rung

    stack.enter_context(patch.object(endings, "expire", expire))


def silent_quota(stack: ExitStack) -> None:
    """A device without room gets no gap."""
    stack.enter_context(patch.object(Sends, "_put_quota_gap", lambda *_: None))


def restore_without_epoch(stack: ExitStack) -> None:
    """What a device remembers is not compared with what the database does."""
    real = Comparison.__init__

    def trusting(self: Comparison, greeting: Greeting, known: Known) -> None:
        digests = {known.head: known.digest, known.acked: known.acked_digest}
        here = digests.get(greeting.position) or known.here or greeting.digest
        real(self, dataclasses.replace(greeting, digest=here, settled=0, epoch=b""), known)

    stack.enter_context(patch.object(Comparison, "__init__", trusting))
    stack.enter_context(patch.object(epochs, "may_tell", lambda *_: False))


def statuses_beget_statuses(stack: ExitStack) -> None:
    """The acknowledgement of a status is itself news."""
    real = acks.settle

    def settle(
        db: sqlite3.Connection, batch: Sequence[tuple[Acknowledgement, int]], kept: Kept
    ) -> list[Acknowledged]:
        kept._devices.clear()
        for ack, _ in batch:
            if ack.tick is not None:
                db.execute("UPDATE devices SET tick = tick + 1 WHERE id = ?", (ack.device,))
                db.execute(
                    "UPDATE sends SET tick = (SELECT tick FROM devices WHERE id = ?)"
                    " WHERE device = ? AND tick = ?",
                    (ack.device, ack.device, ack.tick),
                )
        return real(db, batch, kept)

    stack.enter_context(patch.object(acks, "settle", settle))


def ack_past_the_unseen(stack: ExitStack) -> None:
    """An ack deletes whatever is in the mailbox by then."""
    real = acks.settle

    def settle(
        db: sqlite3.Connection, batch: Sequence[tuple[Acknowledgement, int]], kept: Kept
    ) -> list[Acknowledged]:
        heads = mailboxes.heads(db, [ack.device for ack, _ in batch])
        past = [
            (
                ack
                if ack.position is None or ack.device not in heads
                else msgspec.structs.replace(ack, position=heads[ack.device][0]),
                now_ms,
            )
            for ack, now_ms in batch
        ]
        return real(db, past, kept)

    stack.enter_context(patch.object(acks, "settle", settle))


def unsigned_receipts(stack: ExitStack) -> None:
    """The signature of a receipt is not passed on."""
    real = settled_acks._from_receipt

    def bare(receipt: Any) -> News:
        return msgspec.structs.replace(real(receipt), signature=b"")

    stack.enter_context(patch.object(settled_acks, "_from_receipt", bare))


def acks_stored_behind_one_that_was_not(stack: ExitStack) -> None:
    """A later position takes the rows of an acknowledgement that failed."""
    never = property(lambda _: False, lambda _, told: None)
    stack.enter_context(patch.object(AckLine, "broken", never))


def deaf_to_nacks(stack: ExitStack) -> None:
    """A nack is taken for an ack."""
    real = acks.settle

    def settle(
        db: sqlite3.Connection, batch: Sequence[tuple[Acknowledgement, int]], kept: Kept
    ) -> list[Acknowledged]:
        deaf = [(msgspec.structs.replace(ack, nacks=()), now_ms) for ack, now_ms in batch]
        return real(db, deaf, kept)

    stack.enter_context(patch.object(acks, "settle", settle))


def resume_from_pushed(stack: ExitStack) -> None:
    """Delivery goes on from the head, not from what the device has."""
    real = ServerSession.welcome

    def welcome(
        self: ServerSession, frame: f.Welcome, *, resume_after: int, ticks_after: int, window: int
    ) -> None:
        real(self, frame, resume_after=frame.position, ticks_after=ticks_after, window=window)

    stack.enter_context(patch.object(ServerSession, "welcome", welcome))


def positions_unchecked(stack: ExitStack) -> None:
    """A server that skips rows, and a client session that does not count them."""
    real = mailboxes._rows

    def rows(db: sqlite3.Connection, wanted: Wanted) -> Any:
        return real(db, wanted)[-1:]

    def step(self: ClientSession, first: int, last: int) -> None:
        self.position = last

    def deliver(self: ServerSession, frame: f.Deliver | f.Gap, size: int, now: float) -> None:
        self.delivered = frame.position if isinstance(frame, f.Deliver) else frame.last
        self._sizes.append((self.delivered, size))
        self._unacked += size
        self._put(frame)

    stack.enter_context(patch.object(mailboxes, "_rows", rows))
    stack.enter_context(patch.object(ClientSession, "_step", step))
    stack.enter_context(patch.object(ServerSession, "deliver", deliver))


def ack_before_save(stack: ExitStack) -> None:
    """A device acknowledges what it has read, then saves it (the model's)."""
    real = Phone.read

    def read(self: Phone, dies: Dies) -> None:
        message = self.socket.down[0] if self.socket is not None else b""
        if dies is Dies.BEFORE_SAVING and isinstance(message, bytes):
            for event in self.session.receive(message):
                if isinstance(event, s.Delivered | s.GapSeen) and self.welcomed:
                    self.session.ack(f.Ack(position=self.session.position))
            self.flush()
            self._die()
            return
        real(self, dies)

    stack.enter_context(patch.object(Phone, "read", read))


def restore_without_resubmission(stack: ExitStack) -> None:
    """A device believes `sent` for ever (the model's)."""
    real = Phone._note_epoch

    def note(self: Phone, epoch: bytes, *, restored: bool, **counts: Any) -> None:
        settled = {sn: entry for sn, entry in self.disk.entries.items() if entry.settled}
        for sn in settled if restored else ():
            del self.disk.entries[sn]
        real(self, epoch, restored=restored, **counts)

    stack.enter_context(patch.object(Phone, "_note_epoch", note))


def copies_not_recognised(stack: ExitStack) -> None:
    """A device keeps messages by the id under which they came (the model's)."""
    stack.enter_context(patch.object(Letter, "known_as", property(lambda letter: letter.id)))


ALL = (
    Fault(sent_before_commit, (0, 1), ("I1",)),
    Fault(failed_commit_called_done, (1, 9), ("I1", "I11")),
    Fault(stale_roster_check, (0, 1), ("C1",)),
    Fault(delete_on_send, (0, 1), ("I2",)),
    Fault(no_sweep, (3, 7), ("I8",)),
    Fault(no_dedupe, (0, 4), ("I5",)),
    Fault(global_positions, (0, 1), ("I3",)),
    Fault(half_a_send, (0, 1), ("I14",)),
    Fault(silent_expiry, (0, 1), ("I2", "I3")),
    Fault(expiry_changes_hashes, (0, 1), ("I4",)),
    Fault(silent_quota, (5, 9), ("C3",)),
    Fault(restore_without_epoch, (16, 37), ("I2", "I13", "position")),
    Fault(statuses_beget_statuses, (0, 1), ("D5",)),
    Fault(ack_past_the_unseen, (0, 1), ("I2",)),
    Fault(unsigned_receipts, (0, 1), ("D4",)),
    Fault(acks_stored_behind_one_that_was_not, (232,), ("D3",)),
    Fault(deaf_to_nacks, (0, 2), ("D3",)),
    Fault(resume_from_pushed, (0, 1), ("broke the protocol",)),
    Fault(positions_unchecked, (0, 1), ("position",)),
    Fault(ack_before_save, (7, 44), ("I2",)),
    Fault(restore_without_resubmission, (4, 22), ("I13",)),
    Fault(copies_not_recognised, (22, 34), ("I4",)),
    Fault(kept_faults.rows_kept_past_a_job, (0, 2), ("C1",)),
    Fault(prekeys.witness_not_compared, (109, 169), ("I11",)),
    Fault(prekeys.witness_written_before_the_commit, (9, 20), ("I12",)),
    Fault(prekeys.one_time_prekeys_survive_an_epoch, (4, 37), ("I11",)),
    Fault(prekeys.stale_prekeys_accepted, (52, 70), ("I11",)),
    Fault(prekeys.one_prekey_for_two_claims, (1, 2), ("I11",)),
    Fault(prekeys.prekey_ids_forgotten, (0, 1), ("I11",)),
)
"""Every fault, with worlds that find it and how what they say begins."""
