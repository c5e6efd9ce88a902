"""The body: a message encrypted once for all its devices. Spec: 04-encryption §8.

Layout: suite 0x01 ‖ nonce 24 ‖ XChaCha20-Poly1305 of the padded inner message, with the
associated data `pack("MiSS/1/body", suite, message id)`. XChaCha20-Poly1305 does not commit to
its key, so each wrap carries the body's SHA-256: two recipients cannot be shown two messages.
"""

import hashlib

from miss_protocol.crypto import padding, secretbox
from miss_protocol.encoding import pack
from miss_protocol.errors import Code, Malformed, Refused, Undecryptable
from miss_protocol.identity.digests import SUITE
from miss_protocol.ids import MessageId
from miss_protocol.limits import BODY_MAX

KEY_BYTES = secretbox.KEY_BYTES

_OVERHEAD_BYTES = len(SUITE) + secretbox.OVERHEAD_BYTES


def seal(inner: bytes, message: MessageId, *, key: bytes, nonce: bytes) -> bytes:
    """Pad and encrypt an encoded inner message under a key that is used once.

    Raises:
        Refused: `too_large`, the body would exceed `BODY_MAX`.
    """
    if padding.padded_length(len(inner)) + _OVERHEAD_BYTES > BODY_MAX:
        raise Refused(Code.TOO_LARGE, "the padded message exceeds the body's limit")
    return SUITE + secretbox.seal(key, nonce, padding.pad(inner), _ad(message))


def unseal(body: bytes, message: MessageId, *, key: bytes) -> bytes:
    """Open a body whose hash was already compared with the wrap's.

    Raises:
        Undecryptable: for any cause.
    """
    if body[:1] != SUITE:
        raise Undecryptable
    try:
        return padding.unpad(secretbox.unseal(key, body[1:], _ad(message)))
    except Malformed:
        raise Undecryptable from None


def body_hash(body: bytes) -> bytes:
    """SHA-256 of the whole body, 32 bytes."""
    return hashlib.sha256(body).digest()


def _ad(message: MessageId) -> bytes:
    return pack(b"MiSS/1/body", SUITE, message)
