"""Searches the directory: what is the same on every engine. How words find entries is each one's own.

`listing` puts pages together; here it is said what is asked, by whom, and what is shown of what was found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, select, true

from miss_protocol import limits
from miss_protocol.directory import Entry, SearchPage, Source
from miss_protocol.errors import Code, Malformed, Refused
from miss_protocol.filters import UNFILTERED, Filters
from miss_protocol.ids import AccountAddress
from miss_server.storage.directory import ImportedFile, oldest
from miss_server.storage.directory_tables import persons, sources, state
from miss_server.storage.geography import Geography
from miss_server.storage.schema import accounts
from miss_server.storage.schema import settings as kept
from miss_server.storage.sql import nearby, vocabulary
from miss_server.storage.sql.asked import Asked
from miss_server.storage.sql.cursors import Cursor, read_cursor, write_cursor
from miss_server.storage.sql.geography import KeptGeography
from miss_server.storage.sql.listing import LAST_RANK, Listing
from miss_server.storage.sql.seekers import seeker
from miss_server.storage.sql.shown import Shown
from miss_server.storage.sql.words import Words

_PLACE = tuple(select(slot.c.id).where(slot.c.person == bindparam("person_")) for slot in persons)
_OWNERS = select(accounts.c.address, accounts.c.person).where(
    accounts.c.person.is_not(None),
    accounts.c.address.in_(bindparam("addresses", expanding=True)),
)
FRESHNESS = "directory files"
"""The setting with (source, file, digest, since) of each file in force: a version serves the schema before
its own, so a search cannot ask for new columns."""
_GENERATION = select(state.c.generation)


def _setting(name: str) -> Any:
    return select(kept.c.value).where(kept.c.name == name).scalar_subquery()


# All that a search must know before it asks anything, by one way to the database and back.
_IN_FORCE = (
    select(
        state.c.generation,
        _setting("schema"),
        _setting(FRESHNESS),
        sources.c.name,
        sources.c.file,
        sources.c.date_ms,
        sources.c.imported_ms,
        sources.c.activities,
    )
    .select_from(state.outerjoin(sources, true()))
    .order_by(sources.c.id)
)


def generation(connection: Connection) -> int:
    """The number of the directory in force: 0 before the first import; its parity is the slot."""
    number: int = connection.execute(_GENERATION).scalar_one()
    return number


@dataclass(frozen=True, slots=True)
class InForce:
    """The directory in force; `people`: whether the schema has the tables of people and the vocabulary."""

    generation: int
    people: bool
    files: list[ImportedFile]

    @property
    def slot(self) -> int:
        """Where its entries are."""
        return self.generation % 2

    @property
    def sources(self) -> tuple[Source, ...]:
        """Each source once, with the date of its oldest file."""
        found: dict[str, Source] = {}
        for file in sorted(self.files, key=lambda file: (file.name, file.date_ms)):
            found.setdefault(file.name, file.source)
        return tuple(found.values())


def in_force(connection: Connection) -> InForce:
    """The directory in force."""
    rows = connection.execute(_IN_FORCE).all()
    generation_, schema, noted = rows[0][:3]
    # Two files of a source may be called the same: they are told apart by their order.
    fresh: dict[tuple[str, str], list[Fresh]] = {}
    for one in reversed(_read_fresh.decode(noted) if noted else []):
        fresh.setdefault((one.name, one.file), []).append(one)
    found = []
    for *_, name, file, date_ms, imported_ms, count in rows:
        if name is not None:
            noted_of = fresh.get((name, file))
            one = noted_of.pop() if noted_of else Fresh(name, file, b"", date_ms)
            dates = date_ms, imported_ms
            found.append(
                ImportedFile(name, file, *dates, count, one.digest, one.since_ms, one.kind)
            )
    return InForce(generation_, int(schema or b"0") >= vocabulary.FIRST_SCHEMA, found)


class Fresh(msgspec.Struct, array_like=True):
    """What is known of a file's content: its digest, since when it is the same, and its kind."""

    name: str
    file: str
    digest: bytes
    since_ms: int
    kind: str = ""


_read_fresh = msgspec.json.Decoder(list[Fresh])


class SqlDirectory:
    """The implementation of `Directory`; between calls it keeps the geography, and what its `Words` do, and may
    be shared."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._geography = KeptGeography()
        self._shown = Shown(words)

    def search(
        self,
        connection: Connection,
        query: str,
        *,
        now_ms: int,
        cursor: str | None = None,
        limit: int = limits.PAGE_DEFAULT,
        filters: Filters = UNFILTERED,
        account: AccountAddress | None = None,
    ) -> SearchPage:
        """See `Directory`."""
        if limit < 1:
            raise Malformed("a page of no entries")
        limit = min(limit, limits.PAGE_MAX)
        with self._words.reading(connection):
            now = in_force(connection)
            slot = now.slot
            who = seeker(connection, slot, account, people=now.people, now_ms=now_ms)
            asked = Asked.of(query, filters, who)
            if now.people:
                asked = asked.listing(vocabulary.beginning_so(connection, slot, asked.beginnings))
            start = _start(connection, cursor, now.generation)
            near = None
            if filters.near:
                near = nearby.around(self._geography.of(connection), filters.near)
            listing = Listing(
                self._words, self._shown, connection, slot, asked, filters.reach, near
            )
            found = listing.after(start, limit + 1) if asked.begun else []
            page = found[:limit]
            shown = self._shown.by_id(connection, slot, [one.id for one in page], who)
        entries = tuple(
            msgspec.structs.replace(
                shown[one.id],
                repaired=bool(one.understood),
                distance=None if near is None else near.kilometres(shown[one.id].places),
            )
            for one in page
        )
        following = None
        if len(found) > limit:
            last = page[-1]
            following = write_cursor(
                Cursor(now.generation, last.rank, last.id, entries[-1].person, last.distance)
            )
        understood = next((one.understood for one in page if one.understood), ())
        return SearchPage(entries, following, oldest(now.sources), now.sources, understood)

    def entry(
        self,
        connection: Connection,
        person: str,
        *,
        now_ms: int,
        account: AccountAddress | None = None,
    ) -> Entry | None:
        """See `Directory`."""
        with self._words.reading(connection):
            now = in_force(connection)
            who = seeker(connection, now.slot, account, people=now.people, now_ms=now_ms)
            shown = self._shown.by_person(connection, now.slot, [person], who)
        for entry in shown.values():
            dated = tuple(source for source in now.sources if source.name in entry.sources)
            return msgspec.structs.replace(entry, dated=dated)
        return None

    def entries(
        self,
        connection: Connection,
        persons: Sequence[str],
        *,
        now_ms: int,
        account: AccountAddress | None = None,
    ) -> dict[str, Entry]:
        """See `Directory`."""
        with self._words.reading(connection):
            now = in_force(connection)
            who = seeker(connection, now.slot, account, people=now.people, now_ms=now_ms)
            shown = self._shown.by_person(connection, now.slot, list(persons), who)
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
            now = in_force(connection)
            everybody = seeker(connection, now.slot, None, people=now.people, now_ms=now_ms)
            shown = self._shown.by_person(connection, now.slot, list(owners), everybody)
        return {owners[entry.person]: entry for entry in shown.values()}

    def files(self, connection: Connection) -> list[ImportedFile]:
        """See `Directory`."""
        with self._words.reading(connection):
            return files(connection)

    def sources(self, connection: Connection) -> tuple[Source, ...]:
        """See `Directory`."""
        with self._words.reading(connection):
            return in_force(connection).sources

    def geography(self, connection: Connection) -> Geography:
        """See `Directory`."""
        with self._words.reading(connection):
            return self._geography.of(connection)


def files(connection: Connection) -> list[ImportedFile]:
    """What the directory in force was made from."""
    return in_force(connection).files


def _start(connection: Connection, cursor: str | None, in_force: int) -> Cursor:
    if cursor is None:
        return Cursor(in_force, -1, 0, "")
    start = read_cursor(cursor, LAST_RANK)
    if start.generation != in_force:
        # The directory was replaced between two pages: go on after the same person.
        place = connection.execute(_PLACE[in_force % 2], {"person_": start.person})
        id_ = place.scalar_one_or_none()
        if id_ is None:
            raise Refused(Code.OUT_OF_PLACE, "the cursor's person is no longer in the directory")
        start.id = id_
    return start
