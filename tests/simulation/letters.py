"""Envelopes as the server sees them, with what a device would find inside in plain sight.

The relay must not care what is inside, so no encryption is needed here: a body has the size and the
suite byte of a real one, a wrap is another one at each encryption and tells for which device it is.
"""

import msgspec

from miss_protocol.suites import BODY_BUCKETS, BODY_OVERHEAD, WRAP_MIN


class Letter(msgspec.Struct, array_like=True, frozen=True):
    """What is inside: the signed id, the sender device, which of the user's messages it is."""

    id: bytes
    sender: bytes
    message: int
    """The user's message; the same after it was encrypted anew. 0 for a session ack."""
    original: bytes = b""
    """The id of its first sending, if it got another one."""

    @property
    def known_as(self) -> bytes:
        """The id by which its readers keep it."""
        return self.original or self.id


class _Wrap(msgspec.Struct, array_like=True):
    device: bytes
    id: bytes
    poison: bool


_encode = msgspec.msgpack.encode
_letter = msgspec.msgpack.Decoder(Letter)
_wrap = msgspec.msgpack.Decoder(_Wrap)


def seal(letter: Letter, *, large: bool) -> bytes:
    """The body."""
    inside = _encode(letter)
    bucket = BODY_BUCKETS[2] if large else BODY_BUCKETS[0]
    padding = bucket + BODY_OVERHEAD - 3 - len(inside)
    return b"\x01" + len(inside).to_bytes(2, "big") + inside + bytes(padding)


def wrap(letter: Letter, device: bytes, *, poison: bool) -> bytes:
    """The wrap for one device; a poisoned one cannot be opened there."""
    inside = _encode(_Wrap(device, letter.id, poison))
    padding = max(0, WRAP_MIN[1] - 3 - len(inside))
    return b"\x01\x01" + len(inside).to_bytes(1, "big") + inside + bytes(padding)


def open_letter(body: bytes, wrap: bytes, device: bytes) -> Letter | None:
    """What a device finds, or None if it cannot open it."""
    key = _wrap.decode(wrap[3 : 3 + wrap[2]])
    if key.poison or key.device != device:
        return None
    size = int.from_bytes(body[1:3], "big")
    return _letter.decode(body[3 : 3 + size])
