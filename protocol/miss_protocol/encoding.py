"""The one canonical encoding of everything that is signed, hashed or used as associated data.

A sequence of fields is the concatenation of each field behind its length (four bytes, big-endian).
There is exactly one encoding of a value and exactly one value of an encoding, so a signature over
one object can never be read as a signature over another. Spec: 04-encryption §1.
"""

from collections.abc import Iterable

from miss_protocol.errors import Malformed


def pack(*fields: bytes) -> bytes:
    """Encode fields as length-prefixed bytes; `unpack` reads them back."""
    return b"".join([len(field).to_bytes(4, "big") + field for field in fields])


def pack_all(fields: Iterable[bytes]) -> bytes:
    """Encode any number of fields, for lists inside an object."""
    return pack(*fields)


def unpack(data: bytes) -> list[bytes]:
    """Decode every field of `data`.

    Raises:
        Malformed: a length runs past the end, or bytes are left over.
    """
    fields: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        start = at + 4
        if start > end:
            raise Malformed("a field's length is cut short")
        at = start + int.from_bytes(data[at:start], "big")
        if at > end:
            raise Malformed("a field runs past the end")
        fields.append(data[start:at])
    return fields


def unpack_exactly(data: bytes, count: int) -> list[bytes]:
    """Decode `data` into exactly `count` fields.

    Raises:
        Malformed: as `unpack`, or the number of fields is another.
    """
    fields = unpack(data)
    if len(fields) != count:
        raise Malformed(f"{len(fields)} fields where {count} belong")
    return fields


def u64(value: int) -> bytes:
    """An unsigned integer as eight bytes, big-endian: versions, counters, milliseconds."""
    return value.to_bytes(8, "big")


def read_u64(field: bytes) -> int:
    """Read what `u64` wrote.

    Raises:
        Malformed: the field is not eight bytes long.
    """
    if len(field) != 8:
        raise Malformed("an integer must be eight bytes")
    return int.from_bytes(field, "big")


def read_text(field: bytes, *, limit: int) -> str:
    """Read UTF-8 text of at most `limit` bytes, without control characters.

    Raises:
        Malformed: too long, not UTF-8, or it holds a control character (they could forge a line
            of a log or a terminal).
    """
    if len(field) > limit:
        raise Malformed(f"text of more than {limit} bytes")
    try:
        text = field.decode()
    except UnicodeDecodeError:
        raise Malformed("text that is not UTF-8") from None
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise Malformed("text with a control character")
    return text


def fixed(field: bytes, length: int) -> bytes:
    """Return `field` if it has exactly `length` bytes.

    Raises:
        Malformed: it has another length.
    """
    if len(field) != length:
        raise Malformed(f"{len(field)} bytes where {length} belong")
    return field
