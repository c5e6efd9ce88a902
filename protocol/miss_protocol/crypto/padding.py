"""Hiding lengths: a yes and a no must look alike. Spec: 04-encryption §8.

Buckets for short messages, Padmé above, which leaks at most O(log log n) bits of a length and
adds at most 12 %. Sources: ISO/IEC 7816-4 for the mark; Nikitin et al., "Reducing Metadata
Leakage from Encrypted Files and Communication with PURBs", PETS 2019, §4 for Padmé.
"""

from nacl.bindings import sodium_pad, sodium_unpad
from nacl.exceptions import CryptoError

from miss_protocol.errors import Malformed

BUCKETS = (256, 512, 1024, 2048, 4096)


def padded_length(length: int) -> int:
    """The length to which `length` bytes and the mark behind them (one more) are padded."""
    marked = length + 1
    for bucket in BUCKETS:
        if marked <= bucket:
            return bucket
    exponent = marked.bit_length() - 1
    kept = exponent.bit_length()
    step = 1 << (exponent - kept)
    return -(-marked // step) * step


def pad(data: bytes) -> bytes:
    """Append 0x80 and zeros up to `padded_length`."""
    return sodium_pad(data, padded_length(len(data)))


def unpad(padded: bytes) -> bytes:
    """Take off what `pad` appended.

    Raises:
        Malformed: no mark, or a length that `pad` would not have chosen.
    """
    try:
        data = sodium_unpad(padded, max(len(padded), 1))
    except CryptoError:
        raise Malformed("no padding") from None
    if padded_length(len(data)) != len(padded):
        raise Malformed("padding of another length")
    return data
