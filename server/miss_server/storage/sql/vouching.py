"""For whom of those without a national number nothing vouches (rule F2)."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, select

from miss_protocol.directory import Entry
from miss_server.importers.identifiers import structure_of
from miss_server.storage.account_tables import attestations, departures
from miss_server.storage.directory import is_unnumbered
from miss_server.storage.directory_tables import persons
from miss_server.storage.organisation_tables import organisation_people
from miss_server.storage.schema import accounts
from miss_server.storage.sql import people, schemas
from miss_server.storage.sql.directory import generation

SINCE = 2
"""The first schema that has attestations."""
AT_ONCE = 200
"""Identifiers that one statement looks for."""

HOLDS = (
    attestations.c.withdrawn_ms.is_(None)
    & accounts.c.genesis.is_not(None)
    & ~accounts.c.suspended
    & ~select(departures.c.account).where(departures.c.account == attestations.c.attester).exists()
)
"""Whether one counts, of a row joined with its attester's account: who leaves takes it along."""

_IN_FORCE = tuple(
    select(slot.c.person).where(slot.c.person.in_(bindparam("persons", expanding=True)))
    for slot in persons
)
_HOLDING = (
    select(attestations.c.person)
    .join(accounts, accounts.c.address == attestations.c.attester)
    .where(HOLDS)
    .distinct()
)
_ENDED = select(organisation_people.c.organisation, organisation_people.c.person).where(
    organisation_people.c.ended_ms.is_not(None), people.unnumbered(organisation_people.c.person)
)


def lacking(connection: Connection, some: Sequence[str]) -> set[str]:
    """Those of these people of the directory for whom somebody has to vouch, and nobody does."""
    if not schemas.has(connection, SINCE):
        return set()
    found = [people.entry(connection, person) for person in some]
    return set(
        unvouched(connection, [one for one in found if one is not None and is_unnumbered(one)])
    )


def is_ended(connection: Connection, person: str) -> bool:
    """Whether the organisation of somebody of the directory ended that it vouches, and nobody else does."""
    if not schemas.has(connection, SINCE):
        return False
    found = people.entry(connection, person)
    if found is None or not is_unnumbered(found):
        return False
    lost = unvouched(connection, [found])
    return bool(found.part_of) and lost.get(person) == ""


def unvouched(connection: Connection, some: Iterable[Entry]) -> dict[str, str]:
    """Those of these people without a national number for whom nothing vouches; with each the organisation
    that would if the directory had it, or "".

    What vouches is the organisation that their entry is part of, while it is in the directory and unless its
    administrators ended that, or an attestation that holds.
    """
    # An import of a version before did not say of whom a structure numbers that they are part of it.
    listed = {entry.person: entry.part_of or structure_of(entry.person) for entry in some}
    if not listed:
        return {}  # as of nearly everybody who enrols: no table is read whole for them
    wanted = sorted({part_of for part_of in listed.values() if part_of})
    there: set[str] = set()
    slot = generation(connection) % 2
    for at in range(0, len(wanted), AT_ONCE):
        values = {"persons": wanted[at : at + AT_ONCE]}
        there.update(connection.execute(_IN_FORCE[slot], values).scalars())
    ended = {(of, person) for of, person in connection.execute(_ENDED)}
    attested = set(connection.execute(_HOLDING).scalars())
    return {
        person: "" if (part_of, person) in ended else part_of
        for person, part_of in listed.items()
        if person not in attested and (part_of not in there or (part_of, person) in ended)
    }
