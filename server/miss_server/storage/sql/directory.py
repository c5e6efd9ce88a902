"""Searches the directory: what is the same on every engine. How words find entries is each one's own.

A page is put together from three ordered lists: those with an account (ranked), those whose family
name was typed in full, all others; the last one, which may be long, is read only as far as the page
goes.
"""

import base64
import binascii
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import msgspec
from sqlalchemy import Connection, bindparam, func, select

from miss_protocol import limits
from miss_protocol.directory import Entry, Reach, SearchPage, Source, normalise, query_words
from miss_protocol.errors import Code, Malformed, Refused
from miss_protocol.ids import AccountAddress
from miss_server.storage.directory import ImportedFile
from miss_server.storage.directory_tables import entries, sources, state
from miss_server.storage.geography import SOURCE as COMMUNES
from miss_server.storage.geography import Geography
from miss_server.storage.schema import accounts, devices
from miss_server.storage.sql import settings
from miss_server.storage.sql.geography import KeptGeography

HOLDER_RANKS = 4
"""Ranks of those with an account: 2 if dormant, plus 1 if the name was not typed in full."""
EXACT_RANK, REST_RANK = 4, 5

_CURSOR_MAX = 256
_RUN = 6
"""Words of the longest family name that is recognised as typed in full."""

_PERSONS = bindparam("persons", expanding=True, type_=accounts.c.person.type)
# A device of an account that is not suspended makes its person reachable (or dormant).
_REACH = (
    select(
        accounts.c.person,
        accounts.c.address,
        func.max(devices.c.seen_ms).label("seen"),
    )
    .join(devices, devices.c.account == accounts.c.address)
    .where(accounts.c.person.in_(_PERSONS), ~accounts.c.suspended, devices.c.revoked_ms.is_(None))
    .group_by(accounts.c.address)
    .subquery()
)
_SHOWN = tuple(
    select(slot.c.id, slot.c.entry, _REACH.c.address, _REACH.c.seen)
    .outerjoin(_REACH, _REACH.c.person == slot.c.person)
    .where(slot.c.person.in_(_PERSONS))
    for slot in entries
)
_BY_ID = tuple(
    select(slot.c.person).where(slot.c.id.in_(bindparam("ids", expanding=True))) for slot in entries
)
_PLACE = tuple(select(slot.c.id).where(slot.c.person == bindparam("person_")) for slot in entries)
_OWNERS = select(accounts.c.address, accounts.c.person).where(
    accounts.c.person.is_not(None),
    accounts.c.address.in_(bindparam("addresses", expanding=True)),
)
_FILES = select(
    sources.c.name,
    sources.c.file,
    sources.c.date_ms,
    sources.c.imported_ms,
    sources.c.activities,
).order_by(sources.c.id)
FRESHNESS = "directory files"
"""The setting with (source, file, digest, since) of each file in force: a version serves the schema before
its own, so a search cannot ask for new columns."""
_GENERATION = select(state.c.generation)


@dataclass(frozen=True, slots=True)
class Asked:
    """A query: folded words that must each begin a word; family names that it may hold in full;
    and the time before which a device was last seen if it is dormant."""

    words: Sequence[str]
    names: Sequence[str]
    dormant: int


class Words(Protocol):
    """How one engine finds entries by words, in the slot that is in force."""

    def reading(self, connection: Connection) -> AbstractContextManager[Connection]:
        """A transaction in which every statement sees the same moment."""
        ...

    def holders(
        self, connection: Connection, slot: int, asked: Asked, after: tuple[int, int], count: int
    ) -> Iterable[tuple[int, int]]:
        """(rank, id) of entries with an account, from the first above `after` on."""
        ...

    def exact(
        self, connection: Connection, slot: int, asked: Asked, after: int, count: int
    ) -> Iterable[int]:
        """Ids of entries without an account whose name was typed in full, above `after`."""
        ...

    def rest(
        self, connection: Connection, slot: int, asked: Asked, after: int, count: int
    ) -> Iterable[int]:
        """Ids of all other entries, above `after`."""
        ...


def generation(connection: Connection) -> int:
    """The number of the directory in force: 0 before the first import; its parity is the slot."""
    number: int = connection.execute(_GENERATION).scalar_one()
    return number


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Where a page ended: in which directory, at which rank, entry and person."""

    generation: int
    rank: int
    id: int
    person: str


_read_cursor = msgspec.json.Decoder(_Cursor)


class Fresh(msgspec.Struct, array_like=True):
    """What is known of a file's content: its digest, and since when it is the same."""

    name: str
    file: str
    digest: bytes
    since_ms: int


_read_fresh = msgspec.json.Decoder(list[Fresh])
_read_entry = msgspec.json.Decoder(Entry)


class SqlDirectory:
    """The implementation of `Directory`; between calls it keeps the geography only, and may be shared."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._geography = KeptGeography()

    def search(
        self,
        connection: Connection,
        query: str,
        *,
        now_ms: int,
        cursor: str | None = None,
        limit: int = limits.PAGE_DEFAULT,
    ) -> SearchPage:
        """See `Directory`."""
        if limit < 1:
            raise Malformed("a page of no entries")
        limit = min(limit, limits.PAGE_MAX)
        asked = _asked(query, now_ms)
        with self._words.reading(connection):
            now_in_force = generation(connection)
            start = _start(connection, cursor, now_in_force)
            ranked: list[tuple[int, int]] = []
            if asked.words:
                ranked = self._ranked(connection, asked, start, now_in_force % 2, limit + 1)
            shown = _shown_by_id(connection, [i for i, _ in ranked[:limit]], now_in_force, now_ms)
            made_from = _sources(connection)
        entries = tuple(shown[i] for i, _ in ranked[:limit])
        following = None
        if len(ranked) > limit:
            last_id, last_rank = ranked[limit - 1]
            following = _write_cursor(_Cursor(now_in_force, last_rank, last_id, entries[-1].person))
        dated = [source.date for source in made_from if source.name != COMMUNES]
        oldest = min(dated, default="")
        return SearchPage(entries, following, oldest, made_from)

    def entry(self, connection: Connection, person: str, *, now_ms: int) -> Entry | None:
        """See `Directory`."""
        with self._words.reading(connection):
            shown = _shown(connection, [person], generation(connection), now_ms)
            made_from = _sources(connection)
        for entry in shown.values():
            dated = tuple(source for source in made_from if source.name in entry.sources)
            return msgspec.structs.replace(entry, dated=dated)
        return None

    def entries(
        self, connection: Connection, persons: Sequence[str], *, now_ms: int
    ) -> dict[str, Entry]:
        """See `Directory`."""
        with self._words.reading(connection):
            shown = _shown(connection, list(persons), generation(connection), now_ms)
        return {entry.person: entry for entry in shown.values()}

    def by_account(
        self, connection: Connection, addresses: Sequence[AccountAddress], *, now_ms: int
    ) -> dict[AccountAddress, Entry]:
        """See `Directory`."""
        with self._words.reading(connection):
            owners = {
                person: AccountAddress(address)
                for address, person in connection.execute(_OWNERS, {"addresses": list(addresses)})
            }
            shown = _shown(connection, list(owners), generation(connection), now_ms)
        return {owners[entry.person]: entry for entry in shown.values()}

    def files(self, connection: Connection) -> list[ImportedFile]:
        """See `Directory`."""
        with self._words.reading(connection):
            return files(connection)

    def geography(self, connection: Connection) -> Geography:
        """See `Directory`."""
        with self._words.reading(connection):
            return self._geography.of(connection)

    def _ranked(
        self, connection: Connection, asked: Asked, start: _Cursor, slot: int, count: int
    ) -> list[tuple[int, int]]:
        """The next `count` matches after `start` as (id, rank)."""
        found: list[tuple[int, int]] = []
        if start.rank < HOLDER_RANKS:
            after = (start.rank, start.id)
            for rank, id_ in self._words.holders(connection, slot, asked, after, count):
                found.append((id_, rank))
        for rank, more in ((EXACT_RANK, self._words.exact), (REST_RANK, self._words.rest)):
            if start.rank > rank or len(found) == count:
                continue
            begin = start.id if start.rank == rank else 0
            ids = more(connection, slot, asked, begin, count - len(found))
            found += [(id_, rank) for id_ in ids]
        return found


def files(connection: Connection) -> list[ImportedFile]:
    """What the directory in force was made from."""
    noted = settings.get(connection, FRESHNESS)
    fresh = {(one.name, one.file): one for one in _read_fresh.decode(noted)} if noted else {}
    found = []
    for name, file, date_ms, imported_ms, count in connection.execute(_FILES):
        one = fresh.get((name, file), Fresh(name, file, b"", date_ms))
        found.append(
            ImportedFile(name, file, date_ms, imported_ms, count, one.digest, one.since_ms)
        )
    return found


def _sources(connection: Connection) -> tuple[Source, ...]:
    """Each source once, with the date of its oldest file."""
    found: dict[str, Source] = {}
    for file in sorted(files(connection), key=lambda file: (file.name, file.date_ms)):
        found.setdefault(file.name, file.source)
    return tuple(found.values())


def _asked(query: str, now_ms: int) -> Asked:
    words = query_words(query)  # refuses before anything else is done with a long query
    typed = normalise(query)
    # A family name in full may hold words that a query ignores: Du Pont, Le Goff.
    runs = {" ".join(typed[i:j]) for i in range(len(typed)) for j in range(i + 1, i + 1 + _RUN)}
    return Asked(words, sorted(runs), now_ms - limits.DORMANT_AFTER * 1000)


def _shown_by_id(
    connection: Connection, ids: list[int], in_force: int, now_ms: int
) -> dict[int, Entry]:
    persons = connection.execute(_BY_ID[in_force % 2], {"ids": ids}).scalars()
    return _shown(connection, list(persons), in_force, now_ms)


def _shown(
    connection: Connection, persons: list[str], in_force: int, now_ms: int
) -> dict[int, Entry]:
    """Entries with what is known of their account at this moment, by their number."""
    rows = connection.execute(_SHOWN[in_force % 2], {"persons": persons})
    dormant = now_ms - limits.DORMANT_AFTER * 1000
    shown: dict[int, Entry] = {}
    for number, encoded, account, seen in rows:
        entry = _read_entry.decode(encoded)
        if account is not None:
            reach: Reach = "dormant" if seen < dormant else "miss"
            entry = msgspec.structs.replace(entry, account=account, reach=reach)
        elif entry.mailboxes:
            entry = msgspec.structs.replace(entry, reach="mailbox")
        shown[number] = entry
    return shown


def _start(connection: Connection, cursor: str | None, in_force: int) -> _Cursor:
    if cursor is None:
        return _Cursor(in_force, -1, 0, "")
    start = _parse_cursor(cursor)
    if start.generation != in_force:
        # The directory was replaced between two pages: go on after the same person.
        place = connection.execute(_PLACE[in_force % 2], {"person_": start.person})
        id_ = place.scalar_one_or_none()
        if id_ is None:
            raise Refused(Code.OUT_OF_PLACE, "the cursor's person is no longer in the directory")
        start.id = id_
    return start


def _write_cursor(cursor: _Cursor) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def _parse_cursor(text: str) -> _Cursor:
    try:
        if len(text) > _CURSOR_MAX:
            raise Malformed("not a cursor")
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        cursor = _read_cursor.decode(base64.b64decode(padded, b"-_", validate=True))
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed("not a cursor") from None
    # Beyond 64 bits the driver itself would raise OverflowError.
    if not (0 <= cursor.rank <= REST_RANK and 0 <= cursor.id < 2**63):
        raise Malformed("not a cursor")
    return cursor
