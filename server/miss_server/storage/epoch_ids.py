"""Names of mailbox epochs: which life of the database this is (rule C6).

An epoch is `number (4, big-endian) ‖ random (4) ‖ MAC (8)` under the database's own secret; to clients
it is 16 opaque bytes. A device that shows an epoch which this database gave out, but does not know
any more, proves a restore. Without the MAC any device could invent one and so void everybody's
prekeys and hold all sends.
"""

import hmac
import os
from hashlib import blake2b

FIRST = 1
"""The number of a new database's epoch: nothing was ever restored."""

_NUMBER, _RANDOM, _MAC = 4, 4, 8


def make(secret: bytes, number: int) -> bytes:
    """A new epoch of that number."""
    named = number.to_bytes(_NUMBER, "big") + os.urandom(_RANDOM)
    return named + _mac(secret, named)


def number(epoch: bytes) -> int:
    """How many epochs there were before it, in its line of copies."""
    return int.from_bytes(epoch[:_NUMBER], "big")


def proves_restore(epoch: bytes, current: bytes, secret: bytes) -> bool:
    """Whether an epoch that a device shows was given out by this database after `current` began:
    then this is an older copy. An earlier one only tells that the device has not heard yet."""
    named, mac = epoch[: _NUMBER + _RANDOM], epoch[_NUMBER + _RANDOM :]
    ours = hmac.compare_digest(mac, _mac(secret, named))
    return ours and epoch != current and number(epoch) >= number(current)


def _mac(secret: bytes, named: bytes) -> bytes:
    return blake2b(named, key=secret, digest_size=_MAC, person=b"MiSS1 epoch").digest()
