"""What an envelope must look like from outside, so that nothing unencrypted is ever accepted.

The server cannot decrypt, but a wrap of suite 0x01 has a known form and a body is padded to known
sizes, so plain text is told apart with certainty enough for honest mistakes (rule B5). Suite 0x02
is reserved. Spec: 04-encryption §6, §8.
"""

from miss_protocol import limits
from miss_protocol.errors import Code, Refused

SUITE_OLM_XWING = 0x01
KNOWN_SUITES = frozenset({SUITE_OLM_XWING})

WRAP_MIN = {0x00: 1 + 1 + 16 + 4 + 8 + 32 + 1168 + 24 + 16, 0x01: 1 + 1 + 16 + 4 + 24 + 16}
"""The shortest wrap of each type: 0 carries a handshake, 1 is a steady one."""

BODY_OVERHEAD = 1 + 24 + 16
"""Suite byte, nonce and tag around the padded message."""
BODY_BUCKETS = (256, 512, 1024, 2048, 4096)


def padded_size(size: int) -> int:
    """The size to which `size` bytes (the padding's mark among them) are padded.

    Buckets for short messages, so that a yes and a no look alike; Padmé above them, which lets at
    most log log of the size leak and adds at most 12 % (Nikitin et al., PETS 2019, §4).
    """
    for bucket in BODY_BUCKETS:
        if size <= bucket:
            return bucket
    exponent = size.bit_length() - 1
    step = 1 << (exponent - exponent.bit_length())
    return -(-size // step) * step


def check_body(body: bytes) -> None:
    """Refuse a body that cannot be an encrypted one.

    Raises:
        Refused: `too_large` or `not_encrypted`.
    """
    if len(body) > limits.BODY_MAX:
        raise Refused(Code.TOO_LARGE, "body")
    padded = len(body) - BODY_OVERHEAD
    if padded < BODY_BUCKETS[0] or body[0] not in KNOWN_SUITES or padded_size(padded) != padded:
        raise Refused(Code.NOT_ENCRYPTED, "body of no known suite or of an unpadded size")


def check_wrap(wrap: bytes) -> None:
    """Refuse a wrap that is not of a known suite.

    Raises:
        Refused: `not_encrypted`.
    """
    if len(wrap) < 2 or wrap[0] not in KNOWN_SUITES or len(wrap) < WRAP_MIN.get(wrap[1], 1 << 30):
        raise Refused(Code.NOT_ENCRYPTED, "wrap of no known suite")
