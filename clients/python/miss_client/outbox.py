"""What the user sends, from the moment it is written until every recipient has it.

A message is a *draft* until it is encrypted; that takes its recipients' rosters and, at first
contact, their prekeys, so it may have to wait for the network. Encrypting makes an *entry*: the
exact frame under its serial number, saved together with the ratchet before it may leave. The entry
is repeated as it is until the server settles it, and kept until it is delivered, because a restored
server needs it again (rules B2, C6). What must be encrypted anew becomes a draft again.
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from miss_client import progress
from miss_client.calls import Calls
from miss_client.contacts import Contacts
from miss_client.errors import ClientError, RefusedByServer, ServerError, Trouble
from miss_client.events import Distrusted, EncryptedAgain, StatusChanged
from miss_client.hub import Hub
from miss_client.records import DeviceOutcome, Draft, Message, OutboxEntry, Outcome, Wire
from miss_client.vault import Vault
from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.api import Prekeys, PrekeysClaimed
from miss_protocol.crypto import content as contents
from miss_protocol.crypto.content import Content
from miss_protocol.crypto.endpoint import Outgoing, Recipient
from miss_protocol.errors import Code, Refused, RemoteError, Retry, Untrusted, code_of
from miss_protocol.identity import prekeys as prekey_form
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.prekeys import SignedPrekey
from miss_protocol.ids import AccountAddress, DeviceId, MessageId, message_id

TRIES_MAX = 8
"""Encryptions of one message because of changed rosters, before it is called failed."""
WAIT_MS = 30_000
"""Until another try when a recipient cannot be encrypted to for now."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(f.Send).decode


class Outbox:
    """Drafts and entries of one device. `wake` is set whenever there is something to do."""

    def __init__(self, vault: Vault, calls: Calls, contacts: Contacts, hub: Hub) -> None:
        self._vault = vault
        self._calls = calls
        self._contacts = contacts
        self._hub = hub
        self._encrypting = asyncio.Lock()
        self.drafted = asyncio.Event()
        """A draft waits to be encrypted."""
        self.encrypted = asyncio.Event()
        """An entry waits to be sent."""
        self.on_over: Callable[[Trouble], None] = lambda trouble: None
        """Called when a reply tells that this device's identity is over."""

    # --- writing ----------------------------------------------------------------------------------

    def write(
        self,
        to: Sequence[AccountAddress],
        content: Content,
        shown: str,
        *,
        conversation: bytes,
        ttl: int,
        urgency: f.Urgency,
        reply_to: bytes = b"",
    ) -> MessageId:
        """Save a message as a draft; durable when it returns."""
        now = self._vault.clock()
        id = message_id(self._vault.random(16))
        encoded = contents.encode(content)
        with self._vault.store.transaction():
            draft = Draft(
                order=self._vault.next_order(),
                message=id,
                to=tuple(to),
                content=encoded,
                conversation=conversation,
                sent_ms=now,
                ttl=ttl,
                urgency=urgency,
            )
            message = Message(
                id=id,
                account=self._vault.account,
                device=self._vault.device,
                conversation=conversation,
                to=draft.to,
                text=shown,
                kind=str(content.__struct_config__.tag),
                sent_ms=now,
                saved_ms=now,
                own=True,
                state="queued",
                reply_to=reply_to,
                draft=draft,
            )
            self._vault.put_message(message)
            self._vault.put_draft(draft)
        self.drafted.set()
        return id

    def answer_session(self, peer: DeviceCertificate, conversation: bytes) -> None:
        """Draft a session ack for one device, inside the transaction of what it answers: the
        peer's next messages are then a fifth as long (rule D7)."""
        self._vault.put_draft(
            Draft(
                order=0,  # before everything of the user's: it is short and nobody waits for it
                message=message_id(self._vault.random(16)),
                to=(peer.account,),
                content=contents.encode(contents.SessionAck()),
                conversation=conversation,
                sent_ms=self._vault.clock(),
                ttl=limits.TTL_MAX,
                kind="control",
                devices=(peer.device,),
            )
        )
        self.drafted.set()

    # --- encrypting -------------------------------------------------------------------------------

    async def encrypt(self) -> float | None:
        """Encrypt every draft whose turn it is, in order.

        Returns:
            Seconds until a draft that has to wait may be tried, None if none waits.

        Raises:
            Unreachable: rosters or prekeys are needed and the server is away; try again later.
        """
        async with self._encrypting:
            self.drafted.clear()
            held: set[str] = set()
            soonest: int | None = None
            drafts = sorted(self._vault.drafts.all(), key=lambda one: (one.order, one.sent_ms))
            for draft in drafts:
                now = self._vault.clock()
                if not held.isdisjoint(draft.to) and not draft.devices:
                    continue  # one partner's messages keep their order (rule B2)
                if draft.not_before_ms <= now:
                    draft.not_before_ms = await self._encrypt(draft)
                if draft.not_before_ms > now:
                    held.update(draft.to)
                    soonest = min(soonest or draft.not_before_ms, draft.not_before_ms)
            return None if soonest is None else max(0.05, (soonest - self._vault.clock()) / 1000)

    async def _encrypt(self, draft: Draft) -> int:
        """Make an entry of a draft, or fail it. Returns 0, or the time before which it waits."""
        now = self._vault.clock()
        if draft.sent_ms + draft.ttl * 1000 <= now:
            self._fail(draft, Code.EXPIRED.wire)
            return 0
        if draft.frame:
            self._number(draft)
            return 0
        try:
            peers, prekeys = await self._prepare(draft)
            if peers:
                self._seal(draft, peers, prekeys)
            elif draft.devices:
                # The only device it was for left its account meanwhile.
                self._give_up(draft, "revoked")
            elif not draft.tries:
                draft.tries = 1  # who was away may be back: ask again before saying so
                return await self._encrypt(draft)
            else:
                self._fail(draft, Code.DORMANT.wire)
        except RefusedByServer as refused:
            if refused.code is Code.REVOKED:
                self.on_over(Trouble.DEVICE_OVER)
            if refused.code.retry is Retry.NEVER:
                self._fail(draft, refused.code.wire)
                return 0
            return self._wait(draft, refused.retry_after)
        except ClientError as error:
            if error.trouble is Trouble.NO_PREKEYS:
                return self._wait(draft, None)
            if error.trouble not in (Trouble.IDENTITY_CHANGED, Trouble.SERVER):
                raise
            self._fail(draft, error.code)
        except RemoteError as error:
            self._fail(draft, error.code.wire)
        return 0

    async def _prepare(
        self, draft: Draft
    ) -> tuple[list[DeviceCertificate], dict[bytes, SignedPrekey]]:
        """The devices of a draft, and prekeys for those without a session."""
        for address in self._accounts(draft):
            if draft.tries:
                await self._contacts.refresh(address)
            else:
                await self._contacts.learn(address)
        peers = self._peers(draft)
        new = self._without_session(peers)
        prekeys = await self._claim(new)
        if len(prekeys) < len(new):
            lacking = {peer.account for peer in new if peer.device not in prekeys}
            for address in lacking:
                await self._contacts.refresh(address)
            peers = self._peers(draft)
            new = self._without_session(peers)
            prekeys |= await self._claim([one for one in new if one.device not in prekeys])
            if any(peer.device not in prekeys for peer in new):
                raise ClientError(Trouble.NO_PREKEYS)
        return peers, prekeys

    def _accounts(self, draft: Draft) -> tuple[str, ...]:
        own = self._vault.account
        return (*(address for address in draft.to if address != own), own)

    def _peers(self, draft: Draft) -> list[DeviceCertificate]:
        peers = self._contacts.devices_of(self._accounts(draft))
        if draft.devices:
            return [peer for peer in peers if peer.device in draft.devices]
        reached = {peer.account for peer in peers}
        return peers if reached.issuperset(draft.to) else []

    def _without_session(self, peers: Sequence[DeviceCertificate]) -> list[DeviceCertificate]:
        now = self._vault.clock()
        return [p for p in peers if self._vault.endpoint.needs_session(p, now_ms=now)]

    async def _claim(self, peers: Sequence[DeviceCertificate]) -> dict[bytes, SignedPrekey]:
        if not peers:
            return {}
        wanted = tuple(peer.device for peer in peers)
        answer = await self._calls.post("/v1/prekeys/claim", PrekeysClaimed(wanted), Prekeys)
        return {
            one.device: prekey_form.decode(one.prekey)
            for one in answer.prekeys
            if one.device in wanted
        }

    def _seal(
        self,
        draft: Draft,
        peers: Sequence[DeviceCertificate],
        prekeys: dict[bytes, SignedPrekey],
    ) -> None:
        """Encrypt, number and save in one transaction. Only then may the frame leave."""
        now = self._vault.clock()
        rosters = [r for a in self._accounts(draft) if (r := self._contacts.roster(a)) is not None]
        # After a refusal the id stays: where a restored server refuses what had been delivered, its
        # recipients know it by that. What a device could not open gets another one and names the
        # first: the device may have shown it before.
        kept = draft.wire if draft.devices else draft.message
        anew = bool(draft.devices) and draft.kind == "message"
        with self._vault.change() as endpoint:
            for peer in peers:
                if endpoint.needs_session(peer, now_ms=now):
                    prekey = prekeys.get(peer.device)
                    if prekey is None:
                        raise Untrusted("a device without a prekey")
                    endpoint.start_session(peer, prekey, now_ms=now)
            sealed = endpoint.seal(
                Outgoing(
                    conversation=draft.conversation,
                    content=contents.decode(draft.content),
                    recipients=[Recipient.of(roster) for roster in rosters],
                    id=MessageId(kept) if kept else None,
                    sent_ms=draft.sent_ms,
                    original=MessageId(draft.message) if anew else None,
                ),
                peers,
                now_ms=now,
            )
            send = f.Send(
                sn=self._vault.next_sn(),
                id=sealed.id,
                at=draft.sent_ms,
                body=sealed.body,
                wraps=tuple(f.DeviceWrap(device, wrap) for device, wrap in sealed.wraps.items()),
                rosters=tuple(f.RosterUsed(roster.account, roster.version) for roster in rosters),
                kind=draft.kind,
                urgency=draft.urgency,
                ttl=draft.ttl,
                partial=bool(draft.devices),
            )
            self._vault.drop_draft(draft)
            self._vault.put_entry(
                OutboxEntry(sn=send.sn, wire=send.id, frame=_encode(send), draft=draft)
            )
            message = self._vault.message(draft.message)
            if message is not None:
                self._vault.wires.put(send.id, Wire(message.id, send.sn))
                if not draft.devices:
                    message.outcomes = {}
                for peer in peers:
                    again = message.outcomes[peer.device].again if draft.devices else 0
                    message.outcomes[peer.device] = Outcome(
                        peer.account, "waiting", now, send.id, again
                    )
                self._vault.put_message(message)
        self.encrypted.set()

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

    def _hold(self, entry: OutboxEntry, reply: f.Refused) -> None:
        """Keep a send until the recipient confirmed its roster to a restored server, for as long as
        it is of use. It stays the same envelope: one that had it already must not see it twice."""
        after = 0.0 if reply.retry_after is msgspec.UNSET else reply.retry_after
        draft = entry.draft
        draft.frame = entry.frame
        draft.not_before_ms = self._vault.clock() + round(after * 1000)
        with self._vault.store.transaction():
            self._vault.note_settled(reply.sn)
            self._vault.drop_entry(entry)
            self._vault.put_draft(draft)
        self.drafted.set()
        message = self._vault.message(draft.message)
        if message is not None:
            self._hub.tell(EncryptedAgain(MessageId(message.id), message.again, reply.code))

    def _number(self, draft: Draft) -> None:
        """Make an entry again of a send that was held."""
        with self._vault.store.transaction():
            self._vault.drop_draft(draft)
            send = _decode(draft.frame)
            send.sn = self._vault.next_sn()
            draft.frame = b""
            self._vault.put_entry(OutboxEntry(send.sn, send.id, _encode(send), draft))
            if self._vault.message(draft.message) is not None:
                self._vault.wires.put(send.id, Wire(draft.message, send.sn))
        self.encrypted.set()

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

    def _wait(self, draft: Draft, retry_after: float | None) -> int:
        wait = WAIT_MS if retry_after is None else round(retry_after * 1000)
        draft.not_before_ms = self._vault.clock() + wait
        draft.tries = max(draft.tries, 1)  # look for what changed next time
        with self._vault.store.transaction():
            self._vault.put_draft(draft)
        return draft.not_before_ms

    def _fail(self, draft: Draft, reason: str) -> None:
        message = self._vault.message(draft.message)
        with self._vault.store.transaction():
            self._vault.drop_draft(draft)
            if message is None:
                return
            if draft.devices:
                self._give_up(draft, "undecryptable")
                return
            message.state, message.reason = "failed", reason
            self._vault.put_message(message)
        self._tell(message, True)

    def _give_up(self, draft: Draft, state: DeviceOutcome) -> None:
        """Drop what was for single devices, and say what that means for the message."""
        message = self._vault.message(draft.message)
        with self._vault.store.transaction():
            self._vault.drop_draft(draft)
            if message is None:
                return
            for device in draft.devices:
                if device in message.outcomes:
                    progress.advance(message.outcomes[device], state, draft.sent_ms)
            changed = self._update(message)
        self._tell(message, changed)

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

    def _update(self, message: Message) -> bool:
        """Recompute a message's state inside a transaction; drop its entries when it is over."""
        before = (message.state, message.reason)
        message.state, message.reason = progress.overall(message)
        self._vault.put_message(message)
        if progress.is_over(message):
            for entry in self._vault.entries():
                if entry.draft.message == message.id and entry.settled:
                    self._vault.drop_entry(entry)
        return before != (message.state, message.reason)

    def _tell(self, message: Message, changed: bool) -> None:
        if changed:
            self._hub.tell(StatusChanged(MessageId(message.id), message.state, message.reason))

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


def check_size(content: Content) -> None:
    """Refuse what no envelope can carry, before it is saved.

    Raises:
        Refused: too_large.
    """
    if len(contents.encode(content)) > limits.BODY_MAX - 2048:
        raise Refused(Code.TOO_LARGE)
