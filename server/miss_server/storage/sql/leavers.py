"""Whose people without a national number were when they left the directory: that organisation may still end
their access, which otherwise lasts as long as the grace. Spec: 11 §6.1."""

import msgspec
from sqlalchemy import Connection, bindparam, select

from miss_protocol.directory import Entry, lacks_number
from miss_server.importers.identifiers import structure_of
from miss_server.storage.directory_tables import by_person, entries, persons
from miss_server.storage.organisation_tables import administrators, organisation_people
from miss_server.storage.schema import accounts
from miss_server.storage.sql import people, schemas
from miss_server.storage.sql.dialects import Upsert

SINCE = 2
"""The first schema that has organisations' people."""

_LEAVING = tuple(
    select(old.c.entry)
    .select_from(
        found.join(accounts, placed.c.person == accounts.c.person).outerjoin(
            new, new.c.person == accounts.c.person
        )
    )
    .where(people.unnumbered(accounts.c.person), new.c.person.is_(None))
    for old, placed, found, new in zip(entries, persons, by_person, persons[::-1], strict=True)
)
_ATTENDED = select(administrators.c.organisation).where(administrators.c.removed_ms.is_(None))
_LAST = (
    select(organisation_people.c.organisation)
    .where(organisation_people.c.person == bindparam("person_"))
    .order_by(organisation_people.c.since_ms.desc(), organisation_people.c.organisation)
    .limit(1)
)
_NOTE = Upsert(
    organisation_people,
    lambda insert: insert.on_conflict_do_update(
        index_elements=["organisation", "person"], set_={"since_ms": insert.excluded.since_ms}
    ),
)

_read_entry = msgspec.json.Decoder(Entry)


def note(connection: Connection, slot: int, now_ms: int) -> None:
    """Keep whose those are who have an account, are in the directory of `slot`, which goes out of force now,
    and are not in the other one. The old directory itself is gone with the next import."""
    if not schemas.has(connection, SINCE):
        return
    leaving = [_read_entry.decode(entry) for entry in connection.execute(_LEAVING[slot]).scalars()]
    # Nobody could act on what is kept for an organisation without an administrator.
    attended = set(connection.execute(_ATTENDED).scalars()) if leaving else set()
    for one in leaving:
        organisation = one.part_of or structure_of(one.person)
        if organisation in attended:
            _NOTE.run(connection, organisation=organisation, person=one.person, since_ms=now_ms)


def were_of(connection: Connection, organisation: str, person: str) -> bool:
    """Whether somebody who is not in the directory was last an organisation's own: it numbered them, or is the
    last that is known to have had to do with them."""
    if not lacks_number(person):
        return False
    last = connection.execute(_LAST, {"person_": person}).scalar_one_or_none()
    return organisation in (structure_of(person), last)
