"""What is found when the words as typed find too little: by words that exist and are spelt nearly so.

First, words with which nothing in the vocabulary begins are taken for misspelt, the others as they are; if
that finds nobody, the short ones of them are left out, then every word may be misspelt, and at last, where nobody
was found as typed either, all short ones are left out: what is left may be a town and a profession. Which entries
come first, their cost says (`miss_protocol.spelling`), so that the answer is the same on every engine. Spec:
05-directory §3.4.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from miss_protocol import spelling
from miss_server.storage.sql import vocabulary
from miss_server.storage.sql.asked import Asked
from miss_server.storage.sql.holders import holders
from miss_server.storage.sql.words import HOLDER_RANKS, Words

ENOUGH = 5
"""Entries found as typed, from which on nothing is repaired: they fill what a phone shows."""
COMPARED_MAX = 400
"""Entries of one reading that are compared: the first by name, and as many of those with an account."""
KEPT_MAX = 100
"""Entries that a repaired search shows at most."""
MEANINGS_MAX = 48
"""What one word is tried for, the cheapest first."""
LEFT = 2
"""Long words, of which so many must be left to find by when the short ones are left out."""
BEGINNING_ONLY = 2
"""More for a word that only begins like the repaired one."""
WITHOUT_ACCOUNT = HOLDER_RANKS // 2
"""The standing of those whom nobody can write to: behind all others."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """An entry that was found so: its number, what it cost, how it stands among equals (2 if dormant, plus 1 if
    the seeker does not know them), and each word as typed with what it was understood as."""

    id: int
    cost: int
    standing: int
    meant: tuple[tuple[str, str], ...]

    @property
    def understood(self) -> tuple[str, ...]:
        """The words as they were understood."""
        return tuple(word for _, word in self.meant)


@dataclass(frozen=True, slots=True)
class _Word:
    """A word as typed, what it may mean with the cost of each, and whether anything begins like it."""

    typed: str
    meanings: dict[str, int]
    known: bool


def repaired(
    words: Words, connection: Connection, slot: int, asked: Asked, without: set[int]
) -> list[Repaired]:
    """Entries by repaired words, the nearest first; none of `without`."""
    told = _looked_up(connection, slot, asked.words)
    for attempt in _attempts(told, as_typed=bool(without)):
        found = _find(words, connection, slot, asked, attempt, without)
        if found:
            return found
    return []


def _attempts(told: Sequence[_Word], *, as_typed: bool) -> Iterator[Sequence[_Word]]:
    """What the words may mean, the likeliest first; `as_typed`: whether they find anybody."""
    # A few letters that begin nothing are a slip in a particle or a title: "vn den", "md".
    long = [word for word in told if not spelling.is_short(word.typed)]
    fitting = [word for word in told if word.known or not spelling.is_short(word.typed)]
    if not all(word.known for word in told):
        broken = [_Word(w.typed, {} if w.known else w.meanings, w.known) for w in told]
        meant = [w for w in broken if w.known or w.meanings or not spelling.is_short(w.typed)]
        if long and len(meant) > len(fitting):
            yield meant
        yield [w for w in broken if w.known or not spelling.is_short(w.typed)]
    if any(word.meanings or not word.known for word in told):
        yield fitting
    if LEFT <= len(long) < len(fitting) and not as_typed:
        yield long


def _find(
    words: Words,
    connection: Connection,
    slot: int,
    asked: Asked,
    told: Sequence[_Word],
    without: set[int],
) -> list[Repaired]:
    if not told or any(not word.known and not word.meanings for word in told):
        return []  # nobody bears it, whatever the others mean
    meant = asked.meaning(
        tuple((*((word.typed,) if word.known else ()), *word.meanings) for word in told)
    )
    listed = vocabulary.beginning_so(connection, slot, meant.beginnings, many=True)
    meant = meant.listing(listed)
    ranked = holders(words, connection, slot, meant, (-1, 0), HOLDER_RANKS, COMPARED_MAX)
    standing = {id_: rank // 2 for rank, id_ in ranked}
    entries = dict(words.first(connection, slot, meant, COMPARED_MAX))
    entries |= words.bearing(connection, slot, [id_ for id_ in standing if id_ not in entries])
    found = [
        _compared(id_, entry, standing.get(id_, WITHOUT_ACCOUNT), told)
        for id_, entry in entries.items()
        if id_ not in without
    ]
    return sorted(found, key=lambda one: (one.cost, one.standing, one.id))[:KEPT_MAX]


def _compared(id_: int, entry: Sequence[str], standing: int, told: Sequence[_Word]) -> Repaired:
    cost, meant = 0, []
    for word in told:
        best = _cheapest(word, entry)
        cost += best[0]
        meant.append((word.typed, best[1]))
    return Repaired(id_, cost, standing, tuple(meant))


def _cheapest(word: _Word, entry: Sequence[str]) -> tuple[int, str]:
    """What the word means in this entry."""
    if word.known and any(own.startswith(word.typed) for own in entry):
        return 0, word.typed
    found = []
    for own in entry:
        for meaning, cost in word.meanings.items():
            if own.startswith(meaning):
                found.append((cost + (BEGINNING_ONLY if own != meaning else 0), meaning))
    return min(found, default=(0, word.typed))


def _looked_up(connection: Connection, slot: int, words: Sequence[str]) -> list[_Word]:
    """What words may mean."""
    edits = {
        word: {text for text in spelling.edits(word) if len(text) >= spelling.SHORTEST_BROKEN}
        for word in words
        if spelling.repairable(word)
    }
    begun = vocabulary.beginnings(connection, slot, {*words}.union(*edits.values()))
    heard = vocabulary.sounding_like(connection, slot, edits)
    return [
        _meaning(
            connection, slot, word, begun & edits[word], heard.get(word, ()), known=word in begun
        )
        if word in edits and not (spelling.is_short(word) and word in begun)
        else _Word(word, {}, word in begun or not spelling.is_short(word))
        for word in words
    ]


def _meaning(
    connection: Connection,
    slot: int,
    word: str,
    begun: set[str],
    heard: Sequence[str],
    *,
    known: bool,
) -> _Word:
    """What a word may mean: what is a slip away and begins a word, what is heard alike, what is two slips away."""
    costs = {other: spelling.repair_cost(word, other, 1) for other in begun - {word}}
    for other in heard:
        if other != word:
            costs.setdefault(other, spelling.repair_cost(word, other, 2))
    if len(word) >= spelling.LONG and not known:
        for other in vocabulary.two_slips_away(connection, slot, word):
            costs.setdefault(other, spelling.repair_cost(word, other, 2))
    cheapest = sorted(costs.items(), key=lambda pair: (pair[1], pair[0]))[:MEANINGS_MAX]
    return _Word(word, dict(cheapest), known)
