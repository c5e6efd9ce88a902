"""Mailbox epochs: which life of the database this is (rule C6), and who may say that it ended.

An epoch is `number (4, big-endian) ‖ random (4) ‖ MAC (8)` under the database's own secret; to clients
it is 16 opaque bytes. A device that shows an epoch which this database gave out, but does not know
any more, proves a restore. Without the MAC any device could invent one and so void everybody's
prekeys and hold all sends. Its digest alone is only its word: see `may_tell`.
"""

import hmac
import os
import sqlite3
from hashlib import blake2b

TELLS_AGAIN_MS = 24 * 3600 * 1000
"""One account's word alone begins a new epoch once in this time: a real second restore within it
is told by any other account, a liar disturbs everybody once a day and stands in the log."""

FIRST = 1
"""The number of a new database's epoch: nothing was ever restored."""

_NUMBER, _RANDOM, _MAC = 4, 4, 8
_TOLD = "epoch told by "


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


def may_tell(db: sqlite3.Connection, account: str, now_ms: int) -> bool:
    """Whether an account's word alone may begin a new epoch now; if so, it is noted."""
    row = db.execute("SELECT value FROM settings WHERE name = ?", (_TOLD + account,)).fetchone()
    if row is not None and abs(now_ms - int.from_bytes(row[0], "big")) < TELLS_AGAIN_MS:
        return False
    db.execute(
        "INSERT INTO settings (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (_TOLD + account, now_ms.to_bytes(8, "big")),
    )
    return True


def _mac(secret: bytes, named: bytes) -> bytes:
    return blake2b(named, key=secret, digest_size=_MAC, person=b"MiSS1 epoch").digest()
