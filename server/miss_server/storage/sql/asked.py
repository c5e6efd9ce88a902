"""What a search asks of an engine, whatever its query language."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from miss_protocol.directory import normalise, query_words
from miss_protocol.filters import Filters
from miss_server.storage.directory import (
    ORGANISATION_MARK,
    department_mark,
    profession_mark,
    speciality_mark,
)
from miss_server.storage.sql.seekers import Seeker

_RUN = 6
"""Words of the longest family name that is recognised as typed in full."""

WHOLE_NAME, WORD_OF_NAME, NOT_BY_NAME = range(3)
"""How much of an entry's name was typed."""

Clause = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A query.

    Each of `begun` holds folded texts of which one must begin a word of the entry; each of `marks`, marks of
    which the entry must bear one; it must bear none of `without`. `names` are family names that the query
    may hold in full.
    """

    begun: Sequence[Clause]
    marks: Sequence[Clause]
    without: Clause
    names: Sequence[str]
    typed: Sequence[str]
    """Every word of the query, also those that a search ignores: a family name may hold them (Du Pont, Le
    Goff)."""
    seeker: Seeker
    listed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """All words that begin with a text of `begun`, where they are known and few: an index is asked for them
    and not for the beginning."""

    @classmethod
    def of(cls, query: str, filters: Filters, seeker: Seeker) -> Self:
        """Raises what `query_words` raises."""
        words = query_words(query)  # refuses before anything else is done with a long query
        typed = normalise(query)
        marks = [
            tuple(map(profession_mark, filters.professions)),
            tuple(map(speciality_mark, filters.specialities)),
            (department_mark(filters.department),) if filters.department else (),
            (ORGANISATION_MARK,) if filters.kind == "organisation" else (),
        ]
        return cls(
            tuple((word,) for word in words),
            tuple(clause for clause in marks if clause),
            (ORGANISATION_MARK,) if filters.kind == "person" else (),
            sorted(_runs(typed)),
            typed,
            seeker,
        )

    @property
    def words(self) -> tuple[str, ...]:
        """The words as they were typed; only of a query that was not repaired."""
        return tuple(clause[0] for clause in self.begun)

    @property
    def beginnings(self) -> set[str]:
        """Every text of `begun`."""
        return {text for clause in self.begun for text in clause}

    def meaning(self, begun: Sequence[Clause]) -> Self:
        """The same with other words."""
        return replace(self, begun=begun, listed={})

    def listing(self, listed: Mapping[str, Sequence[str]]) -> Self:
        """The same, with the words that begin so."""
        return replace(self, listed=listed)

    def fits(self, words: Sequence[str]) -> bool:
        """Whether an entry of these words matches."""
        return (
            all(any(word.startswith(clause) for word in words) for clause in self.begun)
            and all(not set(clause).isdisjoint(words) for clause in self.marks)
            and set(self.without).isdisjoint(words)
        )

    def sought(self, clause: Clause) -> tuple[list[str], list[str]]:
        """What an index is asked for a clause of `begun`: whole words, and beginnings."""
        whole = {word for text in clause for word in self.listed.get(text, ())}
        return sorted(whole), [text for text in clause if text not in self.listed]

    def called(self, name: str, meant: Iterable[tuple[str, str]]) -> int:
        """How much of a name was typed; `meant` has words as typed, each with what it was understood as."""
        understood = dict(meant)
        typed = [understood.get(word, word) for word in self.typed]
        own = normalise(name)
        if " ".join(own) in _runs(typed):
            return WHOLE_NAME
        return NOT_BY_NAME if set(own).isdisjoint(understood.values()) else WORD_OF_NAME

    def marked(self, marks: Clause) -> Self:
        """The same, narrowed to entries that bear one of these marks."""
        return replace(self, marks=(*self.marks, marks))


def _runs(words: Sequence[str]) -> set[str]:
    """What may be a whole family name in these words."""
    places = range(len(words))
    return {" ".join(words[i:j]) for i in places for j in range(i + 1, i + 1 + _RUN)}
