"""The interface of the directory: searching it, and putting a new one in its place.

Synchronous on purpose: a search runs in an executor thread on a reader's connection (SQLite), or
inside `AsyncConnection.run_sync` (PostgreSQL), which gives the same `Connection`. An import is a
command's own process. `tests/contract/test_directory.py` is the contract suite.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy import Connection

from miss_protocol.directory import Entry, SearchPage
from miss_protocol.ids import AccountAddress
from miss_protocol.limits import PAGE_DEFAULT


class DirectoryBusy(Exception):
    """Another import into the same database is running."""


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """A file that a directory was made from. Times are milliseconds; `name` is the source's."""

    name: str
    file: str
    date_ms: int
    imported_ms: int
    activities: int

    @property
    def date(self) -> str:
        """The day of the data, `YYYY-MM-DD`, UTC."""
        return datetime.fromtimestamp(self.date_ms / 1000, UTC).date().isoformat()


@dataclass(frozen=True, slots=True)
class Record:
    """An entry as it is stored. Records are written in the order in which names are listed.

    `name_key` is the folded family name; `words` every folded word that finds the entry; `digest`
    16 bytes over what is shown, by which two directories are compared; `entry` an `Entry` in JSON
    without reach and account, which are looked up at every search.
    """

    person: str
    name_key: str
    words: str
    digest: bytes
    entry: bytes


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
    ) -> SearchPage:
        """Entries in which every word of `query` begins a word, the best first (spec 05 §3).

        `limit` is cut to `limits.PAGE_MAX`. Raises `Malformed` (control characters, a cursor or a
        limit that is none) or `Refused` (too_large; out_of_place for the cursor of a directory
        that was replaced when its last entry is gone).
        """
        ...

    def entry(self, connection: Connection, person: str, *, now_ms: int) -> Entry | None:
        """One entry by its national identifier."""
        ...

    def by_account(
        self, connection: Connection, addresses: Sequence[AccountAddress], *, now_ms: int
    ) -> dict[AccountAddress, Entry]:
        """The entries behind accounts; accounts without a person of the directory are missing."""
        ...

    def files(self, connection: Connection) -> list[ImportedFile]:
        """What the directory in force was made from; empty before the first import."""
        ...


class DirectoryReader(Protocol):
    """A `Directory` as the event loop reads it: each call runs on a reader's thread."""

    async def search(
        self, query: str, *, limit: int, cursor: str | None, now_ms: int
    ) -> SearchPage:
        """See `Directory.search`."""
        ...

    async def entry(self, person: str, *, now_ms: int) -> Entry | None:
        """See `Directory.entry`."""
        ...


class DirectoryFilling(Protocol):
    """Puts a whole new directory in the place of the old one, beside a running server.

    `known`, then `fill`, `publish` and `tidy`. Until `publish` returned, searches see the old directory
    only; a process that dies on the way leaves it in force.
    """

    def known(self) -> Iterator[tuple[str, bytes]]:
        """(national identifier, digest) of the directory in force, by identifier."""
        ...

    def fill(self, records: Iterable[Record]) -> None:
        """Write a directory where nobody looks, in transactions of a few ten milliseconds."""
        ...

    def publish(self, files: Sequence[ImportedFile]) -> None:
        """Put what was filled in force, in one short transaction."""
        ...

    def tidy(self) -> None:
        """Empty the directory that was replaced. If this fails, the next `fill` does it."""
        ...
