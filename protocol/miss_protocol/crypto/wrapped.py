"""What a wrap carries inside both layers: 120 bytes. Spec: 04-encryption §8.

| bytes | field                                              |
|-------|----------------------------------------------------|
| 32    | content key of the body                            |
| 32    | SHA-256 of the body                                |
| 16    | message id                                         |
| 8     | number in the pair chain, from 1, big-endian       |
| 32    | link of the pair chain before this message         |
"""

from dataclasses import dataclass

from miss_protocol.encoding import u64
from miss_protocol.errors import Undecryptable
from miss_protocol.ids import MessageId

WRAPPED_BYTES = 120


@dataclass(frozen=True, repr=False)
class Wrapped:
    """The fields of the table above, in order."""

    content_key: bytes
    body_hash: bytes
    message: MessageId
    number: int
    link: bytes

    def encode(self) -> bytes:
        """120 bytes."""
        return self.content_key + self.body_hash + self.message + u64(self.number) + self.link


def read(data: bytes) -> Wrapped:
    """Read what `encode` wrote.

    Raises:
        Undecryptable: another length, or the number zero.
    """
    number = int.from_bytes(data[80:88], "big")
    if len(data) != WRAPPED_BYTES or number == 0:
        raise Undecryptable
    return Wrapped(data[:32], data[32:64], MessageId(data[64:80]), number, data[88:])
