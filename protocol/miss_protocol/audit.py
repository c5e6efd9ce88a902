"""The chain of an audit log: each entry holds the hash of the one before it. Spec: 09-standing §1.

Nothing here reads a clock or a database. Whoever was given a log as JSON lines and once wrote down a
`Head` can follow the chain without its server and find what was altered, taken out, moved or cut off.
"""

from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b

import msgspec

from miss_protocol.encoding import pack, u64
from miss_protocol.errors import Malformed

HASH_BYTES = 32
START = bytes(HASH_BYTES)
"""What the first entry names as the hash before it."""


class AuditEntry(msgspec.Struct, frozen=True):
    """One deed. It never holds content of a message or a secret.

    Attributes:
        seq: its place, from 1 on, without holes.
        at_ms: Unix milliseconds by the clock of the server or command that wrote it.
        actor: who did it: `operator:USER`, `administrator:ADDRESS`, `account:ADDRESS` or `server`.
        action: a word of the server's closed list.
        subject: an account's address, a national identifier, a file or empty.
        detail: a JSON object as text, exactly as it was hashed.
        previous: the hash of the entry before, 32 bytes; `START` in the first.
        hash: `entry_hash` of all of this, 32 bytes.
    """

    seq: int
    at_ms: int
    actor: str
    action: str
    subject: str
    detail: str
    previous: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """How far a log goes. Written down elsewhere, it shows a log that was cut off or made anew."""

    seq: int = 0
    hash: bytes = START

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash.hex()}"


def parse_head(text: str) -> Head:
    """Read what `str(head)` wrote.

    Raises:
        Malformed: it is no number, a colon and 64 hexadecimal digits.
    """
    seq, _, digits = text.strip().partition(":")
    if not (seq.isascii() and seq.isdigit() and len(seq) <= 18 and len(digits) == 2 * HASH_BYTES):
        raise Malformed("not the head of an audit log")
    try:
        return Head(int(seq), bytes.fromhex(digits))
    except ValueError:
        raise Malformed("not the head of an audit log") from None


class Fault(Enum):
    """What does not hold. One value is not told from another that has the same effect on the chain."""

    ALTERED = "altered"
    """The entry's own hash does not follow from its fields."""
    MISSING = "missing"
    """Its number is not the next one: entries before it were taken out, or it was put in."""
    UNLINKED = "unlinked"
    """It follows another entry than the one before it: that one was made anew, or moved."""
    CUT = "cut"
    """The log ends before the head that was kept."""
    OTHER = "other"
    """At the kept head's number stands another entry: the log was made anew from somewhere before."""


def entry_hash(
    previous: bytes, *, seq: int, at_ms: int, actor: str, action: str, subject: str, detail: str
) -> bytes:
    """The hash of an entry after the one whose hash is `previous`: BLAKE2b, 32 bytes."""
    return blake2b(
        pack(
            previous,
            u64(seq),
            u64(at_ms),
            actor.encode(),
            action.encode(),
            subject.encode(),
            detail.encode(),
        ),
        digest_size=HASH_BYTES,
        person=b"MiSS1 audit",
    ).digest()


def _has_its_hash(entry: AuditEntry) -> bool:
    try:
        return entry.hash == entry_hash(
            entry.previous,
            seq=entry.seq,
            at_ms=entry.at_ms,
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            detail=entry.detail,
        )
    except (AttributeError, TypeError, ValueError, OverflowError):
        return False  # some databases keep anything in any column: these were never written so


class Chain:
    """Follows a log entry by entry, then says whether it `reaches` a head that was kept."""

    def __init__(self, *, expected: Head | None = None) -> None:
        self.head = Head()
        self._expected = expected
        self._met = expected is None or expected == self.head

    def follow(self, entry: AuditEntry) -> Fault | None:
        """Take the next entry in the order of the log; None if it holds. Stop at the first fault."""
        if entry.seq != self.head.seq + 1:
            return Fault.MISSING
        if not _has_its_hash(entry):
            return Fault.ALTERED
        if entry.previous != self.head.hash:
            return Fault.UNLINKED
        self.head = Head(entry.seq, entry.hash)
        if self._expected is not None and entry.seq == self._expected.seq:
            if entry.hash != self._expected.hash:
                return Fault.OTHER
            self._met = True
        return None

    def end(self) -> Fault | None:
        """After the last entry: whether the log reached the head that was kept."""
        return None if self._met else Fault.CUT
