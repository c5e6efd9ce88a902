"""Those with an account among what a search finds, in the order of their ranks.

Where few entries match, each one's account is looked up. Where many do, it is not known beforehand which is
less: to look up the account of each match until a page is full, or the match of each account. So the
first is begun, and where it finds too few for what it costs, the second goes on. Ranks that few have (known to
the seeker, or called as typed) are found from the other side, by whom the seeker knows and by name.
"""

from collections.abc import Sequence

from sqlalchemy import Connection

from miss_server.storage.sql.asked import Asked
from miss_server.storage.sql.words import HOLDER_RANKS, Words

FIRST_WALK = 500
"""Matches whose accounts are looked up first; each time twice as many follow."""
WALKED_MAX = 16_000
"""Matches of one rank of which no more than these are looked up, before every account is."""
_PLAIN = (HOLDER_RANKS // 2 - 1, HOLDER_RANKS - 1)
"""The ranks of those neither known nor called as typed: lately seen, dormant."""

Ranked = tuple[int, int]


def holders(
    words: Words,
    connection: Connection,
    slot: int,
    asked: Asked,
    after: Ranked,
    below: int,
    count: int,
) -> list[Ranked]:
    """(rank, id) of entries with an account, from the first above `after` on, of ranks below `below`."""
    few = words.hits(connection, slot, asked)
    if few is not None:
        return list(words.ranked(connection, slot, asked, few, after, below, count))
    if not asked.seeker.people:
        return list(words.by_account(connection, slot, asked, after, below, count))
    special = words.distinguished(connection, slot, asked)
    ranked = words.ranked(connection, slot, asked, special, after, below, len(special))
    others = [one for one in ranked if one[0] not in _PLAIN]
    found: list[Ranked] = []
    for rank in range(max(after[0], 0), below):
        if rank not in _PLAIN:
            found += [one for one in others if one[0] == rank]
        else:
            start = after[1] if rank == after[0] else 0
            some, last = _walked(words, connection, slot, asked, (rank, start), count - len(found))
            found += some
            if last is not None:
                rest = (rank, last), below, count - len(found)
                return [*found, *words.by_account(connection, slot, asked, *rest)]
        if len(found) >= count:
            break
    return found[:count]


def _walked(
    words: Words, connection: Connection, slot: int, asked: Asked, after: Ranked, count: int
) -> tuple[list[Ranked], int | None]:
    """Those of one rank behind a number, from match to match; and the number from which on every account is to
    be looked up, if that would take too long."""
    rank, last = after
    found: list[Ranked] = []
    size, walked = FIRST_WALK, 0
    while walked + size <= WALKED_MAX:
        ids: Sequence[int] = words.following(connection, slot, asked, last, size)
        found += words.ranked(
            connection, slot, asked, ids, (rank, last), rank + 1, count - len(found)
        )
        if len(found) == count or len(ids) < size:
            return found, None
        last = ids[-1]
        walked += size
        size *= 2
    return found, last
