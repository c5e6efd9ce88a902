"""The body: a message encrypted once for all its devices. Spec: 04-encryption §8.

Layout: suite 0x01 ‖ nonce 24 ‖ XChaCha20-Poly1305 of the padded inner message, with the
associated data `pack("MiSS/1/body", suite, message id)`.

XChaCha20-Poly1305 alone does not commit to its key: a sender could craft one ciphertext that two
recipients open to two messages. So key and nonce both come from the content key by a one-way
function, and the receiver recomputes the nonce: it commits to the content key (after Bellare and
Hoang, "Efficient Schemes for Committing Authenticated Encryption", EUROCRYPT 2022). The content
key is random and serves once, so a nonce that follows from it is never used twice.
"""

import hashlib

from miss_protocol.crypto import padding, secretbox
from miss_protocol.crypto.chain import derive
from miss_protocol.encoding import pack
from miss_protocol.errors import Code, Malformed, Refused, Undecryptable
from miss_protocol.identity.digests import SUITE
from miss_protocol.ids import MessageId
from miss_protocol.limits import BODY_MAX

CONTENT_KEY_BYTES = 32

_OVERHEAD_BYTES = len(SUITE) + secretbox.OVERHEAD_BYTES


def seal(inner: bytes, message: MessageId, *, content_key: bytes) -> bytes:
    """Pad and encrypt an encoded inner message under 32 random bytes that are used once.

    Raises:
        Refused: `too_large`, the body would exceed `BODY_MAX`.
    """
    if padding.padded_length(len(inner)) + _OVERHEAD_BYTES > BODY_MAX:
        raise Refused(Code.TOO_LARGE, "the padded message exceeds the body's limit")
    key, nonce = _key_and_nonce(content_key)
    return SUITE + secretbox.seal(key, nonce, padding.pad(inner), _ad(message))


def unseal(body: bytes, message: MessageId, *, content_key: bytes) -> bytes:
    """Open a body whose hash was already compared with the wrap's.

    Raises:
        Undecryptable: for any cause.
    """
    key, nonce = _key_and_nonce(content_key)
    if not body.startswith(SUITE + nonce):
        raise Undecryptable
    try:
        return padding.unpad(secretbox.unseal(key, body[1:], _ad(message)))
    except Malformed:
        raise Undecryptable from None


def body_hash(body: bytes) -> bytes:
    """SHA-256 of the whole body, 32 bytes."""
    return hashlib.sha256(body).digest()


def _key_and_nonce(content_key: bytes) -> tuple[bytes, bytes]:
    nonce = derive(content_key, b"MiSS/1 body nonce")[: secretbox.NONCE_BYTES]
    return derive(content_key, b"MiSS/1 body key"), nonce


def _ad(message: MessageId) -> bytes:
    return pack(b"MiSS/1/body", SUITE, message)
