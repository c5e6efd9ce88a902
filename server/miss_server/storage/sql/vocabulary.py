"""Keeps the words of a directory's slot, and finds among them those that begin as typed and those that a
misspelt one may mean.

To ask an index for the words that exist is many times quicker than for all that begin so: of each it knows
where its entries are and skips through them, where a beginning's are first gathered in one list.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ARRAY, Connection, String, bindparam, func, select, text
from sqlalchemy.dialects import postgresql, sqlite

from miss_protocol import spelling
from miss_server.storage.directory import MARK
from miss_server.storage.search_tables import vocabulary
from miss_server.storage.sql import settings
from miss_server.storage.sql.dialects import is_postgres

FIRST_SCHEMA = 2
"""The schema that has these tables first: a server runs on the one before, too."""
SAME_BEGINNING = 2
"""Letters that a word with two slips must have right, so that few are compared."""
TWO_SLIPS_MAX = 2_000
"""Words that are compared for two slips."""
LISTED_MAX = 16
"""Words of one beginning that are asked for by themselves: of more, PostgreSQL takes longer to compare an entry
with each than to gather theirs."""
LISTED_AMONG_MANY_MAX = 5
"""The same on PostgreSQL for a query of many texts, each of which would bring so many."""
WORD_MAX = 255
"""Characters of a word that are kept, as PostgreSQL's index does; nobody types so many."""
WHOLE = ("", "")
"""The row that says that every word of the slot is there."""

_INSERTS = {
    "sqlite": tuple(sqlite.insert(table).on_conflict_do_nothing() for table in vocabulary),
    "postgresql": tuple(postgresql.insert(table).on_conflict_do_nothing() for table in vocabulary),
}
_IS_WHOLE = tuple(select(table.c.word).where(table.c.word == WHOLE[0]) for table in vocabulary)
_SOUNDING = tuple(
    select(table.c.sound, table.c.word)
    .where(table.c.sound.in_(bindparam("sounds", expanding=True)))
    .order_by(table.c.word)
    for table in vocabulary
)
_NEAR = tuple(
    select(table.c.word)
    .where(
        table.c.sound != "",
        table.c.word >= bindparam("begin"),
        table.c.word < bindparam("end"),
        func.length(table.c.word).between(bindparam("shortest"), bindparam("longest")),
    )
    .order_by(table.c.word)
    .limit(TWO_SLIPS_MAX)
    for table in vocabulary
)

_TEXTS = {
    "sqlite": "(SELECT value AS begun FROM json_each(?)) t",
    "postgresql": "unnest(CAST(:texts AS varchar[])) AS t (begun)",
}
_BEHIND = {"sqlite": "char(1114111)", "postgresql": "chr(1114111)"}
"""The last character that there can be: behind everything that goes on."""

# Each text is looked up by itself: nothing is read that does not begin so.
_BEGUN = """
    SELECT t.begun FROM {texts} WHERE EXISTS (
        SELECT 1 FROM directory_vocabulary_{slot} v
        WHERE v.word >= t.begun AND v.word < t.begun || {behind}
    )
"""
_BEGUN_IN_SQLITE = tuple(
    _BEGUN.format(slot=slot, behind=_BEHIND["sqlite"], texts=_TEXTS["sqlite"]) for slot in (0, 1)
)
_BEGUN_IN_POSTGRES = tuple(
    text(
        _BEGUN.format(slot=slot, behind=_BEHIND["postgresql"], texts=_TEXTS["postgresql"])
    ).bindparams(bindparam("texts", type_=ARRAY(String)))
    for slot in (0, 1)
)

# One more than are asked for tells that there are more.
_LISTED = """
    SELECT t.begun, (
        SELECT {joined} FROM (
            SELECT v.word AS word FROM directory_vocabulary_{slot} v
            WHERE v.word >= t.begun AND v.word < t.begun || {behind}
            ORDER BY v.word LIMIT {most}
        ) AS found
    ) FROM {texts} WHERE EXISTS (SELECT 1 FROM directory_vocabulary_{slot} v WHERE v.word = '')
"""
_LISTED_IN_SQLITE = tuple(
    _LISTED.format(
        slot=slot,
        most=LISTED_MAX + 1,
        joined="group_concat(word, ' ')",
        behind=_BEHIND["sqlite"],
        texts=_TEXTS["sqlite"],
    )
    for slot in (0, 1)
)
_LISTED_IN_POSTGRES = tuple(
    text(
        _LISTED.format(
            slot=slot,
            most=LISTED_MAX + 1,
            joined="string_agg(word, ' ')",
            behind=_BEHIND["postgresql"],
            texts=_TEXTS["postgresql"],
        )
    ).bindparams(bindparam("texts", type_=ARRAY(String)))
    for slot in (0, 1)
)


def exists(connection: Connection) -> bool:
    """Whether the database's schema has a vocabulary."""
    return int(settings.get(connection, "schema") or b"0") >= FIRST_SCHEMA


def is_whole(connection: Connection, slot: int) -> bool:
    """Whether every word of the slot is in its vocabulary."""
    return connection.execute(_IS_WHOLE[slot]).first() is not None


def is_guessed(word: str) -> bool:
    """Whether a misspelt word may mean this one: a number is not guessed, and shorter ones mean nothing."""
    return 2 < len(word) <= spelling.LONGEST and word.isalpha()


def rows(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The vocabulary's rows of words of entries, in its order; marks are none."""
    kept = {word[:WORD_MAX] for word in words if not word.startswith(MARK)}
    return ((word, spelling.sound(word) if is_guessed(word) else "") for word in sorted(kept))


def learn(connection: Connection, slot: int, new: Iterable[tuple[str, str]]) -> None:
    """Add rows that are not there, in the caller's transaction."""
    some = [{"word": word, "sound": sound} for word, sound in new]
    if some:
        connection.execute(_INSERTS[connection.dialect.name][slot], some)


def beginning_so(
    connection: Connection, slot: int, texts: Iterable[str], *, many: bool = False
) -> dict[str, list[str]]:
    """For each of these texts all words that begin so; without those of which there are none, too many, or
    of which that is not known. `many`: the texts are what misspelt words may mean."""
    asked = sorted(text for text in texts if len(text) < WORD_MAX)
    if is_postgres(connection):
        most = LISTED_AMONG_MANY_MAX if many else LISTED_MAX
        found = connection.execute(_LISTED_IN_POSTGRES[slot], {"texts": asked})
    else:
        most = LISTED_MAX
        found = connection.exec_driver_sql(_LISTED_IN_SQLITE[slot], (json.dumps(asked),))
    listed = {begun: joined.split(" ") for begun, joined in found if joined}
    return {begun: words for begun, words in listed.items() if _are_all(words, most)}


def _are_all(words: Sequence[str], most: int) -> bool:
    # Of a word that was cut, only its beginning is known.
    return len(words) <= most and all(len(word) < WORD_MAX for word in words)


def sounding_like(connection: Connection, slot: int, words: Iterable[str]) -> dict[str, list[str]]:
    """For each of these words those that are heard as it; without words of which nothing is heard."""
    # Nothing is heard of "hhhh", nor of words that are not guessed: they are not alike for that.
    sounds = {word: sound for word in words if (sound := spelling.sound(word))}
    heard: dict[str, list[str]] = {sound: [] for sound in sounds.values()}
    for sound, word in connection.execute(_SOUNDING[slot], {"sounds": sorted(heard)}):
        heard[sound].append(word)
    return {word: heard[sound] for word, sound in sounds.items()}


def two_slips_away(connection: Connection, slot: int, word: str) -> list[str]:
    """Words of the same beginning with two slips between them and this one."""
    begin = word[:SAME_BEGINNING]
    given: dict[str, Any] = {
        "begin": begin,
        "end": begin + "{",  # behind every letter
        "shortest": len(word) - 2,
        "longest": len(word) + 2,
    }
    found = connection.execute(_NEAR[slot], given).scalars()
    return [other for other in found if spelling.slips(word, other) == 2]


def beginnings(connection: Connection, slot: int, texts: Iterable[str]) -> set[str]:
    """Those of these texts with which a word begins."""
    asked = sorted(texts)
    if is_postgres(connection):
        return set(connection.execute(_BEGUN_IN_POSTGRES[slot], {"texts": asked}).scalars())
    return set(connection.exec_driver_sql(_BEGUN_IN_SQLITE[slot], (json.dumps(asked),)).scalars())
