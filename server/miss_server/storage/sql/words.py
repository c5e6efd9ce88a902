"""How one engine finds entries: the interface of the engines' implementations."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import Connection

from miss_server.storage.sql.asked import Asked
from miss_server.storage.sql.seekers import Seeker

FEW = 2_000
"""Entries that match, up to which all are known by number."""
HOLDER_RANKS = 8
"""Ranks of those with an account: 4 if dormant, plus 2 if the seeker does not know them, plus 1 if the name
was not typed in full."""


class Words(Protocol):
    """How one engine finds entries, in a slot (that in force). Accounts that the seeker may not find
    are as if they were not there."""

    hidden: str
    """What SQL says of an account `a` that the seeker may not find; its values: `seeking`."""
    false: str
    """The engine's word for it."""

    def reading(self, connection: Connection) -> AbstractContextManager[Connection]:
        """A transaction in which every statement sees the same moment."""
        ...

    def seeking(self, seeker: Seeker) -> dict[str, Any]:
        """The values of `hidden`."""
        ...

    def hits(self, connection: Connection, slot: int, asked: Asked) -> Sequence[int] | None:
        """Ids of all entries that match; None if they are not few."""
        ...

    def following(
        self, connection: Connection, slot: int, asked: Asked, after: int, count: int
    ) -> Sequence[int]:
        """Ids of the next entries that match, above `after`, in order."""
        ...

    def ranked(
        self,
        connection: Connection,
        slot: int,
        asked: Asked,
        ids: Sequence[int],
        after: tuple[int, int],
        below: int,
        count: int,
    ) -> Iterable[tuple[int, int]]:
        """(rank, id) of those of these entries that have an account, from the first above `after` on, of
        ranks below `below`."""
        ...

    def by_account(
        self,
        connection: Connection,
        slot: int,
        asked: Asked,
        after: tuple[int, int],
        below: int,
        count: int,
    ) -> Iterable[tuple[int, int]]:
        """The same of all entries that match, by looking every account up."""
        ...

    def distinguished(self, connection: Connection, slot: int, asked: Asked) -> Sequence[int]:
        """Ids of entries that match and have an account, among them all that the seeker knows or whose name
        was typed in full; not on the schema before."""
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

    def first(
        self, connection: Connection, slot: int, asked: Asked, count: int
    ) -> Iterable[tuple[int, Sequence[str]]]:
        """(id, its words) of the first entries, with an account or without."""
        ...

    def bearing(
        self, connection: Connection, slot: int, ids: Sequence[int]
    ) -> Iterable[tuple[int, Sequence[str]]]:
        """(id, its words) of these entries."""
        ...

    def placed(
        self, connection: Connection, slot: int, asked: Asked, exact: bool, count: int
    ) -> Iterable[tuple[int, bytes]]:
        """(id, the entry in JSON) of the entries of `exact`, or of those of `rest`."""
        ...
