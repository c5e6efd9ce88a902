"""Safety numbers: what two people compare to know that no key was swapped between them.

They are over the genesis of both accounts, not over devices: adding a phone changes nothing, a
new genesis changes everything. Spec: 04-encryption §3. The shape follows Signal's numeric
fingerprints: an iterated hash makes each guess at a colliding number dear.
"""

import hashlib

from miss_protocol.encoding import fixed
from miss_protocol.identity.digests import DIGEST_BYTES, SUITE

ITERATIONS = 5200
"""Raises the cost of finding a second account with the same 30 digits (99 bits) by 12 bits."""

_CONTEXT = b"MiSS/1 safety" + SUITE
_GROUPS = 6


def safety_number(mine: bytes, theirs: bytes) -> str:
    """The number of a pair of accounts: 60 digits in twelve groups of five.

    Args:
        mine: `Roster.genesis` of one account, 32 bytes.
        theirs: of the other; the order does not matter.

    Raises:
        Malformed: an argument is not 32 bytes long.
    """
    return " ".join(sorted((_half(mine), _half(theirs))))


def _half(genesis: bytes) -> str:
    fixed(genesis, DIGEST_BYTES)
    state = _CONTEXT + genesis
    for _ in range(ITERATIONS):
        state = hashlib.sha512(state + genesis).digest()
    # Five bytes give 40 bits: their remainder by 100,000 is even to one part in ten million.
    return " ".join(
        f"{int.from_bytes(state[at : at + 5], 'big') % 100_000:05d}"
        for at in range(0, 5 * _GROUPS, 5)
    )
