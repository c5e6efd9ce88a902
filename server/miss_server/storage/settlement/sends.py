"""Decides a batch of sends over loaded rows, in the order of rule C1."""

from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import astuple

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.digest import envelope_hash, gap_hash, roll
from miss_protocol.errors import Code
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.messages import ROW_OVERHEAD, Row, Settled, Submission
from miss_server.storage.settlement.meeting import FirstContacts, Meeting, Passage
from miss_server.storage.settlement.refusal import Refusal
from miss_server.storage.states import RecipientState, encode_states, still_open

OUT_OF_ORDER_RETRY = 0.2
UNCONFIRMED_RETRY = 1.0
"""The least: most accounts confirm within seconds of a restart, and clients double it by themselves."""

_encode_reply = msgspec.msgpack.Encoder().encode
_decode_reply = msgspec.msgpack.Decoder(f.Sent | f.Refused).decode


class _Sender(msgspec.Struct, gc=False):
    account: str
    sn: int
    generation: int
    revoked: bool
    claimed: bool = False


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
    waiting: int
    bytes: int
    touched: bool = False
    quota_gap: int | None = None
    """Position of an un-acknowledged `gap(quota)` at the very end, if there is one."""

    @property
    def full(self) -> bool:
        return self.waiting >= limits.MAILBOX_ROWS_MAX or self.bytes >= limits.MAILBOX_BYTES_MAX


class Sends:
    """One batch: `(submission, now_ms)` pairs, settled by `claim`, `see` and `decide`.

    Lists of keys are sorted and have no doubles. What is to be written comes as tuples, key first;
    write it in the order of the attributes: `numbers`, `mailboxes`, `envelopes`, `gaps`, `results`,
    `silenced`, and the rows of `meeting`, which has its own things to load between `see` and
    `decide`.
    """

    def __init__(
        self,
        batch: Sequence[tuple[Submission, int]],
        first_contacts: FirstContacts = FirstContacts(),  # noqa: B008  # frozen
    ) -> None:
        self._batch = batch
        self.meeting = Meeting(first_contacts)
        """Who may write to whom."""
        self._answers: list[Settled | None] = [None] * len(batch)
        self._senders: dict[bytes, _Sender] = {}
        self._accounts: dict[str, _Account] = {}
        self._mailboxes: dict[bytes, _Mailbox] = {}
        self._claimed: list[int] = []
        self._remembered: list[int] = []
        self._repeats: list[tuple[int, int]] = []
        self._gaps: dict[tuple[bytes, int], int] = {}
        self.senders = sorted({submission.device for submission, _ in batch})
        """Device ids to load for `claim`."""
        self.earlier: list[tuple[bytes, int]] = []
        """(device, sn) of results to load for `decide`."""
        self.accounts: list[str] = []
        """Addresses to load for `see`, with all their devices."""
        self.recipients: list[bytes] = []
        """Device ids whose mailboxes to load for `see`: those wrapped for, known or not."""
        self.ends: list[tuple[bytes, int]] = []
        """(device, position) of the last rows of full mailboxes, to load for `decide`."""
        self.envelopes: list[tuple[object, ...]] = []
        """New rows: device, the fields of `Row`, expires_ms."""
        self.results: list[tuple[object, ...]] = []
        """New results: device, sn, message, fingerprint, reply, states, kind, open, kept_until."""
        self.silenced: list[tuple[bytes, bytes, bytes, int]] = []
        """What a block keeps from a mailbox: device, sender device, message, expires_ms."""

    # --- claim ------------------------------------------------------------------------------------

    def claim(self, senders: Iterable[tuple[bytes, str, int, int, int | None]]) -> None:
        """Claim the numbers, sorted; afterwards `earlier`, `accounts`, `recipients` are known.

        Args:
            senders: (id, account, sn, generation, revoked_ms), locked before they were read.
        """
        for device, account, sn, generation, revoked in senders:
            self._senders[device] = _Sender(account, sn, generation, revoked is not None)
        order = sorted(
            range(len(self._batch)),
            key=lambda i: (self._batch[i][0].device, self._batch[i][0].send.sn),
        )
        first_of: dict[tuple[bytes, int], int] = {}
        earlier: set[tuple[bytes, int]] = set()
        for index in order:
            submission, _ = self._batch[index]
            sender, sn = self._senders.get(submission.device), submission.send.sn
            if sender is None or sender.revoked:
                self._answers[index] = Settled(f.Refused(sn, Code.REVOKED.wire))
            elif submission.generation not in (None, sender.generation):
                self._answers[index] = Settled(None)
            elif (submission.device, sn) in first_of:
                self._repeats.append((index, first_of[submission.device, sn]))
            elif sn <= sender.sn:
                self._remembered.append(index)
                earlier.add((submission.device, sn))
            elif sn > sender.sn + 1:
                self._answers[index] = Settled(
                    f.RetrySend(sn, Code.OUT_OF_ORDER.wire, OUT_OF_ORDER_RETRY)
                )
            else:
                sender.sn, sender.claimed = sn, True
                first_of[submission.device, sn] = index
                self._claimed.append(index)
        self.earlier = sorted(earlier)
        sends = [self._batch[index][0].send for index in self._claimed]
        self.accounts = sorted(
            {used.account for send in sends for used in send.rosters}
            | {sender.account for sender in self._senders.values() if sender.claimed}
        )
        self.recipients = sorted({wrap.device for send in sends for wrap in send.wraps})
        self.meeting.want(
            [
                (self._senders[submission.device].account, submission.send)
                for submission, _ in (self._batch[index] for index in self._claimed)
                if submission.verdict is None
            ]
        )

    # --- see --------------------------------------------------------------------------------------

    def see(
        self,
        accounts: Iterable[tuple[str, int, bytes | None, bool, bool]],
        devices: Iterable[tuple[bytes, str, int]],
        mailboxes: Iterable[tuple[bytes, int, bytes, int, int]],
    ) -> None:
        """Take what the sends are checked against; afterwards `ends` is known.

        All of it is read in statements that began after the rows of `recipients` were locked:
        an older snapshot would deliver to a device that was revoked meanwhile (rule C1).

        Args:
            accounts: (address, roster_version, genesis, confirmed, suspended).
            devices: (id, account, seen_ms) of the accounts' devices that are not revoked.
            mailboxes: (device, head, digest, waiting, bytes).
        """
        for address, version, genesis, confirmed, suspended in accounts:
            self._accounts[address] = _Account(
                version, genesis is not None, bool(confirmed), bool(suspended)
            )
        for device, account, seen in devices:
            self._accounts[account].devices[device] = seen
        for device, head, digest, waiting, size in mailboxes:
            box = self._mailboxes[device] = _Mailbox(head, digest, waiting, size)
            # One that fills up in this very batch ends with a message of this batch.
            if box.full:
                self.ends.append((device, head))
        self.ends.sort()

    # --- decide -----------------------------------------------------------------------------------

    def decide(
        self,
        earlier: Iterable[tuple[bytes, int, bytes, bytes]],
        ends: Iterable[tuple[bytes, int, str | None]],
    ) -> list[Settled]:
        """Answer every send, in the order of the batch; afterwards the changes are known.

        Args:
            earlier: (device, sn, fingerprint, reply) of the results that are still kept.
            ends: (device, position, gap).
        """
        for device, position, gap in ends:
            if gap == "quota":
                self._mailboxes[device].quota_gap = position
        for index in self._claimed:
            self._answers[index] = self._decide(*self._batch[index])
        if self._remembered:
            results = {(device, sn): rest for device, sn, *rest in earlier}
            for index in self._remembered:
                submission = self._batch[index][0]
                found = results.get((submission.device, submission.send.sn))
                self._answers[index] = _recall(submission, found)
        for index, first in self._repeats:
            self._answers[index] = self._repeat(index, first)
        return [answer for answer in self._answers if answer is not None]

    def _repeat(self, index: int, first: int) -> Settled:
        again, original = self._batch[index][0], self._batch[first][0]
        answer = self._answers[first]
        if again.fingerprint != original.fingerprint or answer is None:
            return Settled(f.Refused(again.send.sn, Code.SN_REUSED.wire))
        return Settled(answer.reply)

    def _decide(self, submission: Submission, now_ms: int) -> Settled:
        send = submission.send
        try:
            if submission.verdict is not None:
                raise Refusal(submission.verdict)
            recipients, dormant = self._recipients(submission, now_ms)
            own = self._senders[submission.device].account
            names = [used.account for used in send.rosters]
            passage = self.meeting.judge(own, names, send.kind, now_ms)
            full = self._full(submission, recipients)
        except Refusal as refusal:
            after = msgspec.UNSET if refusal.retry_after is None else refusal.retry_after
            refused = f.Refused(send.sn, refusal.code.wire, refusal.accounts, after)
            self._remember(submission, refused, [], now_ms)
            return Settled(refused)
        self.meeting.note(own, passage, send.kind, now_ms)
        return self._accept(submission, recipients, dormant, full, passage, now_ms)

    def _recipients(
        self, submission: Submission, now_ms: int
    ) -> tuple[dict[bytes, str], set[bytes]]:
        """Active recipient devices with their accounts, and the wrapped ones that are dormant."""
        send, sender = submission.send, self._senders[submission.device]
        if self._accounts[sender.account].suspended:
            raise Refusal(Code.SUSPENDED)
        if send.at + send.ttl * 1000 <= now_ms - submission.unsure_ms:
            raise Refusal(Code.EXPIRED)
        named = {used.account: used.version for used in send.rosters}
        if len(named) != len(send.rosters):
            raise Refusal(Code.MALFORMED)
        unknown: list[str] = []
        stale: list[str] = []
        unconfirmed: list[str] = []
        for name, version in named.items():
            account = self._accounts.get(name)
            if account is None or not account.enrolled:
                unknown.append(name)
                continue
            if account.roster_version != version:
                stale.append(name)
            if not account.confirmed:
                unconfirmed.append(name)
        # The sender's own other devices are recipients of every send (rule D7).
        if sender.account not in named:
            stale.append(sender.account)
        out = sorted(
            name for name in named if name in self._accounts and self._accounts[name].suspended
        )
        if out:
            # Nothing could be delivered, and the sender must know it now (spec 09 §2).
            raise Refusal(Code.NOT_SERVED, out)
        if unknown:
            raise Refusal(Code.UNKNOWN_ACCOUNT, unknown)
        if stale:
            raise Refusal(Code.STALE_ROSTER, stale)
        if unconfirmed:
            raise Refusal(Code.UNCONFIRMED, unconfirmed, UNCONFIRMED_RETRY)
        horizon = now_ms - limits.DORMANT_AFTER * 1000
        wrapped = {w.device for w in send.wraps}
        if len(wrapped) != len(send.wraps):
            raise Refusal(Code.MALFORMED)
        active: dict[bytes, str] = {}
        sleeping: dict[bytes, str] = {}
        asleep: list[str] = []
        for name in named:
            awake = False
            for device, seen in self._accounts[name].devices.items():
                if device != submission.device:
                    if seen >= horizon:
                        active[device], awake = name, True
                    else:
                        sleeping[device] = name
            if not awake and name != sender.account:
                asleep.append(name)
        if asleep:
            raise Refusal(Code.DORMANT, asleep)
        if not active:
            raise Refusal(Code.NO_RECIPIENTS)
        if active.keys() == wrapped:
            return active, set()
        if send.partial:
            active = {d: account for d, account in active.items() if d in wrapped}
        missing = {active[d] for d in active.keys() - wrapped}
        surplus = wrapped - active.keys() - sleeping.keys()
        if missing or surplus:
            raise Refusal(Code.STALE_ROSTER, sorted(missing) or sorted(named))
        return active, wrapped & sleeping.keys()

    def _full(self, submission: Submission, recipients: dict[bytes, str]) -> set[bytes]:
        own = self._senders[submission.device].account
        full = {device for device in recipients if self._mailboxes[device].full}
        if full:
            with_room = {recipients[device] for device in recipients.keys() - full}
            without = {a for a in recipients.values() if a != own} - with_room
            if without:
                raise Refusal(Code.MAILBOX_FULL, sorted(without))
        return full

    # --- changes ----------------------------------------------------------------------------------

    @property
    def numbers(self) -> list[tuple[bytes, int]]:
        """The senders' last numbers: device, sn."""
        return sorted((device, one.sn) for device, one in self._senders.items() if one.claimed)

    @property
    def mailboxes(self) -> list[tuple[bytes, int, bytes, int, int]]:
        """The mailboxes that grew: device, head, digest, waiting, bytes."""
        return sorted(
            (device, box.head, box.digest, box.waiting, box.bytes)
            for device, box in self._mailboxes.items()
            if box.touched
        )

    @property
    def gaps(self) -> list[tuple[bytes, int, int]]:
        """Rows of `gap(quota)`, maybe new ones, that stand for more: device, position, how many."""
        return sorted((device, position, more) for (device, position), more in self._gaps.items())

    def _accept(
        self,
        submission: Submission,
        recipients: dict[bytes, str],
        dormant: set[bytes],
        full: set[bytes],
        passage: Passage,
        now_ms: int,
    ) -> Settled:
        send, sender = submission.send, self._senders[submission.device]
        states: list[RecipientState] = []
        refused = [f.DeviceRefused(device, Code.DORMANT.wire) for device in sorted(dormant)]
        rows: list[tuple[DeviceId, Row]] = []
        ring: list[DeviceId] = []
        for wrap in sorted(send.wraps, key=lambda w: w.device):
            if wrap.device in dormant:
                continue
            own = recipients[wrap.device] == sender.account
            silent = recipients[wrap.device] in passage.silent
            if wrap.device in full:
                refused.append(f.DeviceRefused(wrap.device, Code.MAILBOX_FULL.wire))
                states.append(RecipientState(wrap.device, own, "refused", now_ms))
                if not silent:
                    self._put_quota_gap(wrap.device, now_ms)
                    ring.append(DeviceId(wrap.device))
            elif silent:
                # As to a device that is off: `sent`, then nothing, then `expired`.
                states.append(RecipientState(wrap.device, own, "waiting", now_ms))
                expires_ms = min(send.at, now_ms) + send.ttl * 1000
                self.silenced.append((wrap.device, submission.device, send.id, expires_ms))
            else:
                row = self._put(submission, wrap, sender.account, now_ms)
                states.append(RecipientState(wrap.device, own, "waiting", now_ms))
                rows.append((DeviceId(wrap.device), row))
        reply = f.Sent(send.sn, send.id, now_ms, tuple(refused))
        self._remember(submission, reply, states, now_ms)
        return Settled(reply, rows, ring)

    def _put(self, submission: Submission, wrap: f.DeviceWrap, account: str, now_ms: int) -> Row:
        send, box = submission.send, self._mailboxes[wrap.device]
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
        self.envelopes.append((wrap.device, *astuple(row), expires_ms))
        return row

    def _put_quota_gap(self, device: bytes, now_ms: int) -> None:
        box = self._mailboxes[device]
        if box.quota_gap is not None:
            place = device, box.quota_gap
            self._gaps[place] = self._gaps.get(place, 0) + 1
            return
        row_hash = gap_hash("quota")
        box.head += 1
        box.digest = roll(box.digest, box.head, row_hash)
        box.waiting += 1
        box.touched = True
        box.quota_gap = box.head
        self.envelopes.append(
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
        self.results.append(
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


def _recall(submission: Submission, found: Sequence[bytes] | None) -> Settled:
    """The answer to a number that was claimed by an earlier batch."""
    sn = submission.send.sn
    if found is None:
        return Settled(f.Refused(sn, Code.SN_FORGOTTEN.wire))
    fingerprint, reply = found
    if fingerprint != submission.fingerprint:
        return Settled(f.Refused(sn, Code.SN_REUSED.wire))
    return Settled(_decode_reply(reply))
