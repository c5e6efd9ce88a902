"""State at rest: each row of a client's store sealed under the store's key. Spec: 04-encryption §10."""

from collections.abc import Callable

from nacl.pwhash import argon2id

from miss_protocol.crypto import secretbox
from miss_protocol.encoding import fixed, pack

KEY_BYTES = secretbox.KEY_BYTES
SALT_BYTES = argon2id.SALTBYTES


def seal_blob(key: bytes, name: str, blob: bytes, random: Callable[[int], bytes]) -> bytes:
    """Encrypt a row. Its name is bound, so rows cannot be exchanged for one another.

    An older version of the same row is not noticed: rolling back is caught by the server's count
    of sends and by the pair chain.
    """
    nonce = random(secretbox.NONCE_BYTES)
    return secretbox.seal(fixed(key, KEY_BYTES), nonce, blob, _ad(name))


def open_blob(key: bytes, name: str, sealed: bytes) -> bytes:
    """Open what `seal_blob` sealed.

    Raises:
        Undecryptable: another key or name, or altered.
    """
    return secretbox.unseal(fixed(key, KEY_BYTES), sealed, _ad(name))


def derive_key(passphrase: str, salt: bytes) -> bytes:
    """The store's key from a passphrase: 32 bytes, by Argon2id (RFC 9106).

    libsodium's "moderate" cost: 3 passes over 256 MiB, about half a second.

    Args:
        salt: 16 random bytes, kept beside the store.

    Raises:
        Malformed: the salt has another length.
    """
    return argon2id.kdf(
        KEY_BYTES,
        passphrase.encode(),
        fixed(salt, SALT_BYTES),
        opslimit=argon2id.OPSLIMIT_MODERATE,
        memlimit=argon2id.MEMLIMIT_MODERATE,
    )


def _ad(name: str) -> bytes:
    return pack(b"MiSS/1/at-rest", name.encode())
