"""Settles a batch of sends inside one transaction, in the order of rule C1.

Claim the `sn`s, sorted; read every row that will change, sorted; only then check each send; write
what was accepted. SQLite's one write lock makes the order unnecessary for safety here; it is kept
so that every engine does the same and the same histories come out.
"""

import sqlite3
from collections.abc import Sequence

import msgspec
from msgspec.structs import astuple

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.digest import envelope_hash, gap_hash, roll
from miss_protocol.errors import Code
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.messages import ROW_OVERHEAD, Row, Settled, Submission
from miss_server.storage.sqlite.rows import select_many
from miss_server.storage.states import RecipientState, encode_states, still_open

OUT_OF_ORDER_RETRY = 0.2
UNCONFIRMED_RETRY = 30.0

_encode_reply = msgspec.msgpack.Encoder().encode
_decode_reply = msgspec.msgpack.Decoder(f.Sent | f.Refused).decode


class _Sender(msgspec.Struct, gc=False):
    account: str
    sn: int
    generation: int
    revoked: bool


class _Account(msgspec.Struct):
    roster_version: int
    enrolled: bool
    confirmed: bool
    suspended: bool
    devices: dict[bytes, int] = msgspec.field(default_factory=dict)
    """Devices that are not revoked, with when each was last seen."""


class _Mailbox(msgspec.Struct, gc=False):
    head: int
    digest: bytes
    acked: int
    waiting: int
    bytes: int
    touched: bool = False
    quota_gap: int | None = None
    """Position of an un-acknowledged `gap(quota)` at the very end, if there is one."""

    @property
    def full(self) -> bool:
        return self.waiting >= limits.MAILBOX_ROWS_MAX or self.bytes >= limits.MAILBOX_BYTES_MAX


class _Refusal(Exception):
    def __init__(
        self, code: Code, accounts: Sequence[str] = (), retry_after: float | None = None
    ) -> None:
        super().__init__(code.wire)
        self.code = code
        self.accounts = tuple(accounts)
        self.retry_after = retry_after


def settle(db: sqlite3.Connection, batch: Sequence[tuple[Submission, int]]) -> list[Settled]:
    """Settle `(submission, now_ms)` pairs; the answers are in the order of `batch`."""
    return _Batch(db, batch).run()


class _Batch:
    def __init__(self, db: sqlite3.Connection, batch: Sequence[tuple[Submission, int]]) -> None:
        self.db = db
        self.batch = batch
        self.answers: list[Settled | None] = [None] * len(batch)
        self.senders: dict[bytes, _Sender] = {}
        self.accounts: dict[str, _Account] = {}
        self.mailboxes: dict[bytes, _Mailbox] = {}
        self.new_envelopes: list[tuple[object, ...]] = []
        self.new_sends: list[tuple[object, ...]] = []
        self.quota_gaps: list[tuple[bytes, int]] = []

    def run(self) -> list[Settled]:
        order = sorted(
            range(len(self.batch)),
            key=lambda i: (self.batch[i][0].device, self.batch[i][0].send.sn),
        )
        claimed, repeats = self._claim(order)
        self._lock(claimed)
        for index in claimed:
            self.answers[index] = self._decide(*self.batch[index])
        for index, first in repeats:
            self.answers[index] = self._repeat(index, first)
        self._write()
        return [answer for answer in self.answers if answer is not None]

    # --- claim ------------------------------------------------------------------------------------

    def _claim(self, order: list[int]) -> tuple[list[int], list[tuple[int, int]]]:
        ids = sorted({submission.device for submission, _ in self.batch})
        for device, account, sn, generation, revoked in select_many(
            self.db,
            "SELECT id, account, sn, generation, revoked_ms FROM wanted CROSS JOIN devices ON id = key",
            ids,
        ):
            self.senders[device] = _Sender(account, sn, generation, revoked is not None)
        claimed: list[int] = []
        repeats: list[tuple[int, int]] = []
        first_of: dict[tuple[bytes, int], int] = {}
        for index in order:
            submission, _ = self.batch[index]
            sender, sn = self.senders.get(submission.device), submission.send.sn
            if sender is None or sender.revoked:
                self.answers[index] = Settled(f.Refused(sn, Code.REVOKED.wire))
            elif submission.generation not in (None, sender.generation):
                self.answers[index] = Settled(None)
            elif (submission.device, sn) in first_of:
                repeats.append((index, first_of[submission.device, sn]))
            elif sn <= sender.sn:
                self.answers[index] = self._remembered(submission)
            elif sn > sender.sn + 1:
                self.answers[index] = Settled(
                    f.RetrySend(sn, Code.OUT_OF_ORDER.wire, OUT_OF_ORDER_RETRY)
                )
            else:
                sender.sn = sn
                first_of[submission.device, sn] = index
                claimed.append(index)
        return claimed, repeats

    def _remembered(self, submission: Submission) -> Settled:
        row = self.db.execute(
            "SELECT fingerprint, reply FROM sends WHERE device = ? AND sn = ?",
            (submission.device, submission.send.sn),
        ).fetchone()
        if row is None:
            return Settled(f.Refused(submission.send.sn, Code.SN_FORGOTTEN.wire))
        if row[0] != submission.fingerprint:
            return Settled(f.Refused(submission.send.sn, Code.SN_REUSED.wire))
        return Settled(_decode_reply(row[1]))

    def _repeat(self, index: int, first: int) -> Settled:
        again, original = self.batch[index][0], self.batch[first][0]
        answer = self.answers[first]
        if again.fingerprint != original.fingerprint or answer is None:
            return Settled(f.Refused(again.send.sn, Code.SN_REUSED.wire))
        return Settled(answer.reply)

    # --- lock -------------------------------------------------------------------------------------

    def _lock(self, claimed: list[int]) -> None:
        names = sorted(
            {used.account for index in claimed for used in self.batch[index][0].send.rosters}
            | {self.senders[self.batch[index][0].device].account for index in claimed}
        )
        for address, version, genesis, confirmed, suspended in select_many(
            self.db,
            "SELECT address, roster_version, genesis, confirmed, suspended"
            " FROM wanted CROSS JOIN accounts ON address = key",
            names,
        ):
            self.accounts[address] = _Account(
                version, genesis is not None, bool(confirmed), bool(suspended)
            )
        for device, account, seen in select_many(
            self.db,
            "SELECT id, account, seen_ms FROM wanted CROSS JOIN devices"
            " ON account = key AND revoked_ms IS NULL",
            names,
        ):
            self.accounts[account].devices[device] = seen
        devices = sorted({d for account in self.accounts.values() for d in account.devices})
        for device, head, digest, acked, waiting, size in select_many(
            self.db,
            "SELECT device, head, digest, acked, waiting, bytes"
            " FROM wanted CROSS JOIN mailboxes ON device = key",
            devices,
        ):
            self.mailboxes[device] = _Mailbox(head, digest, acked, waiting, size)

    # --- check ------------------------------------------------------------------------------------

    def _decide(self, submission: Submission, now_ms: int) -> Settled:
        send = submission.send
        try:
            if submission.verdict is not None:
                raise _Refusal(submission.verdict)
            recipients, dormant = self._recipients(submission, now_ms)
            full = self._full(submission, recipients)
        except _Refusal as refusal:
            after = msgspec.UNSET if refusal.retry_after is None else refusal.retry_after
            refused = f.Refused(send.sn, refusal.code.wire, refusal.accounts, after)
            self._remember(submission, refused, [], now_ms)
            return Settled(refused)
        return self._accept(submission, recipients, dormant, full, now_ms)

    def _recipients(
        self, submission: Submission, now_ms: int
    ) -> tuple[dict[bytes, str], set[bytes]]:
        """Active recipient devices with their accounts, and the wrapped ones that are dormant."""
        send, sender = submission.send, self.senders[submission.device]
        if self.accounts[sender.account].suspended:
            raise _Refusal(Code.SUSPENDED)
        if send.at + send.ttl * 1000 <= now_ms:
            raise _Refusal(Code.EXPIRED)
        named = {used.account: used.version for used in send.rosters}
        if len(named) != len(send.rosters):
            raise _Refusal(Code.MALFORMED)
        unknown = [a for a in named if a not in self.accounts or not self.accounts[a].enrolled]
        if unknown:
            raise _Refusal(Code.UNKNOWN_ACCOUNT, unknown)
        # The sender's own other devices are recipients of every send (rule D7).
        stale = [a for a, version in named.items() if self.accounts[a].roster_version != version]
        if sender.account not in named:
            stale.append(sender.account)
        if stale:
            raise _Refusal(Code.STALE_ROSTER, stale)
        unconfirmed = [a for a in named if not self.accounts[a].confirmed]
        if unconfirmed:
            raise _Refusal(Code.UNCONFIRMED, unconfirmed, UNCONFIRMED_RETRY)
        horizon = now_ms - limits.DORMANT_AFTER * 1000
        wrapped = {w.device for w in send.wraps}
        if len(wrapped) != len(send.wraps):
            raise _Refusal(Code.MALFORMED)
        active: dict[bytes, str] = {}
        sleeping: dict[bytes, str] = {}
        for account in named:
            for device, seen in self.accounts[account].devices.items():
                if device != submission.device:
                    (active if seen >= horizon else sleeping)[device] = account
        asleep = [a for a in named if a != sender.account and a not in active.values()]
        if asleep:
            raise _Refusal(Code.DORMANT, asleep)
        if not active:
            raise _Refusal(Code.NO_RECIPIENTS)
        if send.partial:
            active = {d: account for d, account in active.items() if d in wrapped}
        missing = {active[d] for d in active.keys() - wrapped}
        surplus = wrapped - active.keys() - sleeping.keys()
        if missing or surplus:
            raise _Refusal(Code.STALE_ROSTER, sorted(missing) or sorted(named))
        return active, wrapped & sleeping.keys()

    def _full(self, submission: Submission, recipients: dict[bytes, str]) -> set[bytes]:
        own = self.senders[submission.device].account
        full = {device for device in recipients if self.mailboxes[device].full}
        if full:
            with_room = {recipients[device] for device in recipients.keys() - full}
            without = {a for a in recipients.values() if a != own} - with_room
            if without:
                raise _Refusal(Code.MAILBOX_FULL, sorted(without))
        return full

    # --- write ------------------------------------------------------------------------------------

    def _accept(
        self,
        submission: Submission,
        recipients: dict[bytes, str],
        dormant: set[bytes],
        full: set[bytes],
        now_ms: int,
    ) -> Settled:
        send, sender = submission.send, self.senders[submission.device]
        states: list[RecipientState] = []
        refused = [f.DeviceRefused(device, Code.DORMANT.wire) for device in sorted(dormant)]
        rows: list[tuple[DeviceId, Row]] = []
        ring: list[DeviceId] = []
        for wrap in sorted(send.wraps, key=lambda w: w.device):
            if wrap.device in dormant:
                continue
            own = recipients[wrap.device] == sender.account
            if wrap.device in full:
                self._put_quota_gap(wrap.device, now_ms)
                refused.append(f.DeviceRefused(wrap.device, Code.MAILBOX_FULL.wire))
                states.append(RecipientState(wrap.device, own, "refused", now_ms))
                ring.append(DeviceId(wrap.device))
            else:
                row = self._put(submission, wrap, sender.account, now_ms)
                states.append(RecipientState(wrap.device, own, "waiting", now_ms))
                rows.append((DeviceId(wrap.device), row))
        reply = f.Sent(send.sn, send.id, now_ms, tuple(refused))
        self._remember(submission, reply, states, now_ms)
        return Settled(reply, rows, ring)

    def _put(self, submission: Submission, wrap: f.DeviceWrap, account: str, now_ms: int) -> Row:
        send, box = submission.send, self.mailboxes[wrap.device]
        row_hash = envelope_hash(account, submission.device, send.id, send.body, wrap.wrap)
        box.head += 1
        box.digest = roll(box.digest, box.head, row_hash)
        box.waiting += 1
        box.bytes += len(send.body) + len(wrap.wrap) + ROW_OVERHEAD
        box.touched = True
        box.quota_gap = None
        row = Row(
            box.head,
            row_hash,
            box.digest,
            None,
            1,
            AccountAddress(account),
            submission.device,
            send.id,
            send.body,
            wrap.wrap,
            send.kind,
            send.urgency,
            now_ms,
        )
        expires_ms = min(send.at, now_ms) + send.ttl * 1000
        self.new_envelopes.append((wrap.device, *astuple(row), expires_ms))
        return row

    def _put_quota_gap(self, device: bytes, now_ms: int) -> None:
        box = self.mailboxes[device]
        if box.quota_gap is None:
            row = self.db.execute(
                "SELECT gap FROM envelopes WHERE device = ? AND position = ?", (device, box.head)
            ).fetchone()
            if row is not None and row[0] == "quota":
                box.quota_gap = box.head
        if box.quota_gap is not None:
            self.quota_gaps.append((device, box.quota_gap))
            return
        row_hash = gap_hash("quota")
        box.head += 1
        box.digest = roll(box.digest, box.head, row_hash)
        box.waiting += 1
        box.touched = True
        box.quota_gap = box.head
        self.new_envelopes.append(
            (device, box.head, row_hash, box.digest, "quota", 1, "", bytes(16), bytes(16))
            + (b"", b"", "message", "normal", now_ms, None)
        )

    def _remember(
        self,
        submission: Submission,
        reply: f.Sent | f.Refused,
        states: list[RecipientState],
        now_ms: int,
    ) -> None:
        send = submission.send
        waiting = still_open(states) if send.kind == "message" else 0
        self.new_sends.append(
            (
                submission.device,
                send.sn,
                send.id,
                submission.fingerprint,
                _encode_reply(reply),
                encode_states(states),
                send.kind,
                waiting,
                None if waiting else now_ms + limits.RESULT_KEPT * 1000,
            )
        )

    def _write(self) -> None:
        db = self.db
        db.executemany(
            "UPDATE devices SET sn = ? WHERE id = ?",
            [(sender.sn, device) for device, sender in sorted(self.senders.items())],
        )
        db.executemany(
            "UPDATE mailboxes SET head = ?, digest = ?, waiting = ?, bytes = ? WHERE device = ?",
            [
                (box.head, box.digest, box.waiting, box.bytes, device)
                for device, box in sorted(self.mailboxes.items())
                if box.touched
            ],
        )
        db.executemany(
            'INSERT INTO envelopes (device, position, row_hash, digest, gap, "count",'
            " sender_account, sender_device, message, body, wrap, kind, urgency, at_ms, expires_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            self.new_envelopes,
        )
        if self.quota_gaps:
            db.executemany(
                'UPDATE envelopes SET "count" = "count" + 1 WHERE device = ? AND position = ?',
                self.quota_gaps,
            )
        db.executemany(
            'INSERT INTO sends (device, sn, message, fingerprint, reply, states, kind, "open",'
            " kept_until_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            self.new_sends,
        )
