"""The post-quantum half: a session's root, sealed to an X-Wing prekey. Spec: 04-encryption §6.

HPKE base mode, single shot (RFC 9180 §6.1), with KEM 0x647a (X-Wing: ML-KEM-768 and X25519,
draft-connolly-cfrg-xwing-kem), HKDF-SHA256 and AES-256-GCM: the suite that iOS has natively and
that browsers reach through WebCrypto. The encapsulation's randomness is the library's own.
"""

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from miss_protocol.errors import Undecryptable, Untrusted
from miss_protocol.identity.prekeys import MLKEM768_PUBLIC_BYTES, XWING_PUBLIC_BYTES

SEED_BYTES = 32
ROOT_BYTES = 32
SEALED_ROOT_BYTES = 1120 + ROOT_BYTES + 16
"""X-Wing ciphertext (ML-KEM 1088 ‖ X25519 32), sealed root, GCM tag."""

_HPKE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_MLKEM_SEED_BYTES = 64


def public_key(seed: bytes) -> bytes:
    """The X-Wing public key of a 32-byte seed: 1216 bytes. Only the seed is ever stored."""
    mlkem, x25519 = _expand(seed)
    return mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()


def seal_root(root: bytes, public: bytes, info: bytes) -> bytes:
    """Seal a root to a prekey's X-Wing key: 1168 bytes. `info` binds it to one handshake.

    Raises:
        Untrusted: the key is short, not reduced modulo q, or of small order.
    """
    if len(public) != XWING_PUBLIC_BYTES:
        raise Untrusted("not an X-Wing key")
    try:
        key = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(public[:MLKEM768_PUBLIC_BYTES]),
            X25519PublicKey.from_public_bytes(public[MLKEM768_PUBLIC_BYTES:]),
        )
        return _HPKE.encrypt(root, key, info)
    except ValueError:
        raise Untrusted("an X-Wing key that cannot be used") from None


def open_root(sealed: bytes, seed: bytes, info: bytes) -> bytes:
    """Open what `seal_root` sealed for the key of `seed`: 32 bytes.

    Raises:
        Undecryptable: for another key or another handshake, or altered.
    """
    try:
        root = _HPKE.decrypt(sealed, MLKEM768X25519PrivateKey(*_expand(seed)), info)
    except (ValueError, InvalidTag):
        raise Undecryptable from None
    if len(root) != ROOT_BYTES:
        raise Undecryptable
    return root


def _expand(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    # expandDecapsulationKey of the draft, §5.2.
    expanded = hashlib.shake_256(seed).digest(_MLKEM_SEED_BYTES + 32)
    return (
        MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED_BYTES]),
        X25519PrivateKey.from_private_bytes(expanded[_MLKEM_SEED_BYTES:]),
    )
