"""What administrators do about the people of their organisation: see, vouch, end. Spec: 11 §6."""

from collections.abc import Iterator, Sequence

import msgspec
from sqlalchemy import Connection, bindparam, insert, select, update

from miss_protocol.directory import Entry, lacks_number
from miss_protocol.errors import Code, Refused
from miss_protocol.ids import AccountAddress, DeviceId
from miss_protocol.organisations import PersonState
from miss_server.storage.audit import Action, Deed, administrator
from miss_server.storage.directory import is_unnumbered
from miss_server.storage.directory_tables import by_person, entries, persons
from miss_server.storage.organisation_tables import organisation_people
from miss_server.storage.organisations import DevicesEnded, Ended, OwnPerson
from miss_server.storage.schema import accounts, devices
from miss_server.storage.sql import accounts as accounts_
from miss_server.storage.sql import (
    administrators,
    attestations,
    audit,
    departures,
    epochs,
    issued,
    leavers,
    locks,
    people,
    rosters,
    schemas,
)
from miss_server.storage.sql.directory import generation

AT_ONCE = 500
"""Entries of people without a national number that one statement reads."""

_ROW = select(organisation_people.c.ended_ms).where(
    organisation_people.c.organisation == bindparam("organisation_"),
    organisation_people.c.person == bindparam("person_"),
)
_NOTED = (
    select(organisation_people.c.person)
    .where(
        organisation_people.c.organisation == bindparam("organisation_"),
        organisation_people.c.person > bindparam("after"),
    )
    .order_by(organisation_people.c.person)
    .limit(bindparam("most"))
)
_WITH_ACCOUNT = select(accounts.c.person).where(people.unnumbered(accounts.c.person))
_ROWS = select(
    organisation_people.c.person, organisation_people.c.ended_ms, organisation_people.c.genesis
).where(
    organisation_people.c.organisation == bindparam("organisation_"),
    organisation_people.c.person.in_(bindparam("people", expanding=True)),
)
_UNVOUCHED = select(organisation_people.c.organisation, organisation_people.c.person).where(
    organisation_people.c.person.in_(bindparam("people", expanding=True)),
    organisation_people.c.ended_ms.is_not(None),
)
_PARTS = tuple(
    select(placed.c.person, slot.c.entry)
    .select_from(found)
    .where(placed.c.person.in_(bindparam("people", expanding=True)))
    for slot, placed, found in zip(entries, persons, by_person, strict=True)
)
_ACCOUNTS = select(
    accounts.c.person, accounts.c.address, accounts.c.genesis.is_not(None), accounts.c.suspended
).where(accounts.c.person.in_(bindparam("people", expanding=True)))
_ACCOUNT = select(accounts.c.address).where(accounts.c.person == bindparam("person_"))
_GENESIS = select(accounts.c.genesis).where(accounts.c.address == bindparam("account_"))
_DEVICES = select(devices.c.id, devices.c.revoked_ms).where(
    devices.c.account == bindparam("account_")
)


class _Belongs(msgspec.Struct):
    """Of an entry, where it belongs: a tenth of what reading it whole costs."""

    part_of: str = ""


_read_belongs = msgspec.json.Decoder(_Belongs)


# --- Seeing ---------------------------------------------------------------------------------------


def page(
    connection: Connection,
    by: AccountAddress,
    organisation: str,
    after: str,
    limit: int,
    now_ms: int,
) -> list[OwnPerson]:
    """The organisation's people behind `after`, by identifier."""
    administrators.require(connection, by, organisation)
    slot = generation(connection) % 2
    values = {"organisation_": organisation, "after": after, "most": limit}
    noted = connection.execute(_NOTED, values).scalars().all()
    listed = _first(_listed(connection, slot, organisation, after), limit)
    found = sorted({*noted, *listed})[:limit]
    if not found:
        return []
    asked = {"organisation_": organisation, "people": found}
    rows = {person: (ended, genesis) for person, ended, genesis in connection.execute(_ROWS, asked)}
    parts = {
        person: _read_belongs.decode(encoded).part_of
        for person, encoded in connection.execute(_PARTS[slot], {"people": found})
    }
    known = {
        person: (AccountAddress(address), bool(enrolled), bool(suspended))
        for person, address, enrolled, suspended in connection.execute(_ACCOUNTS, {"people": found})
    }
    waiting = issued.waiting(connection, organisation, found, now_ms)
    shown = []
    for person in found:
        ended, genesis = rows.get(person, (None, None))
        account, enrolled, suspended = known.get(person, (None, False, False))
        unnumbered = lacks_number(person)
        expires = waiting.get(person)
        state: PersonState = "uninvited" if expires is None else "invited"
        theirs = parts.get(person) == organisation
        if unnumbered and person not in parts:
            # Not ended for having left the directory: there may be access left to end.
            goes_on = expires is not None or (enrolled and not suspended)
            theirs = goes_on and leavers.were_of(connection, organisation, person)
        if ended is not None or (unnumbered and not theirs):
            state, account, expires = "ended", None, None
        elif enrolled if unnumbered else genesis is not None:
            # Of who has a national number, only what became of the organisation's own code.
            state, expires = "enrolled", None
        shown.append(
            OwnPerson(person, state, account if unnumbered and enrolled else None, expires)
        )
    return shown


def _listed(connection: Connection, slot: int, organisation: str, after: str) -> Iterator[str]:
    """People with an account without a national number who belong to it by the directory, in order."""
    # Accounts are few beside a nation's identifiers; put in order here, whatever the database's language.
    held = connection.execute(_WITH_ACCOUNT).scalars()
    wanted = sorted(person for person in held if person > after)
    for at in range(0, len(wanted), AT_ONCE):
        found = connection.execute(_PARTS[slot], {"people": wanted[at : at + AT_ONCE]})
        yield from sorted(
            person
            for person, encoded in found
            if _read_belongs.decode(encoded).part_of == organisation
        )


def _first(found: Iterator[str], count: int) -> list[str]:
    return [person for person, _ in zip(found, range(count), strict=False)]


def unvouched(connection: Connection, some: Sequence[str]) -> set[tuple[str, str]]:
    """(organisation, person) of which the former vouches no more."""
    if not some or not schemas.has(connection, administrators.SINCE):
        return set()
    found = connection.execute(_UNVOUCHED, {"people": list(some)})
    return {(organisation, person) for organisation, person in found}


# --- Vouching -------------------------------------------------------------------------------------


def own(connection: Connection, by: AccountAddress, organisation: str, person: str) -> Entry:
    """The entry of one of the organisation's people, of whatever kind; `administrators.lock` first.

    Raises:
        Refused: see `Organisations`.
    """
    administrators.require(connection, by, organisation)
    found = people.entry(connection, person)
    if found is not None and (
        (is_unnumbered(found) and found.part_of == organisation)
        or people.works_at(found, organisation)
    ):
        return found
    raise Refused(Code.NOT_FOUND, "nobody of this organisation")


def attest(
    connection: Connection, by: AccountAddress, organisation: str, person: str, now_ms: int
) -> None:
    """Vouch for somebody without a national number."""
    administrators.lock(connection, organisation)
    found = own(connection, by, organisation, person)
    if not is_unnumbered(found):
        raise Refused(Code.NOT_FOUND, "who has a national number needs nobody who vouches")
    account = _lock_account(connection, person)
    administrators.require_no_other(connection, organisation, account)
    vouch(connection, by, organisation, person, account, now_ms)


def vouch(
    connection: Connection,
    by: AccountAddress,
    organisation: str,
    person: str,
    account: AccountAddress | None,
    now_ms: int,
) -> None:
    """Note that an organisation vouches (again) for somebody without a national number; the account,
    if there is one, is locked."""
    if not begin(connection, organisation, person, now_ms):
        return
    if account is not None:
        departures.stay(connection, account, now_ms)
    _record(connection, by, Action.ATTESTATION_MADE, person, organisation, now_ms)


def begin(connection: Connection, organisation: str, person: str, now_ms: int) -> bool:
    """Note that an organisation has to do with somebody; an end that was is taken back. Tells whether it
    had not."""
    row = connection.execute(_ROW, {"organisation_": organisation, "person_": person}).one_or_none()
    if row is None:
        connection.execute(
            insert(organisation_people).values(
                organisation=organisation, person=person, since_ms=now_ms
            )
        )
    elif row.ended_ms is not None:
        _set(connection, organisation, person, since_ms=now_ms, ended_ms=None)
    else:
        return False
    return True


# --- Ending ---------------------------------------------------------------------------------------


def end(
    connection: Connection, by: AccountAddress, organisation: str, person: str, now_ms: int
) -> Ended:
    """Have nothing to do with somebody any more."""
    administrators.lock(connection, organisation)
    vouched = _mine(connection, by, organisation, person)
    account = _lock_account(connection, person)
    administrators.require_no_other(connection, organisation, account)
    row = connection.execute(_ROW, {"organisation_": organisation, "person_": person}).one_or_none()
    again = row is not None and row.ended_ms is not None
    if not again:
        begin(connection, organisation, person, now_ms)
        _set(connection, organisation, person, ended_ms=now_ms)
    sessions: Sequence[tuple[DeviceId, int]] = ()
    issued.end(connection, organisation, person, now_ms)
    if vouched and account is not None and not attestations.holds(connection, person):
        # Of whomever they are: nobody is left who vouches for who would use them.
        accounts_.end_codes(connection, account, now_ms)
        if _is_enrolled(connection, account):
            # Also when it is asked again: somebody else may have vouched until now.
            sessions = departures.suspend_at_once(connection, account, now_ms)
    if sessions or not again:
        action = Action.ATTESTATION_ENDED if vouched else Action.LINK_ENDED
        _record(connection, by, action, person, organisation, now_ms)
    return Ended(sessions)


def end_codes(
    connection: Connection, by: AccountAddress, organisation: str, person: str, now_ms: int
) -> None:
    """End what the organisation issued and nobody used yet."""
    administrators.lock(connection, organisation)
    _mine(connection, by, organisation, person)
    account = _lock_account(connection, person)
    if account is not None and issued.end(connection, organisation, person, now_ms):
        _record(connection, by, Action.CODE_ENDED, account, organisation, now_ms)


def end_devices(
    connection: Connection,
    by: AccountAddress,
    organisation: str,
    person: str,
    some: Sequence[DeviceId],
    now_ms: int,
) -> DevicesEnded:
    """End devices of somebody for whom the organisation alone vouches."""
    epochs.hold(connection)
    administrators.lock(connection, organisation)
    administrators.require(connection, by, organisation)
    vouched = _vouches(connection, organisation, person)
    if not vouched:
        own(connection, by, organisation, person)
    account = _lock_account(connection, person)
    row = connection.execute(_ROW, {"organisation_": organisation, "person_": person}).one_or_none()
    if account is None or not vouched:
        raise Refused(Code.NOT_ALLOWED, "no account for which it vouches")
    if (row is not None and row.ended_ms is not None) or attestations.holds(connection, person):
        raise Refused(Code.NOT_ALLOWED, "it vouches no more, or somebody else does as well")
    administrators.require_no_other(connection, organisation, account)
    found_devices = connection.execute(_DEVICES, {"account_": account})
    theirs = {DeviceId(one): revoked for one, revoked in found_devices}
    if not theirs.keys() >= set(some):
        raise Refused(Code.NOT_FOUND, "no device of this account")
    gone = sorted({DeviceId(one) for one in some if theirs[one] is None})
    if not gone:
        return DevicesEnded()
    ring = rosters.revoke(connection, gone, now_ms)
    detail = {"organisation": organisation, "devices": [one.hex() for one in gone]}
    deed = Deed(administrator(by), Action.DEVICES_ENDED, account, detail)
    audit.append(connection, deed, now_ms)
    return DevicesEnded(gone, sorted(ring))


def _mine(connection: Connection, by: AccountAddress, organisation: str, person: str) -> bool:
    """Whether the organisation vouches for somebody, or merely issued a code to them once: they may
    have gone elsewhere since, and it may still take back what is its own.

    Raises:
        Refused: not_found, neither.
    """
    administrators.require(connection, by, organisation)
    if _vouches(connection, organisation, person):
        return True
    values = {"organisation_": organisation, "person_": person}
    if connection.execute(_ROW, values).one_or_none() is None:
        raise Refused(Code.NOT_FOUND, "nobody of this organisation")
    return False


def _vouches(connection: Connection, organisation: str, person: str) -> bool:
    """Whether somebody without a national number is the organisation's, or was when they left the directory."""
    found = people.entry(connection, person)
    if found is None:
        return leavers.were_of(connection, organisation, person)
    return is_unnumbered(found) and found.part_of == organisation


def _lock_account(connection: Connection, person: str) -> AccountAddress | None:
    address = connection.execute(_ACCOUNT, {"person_": person}).scalar_one_or_none()
    if address is None:
        return None
    locks.account(connection, address)
    return AccountAddress(address)


def _is_enrolled(connection: Connection, account: AccountAddress) -> bool:
    return connection.execute(_GENESIS, {"account_": account}).scalar_one() is not None


def _record(
    connection: Connection,
    by: AccountAddress,
    action: Action,
    subject: str,
    organisation: str,
    now_ms: int,
) -> None:
    deed = Deed(administrator(by), action, subject, {"organisation": organisation})
    audit.append(connection, deed, now_ms)


def _set(connection: Connection, organisation: str, person: str, **values: int | None) -> None:
    connection.execute(
        update(organisation_people)
        .where(
            organisation_people.c.organisation == organisation,
            organisation_people.c.person == person,
        )
        .values(**values)
    )
