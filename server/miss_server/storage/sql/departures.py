"""Who has left the directory or lost what vouched for them: found by a look, noted in small steps."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, bindparam, delete, insert, select, update

from miss_protocol.directory import WITHIN, Entry
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.importers.identifiers import slug
from miss_server.storage.account_tables import departures
from miss_server.storage.audit import SERVER, Action, Deed
from miss_server.storage.departures import STALE_AFTER_MS, Cause, Departure, Found, Swept
from miss_server.storage.directory import ImportedFile, is_unnumbered
from miss_server.storage.directory_tables import by_person, entries, persons
from miss_server.storage.organisation_tables import organisation_people
from miss_server.storage.schema import accounts
from miss_server.storage.sql import attestations as attesting
from miss_server.storage.sql import audit, locks, people, schemas, standing, vouching
from miss_server.storage.sql.directory import files, generation

SINCE = 2
"""The first schema that has departures."""
AT_ONCE = 200
"""Accounts of one transaction: a few milliseconds, so that sends are not held up."""

_NATIONAL: dict[str, tuple[str, ...]] = {"0": ("RPPS",), "8": ("RPPS",), "1": ("FINESS",)}
_NATIONAL |= dict.fromkeys(("2", "3", "4", "bal", "cab"), ("MSSANTE",))
_WITHIN = ("RPPS", "MSSANTE")
"""By which sources an identifier comes and goes (spec 05 §1.1); one within a structure by whichever has it."""

_Pair = tuple[AccountAddress, Cause]

_GONE = tuple(
    select(accounts.c.address, accounts.c.person)
    .outerjoin(slot, slot.c.person == accounts.c.person)
    .where(accounts.c.person.is_not(None), accounts.c.genesis.is_not(None), slot.c.person.is_(None))
    for slot in persons
)
_UNNUMBERED = tuple(
    select(accounts.c.address, slot.c.entry)
    .select_from(found.join(accounts, placed.c.person == accounts.c.person))
    .where(accounts.c.genesis.is_not(None), people.unnumbered(accounts.c.person))
    for slot, placed, found in zip(entries, persons, by_person, strict=True)
)
_NOTED = select(
    departures.c.account,
    departures.c.cause,
    departures.c.due_ms,
    departures.c.suspended_ms,
)
_ALL = (
    select(
        departures.c.account,
        accounts.c.person,
        accounts.c.name,
        departures.c.cause,
        departures.c.since_ms,
        departures.c.due_ms,
        departures.c.suspended_ms,
    )
    .join(accounts, accounts.c.address == departures.c.account)
    .order_by(departures.c.due_ms, departures.c.account, departures.c.cause)
)
_OF_ACCOUNT = _ALL.where(departures.c.account == bindparam("account_"))
_ROW = select(departures.c.suspended_ms, departures.c.due_ms).where(
    departures.c.account == bindparam("account_"), departures.c.cause == bindparam("cause_")
)
_SUSPENDED = select(accounts.c.suspended).where(accounts.c.address == bindparam("account_"))
_ENDED_OF = (
    select(organisation_people.c.organisation, organisation_people.c.person)
    .join(accounts, accounts.c.person == organisation_people.c.person)
    .where(accounts.c.address == bindparam("account_"), organisation_people.c.ended_ms.is_not(None))
)

_read_entry = msgspec.json.Decoder(Entry)


def find(connection: Connection, now_ms: int) -> Found:
    """What differs from what is noted; `connection` reads one moment."""
    if not schemas.has(connection, SINCE):
        return Found(0)
    in_force = generation(connection)
    made_from = files(connection)
    if not made_from:
        return Found(in_force)  # no directory is no reason
    sound = _Sources(made_from, now_ms)
    slot = in_force % 2
    left = {AccountAddress(address): person for address, person in connection.execute(_GONE[slot])}
    gone = {(address, Cause.LEFT): sound.speaks_for(person) for address, person in left.items()}
    gone |= {
        # Without the establishments' file every organisation looks as if it had closed.
        (address, Cause.UNATTESTED): sound.speaks_for(person)
        and (not organisation or sound.speaks_for(organisation))
        for address, person, organisation in _lost(connection, slot)
    }
    begin = [pair for pair, sure in gone.items() if sure]
    cancel: list[_Pair] = []
    suspend: list[_Pair] = []
    noted: set[_Pair] = set()
    for address, cause, due_ms, suspended_ms in connection.execute(_NOTED):
        pair = (AccountAddress(address), Cause(cause))
        noted.add(pair)
        whose = left.get(pair[0])
        if pair[1] is Cause.UNATTESTED and whose and not attesting.holds(connection, whose):
            # Nobody vouches still: who leaves the directory as well is no better off for it.
            gone[pair] = gone[pair[0], Cause.LEFT]
        if pair not in gone:
            cancel.append(pair)
        elif suspended_ms is None and due_ms <= now_ms and gone[pair]:
            suspend.append(pair)
    fresh = [pair for pair in begin if pair not in noted]
    return Found(in_force, _sorted(fresh), _sorted(cancel), _sorted(suspend))


def note(connection: Connection, found: Found, grace_ms: int, now_ms: int) -> Swept:
    """Write a part of what was found; at most `AT_ONCE` accounts a transaction."""
    schemas.require(connection, SINCE)
    if generation(connection) != found.generation:
        return Swept()  # looked at again in a moment
    pairs = (*found.begin, *found.cancel, *found.suspend)
    locks.accounts_of(connection, {address for address, _ in pairs})
    # Read after the locks: another node may have written the same.
    begun = [pair for pair in found.begin if _row(connection, pair) is None]
    if begun:
        connection.execute(
            insert(departures),
            [
                {
                    "account": address,
                    "cause": cause.value,
                    "since_ms": now_ms,
                    "due_ms": now_ms + grace_ms,
                }
                for address, cause in begun
            ],
        )
    lifted: list[_Pair] = []
    cancelled = [
        pair
        for pair in found.cancel
        if not _was_ended(connection, pair) and _cancel(connection, pair, lifted, now_ms)
    ]
    ended: dict[DeviceId, int] = {}
    suspended = [pair for pair in found.suspend if _suspend(connection, pair, ended, now_ms)]
    deeds = (
        (Action.DEPARTURE_BEGUN, begun),
        (Action.DEPARTURE_ENDED, cancelled),
        (Action.ACCOUNT_REINSTATED, lifted),
        (Action.ACCOUNT_SUSPENDED, suspended),
    )
    _record(connection, deeds, now_ms)
    return Swept(
        _addresses(begun), _addresses(cancelled), _addresses(suspended), tuple(sorted(ended))
    )


def slices(found: Found) -> Iterable[Found]:
    """What was found, in parts of a transaction each."""
    for name in ("begin", "cancel", "suspend"):
        pairs: Sequence[_Pair] = getattr(found, name)
        for at in range(0, len(pairs), AT_ONCE):
            yield Found(found.generation, **{name: pairs[at : at + AT_ONCE]})


def suspend_at_once(
    connection: Connection, account: AccountAddress, now_ms: int
) -> Sequence[tuple[DeviceId, int]]:
    """Suspend an account for which nobody vouches any more, without a grace: whoever vouched says so
    themselves. The account is locked. Returns the sessions that are over, for a doorbell."""
    pair = (account, Cause.UNATTESTED)
    row = _row(connection, pair)
    if row is None:
        connection.execute(
            insert(departures).values(
                account=account, cause=Cause.UNATTESTED.value, since_ms=now_ms, due_ms=now_ms
            )
        )
    elif row.suspended_ms is None:
        connection.execute(
            update(departures)
            .where(departures.c.account == account, departures.c.cause == Cause.UNATTESTED.value)
            .values(due_ms=now_ms)
        )
    ended: dict[DeviceId, int] = {}
    suspended = [pair] if _suspend(connection, pair, ended, now_ms) else []
    begun = [pair] if row is None else []
    deeds = ((Action.DEPARTURE_BEGUN, begun), (Action.ACCOUNT_SUSPENDED, suspended))
    _record(connection, deeds, now_ms)
    return tuple(ended.items())


def stay(connection: Connection, account: AccountAddress, now_ms: int) -> None:
    """End a notice or a suspension because nobody vouched: somebody does again. The account is locked."""
    pair = (account, Cause.UNATTESTED)
    lifted: list[_Pair] = []
    cancelled = [pair] if _cancel(connection, pair, lifted, now_ms) else []
    deeds = ((Action.DEPARTURE_ENDED, cancelled), (Action.ACCOUNT_REINSTATED, lifted))
    _record(connection, deeds, now_ms)


def listing(connection: Connection, account: AccountAddress | None) -> list[Departure]:
    """Those of an account, or all."""
    if not schemas.has(connection, SINCE):
        return []
    statement: Select[Any] = _ALL if account is None else _OF_ACCOUNT
    values = {} if account is None else {"account_": account}
    return [
        Departure(AccountAddress(address), person or "", name, Cause(cause), *times)
        for address, person, name, cause, *times in connection.execute(statement, values)
    ]


def _lost(connection: Connection, slot: int) -> Iterable[tuple[AccountAddress, str, str]]:
    """Accounts of people without a national number for whom nothing vouches (any more): address, person, and
    the organisation that would if the directory had it, or ""."""
    listed = [
        (AccountAddress(address), _read_entry.decode(entry))
        for address, entry in connection.execute(_UNNUMBERED[slot])
    ]
    lost = vouching.unvouched(connection, [one for _, one in listed if is_unnumbered(one)])
    return [
        (address, one.person, lost[one.person]) for address, one in listed if one.person in lost
    ]


class _Sources:
    """Which of the files in force may end somebody's access."""

    def __init__(self, made_from: Sequence[ImportedFile], now_ms: int) -> None:
        self._names = {file.name for file in made_from}
        self._local = {slug(file.name) for file in made_from}
        # A file that stands still, or an old one, is likelier wrong than everybody who is not in it.
        self._old = {f.name for f in made_from if now_ms - f.since_ms > STALE_AFTER_MS}

    def speaks_for(self, person: str) -> bool:
        """Whether the source of an identifier is there, and recent if it is a national one."""
        kind, _, rest = person.partition(".")
        if kind == "local":
            return rest.partition(".")[0] in self._local
        sources = _NATIONAL.get(kind if kind in _NATIONAL else kind[:1], ())
        if WITHIN in person:
            sources = _WITHIN
        elif rest and kind[:1].isdigit():
            sources += ("MSSANTE",)  # a service is known by its mailboxes
        return all(source in self._names and source not in self._old for source in sources)


def _record(
    connection: Connection, deeds: Iterable[tuple[Action, Sequence[_Pair]]], now_ms: int
) -> None:
    told = [
        Deed(SERVER, action, address, {"cause": cause.value})
        for action, pairs in deeds
        for address, cause in pairs
    ]
    audit.append_all(connection, told, now_ms)


def _row(connection: Connection, pair: _Pair) -> Any:
    return connection.execute(_ROW, {"account_": pair[0], "cause_": pair[1].value}).one_or_none()


def _was_ended(connection: Connection, pair: _Pair) -> bool:
    """Whether an organisation has ended meanwhile what the look, which is older, still found."""
    address, cause = pair
    if cause is not Cause.UNATTESTED:
        return False
    for organisation, person in connection.execute(_ENDED_OF, {"account_": address}).all():
        entry = people.entry(connection, person)
        if entry is None or entry.part_of == organisation:
            return not attesting.holds(connection, person)
    return False


def _cancel(connection: Connection, pair: _Pair, lifted: list[_Pair], now_ms: int) -> bool:
    row = _row(connection, pair)
    if row is None:
        return False
    address, cause = pair
    connection.execute(
        delete(departures).where(departures.c.account == address, departures.c.cause == cause.value)
    )
    if row.suspended_ms is not None and not standing.is_suspended_by_anything(connection, address):
        standing.lift(connection, address, now_ms)
        lifted.append(pair)
    return True


def _suspend(connection: Connection, pair: _Pair, ended: dict[DeviceId, int], now_ms: int) -> bool:
    row = _row(connection, pair)
    if row is None or row.suspended_ms is not None or row.due_ms > now_ms:
        return False
    address, cause = pair
    already = bool(connection.execute(_SUSPENDED, {"account_": address}).scalar_one())
    connection.execute(
        update(departures)
        .where(departures.c.account == address, departures.c.cause == cause.value)
        .values(suspended_ms=now_ms)
    )
    if not already:
        standing.suspend(connection, address)
        # Sessions on any node end by that, and the next login hears why.
        ended.update(standing.end_sessions(connection, address))
    return True


def _addresses(pairs: Sequence[_Pair]) -> tuple[AccountAddress, ...]:
    return tuple(address for address, _ in pairs)


def _sorted(pairs: Iterable[_Pair]) -> list[_Pair]:
    return sorted(pairs, key=lambda pair: (pair[0], pair[1].value))
