"""The receiving half of a model device: saved first, then acknowledged (spec 03 §3)."""

from collections.abc import Sequence

from miss_protocol import client_session as s
from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.digest import envelope_hash
from miss_protocol.identity.receipts import Receipt, ReceiptState, sign_receipt
from miss_protocol.ids import DeviceId, MessageId
from tests.simulation.device import Device, ServerFault
from tests.simulation.disk import Draft, Seen
from tests.simulation.letters import open_letter

RECEIPTS_AT_ONCE = 8
"""Fewer than the protocol allows, so that several acks are common."""


class Receiving(Device):
    """What `miss_client.inbox` does."""

    def _save(self, rows: Sequence[s.Delivered | s.GapSeen]) -> None:
        """One transaction for these rows."""
        for came in rows:
            row = s.unsaved(came, self.disk.position)
            if row is None:
                continue  # this device's other process has saved it
            if isinstance(row, s.Delivered):
                first = last = row.deliver.position
            else:
                first, last = row.gap.first, row.gap.last
            if first != self.disk.position + 1:
                raise ServerFault(f"position {first} after {self.disk.position}")
            if isinstance(row, s.Delivered):
                self.safe.add(hash_of(row.deliver))
                self._deliver(row.deliver)
            else:
                self.safe.update(row.gap.hashes)
                self.disk.gaps.append((row.gap.reason, first, last))
            self.disk.position, self.disk.digest = last, row.digest

    def _deliver(self, row: f.Deliver) -> None:
        disk = self.disk
        row_hash = hash_of(row)
        seen = disk.seen.get(row_hash)
        if seen is not None:
            if seen.message:
                self._owe(seen.id, seen.sender, ReceiptState.DELIVERED)
                if any(disk.ids[name] == seen.id for name in disk.read):
                    self._owe(seen.id, seen.sender, ReceiptState.READ)
            return
        letter = open_letter(row.body, row.wrap, self.id)
        if letter is None:
            disk.nacks[row.position] = "undecryptable"
            disk.unopened.add((row.device, row.id))
            return
        disk.seen[row_hash] = Seen(letter.id, letter.sender, letter.message)
        if not letter.message:
            return
        name = letter.sender, letter.known_as
        if name not in disk.ids:
            self.on_shown(letter.sender, letter.id)
            disk.shown.append((*name, letter.message))
        elif name in disk.read:
            self._owe(letter.id, letter.sender, ReceiptState.READ)
        disk.ids[name] = letter.id
        self._owe(letter.id, letter.sender, ReceiptState.DELIVERED)
        if letter.sender not in disk.met:
            disk.met.add(letter.sender)
            account = self._cast.member(letter.sender).account
            now = self._now_ms()
            answer = Draft(0, (account,), now, limits.TTL_MIN, (letter.sender,))
            disk.drafts.insert(0, answer)

    def _owe(self, id: bytes, sender: bytes, state: ReceiptState) -> None:
        receipt = sign_receipt(
            self.member.key,
            message=MessageId(id),
            sender_device=DeviceId(sender),
            recipient_device=self.id,
            state=state,
            at_ms=self._now_ms(),
        )
        self.disk.owed[id + sender + state.value.encode()] = receipt

    def read_aloud(self, place: int) -> None:
        """The user looks at a message, and the sender may know."""
        sender, first_id, _ = self.disk.shown[place]
        if self._cast.member(sender).account != self.account:
            self.disk.read.add((sender, first_id))
            self._owe(self.disk.ids[sender, first_id], sender, ReceiptState.READ)

    def _paid(self, receipts: Sequence[Receipt], nacks: Sequence[f.Nack]) -> None:
        for receipt in receipts:
            name = receipt.message + receipt.sender_device + receipt.state.value.encode()
            self.disk.owed.pop(name, None)
        for nack in nacks:
            self.disk.nacks.pop(nack.position, None)

    def _ack(self, position: int | None) -> None:
        if not self.welcomed or self.socket is None:
            return
        away = {r.signature for some, _ in self._on_their_way.values() for r in some}
        away_nacks = {n.position for _, some in self._on_their_way.values() for n in some}
        owed = [r for r in self.disk.owed.values() if r.signature not in away]
        nacks = [
            f.Nack(p, reason)
            for p, reason in sorted(self.disk.nacks.items())
            if p not in away_nacks and p <= self.session.position
        ]
        for nack in nacks:
            self.session.nack(nack.position, nack.reason)
        size = 1 if self.one_by_one else RECEIPTS_AT_ONCE
        if position is not None:
            position = min(position, self.session.position)
        while True:
            some, owed = owed[:size], owed[size:]
            ack = f.Ack(receipts=tuple(some))
            if not owed and position is not None:
                ack.position = position
            if some or nacks:
                ack.ref = self._next_ref
                self._on_their_way[self._next_ref] = (some, nacks if not owed else [])
                self._next_ref += 1
            if some or nacks or position is not None:
                self.session.ack(ack)
            if not owed:
                return


def hash_of(row: f.Deliver) -> bytes:
    """The hash of a delivered row."""
    return envelope_hash(row.account, row.device, row.id, row.body, row.wrap)
