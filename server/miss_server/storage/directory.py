"""The interface of the directory: searching it, and putting a new one in its place.

Synchronous on purpose: a search runs in an executor thread on a reader's connection (SQLite), or
inside `AsyncConnection.run_sync` (PostgreSQL), which gives the same `Connection`. An import is a
command's own process. `tests/contract/test_directory.py` is the contract suite.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, Protocol

from sqlalchemy import Connection

from miss_protocol.directory import (
    UNNUMBERED,
    WITHIN,
    Entry,
    SearchPage,
    Source,
    lacks_number,
    normalise,
)
from miss_protocol.filters import UNFILTERED, Filters
from miss_protocol.ids import AccountAddress
from miss_protocol.limits import PAGE_DEFAULT
from miss_server.storage.geography import SOURCE as COMMUNES
from miss_server.storage.geography import Commune, Geography


class DirectoryBusy(Exception):
    """Another import into the same database is running."""


class NoRoom(Exception):
    """No number is free between two entries: the directory must be written anew."""


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """A text that a directory was made from. Times are milliseconds; `name` is the source's.

    `digest` is over its bytes; `since_ms` the date under which the same bytes first came; `kind` tells the files of
    a source apart that has several kinds, and is empty if a version before noted it.
    """

    name: str
    file: str
    date_ms: int
    imported_ms: int
    activities: int
    digest: bytes
    since_ms: int
    kind: str = ""

    @property
    def date(self) -> str:
        """The day of the data, `YYYY-MM-DD`, UTC."""
        return day(self.date_ms)

    @property
    def source(self) -> Source:
        """What clients are told of it."""
        since = day(self.since_ms)
        return Source(self.name, self.date, since if since < self.date else "")


def day(ms: int) -> str:
    """`YYYY-MM-DD`, UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).date().isoformat()


class Record(NamedTuple):
    """An entry as it is stored. Records are written in the order in which names are listed.

    `sort` puts records in that order and `name_key`, the folded name, begins it; `words` is every folded
    word that finds the entry; `digest` 16 bytes over what it was made from, by which two directories
    are compared; `entry` an `Entry` in JSON without reach and account, which are looked up at every
    search.
    """

    person: str
    sort: str
    name_key: str
    words: str
    digest: bytes
    entry: bytes


def sort_key(name: str, given: str, person: str) -> str:
    """By what entries are put in order: folded name, folded given name, identifier."""
    return f"{name_key(name)}\x1f{name_key(given)}\x1f{person}"


@lru_cache(20_000)  # given names repeat themselves a million times in a national file
def name_key(name: str) -> str:
    """A folded name."""
    return " ".join(normalise(name))


UNNUMBERED_LIKE = (*(f"{beginning}%" for beginning in UNNUMBERED), f"%{WITHIN}%")
"""`lacks_number`, as patterns of SQL's."""

MARK = "¤"
"""Begins the words of `Record.words` that are not a text's: no letter or digit, so nobody's query has
them, and every engine's index takes them as they are. They narrow a search."""
ORGANISATION_MARK = MARK + "o"


def name_of(entry: Entry) -> str:
    """How an entry is called on screens and letters, in one line."""
    return " ".join(part for part in (entry.title, entry.given, entry.name) if part)


def is_unnumbered(entry: Entry) -> bool:
    """Whether it is a person without a national number, for whom somebody has to vouch (rule F2)."""
    return entry.kind == "person" and lacks_number(entry.person)


def profession_mark(code: str) -> str:
    """The mark of everybody with this code of a profession."""
    return f"{MARK}p{''.join(normalise(code))}"


def speciality_mark(code: str) -> str:
    """The mark of everybody with this code of a speciality."""
    return f"{MARK}s{''.join(normalise(code))}"


def department_mark(number: str) -> str:
    """The mark of everybody with a place in this department; `number` as `59`, `2A`, `971`."""
    return f"{MARK}d{''.join(normalise(number))}"


def place_mark(code: str) -> str:
    """The mark of everybody with a place in a commune (INSEE code), or of a postcode if no commune is known."""
    return f"{MARK}c{''.join(normalise(code))}"


class Directory(Protocol):
    """Who is in the directory. No method may be called inside an open transaction."""

    def search(
        self,
        connection: Connection,
        query: str,
        *,
        now_ms: int,
        cursor: str | None = None,
        limit: int = PAGE_DEFAULT,
        filters: Filters = UNFILTERED,
        account: AccountAddress | None = None,
    ) -> SearchPage:
        """Entries in which every word of `query` begins a word, the best first (spec 05 §3); if they are
        few, those in which words that are spelt nearly so do.

        `account` searches: whom it knows comes first, and whom it may not find is shown as somebody
        without an account. Without, everybody is found. `limit` is cut to `limits.PAGE_MAX`. Raises `Malformed` (control characters, a cursor or a
        limit that is none) or `Refused` (too_large; out_of_place for the cursor of a directory
        that was replaced when its last entry is gone).
        """
        ...

    def entry(
        self,
        connection: Connection,
        person: str,
        *,
        now_ms: int,
        account: AccountAddress | None = None,
    ) -> Entry | None:
        """One entry by its national identifier, as `account` may see it."""
        ...

    def entries(
        self,
        connection: Connection,
        persons: Sequence[str],
        *,
        now_ms: int,
        account: AccountAddress | None = None,
    ) -> dict[str, Entry]:
        """Entries by their identifiers, as `account` may see them and without `dated`; who is not in the
        directory is missing."""
        ...

    def by_account(
        self, connection: Connection, addresses: Sequence[AccountAddress], *, now_ms: int
    ) -> dict[AccountAddress, Entry]:
        """The entries behind accounts; accounts without a person of the directory are missing."""
        ...

    def files(self, connection: Connection) -> list[ImportedFile]:
        """What the directory in force was made from; empty before the first import."""
        ...

    def sources(self, connection: Connection) -> tuple[Source, ...]:
        """Each source of the directory in force once, with the date of its oldest file."""
        ...

    def geography(self, connection: Connection) -> Geography:
        """Where communes are; kept in memory until an import changes it."""
        ...


def oldest(sources: Iterable[Source]) -> str:
    """The day of the oldest source; a table of communes makes nobody's data old."""
    return min((source.date for source in sources if source.name != COMMUNES), default="")


class DirectoryReader(Protocol):
    """A `Directory` as the event loop reads it: each call runs on a reader's thread."""

    async def search(
        self,
        query: str,
        *,
        limit: int,
        cursor: str | None,
        filters: Filters,
        account: AccountAddress,
        now_ms: int,
    ) -> SearchPage:
        """See `Directory.search`."""
        ...

    async def entry(
        self, person: str, *, account: AccountAddress | None = None, now_ms: int
    ) -> Entry | None:
        """See `Directory.entry`."""
        ...

    async def entries(
        self, persons: Sequence[str], *, now_ms: int, account: AccountAddress | None = None
    ) -> dict[str, Entry]:
        """See `Directory.entries`."""
        ...

    async def sources(self) -> tuple[Source, ...]:
        """See `Directory.sources`."""
        ...


class DirectoryFilling(Protocol):
    """Puts a new directory in the place of the one in force, beside a running server.

    There are two: one in force and one aside, which was in force before. What differs is written to the
    one aside, then it is put in force; so an import writes two days' differences, and never what
    somebody reads. Until `publish` returned, searches see the old directory only; a process that dies
    on the way leaves it in force, and rows aside of which each is whole.

    `actor` stands in the audit log as the importer.
    """

    actor: str

    def files(self) -> list[ImportedFile]:
        """What the directory in force was made from."""
        ...

    def known(self) -> Iterator[tuple[str, bytes]]:
        """(identifier, digest) of the directory in force, by identifier."""
        ...

    def aside(self) -> Iterator[tuple[str, bytes]]:
        """The same of the one aside; nothing if it must be written as a whole."""
        ...

    def amend(self, gone: Iterable[str], records: Iterable[Record], count: int) -> None:
        """Take entries out of the directory aside and put `count` records in, new ones or others in
        the place of those of the same identifier, in transactions of a few ten milliseconds.

        `records` come in the order of `Record.sort`. Raises `NoRoom`: call `clear` and amend with all.
        """
        ...

    def clear(self) -> None:
        """Empty the directory aside."""
        ...

    def publish(self, files: Sequence[ImportedFile], remembered: bytes = b"") -> None:
        """Put the directory aside in force, in one short transaction; `remembered` is kept beside it."""
        ...

    def renew(self, files: Sequence[ImportedFile], remembered: bytes = b"") -> None:
        """Note that the directory in force is what these files say, too."""
        ...

    def remembered(self) -> bytes | None:
        """What was given when the directory in force was published, or renewed since."""
        ...

    def holders(self) -> Collection[str]:
        """Identifiers of all persons with an account."""
        ...

    def communes(self) -> list[Commune]:
        """The table of communes, by code."""
        ...

    def settle(self, communes: Sequence[Commune]) -> None:
        """Make this the table of communes, in transactions of a few ten milliseconds."""
        ...
