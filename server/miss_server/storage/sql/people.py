"""What the directory in force says of people and organisations, for those who act about them."""

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, or_, select

from miss_protocol.directory import Entry, lacks_number
from miss_server.storage.directory import UNNUMBERED_LIKE
from miss_server.storage.directory_tables import by_person, entries, persons
from miss_server.storage.sql.directory import generation

NATIONAL = ("0", "8")
"""How the identifier of a person with a national number begins (spec 05 §1.1)."""

_ENTRY = tuple(
    select(slot.c.entry).select_from(found).where(placed.c.person == bindparam("person_"))
    for slot, placed, found in zip(entries, persons, by_person, strict=True)
)

_read_entry = msgspec.json.Decoder(Entry)


def entry(connection: Connection, person: str) -> Entry | None:
    """An entry as the directory in force has it."""
    found = connection.execute(_ENTRY[generation(connection) % 2], {"person_": person})
    encoded = found.scalar_one_or_none()
    return None if encoded is None else _read_entry.decode(encoded)


def organisation(connection: Connection, identifier: str) -> Entry | None:
    """An organisation or a service; None for a person, too."""
    found = entry(connection, identifier)
    return found if found is not None and found.kind == "organisation" else None


def unnumbered(column: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether an identifier is of somebody without a national number; an organisation's may be, too."""
    return or_(*(column.like(pattern) for pattern in UNNUMBERED_LIKE))


def is_national(person: str) -> bool:
    """Whether it is the identifier of a person with a national number."""
    return person.startswith(NATIONAL) and not lacks_number(person)


def works_at(found: Entry, organisation: str) -> bool:
    """Whether the directory says of a person with a national number that they work there."""
    return (
        found.kind == "person"
        and is_national(found.person)
        and (
            found.part_of == organisation
            or any(place.establishment == organisation for place in found.places)
        )
    )
