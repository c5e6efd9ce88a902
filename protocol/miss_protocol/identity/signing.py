"""Ed25519 signatures, each bound to the one role that it was made for. Spec: 04-encryption §2."""

from enum import Enum

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from miss_protocol.encoding import pack
from miss_protocol.errors import Untrusted

PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

_CONTEXT = b"MiSS/1/"


class Role(Enum):
    """What a signature is for. The value is part of the signed bytes.

    No key ever signs bytes that a peer chose as a whole: a login nonce or a message can never be
    replayed as a certificate.
    """

    DEVICE = b"device"
    ROSTER = b"roster"
    PREKEY = b"prekey"
    LAST_RESORT = b"last-resort"
    MESSAGE = b"message"
    LOGIN = b"login"
    RECEIPT = b"receipt"
    CHARTER = b"charter"


def signed_bytes(role: Role, *fields: bytes) -> bytes:
    """What is signed: `"MiSS/1/" ‖ role ‖ 0x00 ‖ pack(*fields)`. No role contains a zero byte."""
    return _CONTEXT + role.value + b"\0" + pack(*fields)


def sign(key: SigningKey, role: Role, *fields: bytes) -> bytes:
    """Sign fields for one role; 64 bytes, deterministic (RFC 8032 §5.1.6)."""
    return key.sign(signed_bytes(role, *fields)).signature


def verify(public: bytes, signature: bytes, role: Role, *fields: bytes) -> None:
    """Check what `sign` made.

    libsodium refuses public keys of small order or in non-canonical form and signatures whose
    scalar is not reduced, so a signature has one encoding and a key that signs everything is none.

    Raises:
        Untrusted: the signature does not hold, or a length is wrong.
    """
    if len(public) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        raise Untrusted("a key or a signature of the wrong length")
    try:
        VerifyKey(public).verify(signed_bytes(role, *fields), signature)
    except BadSignatureError:
        raise Untrusted(f"the {role.value.decode()} signature does not hold") from None
