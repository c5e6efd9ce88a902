"""The pair chain: what one device sent to another, in order, over all sessions. Spec: 04-encryption §9.

Every wrap carries the sender's count of messages to this very device and a hash over all of them
before it. A server that drops, holds back or reorders messages, and a sender whose state was
rolled back, show in it. Expired or refused messages leave honest holes, so a hole is reported,
not refused.
"""

from dataclasses import dataclass, field, replace
from enum import Enum

from miss_protocol.encoding import fixed, pack, pack_all, read_u64, u64, unpack, unpack_exactly
from miss_protocol.identity.digests import DIGEST_BYTES, digest

START = bytes(DIGEST_BYTES)
"""The link before the first message."""
HOLES_MAX = 32
"""Ranges of missing messages that are remembered, for late ones among them."""


class Order(Enum):
    """How a message fits behind those before it."""

    NEXT = "next"
    """Directly after the last one."""
    HOLE = "hole"
    """Later: some before it never came, or have not come yet."""
    LATE = "late"
    """One that was missing. A server that keeps order never causes this."""
    CONTRADICTION = "contradiction"
    """Its number was used before, or its link belongs to another past: a server or a sender lies,
    or the sender's state was rolled back."""


def next_link(link: bytes, message: bytes, body_hash: bytes) -> bytes:
    """The link after a message: 32 bytes."""
    return digest(b"MiSS/1 pair", link, message, body_hash)


@dataclass(frozen=True)
class Sent:
    """The sending end: how many messages went to the peer, and the hash over them."""

    count: int = 0
    link: bytes = START

    def after(self, message: bytes, body_hash: bytes) -> "Sent":
        """The state once this message was sent."""
        return Sent(self.count + 1, next_link(self.link, message, body_hash))

    def encode(self) -> bytes:
        """Write it for the state at rest."""
        return pack(u64(self.count), self.link)

    @classmethod
    def decode(cls, data: bytes) -> "Sent":
        """Read what `encode` wrote; raises `Malformed`."""
        count, link = unpack_exactly(data, 2)
        return cls(read_u64(count), fixed(link, DIGEST_BYTES))


@dataclass(frozen=True)
class Hole:
    """Missing messages `first` to `last`, with the links before and after them."""

    first: int
    last: int
    before: bytes
    after: bytes


@dataclass(frozen=True)
class Received:
    """The receiving end: the highest message that came, the hash over all, and what is missing."""

    count: int = 0
    link: bytes = START
    holes: tuple[Hole, ...] = field(default=())

    def place(
        self, number: int, link: bytes, message: bytes, body_hash: bytes
    ) -> tuple[Order, int, "Received"]:
        """Judge a message: how it fits, how many are newly missing before it, and the new state.

        Args:
            number: from 1, as the wrap says.
            link: before this message, as the wrap says.
        """
        following = next_link(link, message, body_hash)
        if number <= self.count:
            return self._place_late(number, link, following)
        missing = number - self.count - 1
        if missing:
            hole = Hole(self.count + 1, number - 1, self.link, link)
            holes = (*self.holes, hole)[-HOLES_MAX:]
            return Order.HOLE, missing, Received(number, following, holes)
        order = Order.NEXT if link == self.link else Order.CONTRADICTION
        return order, 0, Received(number, following, self.holes)

    def _place_late(
        self, number: int, link: bytes, following: bytes
    ) -> tuple[Order, int, "Received"]:
        for hole in self.holes:
            if hole.first <= number <= hole.last:
                fits = (number != hole.first or link == hole.before) and (
                    number != hole.last or following == hole.after
                )
                around = (
                    replace(hole, last=number - 1, after=link),
                    replace(hole, first=number + 1, before=following),
                )
                rest = [part for part in around if part.first <= part.last]
                at = self.holes.index(hole)
                holes = (*self.holes[:at], *rest, *self.holes[at + 1 :])[-HOLES_MAX:]
                order = Order.LATE if fits else Order.CONTRADICTION
                return order, 0, Received(self.count, self.link, holes)
        return Order.CONTRADICTION, 0, self

    def encode(self) -> bytes:
        """Write it for the state at rest."""
        holes = (pack(u64(h.first), u64(h.last), h.before, h.after) for h in self.holes)
        return pack(u64(self.count), self.link, pack_all(holes))

    @classmethod
    def decode(cls, data: bytes) -> "Received":
        """Read what `encode` wrote; raises `Malformed`."""
        count, link, holes = unpack_exactly(data, 3)
        return cls(
            read_u64(count),
            fixed(link, DIGEST_BYTES),
            tuple(_decode_hole(field) for field in unpack(holes)),
        )


def _decode_hole(data: bytes) -> Hole:
    first, last, before, after = unpack_exactly(data, 4)
    return Hole(
        read_u64(first),
        read_u64(last),
        fixed(before, DIGEST_BYTES),
        fixed(after, DIGEST_BYTES),
    )
