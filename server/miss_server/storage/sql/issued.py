"""What became of codes that organisations issued, and which genesis was founded with one.

What is noted of a genesis stays when the organisation has nothing to do with the person any more: who
handed out the code is what contacts are told of the key (spec 11 §6.2), and could else be hidden.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, func, select, update

from miss_protocol.ids import AccountAddress
from miss_server.storage.organisation_tables import issued_codes, organisation_people
from miss_server.storage.schema import accounts, enrolment_codes
from miss_server.storage.sql import schemas

SINCE = 2
"""The first schema that has organisations' codes."""

_ISSUER = select(issued_codes.c.organisation, issued_codes.c.person).where(
    issued_codes.c.code_hash == bindparam("hash_")
)
_FOUNDED_BY = (
    select(organisation_people.c.organisation)
    .join(accounts, accounts.c.person == organisation_people.c.person)
    .where(
        accounts.c.address == bindparam("account_"),
        organisation_people.c.genesis == accounts.c.genesis,
    )
)
_OPEN = (
    (enrolment_codes.c.code_hash == issued_codes.c.code_hash)
    & enrolment_codes.c.used_ms.is_(None)
    & (enrolment_codes.c.expires_ms > bindparam("now"))
)
_WAITING = (
    select(issued_codes.c.person, func.max(enrolment_codes.c.expires_ms))
    .join(enrolment_codes, _OPEN)
    .where(
        issued_codes.c.organisation == bindparam("organisation_"),
        issued_codes.c.person.in_(bindparam("people", expanding=True)),
    )
    .group_by(issued_codes.c.person)
)
_OPEN_HASHES = (
    select(issued_codes.c.code_hash)
    .join(enrolment_codes, _OPEN)
    .where(
        issued_codes.c.organisation == bindparam("organisation_"),
        issued_codes.c.person == bindparam("person_"),
    )
)


def note_enrolled(connection: Connection, code_hash: bytes, genesis: bytes) -> None:
    """Note that an account was founded with this code, if an organisation issued it."""
    if not schemas.has(connection, SINCE):
        return
    found = connection.execute(_ISSUER, {"hash_": code_hash}).one_or_none()
    if found is not None:
        connection.execute(
            update(organisation_people)
            .where(
                organisation_people.c.organisation == found.organisation,
                organisation_people.c.person == found.person,
            )
            .values(genesis=genesis)
        )


def founded_by(connection: Connection, account: AccountAddress) -> str:
    """The organisation whose code founded the account's genesis; empty if none's did."""
    if not schemas.has(connection, SINCE):
        return ""
    return connection.execute(_FOUNDED_BY, {"account_": account}).scalars().first() or ""


def waiting(
    connection: Connection, organisation: str, people: Sequence[str], now_ms: int
) -> dict[str, int]:
    """Of each person with a code of the organisation's that can still be used: when it ends."""
    values = {"organisation_": organisation, "people": list(people), "now": now_ms}
    return {person: int(ends) for person, ends in connection.execute(_WAITING, values)}


def end(connection: Connection, organisation: str, person: str, now_ms: int) -> bool:
    """End the organisation's unused codes for a person, whose account is locked; tells whether there
    was one."""
    values = {"organisation_": organisation, "person_": person, "now": now_ms}
    hashes = connection.execute(_OPEN_HASHES, values).scalars().all()
    if hashes:
        connection.execute(
            update(enrolment_codes)
            .where(enrolment_codes.c.code_hash.in_(hashes))
            .values(expires_ms=now_ms)
        )
    return bool(hashes)
