"""Where a page of a search ended. Opaque to clients; of another query it finds nothing wrong."""

import base64
import binascii

import msgspec

from miss_protocol.errors import Malformed

_MAX = 256


class Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """In which directory, at which rank, distance (km, 0 where none counts), entry and person."""

    generation: int
    rank: int
    id: int
    person: str
    distance: int = 0


_read = msgspec.json.Decoder(Cursor)


def write_cursor(cursor: Cursor) -> str:
    """As clients get it."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def read_cursor(text: str, last_rank: int) -> Cursor:
    """Raises `Malformed` for what no server wrote."""
    try:
        if len(text) > _MAX:
            raise Malformed("not a cursor")
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        cursor = _read.decode(base64.b64decode(padded, b"-_", validate=True))
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed("not a cursor") from None
    # Beyond 64 bits the driver itself would raise OverflowError.
    if not (0 <= cursor.rank <= last_rank and 0 <= cursor.id < 2**63 and cursor.distance >= 0):
        raise Malformed("not a cursor")
    return cursor
