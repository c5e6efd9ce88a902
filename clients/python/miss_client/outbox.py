"""What was encrypted, from then until every recipient has it.

An *entry* is the exact frame under its serial number, saved together with the ratchet before it
may leave (`drafts`). It is repeated as it is until the server settles it, and kept until it is
delivered, because a restored server needs it again (rules B2, C6). What must be encrypted anew
becomes a draft again.
"""

import random

import msgspec

from miss_client import progress
from miss_client.drafts import Drafts
from miss_client.errors import ServerError, Trouble
from miss_client.events import Distrusted, EncryptedAgain
from miss_client.records import Draft, Message, OutboxEntry, Outcome
from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.errors import Code, Retry, code_of
from miss_protocol.ids import DeviceId, MessageId

TRIES_MAX = 8
"""Encryptions of one message because of changed rosters, before it is called failed."""
HOLD_MAX = 30.0
"""Seconds to which the wait for a recipient that does not confirm its roster doubles."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(f.Send).decode


class Outbox(Drafts):
    """Drafts and entries of one device. `drafted` and `encrypted` are set whenever there is
    something to do."""

    # --- sending ----------------------------------------------------------------------------------

    def unsettled(self) -> list[f.Send]:
        """What the server has not answered, by serial number: each the very frame it was."""
        return [_decode(entry.frame) for entry in self._vault.entries() if not entry.settled]

    def settle(self, reply: f.Sent | f.Refused) -> None:
        """Save the server's answer to a send."""
        entry = self._vault.outbox.get(reply.sn.to_bytes(8, "big"))
        if entry is None or entry.settled:
            return  # the answer to a repetition
        if isinstance(reply, f.Refused):
            self._refused(entry, reply)
            return
        entry.settled = True
        message = self._vault.message(entry.draft.message)
        with self._vault.store.transaction():
            self._vault.note_settled(reply.sn)
            if message is None or (entry.draft.devices and not self._awaited(entry, message)):
                self._vault.drop_entry(entry)
                return
            for refused in reply.refused:
                outcome = message.outcomes.get(refused.device)
                if outcome is not None:
                    progress.advance(outcome, "refused", reply.at)
            self._vault.put_entry(entry)
            changed = self._update(message)
        self._tell(message, changed)

    def _awaited(self, entry: OutboxEntry, message: Message) -> bool:
        """Whether a status will come for it: the server tells none of one's own devices."""
        return any(
            message.outcomes[device].account != self._vault.account
            for device in entry.draft.devices
            if device in message.outcomes
        )

    def _refused(self, entry: OutboxEntry, reply: f.Refused) -> None:
        code = code_of(reply.code) or Code.INTERNAL
        draft = entry.draft
        if code.retry is Retry.ENROL:
            reused = code is Code.SN_REUSED
            self.on_over(Trouble.ROLLED_BACK if reused else Trouble.DEVICE_OVER)
            return
        if code is Code.UNCONFIRMED:
            self._hold(entry, reply)
            return
        with self._vault.store.transaction():
            self._vault.note_settled(reply.sn)
            self._vault.drop_entry(entry)
            if code.retry in (Retry.REFRESH, Retry.SAME) and draft.tries < TRIES_MAX:
                draft.tries += 1
                draft.wire = entry.wire
                after = 0.0 if reply.retry_after is msgspec.UNSET else reply.retry_after
                self._again(draft, code.wire, round(after * 1000))
            else:
                self._fail(draft, reply.code)
        if code is Code.RESTRICTED:
            self.on_noticeable()

    def _hold(self, entry: OutboxEntry, reply: f.Refused) -> None:
        """Keep a send until the recipient confirmed its roster to a restored server, for as long as
        it is of use. It stays the same envelope: one that had it already must not see it twice."""
        after = 0.0 if reply.retry_after is msgspec.UNSET else reply.retry_after
        draft = entry.draft
        draft.frame = entry.frame
        # Soon at first: the recipient's devices lost the same server and are on their way back.
        wait = max(after, min(after * 2.0 ** min(draft.holds, 16), HOLD_MAX))
        wait *= 1 + random.random()  # noqa: S311 - no secret, only spread
        draft.holds += 1
        draft.not_before_ms = self._vault.clock() + round(wait * 1000)
        with self._vault.store.transaction():
            self._vault.note_settled(reply.sn)
            self._vault.drop_entry(entry)
            self._vault.put_draft(draft)
        self.drafted.set()
        message = self._vault.message(draft.message)
        if message is not None:
            self._hub.tell(EncryptedAgain(MessageId(message.id), message.again, reply.code))

    def _again(self, draft: Draft, reason: str, wait_ms: int) -> None:
        """Queue a refused send for another encryption, in its old place."""
        message = self._vault.message(draft.message)
        draft.not_before_ms = self._vault.clock() + wait_ms if wait_ms else 0
        with self._vault.store.transaction():
            self._vault.put_draft(draft)
            if message is not None:
                message.again += 1
                self._vault.put_message(message)
        self.drafted.set()
        if message is not None:
            self._hub.tell(EncryptedAgain(MessageId(message.id), message.again, reason))

    # --- statuses ---------------------------------------------------------------------------------

    def status(self, status: f.Status) -> None:
        """Save what became of a message. Acknowledge its tick when this returned."""
        wire = self._vault.wires.get(status.id)
        message = self._vault.message(wire.message) if wire else None
        if message is None:
            return
        forged: list[str] = []
        again = 0
        with self._vault.change() as endpoint:
            for state in status.devices:
                outcome = message.outcomes.get(state.device)
                if outcome is None:
                    continue
                if state.state in ("delivered", "read"):
                    if not self._receipt(state, outcome, status.id):
                        if state.signature:
                            forged.append(outcome.account)
                        continue
                elif outcome.wire != status.id or self._is_drafted(message, state.device):
                    continue  # about an envelope that another one replaced, or soon will
                elif state.state == "undecryptable" and outcome.again < limits.RESENDS_MAX:
                    if outcome.state in ("delivered", "read"):
                        continue
                    endpoint.break_session(DeviceId(state.device))
                    if self._encrypt_for(message, state.device):
                        outcome.again += 1
                        again += 1
                        continue
                progress.advance(outcome, state.state, state.at)
            message.again += again
            changed = self._update(message)
        self._tell(message, changed)
        for account in forged:
            self._hub.tell(Distrusted(account, "receipt"))
        if again:
            self.drafted.set()
            self._hub.tell(EncryptedAgain(MessageId(message.id), message.again, "undecryptable"))

    def _receipt(self, state: f.DeviceState, outcome: Outcome, wire: bytes) -> bool:
        return progress.receipt_holds(
            state, outcome, MessageId(wire), self._vault.device, self._contacts
        )

    def _is_drafted(self, message: Message, device: bytes) -> bool:
        """Whether it waits to be encrypted anew: a status that only repeats why is no news, and
        must not use up the tries."""
        return self._vault.drafts.get(message.id + device) is not None

    def _encrypt_for(self, message: Message, device: bytes) -> bool:
        """Draft a message anew for a device that could not open it (rule D3), also when the other
        devices have it. False if its time is over: no server would take it."""
        made_from = message.draft
        if made_from is None or made_from.sent_ms + made_from.ttl * 1000 <= self._vault.clock():
            return False
        self._vault.put_draft(msgspec.structs.replace(made_from, devices=(device,), wire=b""))
        return True

    # --- after a restored server ------------------------------------------------------------------

    def submit_again(self) -> int:
        """Number everything that is not delivered anew, inside a transaction (rule C6).

        The frames are the same but for their `sn`: a recipient that had one already knows it by
        its hash, so nobody sees a message twice.
        """
        entries = self._vault.entries()
        for entry in entries:
            self._vault.drop_entry(entry)
        for entry in entries:
            send = _decode(entry.frame)
            send.sn = entry.sn = self._vault.next_sn()
            entry.frame, entry.settled = _encode(send), False
            self._vault.put_entry(entry)
        self.encrypted.set()
        return len(entries)

    def forget_expired(self) -> None:
        """Drop settled entries whose time to deliver is over: no server would take them again.

        What nobody confirmed by then has ended for the user: a device may have left its account
        between taking a message and signing for it. A receipt that comes yet is still believed.
        """
        now = self._vault.clock()
        old = [e for e in self._vault.entries() if e.draft.sent_ms + e.draft.ttl * 1000 < now]
        for entry in old:
            if not entry.settled:
                continue
            message = self._vault.message(entry.draft.message)
            changed = False
            with self._vault.store.transaction():
                self._vault.drop_entry(entry)
                if message is not None:
                    for outcome in message.outcomes.values():
                        progress.advance(outcome, "expired", now)
                    changed = self._update(message)
            if message is not None:
                self._tell(message, changed)

    # --- over HTTP --------------------------------------------------------------------------------

    async def post(self) -> None:
        """Send what is unsettled by HTTP, for a process that was woken without a connection.

        Raises:
            Unreachable: what was not answered stays in the outbox.
        """
        await self.encrypt()
        for send in self.unsettled():
            reply = await self._calls.post("/v1/messages", send, f.Sent | f.Refused | f.RetrySend)  # type: ignore[arg-type]  # a union is a type form
            if isinstance(reply, f.RetrySend):
                return
            if not isinstance(reply, f.Sent | f.Refused):
                raise ServerError("/v1/messages")
            self.settle(reply)
