"""Attestations of people without a national number."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, insert, select, update

from miss_protocol.errors import Code, Refused
from miss_protocol.ids import AccountAddress
from miss_server.storage.account_tables import attestations, departures
from miss_server.storage.attestations import Attestation
from miss_server.storage.audit import Action, Deed, account
from miss_server.storage.directory import is_unnumbered
from miss_server.storage.schema import accounts
from miss_server.storage.sql import accounts as accounts_
from miss_server.storage.sql import audit, locks, people, schemas, vouching
from miss_server.storage.sql.vouching import HOLDS, SINCE

_SHOWN = (
    select(
        attestations.c.person,
        attestations.c.attester,
        accounts.c.name,
        attestations.c.at_ms,
        HOLDS,
    )
    .join(accounts, accounts.c.address == attestations.c.attester)
    .where(attestations.c.withdrawn_ms.is_(None))
)
_BY = _SHOWN.where(attestations.c.attester == bindparam("attester_")).order_by(
    attestations.c.at_ms.desc(), attestations.c.person
)
_OF = _SHOWN.where(attestations.c.person.in_(bindparam("people", expanding=True))).order_by(
    attestations.c.at_ms, attestations.c.attester
)
_ATTESTER = select(
    accounts.c.person,
    accounts.c.suspended,
    select(departures.c.account).where(departures.c.account == accounts.c.address).exists(),
).where(accounts.c.address == bindparam("attester_"), accounts.c.genesis.is_not(None))
_COUNT = (
    select(func.count())
    .select_from(attestations)
    .where(attestations.c.attester == bindparam("attester_"), attestations.c.withdrawn_ms.is_(None))
)
_ROW = select(attestations.c.withdrawn_ms).where(
    attestations.c.attester == bindparam("attester_"), attestations.c.person == bindparam("person_")
)
_OF_PERSON = select(accounts.c.address).where(accounts.c.person == bindparam("person_"))
_HOLDING = (
    select(attestations.c.person)
    .join(accounts, accounts.c.address == attestations.c.attester)
    .where(attestations.c.person == bindparam("person_"), HOLDS)
    .limit(1)
)


def attest(
    connection: Connection, attester: AccountAddress, person: str, most: int, now_ms: int
) -> None:
    """Vouch for a person."""
    schemas.require(connection, SINCE)
    locks.account(connection, attester)  # two calls at once may not pass the limit together
    row = connection.execute(_ATTESTER, {"attester_": attester}).one_or_none()
    own = row.person if row is not None else None
    if row is None or own is None or not people.is_national(own) or row[1] or row[2]:
        raise Refused(Code.NOT_ALLOWED, "who attests has a national number and stays")
    if people.entry(connection, own) is None:
        raise Refused(Code.NOT_ALLOWED, "who attests is in the directory")
    entry = people.entry(connection, person)
    if entry is None or not is_unnumbered(entry):
        raise Refused(Code.NOT_FOUND, "nobody who could be attested")
    known = connection.execute(_ROW, {"attester_": attester, "person_": person}).one_or_none()
    if known is not None and known.withdrawn_ms is None:
        return
    if connection.execute(_COUNT, {"attester_": attester}).scalar_one() >= most:
        raise Refused(Code.LIMIT_REACHED)
    if known is None:
        connection.execute(
            insert(attestations).values(person=person, attester=attester, at_ms=now_ms)
        )
    else:
        _set(connection, attester, person, at_ms=now_ms, withdrawn_ms=None)
    audit.append(connection, Deed(account(attester), Action.ATTESTATION_MADE, person), now_ms)


def withdraw(connection: Connection, attester: AccountAddress, person: str, now_ms: int) -> None:
    """Vouch no more; if nobody else does, what the person could have enrolled with is over."""
    schemas.require(connection, SINCE)
    theirs = connection.execute(_OF_PERSON, {"person_": person}).scalar_one_or_none()
    locks.accounts_of(connection, {attester, theirs or attester})
    known = connection.execute(_ROW, {"attester_": attester, "person_": person}).one_or_none()
    if known is None or known.withdrawn_ms is not None:
        raise Refused(Code.NOT_FOUND, "no such attestation")
    _set(connection, attester, person, withdrawn_ms=now_ms)
    if theirs is not None and vouching.lacking(connection, [person]):
        accounts_.end_codes(connection, AccountAddress(theirs), now_ms)
    audit.append(connection, Deed(account(attester), Action.ATTESTATION_ENDED, person), now_ms)


def given_by(connection: Connection, attester: AccountAddress) -> list[Attestation]:
    """Those that an account gave."""
    return _listed(connection, _BY, {"attester_": attester})


def of_people(connection: Connection, some: Sequence[str]) -> list[Attestation]:
    """Those for these people."""
    return _listed(connection, _OF, {"people": list(some)}) if some else []


def holds(connection: Connection, person: str) -> bool:
    """Whether anybody vouches for a person at present, beside an organisation."""
    return connection.execute(_HOLDING, {"person_": person}).first() is not None


def _listed(
    connection: Connection, statement: Select[Any], values: dict[str, Any]
) -> list[Attestation]:
    if not schemas.has(connection, SINCE):
        return []
    return [
        Attestation(person, AccountAddress(attester), name, at_ms, bool(holds))
        for person, attester, name, at_ms, holds in connection.execute(statement, values)
    ]


def _set(
    connection: Connection, attester: AccountAddress, person: str, **values: int | None
) -> None:
    connection.execute(
        update(attestations)
        .where(attestations.c.attester == attester, attestations.c.person == person)
        .values(**values)
    )
