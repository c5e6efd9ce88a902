"""Hiding lengths: a yes and a no must look alike. Spec: 04-encryption §8.

The sizes are `suites.padded_size`, which the server checks too; the mark is ISO/IEC 7816-4's.
"""

from nacl.bindings import sodium_pad, sodium_unpad
from nacl.exceptions import CryptoError

from miss_protocol.errors import Malformed
from miss_protocol.suites import padded_size


def padded_length(length: int) -> int:
    """The length to which `length` bytes and the mark behind them (one more) are padded."""
    return padded_size(length + 1)


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
