"""Public X25519 keys that may be agreed with.

Source: RFC 7748 §5 and §6.1; the points of small order are those of D. J. Bernstein's list
(https://cr.yp.to/ecdh.html#validate).
"""

from miss_protocol.errors import Malformed, Untrusted

AGREEMENT_KEY_BYTES = 32

_P = 2**255 - 19
_LOW_ORDER = frozenset(
    {
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _P - 1,
    }
)


def check_agreement_key(public: bytes) -> bytes:
    """Return `public` if it is a 32-byte X25519 key in canonical form and of large order.

    A key of small order would make the shared secret a constant that everybody knows; a second
    form of one key would pass for another key where keys are compared.

    Raises:
        Malformed: it is not 32 bytes long.
        Untrusted: it is of small order or not canonical.
    """
    if len(public) != AGREEMENT_KEY_BYTES:
        raise Malformed("an X25519 key has 32 bytes")
    point = int.from_bytes(public, "little")
    if point >= _P or point in _LOW_ORDER:
        raise Untrusted("an X25519 key of small order or in a second form")
    return public
