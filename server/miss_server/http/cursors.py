"""Where a list goes on: an opaque text (spec 02-wire §5)."""

import base64
import binascii
import re

from miss_protocol.errors import Malformed

CURSOR_MAX = 512
_PLACE = re.compile(r"([0-9]{1,15}) ([^\0]+)")


def write(at_ms: int, name: str) -> str:
    """The cursor after an entry of that time and name, in a list that is sorted by both."""
    return write_text(f"{at_ms} {name}")


def read(cursor: str | None) -> tuple[int, str] | None:
    """Time and name of the entry that a page goes on after; None for the first page.

    Raises:
        Malformed: no server wrote it.
    """
    if cursor is None:
        return None
    found = _PLACE.fullmatch(read_text(cursor))
    if found is None:
        raise Malformed("not a cursor")
    return int(found[1]), found[2]


def write_text(place: str) -> str:
    """The cursor of a place in a list that is sorted by one text."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def read_text(cursor: str) -> str:
    """The place that `write_text` was given. Raises `Malformed` if it is no such cursor."""
    try:
        if len(cursor) > CURSOR_MAX:
            raise Malformed("not a cursor")
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return base64.b64decode(padded, b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error):
        raise Malformed("not a cursor") from None
