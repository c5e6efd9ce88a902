"""Where a list goes on that is sorted by time and name: an opaque text (spec 02-wire §5)."""

import base64
import binascii
import re

from miss_protocol.errors import Malformed

CURSOR_MAX = 256
_PLACE = re.compile(r"([0-9]{1,15}) ([^\0]+)")


def write(at_ms: int, name: str) -> str:
    """The cursor after an entry of that time and name."""
    return base64.urlsafe_b64encode(f"{at_ms} {name}".encode()).decode().rstrip("=")


def read(cursor: str | None) -> tuple[int, str] | None:
    """Time and name of the entry that a page goes on after; None for the first page.

    Raises:
        Malformed: no server wrote it.
    """
    if cursor is None:
        return None
    try:
        if len(cursor) > CURSOR_MAX:
            raise Malformed("not a cursor")
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        place = base64.b64decode(padded, b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error):
        raise Malformed("not a cursor") from None
    found = _PLACE.fullmatch(place)
    if found is None:
        raise Malformed("not a cursor")
    return int(found[1]), found[2]
