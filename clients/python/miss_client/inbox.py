"""What arrives: verified, opened, saved, and only then acknowledged (rules D2-D4, E1).

The plaintext, the ratchet, the position and the receipt that is owed go into one transaction. After
a crash at any point the server delivers again what was not saved, and nothing else.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from miss_client.contacts import Contacts
from miss_client.errors import ClientError, RefusedByServer, Unreachable
from miss_client.events import Distrusted, Event, GapSeen, HoleSeen, MessageReceived, Unopened
from miss_client.hub import Hub
from miss_client.outbox import Outbox
from miss_client.records import Message, Seen
from miss_client.vault import Vault
from miss_protocol import client_session as s
from miss_protocol import content as contents
from miss_protocol import frames as f
from miss_protocol.content import Content
from miss_protocol.crypto.endpoint import Endpoint, Opened, Order
from miss_protocol.digest import envelope_hash
from miss_protocol.encoding import read_u64, u64
from miss_protocol.errors import Undecryptable
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.receipts import Receipt, ReceiptState, sign_receipt
from miss_protocol.ids import DeviceId, MessageId

BATCH = 100
"""Rows that are saved in one transaction: one wait for the disk, and receipts for one `ack`."""

Row = s.Delivered | s.GapSeen
Reason = Literal["undecryptable", "untrusted"]


@dataclass
class Saved:
    """Rows that are durable here. Next: send what is owed, and acknowledge `position`."""

    position: int = 0
    events: list[Event] = field(default_factory=list)


class Inbox:
    """The receiving half of a device."""

    def __init__(self, vault: Vault, contacts: Contacts, outbox: Outbox, hub: Hub) -> None:
        self._vault = vault
        self._contacts = contacts
        self._outbox = outbox
        self._hub = hub
        self.behind: dict[str, int] = {}
        """Accounts whose rosters are newer than known here, as messages tell, and how new."""

    async def take(self, rows: Sequence[Row]) -> AsyncIterator[Saved]:
        """Save rows in order, some at a time.

        Raises:
            Unreachable: a sender's roster is needed and the server is away. Reconnect; the rows
                that were not yielded come again.
            ClientError: the store failed. Nothing of that batch happened.
        """
        held = self._vault.cursor.position
        rows = [new for row in rows if (new := s.unsaved(row, held)) is not None]
        for start in range(0, len(rows), BATCH):
            some = rows[start : start + BATCH]
            senders: dict[tuple[str, bytes], DeviceCertificate | None] = {}
            for row in some:
                if isinstance(row, s.Delivered):
                    key = (row.deliver.account, row.deliver.device)
                    if key not in senders:
                        senders[key] = await self._contacts.sender(*key)
            saved = Saved()
            with self._vault.change() as endpoint:
                for row in some:
                    if isinstance(row, s.Delivered):
                        sender = senders[row.deliver.account, row.deliver.device]
                        self._deliver(endpoint, row.deliver, sender, saved)
                        saved.position = row.deliver.position
                    else:
                        saved.position = row.gap.last
                        saved.events.append(GapSeen(row.gap.count, row.gap.reason))
                cursor = self._vault.cursor
                cursor.position, cursor.digest = saved.position, some[-1].digest
                self._vault.put_cursor(cursor)
            for event in saved.events:
                self._hub.tell(event)
            yield saved

    async def catch_up(self) -> None:
        """Ask for the newer rosters that messages named, and tell if the server keeps one back:
        a device that was removed there would go on reading (rule A4).

        Raises:
            Unreachable: the next call asks again.
        """
        while self.behind:
            account, version = next(iter(self.behind.items()))
            known, newest = -1, 0
            try:
                while known < newest < version:
                    known, newest = newest, (await self._contacts.refresh(account)).version
            except Unreachable:
                raise
            except (ClientError, RefusedByServer):
                newest = 0
            if self.behind.get(account) == version:
                del self.behind[account]
            if newest < version:
                self._hub.tell(Distrusted(account, "roster withheld"))

    def _deliver(
        self,
        endpoint: Endpoint,
        row: f.Deliver,
        sender: DeviceCertificate | None,
        saved: Saved,
    ) -> None:
        row_hash = envelope_hash(row.account, row.device, row.id, row.body, row.wrap)
        seen = self._vault.seen.get(row_hash)
        if seen is not None:
            # A restored server had forgotten that it delivered this very envelope.
            if not seen.control:
                self._owe_again(seen)
            return
        if sender is None:
            self._refuse(row, "untrusted", saved)
            return
        now = self._vault.clock()
        try:
            opened = endpoint.open(sender, row.body, row.wrap, now_ms=now)
        except Undecryptable:
            endpoint.break_session(sender.device)
            self._refuse(row, "undecryptable", saved)
            return
        control = isinstance(opened.content, contents.SessionAck)
        id = opened.message.id
        self._judge(opened, sender, saved)
        known = None if control else self._vault.messages.get(sender.device + opened.known_as)
        if known is not None and known.says != opened.says:
            self._refuse(row, "untrusted", saved)
            return
        self._vault.seen.put(row_hash, Seen(id, sender.device, now, control, opened.known_as))
        if control:
            return
        if known is None:
            self._keep(opened, sender, saved)
        else:
            self._know_again(known, id)
        self._owe(id, sender.device, ReceiptState.DELIVERED)
        if opened.first_of_session:
            self._outbox.answer_session(sender, opened.message.conversation)

    def _owe_again(self, seen: Seen) -> None:
        """A server that lost an envelope may have lost every receipt for it."""
        id, sender = MessageId(seen.message), DeviceId(seen.device)
        self._owe(id, sender, ReceiptState.DELIVERED)
        known = self._vault.messages.get(sender + (seen.known_as or id))
        if known is not None and known.read_ms:
            self._owe(id, sender, ReceiptState.READ)

    def _know_again(self, known: Message, id: MessageId) -> None:
        """A copy of a message that is here: nothing to show, but its sender asks under this id."""
        known.wire = id
        self._vault.put_message(known)
        if known.read_ms:
            self._owe(id, DeviceId(known.device), ReceiptState.READ)

    def _refuse(self, row: f.Deliver, reason: Reason, saved: Saved) -> None:
        self._vault.nacks.put(u64(row.position), reason)
        saved.events.append(Unopened(row.account, reason))

    def _keep(self, opened: Opened, sender: DeviceCertificate, saved: Saved) -> None:
        signed, id = opened.message, opened.known_as
        own = sender.account == self._vault.account
        to = tuple(one.account for one in signed.recipients if one.account != sender.account)
        text, kind = contents.shown(opened.content)
        self._vault.put_message(
            Message(
                id=id,
                account=sender.account,
                device=sender.device,
                conversation=signed.conversation,
                to=to,
                text=text,
                kind=kind,
                sent_ms=signed.sent_ms,
                saved_ms=self._vault.clock(),
                own=own,
                reply_to=answered(opened.content),
                wire=signed.id,
                says=opened.says,
                signed=b"" if own else signed.encode(),
            )
        )
        first = False
        for account in to if own else (sender.account,):
            first = self._contacts.meet(account) and not own
        saved.events.append(
            MessageReceived(
                id=id,
                sender=sender.account,
                sender_name=self._contacts.name(sender.account),
                text=text,
                sent_at=signed.sent_ms,
                conversation=signed.conversation,
                own=own,
                to=to,
                kind=kind,
                first=first,
            )
        )

    def _judge(self, opened: Opened, sender: DeviceCertificate, saved: Saved) -> None:
        """Look for what a lying server leaves traces of (rule E1)."""
        if opened.order in (Order.HOLE, Order.CONTRADICTION):
            contradiction = opened.order is Order.CONTRADICTION
            saved.events.append(
                HoleSeen(sender.account, sender.device, opened.missing, contradiction)
            )
        for one in opened.message.recipients:
            known = self._contacts.roster(one.account)
            if known is None or one.version < known.version:
                continue
            if one.version > known.version:
                self.behind[one.account] = max(one.version, self.behind.get(one.account, 0))
            elif one.roster_hash != known.hash:
                # Two histories of one account: the server shows each of us another.
                saved.events.append(Distrusted(one.account, "roster fork"))

    def _owe(self, id: MessageId, sender: DeviceId, state: ReceiptState) -> None:
        receipt = sign_receipt(
            self._vault.signing_key,
            message=id,
            sender_device=sender,
            recipient_device=self._vault.device,
            state=state,
            at_ms=self._vault.clock(),
        )
        self._vault.owed.put(owed_name(receipt), receipt)

    def read(self, message: Message) -> bool:
        """Save that the user saw a message, with the receipt that tells its sender.

        Returns:
            Whether that is news.
        """
        if message.read_ms or message.account == self._vault.account:
            return False
        message.read_ms = self._vault.clock()
        with self._vault.store.transaction():
            self._vault.put_message(message)
            self._owe(MessageId(message.wire), DeviceId(message.device), ReceiptState.READ)
        return True

    def owed(self) -> list[Receipt]:
        """Receipts whose arrival the server has not confirmed, oldest first."""
        return self._vault.owed.all()

    def owed_nacks(self) -> list[f.Nack]:
        """Nacks whose arrival the server has not confirmed: to be sent before the `ack` that
        covers their positions."""
        return [
            f.Nack(read_u64(name), "untrusted" if reason == "untrusted" else "undecryptable")
            for name, reason in self._vault.nacks.items()
        ]

    def paid(self, receipts: Sequence[Receipt], nacks: Sequence[f.Nack] = ()) -> None:
        """The server has them durably, or will never take them."""
        with self._vault.store.transaction():
            for receipt in receipts:
                self._vault.owed.delete(owed_name(receipt))
            for nack in nacks:
                self._vault.nacks.delete(u64(nack.position))

    def forget_seen(self, *, before_ms: int) -> None:
        """Forget envelopes that no server can deliver again."""
        with self._vault.store.transaction():
            for name, seen in self._vault.seen.items():
                if seen.at_ms < before_ms:
                    self._vault.seen.delete(name)


def owed_name(receipt: Receipt) -> bytes:
    """The name of an owed receipt's row."""
    return receipt.message + receipt.sender_device + receipt.state.value.encode()


def answered(content: Content) -> bytes:
    """The message that a content refers to, or nothing."""
    return getattr(content, "message", b"")
