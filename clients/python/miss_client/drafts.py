"""What the user writes, until it is encrypted.

A message is a *draft* until then; encrypting takes its recipients' rosters and, at first contact,
their prekeys, so it may have to wait for the network. It makes an entry of the outbox: the exact
frame under its serial number, saved together with the ratchet before it may leave (rule B2).
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from miss_client import progress
from miss_client.calls import Calls
from miss_client.contacts import Contacts
from miss_client.errors import ClientError, RefusedByServer, Trouble
from miss_client.events import StatusChanged
from miss_client.hub import Hub
from miss_client.records import DeviceOutcome, Draft, Message, OutboxEntry, Outcome, Wire
from miss_client.vault import Vault
from miss_protocol import content as contents
from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.api import Prekeys, PrekeysClaimed
from miss_protocol.content import Content
from miss_protocol.crypto.endpoint import Outgoing, Recipient
from miss_protocol.errors import Code, Refused, RemoteError, Retry, Untrusted
from miss_protocol.identity import prekeys as prekey_form
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.prekeys import SignedPrekey
from miss_protocol.ids import AccountAddress, MessageId, message_id

WAIT_MS = 30_000
"""Until another try when a recipient cannot be encrypted to for now."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(f.Send).decode


class Drafts:
    """The writing half of an outbox."""

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
        self.on_noticeable: Callable[[], None] = lambda: None
        """Called when a send was refused for what the account's notices explain."""

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
            if draft.kind == "message":
                for address in draft.to:
                    self._contacts.meet(address)
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

    # --- how it ends -----------------------------------------------------------------------------

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


def check_size(content: Content) -> None:
    """Refuse what no envelope can carry, before it is saved.

    Raises:
        Refused: too_large.
    """
    if len(contents.encode(content)) > limits.BODY_MAX - 2048:
        raise Refused(Code.TOO_LARGE)
