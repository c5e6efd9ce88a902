"""XChaCha20-Poly1305 with a nonce in front: every symmetric encryption of the suite.

Source: draft-irtf-cfrg-xchacha-03; libsodium's implementation. The 24-byte nonce is random.
"""

from nacl import bindings
from nacl.exceptions import CryptoError

from miss_protocol.errors import Undecryptable

KEY_BYTES = bindings.crypto_aead_xchacha20poly1305_ietf_KEYBYTES
NONCE_BYTES = bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
TAG_BYTES = bindings.crypto_aead_xchacha20poly1305_ietf_ABYTES
OVERHEAD_BYTES = NONCE_BYTES + TAG_BYTES


def seal(key: bytes, nonce: bytes, plaintext: bytes, ad: bytes) -> bytes:
    """`nonce ‖ ciphertext ‖ tag`; 40 bytes longer than the plaintext."""
    return nonce + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, ad, nonce, key)


def unseal(key: bytes, sealed: bytes, ad: bytes) -> bytes:
    """Open what `seal` made.

    Raises:
        Undecryptable: another key or associated data, altered, or too short.
    """
    if len(sealed) < OVERHEAD_BYTES:
        raise Undecryptable
    nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(ciphertext, ad, nonce, key)
    except CryptoError:
        raise Undecryptable from None
