"""Keeps the words of a directory's slot, and finds among them those that a misspelt one may mean."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ARRAY, Connection, String, bindparam, func, select, text
from sqlalchemy.dialects import postgresql, sqlite

from miss_protocol import spelling
from miss_server.storage.search_tables import vocabulary
from miss_server.storage.sql import settings
from miss_server.storage.sql.dialects import is_postgres

FIRST_SCHEMA = 2
"""The schema that has these tables first: a server runs on the one before, too."""
SAME_BEGINNING = 2
"""Letters that a word with two slips must have right, so that few are compared."""
TWO_SLIPS_MAX = 2_000
"""Words that are compared for two slips."""

_INSERTS = {
    "sqlite": tuple(sqlite.insert(table).on_conflict_do_nothing() for table in vocabulary),
    "postgresql": tuple(postgresql.insert(table).on_conflict_do_nothing() for table in vocabulary),
}
_SOUNDING = tuple(
    select(table.c.word).where(table.c.sound == bindparam("sound_")).order_by(table.c.word)
    for table in vocabulary
)
_NEAR = tuple(
    select(table.c.word)
    .where(
        table.c.word >= bindparam("begin"),
        table.c.word < bindparam("end"),
        func.length(table.c.word).between(bindparam("shortest"), bindparam("longest")),
    )
    .order_by(table.c.word)
    .limit(TWO_SLIPS_MAX)
    for table in vocabulary
)

# Each text is looked up by itself in the order of the alphabet: nothing is read that does not begin so.
_BEGUN = """
    SELECT begun FROM (
        SELECT t.begun AS begun, (
            SELECT v.word FROM directory_vocabulary_{slot} v WHERE v.word >= t.begun
            ORDER BY v.word LIMIT 1
        ) AS word FROM {texts}
    ) AS found WHERE substr(word, 1, length(begun)) = begun
"""
_BEGUN_IN_SQLITE = tuple(
    _BEGUN.format(slot=slot, texts="(SELECT value AS begun FROM json_each(?)) t") for slot in (0, 1)
)
_BEGUN_IN_POSTGRES = tuple(
    text(
        _BEGUN.format(slot=slot, texts="unnest(CAST(:texts AS varchar[])) AS t (begun)")
    ).bindparams(bindparam("texts", type_=ARRAY(String)))
    for slot in (0, 1)
)


def exists(connection: Connection) -> bool:
    """Whether the database's schema has a vocabulary."""
    return int(settings.get(connection, "schema") or b"0") >= FIRST_SCHEMA


def is_kept(word: str) -> bool:
    """Whether the vocabulary has a word: a number is not guessed, and shorter ones mean nothing."""
    return 2 < len(word) <= spelling.LONGEST and word.isalpha()


def rows(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(word, what is heard of it) of those that the vocabulary has, in its order."""
    return ((word, spelling.sound(word)) for word in sorted(filter(is_kept, words)))


def learn(connection: Connection, slot: int, words: Iterable[str]) -> None:
    """Add words that are not there, in the caller's transaction."""
    some = [{"word": word, "sound": sound} for word, sound in rows(words)]
    if some:
        connection.execute(_INSERTS[connection.dialect.name][slot], some)


def sounding_like(connection: Connection, slot: int, word: str) -> Sequence[str]:
    """Words that are heard as this one."""
    return connection.execute(_SOUNDING[slot], {"sound_": spelling.sound(word)}).scalars().all()


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
