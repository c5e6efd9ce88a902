"""What nodes say to each other: news of one node as bytes, in pieces that a line can carry.

A word is a MessagePack array of the fields of `Word`, in order. A newer version may append fields,
an older one leaves them out: nodes of both stand beside each other during an upgrade.
"""

from collections.abc import Iterator, Sequence

import msgspec

from miss_protocol.ids import DeviceId
from miss_server.doorbell.interface import News

ID_BYTES = 16
SPEAKER_BYTES = 8
OVERHEAD = 64
"""Bytes of a word beside its devices and sessions, at most."""
SESSION_BYTES = ID_BYTES + 2 + 9 + 1
"""Bytes of one session, at most."""


class Word(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One thing said. `speaker` is random and of one process, so that a node knows its own;
    `devices` are 16 bytes each, joined."""

    speaker: bytes
    number: int
    devices: bytes = b""
    sessions: Sequence[tuple[bytes, int]] = ()
    everything: bool = False

    def news(self) -> News:
        """What it tells."""
        return News(
            [
                DeviceId(self.devices[place : place + ID_BYTES])
                for place in range(0, len(self.devices), ID_BYTES)
            ],
            [(DeviceId(device), generation) for device, generation in self.sessions],
            self.everything,
        )


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Word)


def decode(payload: bytes) -> Word | None:
    """Read a word; None for what is none. Whoever can reach the line can say anything."""
    try:
        word = _decoder.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        return None
    whole = len(word.devices) % ID_BYTES == 0
    return word if whole and all(len(device) == ID_BYTES for device, _ in word.sessions) else None


def encode(speaker: bytes, number: int, news: News, *, payload_max: int) -> Iterator[bytes]:
    """`news` as one or more payloads of at most `payload_max` bytes."""
    room = payload_max - OVERHEAD
    devices, sessions = list(news.devices), list(news.sessions)
    everything = news.everything
    while True:
        taken, devices = devices[: room // ID_BYTES], devices[room // ID_BYTES :]
        left = (room - len(taken) * ID_BYTES) // SESSION_BYTES
        begun, sessions = sessions[:left], sessions[left:]
        yield _encoder.encode(Word(speaker, number, b"".join(taken), begun, everything))
        everything = False
        if not devices and not sessions:
            return
