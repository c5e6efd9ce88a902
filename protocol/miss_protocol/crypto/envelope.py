"""The wrap's layout, byte by byte. Spec: 04-encryption §6.

| bytes | field                                                               |
|-------|---------------------------------------------------------------------|
| 1     | suite, 0x01                                                         |
| 1     | kind: 0 until the first answer, then 1                              |
| 16    | session id                                                          |
| 4     | number in the chain, big-endian                                     |
| 1208  | kind 0 only: prekey id 8 ‖ one-time key 32 ‖ sealed root 1168       |
| 24    | nonce                                                               |
| rest  | XChaCha20-Poly1305 of the Olm message; AD = everything before nonce |

The Olm message, ratchet keys and all, is hidden, and its 8-byte MAC is covered by a 16-byte tag.
"""

from dataclasses import dataclass

from miss_protocol.crypto.hybrid import SEALED_ROOT_BYTES
from miss_protocol.crypto.olm import NORMAL, PRE_KEY
from miss_protocol.crypto.secretbox import OVERHEAD_BYTES
from miss_protocol.encoding import pack, u64
from miss_protocol.errors import Undecryptable
from miss_protocol.identity.digests import SUITE, digest
from miss_protocol.limits import WRAP_MAX

SESSION_ID_BYTES = 16
NUMBER_MAX = 2**32 - 1

_PREFIX_BYTES = 1 + 1 + SESSION_ID_BYTES + 4
_OPENING_BYTES = 8 + 32 + SEALED_ROOT_BYTES


@dataclass(frozen=True)
class Opening:
    """What the receiver needs to begin the session; it rides until the first answer."""

    prekey_id: int
    one_time_key: bytes
    sealed_root: bytes

    def encode(self) -> bytes:
        """1208 bytes."""
        return u64(self.prekey_id) + self.one_time_key + self.sealed_root


@dataclass(frozen=True)
class Envelope:
    """A wrap, taken apart. `header` is the associated data of `sealed`."""

    kind: int
    session: bytes
    number: int
    opening: Opening | None
    header: bytes
    sealed: bytes


def header(session: bytes, number: int, opening: Opening | None) -> bytes:
    """Everything before the nonce; the kind follows from whether there is an opening."""
    prefix = SUITE + bytes([NORMAL if opening is None else PRE_KEY])
    tail = b"" if opening is None else opening.encode()
    return prefix + session + number.to_bytes(4, "big") + tail


def read(wrap: bytes) -> Envelope:
    """Take a wrap apart. Nothing in it is yet authenticated.

    Raises:
        Undecryptable: another suite, an unknown kind, a wrong length.
    """
    if not _PREFIX_BYTES + OVERHEAD_BYTES <= len(wrap) <= WRAP_MAX or wrap[:1] != SUITE:
        raise Undecryptable
    kind, session = wrap[1], wrap[2 : 2 + SESSION_ID_BYTES]
    number = int.from_bytes(wrap[_PREFIX_BYTES - 4 : _PREFIX_BYTES], "big")
    if kind == NORMAL:
        end, opening = _PREFIX_BYTES, None
    elif kind == PRE_KEY and len(wrap) >= _PREFIX_BYTES + _OPENING_BYTES + OVERHEAD_BYTES:
        end = _PREFIX_BYTES + _OPENING_BYTES
        opening = read_opening(wrap[_PREFIX_BYTES:end])
    else:
        raise Undecryptable
    return Envelope(kind, session, number, opening, wrap[:end], wrap[end:])


def read_opening(data: bytes) -> Opening:
    """Read `Opening.encode`'s 1208 bytes."""
    return Opening(int.from_bytes(data[:8], "big"), data[8:40], data[40:])


def handshake_info(sender: bytes, recipient: bytes, opening_id: int, one_time_key: bytes) -> bytes:
    """HPKE's `info`: who starts a session with whom, and over which prekey.

    Args:
        sender: certificate id of the device that starts, 32 bytes.
        recipient: certificate id of the prekey's device, 32 bytes.

    A server that shows one party another peer than the real one changes this, so the root does
    not open (unknown key share).
    """
    return pack(b"MiSS/1/handshake", SUITE, sender, recipient, u64(opening_id), one_time_key)


def session_id(sealed_root: bytes, info: bytes) -> bytes:
    """The session's name, 16 bytes: a hash, recomputed by the receiver, so not malleable."""
    return digest(b"MiSS/1 session", sealed_root, info)[:SESSION_ID_BYTES]
