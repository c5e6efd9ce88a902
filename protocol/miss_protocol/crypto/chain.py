"""A hash ratchet: one key per message, each gone once it was used. Spec: 04-encryption §7.

It surrounds the Olm ratchet, whose stored state keeps the handshake's public keys: with one
fixed outer key, a seized phone and a later quantum computer would open a session's past.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from miss_protocol.encoding import fixed, pack, read_u64, u64, unpack, unpack_exactly
from miss_protocol.errors import Undecryptable
from miss_protocol.limits import CHAIN_GAP_MAX, CHAIN_SKIPPED_MAX

KEY_BYTES = 32

_MESSAGE, _NEXT = b"MiSS/1 message key", b"MiSS/1 chain key"


def derive(key: bytes, label: bytes) -> bytes:
    """HKDF-Expand with SHA-256 to 32 bytes (RFC 5869 §2.3); `key` must be uniformly random."""
    return HKDFExpand(SHA256(), KEY_BYTES, label).derive(key)


@dataclass(frozen=True, repr=False)
class Chain:
    """One direction of a session, between two messages. It never changes: steps return the next.

    So a caller adopts the next state only after the ciphertext was accepted, and a forged one
    leaves no trace.

    Attributes:
        key: from which `next_number`'s key and all later ones come, 32 bytes.
        next_number: of the next message, from 0.
        skipped: keys of missing messages before it, at most `CHAIN_SKIPPED_MAX`.
    """

    key: bytes
    next_number: int = 0
    skipped: Mapping[int, bytes] = field(default_factory=dict)

    def step(self) -> tuple[bytes, "Chain"]:
        """The key of message `next_number`, and the chain after it."""
        following = Chain(derive(self.key, _NEXT), self.next_number + 1, self.skipped)
        return derive(self.key, _MESSAGE), following

    def take(self, number: int) -> tuple[bytes, "Chain"]:
        """The key of message `number`, and the chain to adopt once the message was accepted.

        Raises:
            Undecryptable: the key was used or dropped, or the gap exceeds `CHAIN_GAP_MAX`. The
                bound is checked before any work: a forged number must cost nothing.
        """
        if number < self.next_number:
            return self._take_skipped(number)
        if number - self.next_number > CHAIN_GAP_MAX:
            raise Undecryptable
        chain, skipped = self, dict(self.skipped)
        while chain.next_number < number:
            if number - chain.next_number <= CHAIN_SKIPPED_MAX:
                skipped[chain.next_number] = derive(chain.key, _MESSAGE)
            chain = Chain(derive(chain.key, _NEXT), chain.next_number + 1)
        key, after = chain.step()
        newest = sorted(skipped)[-CHAIN_SKIPPED_MAX:]
        return key, Chain(after.key, after.next_number, {n: skipped[n] for n in newest})

    def _take_skipped(self, number: int) -> tuple[bytes, "Chain"]:
        if number not in self.skipped:
            raise Undecryptable
        rest = {n: key for n, key in self.skipped.items() if n != number}
        return self.skipped[number], Chain(self.key, self.next_number, rest)

    def encode(self) -> bytes:
        """Write the chain for the state at rest; it is secret."""
        skipped = (pack(u64(number), key) for number, key in sorted(self.skipped.items()))
        return pack(self.key, u64(self.next_number), *skipped)

    @classmethod
    def decode(cls, data: bytes) -> "Chain":
        """Read what `encode` wrote.

        Raises:
            Malformed: it is not that.
        """
        key, number, *skipped = unpack(data)
        pairs = (unpack_exactly(field, 2) for field in skipped)
        return cls(
            fixed(key, KEY_BYTES),
            read_u64(number),
            {read_u64(n): fixed(kept, KEY_BYTES) for n, kept in pairs},
        )
