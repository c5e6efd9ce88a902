"""One device's whole cryptography, as a client uses it. Sans-I/O. Spec: 04-encryption.

A client's loop:

    endpoint = Endpoint.load(items, random=...)            # or Endpoint.create(...)
    for peer in devices:
        if endpoint.needs_session(peer, now_ms=now):
            endpoint.start_session(peer, claimed_prekey, now_ms=now)
    sealed = endpoint.seal(outgoing, devices, now_ms=now)
    save(endpoint.take_changes())                          # durable, only then send
    ...
    opened = endpoint.open(sender, body, wrap, now_ms=now)
    save(endpoint.take_changes(), opened)                  # in one transaction, only then ack

A message sent before its state was saved could, after a crash, be followed by another under the
same keys; one acknowledged before it was saved would be lost.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from nacl.signing import SigningKey

from miss_protocol import content as contents
from miss_protocol.content import Content
from miss_protocol.crypto import body as bodies
from miss_protocol.crypto import envelope, secretbox, session, wrapped
from miss_protocol.crypto.hybrid import ROOT_BYTES
from miss_protocol.crypto.keyring import Keyring
from miss_protocol.crypto.pair import Order
from miss_protocol.crypto.peers import Peer, Peers
from miss_protocol.crypto.session import Session
from miss_protocol.crypto.wrapped import Wrapped
from miss_protocol.encoding import pack_all, u64
from miss_protocol.errors import LocalError, RemoteError, Undecryptable, Untrusted
from miss_protocol.identity import message as inner
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.digests import digest
from miss_protocol.identity.message import InnerMessage, Recipient
from miss_protocol.identity.prekeys import SignedPrekey
from miss_protocol.ids import ID_BYTES, AccountAddress, DeviceId, MessageId
from miss_protocol.limits import BODY_MAX

__all__ = ["Endpoint", "Opened", "Order", "Outgoing", "Recipient", "Sealed"]


@dataclass(frozen=True, repr=False)
class Outgoing:
    """A message to send.

    Attributes:
        conversation: 16 bytes.
        content: what it says.
        recipients: every account it is for, with the verified roster used (`Recipient.of`).
        id: 16 bytes; `None` draws a new one. Set it to repeat what the server refused.
        original: the id of its first sending, if another one is drawn now because a device could
            not open it: whoever has the message knows it again by that.
        sent_ms: when the user sent it, if not now.
        log_head: the directory log's head, if one is known.
    """

    conversation: bytes
    content: Content
    recipients: Sequence[Recipient]
    id: MessageId | None = None
    sent_ms: int | None = None
    log_head: bytes = b""
    original: MessageId | None = None


@dataclass(frozen=True, repr=False)
class Sealed:
    """A message encrypted: one body for all, one wrap for each device."""

    id: MessageId
    body: bytes
    wraps: Mapping[DeviceId, bytes]
    message: InnerMessage


@dataclass(frozen=True, repr=False)
class Opened:
    """A message decrypted and verified.

    Attributes:
        message: signed by the sender; the client drops duplicates by (sender device, `known_as`)
            and compares the recipients' rosters with those it knows.
        content: what it says, decoded.
        first_of_session: the peer began a session with it: answer with a `SessionAck`.
        order: how it fits behind the sender's earlier messages to this device.
        missing: messages that are newly missing before it.
    """

    message: InnerMessage
    content: Content
    first_of_session: bool
    order: Order
    missing: int

    @property
    def known_as(self) -> MessageId:
        """The id that the message keeps when it is encrypted anew: with the sender's device what a
        client keeps it by. A receipt names `message.id`, which is all that the server knows."""
        return self.content.original or self.message.id

    @property
    def says(self) -> bytes:
        """32 bytes, the same for a message and its copies: what was said, when, where, to whom.

        A client keeps it with the message and refuses whatever else comes as a copy of it: the
        receipt for a copy that nobody is shown would be for words that nobody read.
        """
        return digest(
            b"MiSS/1 says",
            self.message.conversation,
            u64(self.message.sent_ms),
            pack_all(one.account.encode() for one in self.message.recipients),
            contents.encode(msgspec.structs.replace(self.content, original=None)),
        )


class Endpoint:
    """One device's keys and sessions. Not for use by two threads or processes at once: whoever
    loads it holds the store's lock until the last change is saved."""

    def __init__(self, keyring: Keyring, peers: Peers, random: Callable[[int], bytes]) -> None:
        self._keyring = keyring
        self._peers = peers
        self._random = random

    @classmethod
    def create(
        cls, account: AccountAddress, *, now_ms: int, random: Callable[[int], bytes]
    ) -> "Endpoint":
        """Make a new device of an account. Next: save `take_changes`, then enrol `certificate`.

        Args:
            random: returns that many bytes from the operating system's generator.
        """
        return cls(Keyring.create(account, now_ms=now_ms, random=random), Peers(random), random)

    @classmethod
    def load(cls, items: Mapping[str, bytes], *, random: Callable[[int], bytes]) -> "Endpoint":
        """Read the state that `take_changes` handed out, all of it.

        Raises:
            LocalError: it is incomplete or damaged.
        """
        try:
            keyring = Keyring.load(items, random=random)
            return cls(keyring, Peers.load(items, random=random), random)
        except (KeyError, ValueError, RemoteError):
            # Without its cause: that text could quote key material.
            raise LocalError("the device's saved state is damaged") from None

    @property
    def certificate(self) -> DeviceCertificate:
        """This device's certificate."""
        return self._keyring.certificate

    @property
    def signing_key(self) -> SigningKey:
        """This device's Ed25519 key: for logins, receipts, rosters, requests."""
        return self._keyring.signing_key

    def take_changes(self) -> dict[str, bytes | None]:
        """What must be saved now, by name (`None`: delete it, if it is there); only what changed.

        Save all of it in one transaction before anything made meanwhile is sent or acknowledged.
        The bytes are secret: seal them (`at_rest.seal_blob`).
        """
        changes: dict[str, bytes | None] = {}
        for part in (self._keyring, self._peers):
            changes |= {name: part.item(name) for name in sorted(part.changed)}
            part.changed.clear()
        return changes

    def new_prekeys(self, count: int, *, now_ms: int) -> list[SignedPrekey]:
        """Make `count` one-time prekeys. Next: save, only then upload."""
        return self._keyring.new_one_time(count, now_ms=now_ms)

    def new_last_resort(self, *, now_ms: int) -> SignedPrekey:
        """Make the prekey for when no one-time prekey is left. Next: save, only then upload.

        Fetch and open what waits in the mailbox first: only the prekey before it stays usable.
        """
        return self._keyring.new_last_resort(now_ms=now_ms)

    def last_resort_due(self, *, now_ms: int) -> bool:
        """Whether `new_last_resort` should be called: none yet, or a week old."""
        return self._keyring.last_resort_due(now_ms)

    def void_prekeys(self) -> None:
        """Forget published one-time prekeys, after the server told a new epoch: it may have gone
        back in time and hand out used ones. Next: save, make and upload new ones."""
        self._keyring.void_one_time()

    def needs_session(self, peer: DeviceCertificate, *, now_ms: int) -> bool:
        """Whether a prekey of this device must be claimed before anything can be sent to it.

        Raises:
            Untrusted: the device id was known with other keys.
        """
        known = self._peers.find(peer)
        return known is None or known.sending(now_ms) is None

    def start_session(self, peer: DeviceCertificate, prekey: SignedPrekey, *, now_ms: int) -> None:
        """Begin a session with a device that its account's verified roster lists.

        Raises:
            Untrusted: the prekey is not the device's, lacks its post-quantum half (there is no
                weaker session), or holds a key that cannot be used; or the device id was known
                with other keys.
        """
        if peer.device == self.certificate.device:
            raise LocalError("a device does not write to itself")
        self._peers.find(peer)
        prekey.verify(peer)
        started = session.start(
            self._keyring.olm,
            self.certificate,
            peer,
            prekey,
            root=self._random(ROOT_BYTES),
            stamp=self._peers.next_stamp(),
            now_ms=now_ms,
        )
        self._peers.add(peer, started)

    def seal(self, message: Outgoing, to: Sequence[DeviceCertificate], *, now_ms: int) -> Sealed:
        """Encrypt a message for devices, each with a session (`needs_session` is false).

        Args:
            to: all devices of the recipients' rosters and of the own account, without this one.

        Raises:
            LocalError: a device without a session, or twice; nothing has changed then.
            Malformed: ids or recipients are not in order.
            Refused: `too_large`.
        """
        ready = [(device.device, *self._ready(device, now_ms)) for device in to]
        if len({device for device, _, _ in ready}) != len(ready):
            raise LocalError("a device twice")
        composed = inner.compose(
            self.signing_key,
            self.certificate,
            message=message.id or MessageId(self._random(ID_BYTES)),
            conversation=message.conversation,
            sent_ms=now_ms if message.sent_ms is None else message.sent_ms,
            recipients=message.recipients,
            content=contents.encode(
                msgspec.structs.replace(message.content, original=message.original)
            ),
            log_head=message.log_head,
        )
        key = self._random(bodies.CONTENT_KEY_BYTES)
        body = bodies.seal(composed.encode(), composed.id, content_key=key)
        hashed = bodies.body_hash(body)
        wraps: dict[DeviceId, bytes] = {}
        for device, peer, active in ready:
            plain = Wrapped(key, hashed, composed.id, peer.sent.count + 1, peer.sent.link)
            wraps[device] = active.encrypt(plain.encode(), self._random(secretbox.NONCE_BYTES))
            peer.sent = peer.sent.after(composed.id, hashed)
            self._peers.touch(active)
            self._peers.touch_peer(device)
        return Sealed(composed.id, body, wraps, composed)

    def open(self, sender: DeviceCertificate, body: bytes, wrap: bytes, *, now_ms: int) -> Opened:
        """Decrypt and verify a message.

        Args:
            sender: the device that the delivery names, listed by its account's verified roster.

        Next: save `take_changes` and the message in one transaction, then acknowledge. The same
        on `Undecryptable` before the nack: a wrap that opened is used up even if its body did not.

        Raises:
            Undecryptable: for any cause; one text, so that nobody learns which check failed.
        """
        try:
            frame = envelope.read(wrap)
            if len(body) > BODY_MAX:
                raise Undecryptable
            peer, plaintext, first = self._unwrap(sender, frame, now_ms)
            plain = wrapped.read(plaintext)
            message = self._read(sender, body, plain)
        except RemoteError:
            raise Undecryptable from None
        order, missing, peer.received = peer.received.place(
            plain.number, plain.link, plain.message, plain.body_hash
        )
        self._peers.touch_peer(sender.device)
        return Opened(message, contents.decode(message.content), first, order, missing)

    def break_session(self, device: DeviceId) -> None:
        """Send on none of the present sessions with a device: after its nack, or after a failure
        to open. `needs_session` is true next."""
        self._peers.retire(device)

    def forget_device(self, device: DeviceId) -> None:
        """Delete all state about a device that was revoked."""
        self._peers.forget(device)

    def _ready(self, device: DeviceCertificate, now_ms: int) -> tuple[Peer, Session]:
        peer = self._peers.find(device)
        active = peer.sending(now_ms) if peer else None
        if peer is None or active is None:
            raise LocalError("no session with this device: start one first")
        return peer, active

    def _unwrap(
        self, sender: DeviceCertificate, frame: envelope.Envelope, now_ms: int
    ) -> tuple[Peer, bytes, bool]:
        peer = self._peers.find(sender)
        known = peer.sessions.get(frame.session) if peer else None
        if peer is not None and known is not None:
            plaintext = known.decrypt(frame)
            known.stamp = self._peers.next_stamp()
            self._peers.touch(known)
            return peer, plaintext, False
        opening = frame.opening
        if opening is None:
            raise Undecryptable
        prekey = self._keyring.find(opening.prekey_id, opening.one_time_key, frame.session)
        if prekey is None:
            raise Undecryptable
        accepted, plaintext = session.accept(
            self._keyring.olm,
            self.certificate,
            sender,
            frame,
            opening,
            seed=prekey.seed,
            stamp=self._peers.next_stamp(),
            now_ms=now_ms,
        )
        self._keyring.used(opening.prekey_id, frame.session)
        return self._peers.add(sender, accepted), plaintext, True

    def _read(self, sender: DeviceCertificate, body: bytes, plain: Wrapped) -> InnerMessage:
        if bodies.body_hash(body) != plain.body_hash:
            raise Undecryptable
        message = inner.decode(bodies.unseal(body, plain.message, content_key=plain.content_key))
        message.verify(sender)
        if message.id != plain.message:
            raise Untrusted("another message than the wrap's")
        if not message.is_for(self.certificate.account) and (
            sender.account != self.certificate.account
        ):
            # A recipient passed someone's signed message on as if it had been sent to us.
            raise Untrusted("a message for others")
        return message
