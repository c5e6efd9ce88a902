"""A session between two devices: Olm inside, the post-quantum chains around. Spec: 04-encryption §7."""

from dataclasses import dataclass

from miss_protocol.crypto import envelope, hybrid, secretbox
from miss_protocol.crypto.chain import Chain, derive
from miss_protocol.crypto.envelope import SESSION_ID_BYTES, Envelope, Opening
from miss_protocol.crypto.olm import OlmAccount, OlmSession
from miss_protocol.encoding import fixed, pack, read_u64, u64, unpack_exactly
from miss_protocol.errors import Undecryptable
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.prekeys import SignedPrekey
from miss_protocol.limits import SESSION_MAX_AGE, SESSION_MAX_MESSAGES

_INITIATOR_TO_RESPONDER, _RESPONDER_TO_INITIATOR = b"MiSS/1 i2r", b"MiSS/1 r2i"


@dataclass(repr=False)
class Session:
    """One session's state; each encryption and each accepted decryption changes it.

    Attributes:
        id: 16 bytes, the same at both ends.
        peer: certificate id of the other device, 32 bytes.
        olm: the classical session.
        sending, receiving: the two chains; their directions differ, so a frame that is sent back
            to its author cannot open.
        opening: rides with every frame until the peer answered; `None` at the responder.
        created_ms: by this device's clock.
        stamp: when it was last started or received on, in this device's own count: the highest
            is sent on.
        retired: not sent on any more, but still received on.
    """

    id: bytes
    peer: bytes
    olm: OlmSession
    sending: Chain
    receiving: Chain
    opening: Opening | None
    created_ms: int
    stamp: int
    retired: bool = False

    def fresh(self, now_ms: int) -> bool:
        """Whether it may still be sent on: younger than 7 days (by a clock that may have been
        set back), fewer than 500 messages, not retired."""
        young = abs(now_ms - self.created_ms) < SESSION_MAX_AGE * 1000
        return young and self.sending.next_number < SESSION_MAX_MESSAGES and not self.retired

    def encrypt(self, plaintext: bytes, nonce: bytes) -> bytes:
        """One wrap. Next: save the session, only then send."""
        key, after = self.sending.step()
        _, message = self.olm.encrypt(plaintext)
        header = envelope.header(self.id, self.sending.next_number, self.opening)
        self.sending = after
        return header + secretbox.seal(key, nonce, message, header)

    def decrypt(self, frame: Envelope) -> bytes:
        """Open a wrap of the peer's; nothing changes unless both layers accept.

        Raises:
            Undecryptable: for any cause.
        """
        key, after = self.receiving.take(frame.number)
        message = secretbox.unseal(key, frame.sealed, frame.header)
        plaintext = self.olm.decrypt(frame.kind, message)
        self.receiving = after
        self.opening = None
        return plaintext

    def encode(self, pickle_key: bytes) -> bytes:
        """Write the session for the state at rest; it is secret. `pickle_key` must be fresh."""
        return pack(
            self.id,
            self.peer,
            self.olm.save(pickle_key),
            self.sending.encode(),
            self.receiving.encode(),
            b"" if self.opening is None else self.opening.encode(),
            u64(self.created_ms),
            u64(self.stamp),
            b"\1" if self.retired else b"\0",
        )

    @classmethod
    def decode(cls, data: bytes) -> "Session":
        """Read what `encode` wrote.

        Raises:
            Malformed, ValueError: it is not that.
        """
        name, peer, olm, sending, receiving, opening, created, stamp, retired = unpack_exactly(
            data, 9
        )
        return cls(
            id=fixed(name, SESSION_ID_BYTES),
            peer=peer,
            olm=OlmSession.load(olm),
            sending=Chain.decode(sending),
            receiving=Chain.decode(receiving),
            opening=envelope.read_opening(opening) if opening else None,
            created_ms=read_u64(created),
            stamp=read_u64(stamp),
            retired=retired == b"\1",
        )


def start(
    account: OlmAccount,
    own: DeviceCertificate,
    peer: DeviceCertificate,
    prekey: SignedPrekey,
    *,
    root: bytes,
    stamp: int,
    now_ms: int,
) -> Session:
    """Begin a session to a peer over one of its prekeys.

    Args:
        prekey: verified (`SignedPrekey.verify`).
        root: 32 random bytes.

    Raises:
        Untrusted: a key in the prekey cannot be used.
    """
    info = envelope.handshake_info(own.id, peer.id, prekey.id, prekey.otk)
    sealed = hybrid.seal_root(root, prekey.pq, info)
    return Session(
        id=envelope.session_id(sealed, info),
        peer=peer.id,
        olm=account.start(peer.olm_key, prekey.otk),
        sending=Chain(derive(root, _INITIATOR_TO_RESPONDER)),
        receiving=Chain(derive(root, _RESPONDER_TO_INITIATOR)),
        opening=Opening(prekey.id, prekey.otk, sealed),
        created_ms=now_ms,
        stamp=stamp,
    )


def accept(
    account: OlmAccount,
    own: DeviceCertificate,
    sender: DeviceCertificate,
    frame: Envelope,
    opening: Opening,
    *,
    seed: bytes,
    stamp: int,
    now_ms: int,
) -> tuple[Session, bytes]:
    """Begin the session that a peer's first frame opens; also that frame's plaintext.

    Args:
        opening: of `frame`.
        seed: the private half of the X-Wing prekey that the opening names.

    Raises:
        Undecryptable: for any cause; the account has not changed then.
    """
    info = envelope.handshake_info(sender.id, own.id, opening.prekey_id, opening.one_time_key)
    if envelope.session_id(opening.sealed_root, info) != frame.session:
        raise Undecryptable
    root = hybrid.open_root(opening.sealed_root, seed, info)
    key, receiving = Chain(derive(root, _INITIATOR_TO_RESPONDER)).take(frame.number)
    message = secretbox.unseal(key, frame.sealed, frame.header)
    olm, plaintext = account.accept(sender.olm_key, message)
    session = Session(
        id=frame.session,
        peer=sender.id,
        olm=olm,
        sending=Chain(derive(root, _RESPONDER_TO_INITIATOR)),
        receiving=receiving,
        opening=None,
        created_ms=now_ms,
        stamp=stamp,
    )
    return session, plaintext
