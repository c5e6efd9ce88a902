"""The list that a search finds, and the part of it that comes on one page.

It is put together from ordered lists: those with an account (ranked), those whose family name was typed in
full, all others, which may be many and are read only as far as the page goes; and, if all that is little,
those that are spelt nearly so. Near a place, each of the first three is in order of distance as far as
that counts.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from miss_protocol.directory import Entry
from miss_protocol.filters import AtLeast
from miss_server.storage.sql import repairs
from miss_server.storage.sql.asked import Asked
from miss_server.storage.sql.cursors import Cursor
from miss_server.storage.sql.holders import holders
from miss_server.storage.sql.nearby import BEYOND, RINGS_KM, Nearby
from miss_server.storage.sql.shown import Shown
from miss_server.storage.sql.words import HOLDER_RANKS, Words

EXACT_NEAR, EXACT, REST_NEAR, REST, REPAIRED = range(HOLDER_RANKS, HOLDER_RANKS + 5)
LAST_RANK = REPAIRED
LEAST: dict[AtLeast | None, int] = {
    "miss": HOLDER_RANKS // 2,
    "dormant": HOLDER_RANKS,
    None: HOLDER_RANKS,
}
"""The rank above those that can be reached at least so."""
HOLDERS_MAX = 2_000
"""Those with an account within the widest ring that are put in order of distance, the first by rank and name."""
PLACED_MAX = 20_000
"""The same of those without, within one ring around the place."""


@dataclass(frozen=True, slots=True)
class Found:
    """An entry of the list, where it stands in it, and how it was understood if it was not as typed."""

    rank: int
    distance: int
    id: int
    understood: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[int, int, int]:
        """By what the list is in order, except where it was repaired."""
        return self.rank, self.distance, self.id


class Listing:
    """The list of one search."""

    def __init__(
        self,
        words: Words,
        shown: Shown,
        connection: Connection,
        slot: int,
        asked: Asked,
        least: AtLeast | None,
        near: Nearby | None,
    ) -> None:
        self._words = words
        self._shown = shown
        self._on = connection
        self._slot = slot
        self._asked = asked
        self._least = least
        self._near = near

    def after(self, start: Cursor, count: int) -> list[Found]:
        """The next `count` entries after a cursor."""
        found = self._holders(start, count)
        if self._least is None:
            close = self._close(found, EXACT_NEAR, start, count)
            self._far(found, EXACT, self._words.exact, close, start, count)
            close = self._close(found, REST_NEAR, start, count)
            self._far(found, REST, self._words.rest, close, start, count)
        if len(found) < count and self._asked.seeker.people:
            found += self._nearly(start)[: count - len(found)]
        return found

    # --- As typed ---------------------------------------------------------------------------------

    def _holders(self, start: Cursor, count: int) -> list[Found]:
        """Those with an account."""
        below = LEAST[self._least]
        if start.rank >= below:
            return []
        if self._near is None:
            ranked = self._ranked(self._asked, (start.rank, start.id), below, count)
            return [Found(rank, 0, id_) for rank, id_ in ranked]
        # All that are close, and of the far ones as many as a page may need. Who is not among the first is far,
        # however close: a list has one order from its first page to its last.
        close = self._asked.marked(self._near.ring(RINGS_KM[-1]))
        placed = self._placed(self._ranked(close, (-1, 0), below, HOLDERS_MAX), self._near)
        after = (start.rank, start.id if start.distance == BEYOND else 0)
        seen = {one.id for one in placed}
        for limit in (count, count + len(seen)):
            ranked = self._ranked(self._asked, after, below, limit)
            far = [(rank, id_) for rank, id_ in ranked if id_ not in seen]
            if len(far) >= count or len(ranked) < limit:
                break
        placed += [Found(rank, BEYOND, id_) for rank, id_ in far]
        return _behind(start, placed)[:count]

    def _ranked(
        self, asked: Asked, after: tuple[int, int], below: int, count: int
    ) -> list[tuple[int, int]]:
        return holders(self._words, self._on, self._slot, asked, after, below, count)

    def _placed(self, ranked: Sequence[tuple[int, int]], near: Nearby) -> list[Found]:
        entries = self._entries(id_ for _, id_ in ranked)
        return [Found(rank, near.away(entries[id_].places), id_) for rank, id_ in ranked]

    def _close(self, found: list[Found], rank: int, start: Cursor, count: int) -> Collection[int]:
        """Add those without an account in order of distance; returns all that are close."""
        if self._near is None or len(found) == count or start.rank > rank + 1:
            return ()
        exact = rank == EXACT_NEAR
        close: list[Found] = []
        # Where many are, they are looked at first by themselves: there the page is full.
        for km in RINGS_KM[-1:] if exact or start.rank > rank else RINGS_KM:
            asked = self._asked.marked(self._near.ring(km))
            rows = self._words.placed(self._on, self._slot, asked, exact, PLACED_MAX)
            away = ((id_, self._near.of_encoded(entry)) for id_, entry in rows)
            close = [Found(rank, far, id_) for id_, far in away if far <= km]
            behind = _behind(start, close)
            if len(found) + len(behind) >= count:
                break
        if start.rank <= rank:
            found += behind[: count - len(found)]
        return {one.id for one in close}

    def _far(
        self,
        found: list[Found],
        rank: int,
        more: Callable[[Connection, int, Asked, int, int], Iterable[int]],
        close: Collection[int],
        start: Cursor,
        count: int,
    ) -> None:
        """Add those without an account by name, without those that are close."""
        if start.rank > rank:
            return
        last = start.id if start.rank == rank else 0
        ended = False
        while len(found) < count and not ended:
            wanted = count - len(found)
            ids = list(more(self._on, self._slot, self._asked, last, wanted))
            found += [Found(rank, 0, id_) for id_ in ids if id_ not in close]
            ended = len(ids) < wanted
            last = ids[-1] if ids else last

    # --- Spelt nearly so --------------------------------------------------------------------------

    def _nearly(self, start: Cursor) -> list[Found]:
        """Entries after `start` that are spelt nearly so, if few are spelt so."""
        some = self._words.first(self._on, self._slot, self._asked, repairs.ENOUGH)
        typed = {id_ for id_, _ in some}
        if len(typed) == repairs.ENOUGH:
            return []
        nearly = repairs.repaired(self._words, self._on, self._slot, self._asked, typed)
        entries = self._entries(one.id for one in nearly)
        away = {id_: self._away(entry) for id_, entry in entries.items()}
        called = {one.id: self._asked.called(entries[one.id].name, one.meant) for one in nearly}
        nearly.sort(key=lambda one: (one.cost, one.standing, called[one.id], away[one.id], one.id))
        found = [
            Found(REPAIRED, 0, one.id, one.understood)
            for one in nearly
            if self._least is None or 2 * one.standing < LEAST[self._least]
        ]
        if start.rank < REPAIRED:
            return found
        at = next((at for at, one in enumerate(found) if one.id == start.id), len(found))
        return found[at + 1 :]

    def _entries(self, ids: Iterable[int]) -> dict[int, Entry]:
        return self._shown.by_id(self._on, self._slot, list(ids), self._asked.seeker)

    def _away(self, entry: Entry) -> int:
        return BEYOND if self._near is None else self._near.away(entry.places)


def _behind(start: Cursor, found: list[Found]) -> list[Found]:
    last = (start.rank, start.distance, start.id)
    return sorted((one for one in found if one.place > last), key=lambda one: one.place)
