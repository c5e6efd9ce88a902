"""Moves the words by which entries of the directory are found (see `storage.copying`).

SQLite's full-text index keeps no text, but it tells which words lead to which entry; so the words need
not be guessed from the entries, and no search finds anything else in PostgreSQL.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    bindparam,
    func,
    select,
)

from miss_server.storage.postgres.directory_building import lexemes
from miss_server.storage.postgres.directory_filling import put_words, words
from miss_server.storage.sql.directory import generation

SLICE = 2_000
"""Entries of one transaction."""

_found = Table(
    "words_of_entries",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("words", String, nullable=False),
)
_AFTER = select(_found).where(_found.c.id > bindparam("last")).order_by(_found.c.id).limit(SLICE)

_READ_OUT = (
    "PRAGMA temp_store = FILE",  # those of a whole nation
    "CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab(main, directory_words_SLOT, instance)",
    "CREATE TEMP TABLE words_of_entries (id INTEGER PRIMARY KEY, words TEXT NOT NULL)",
    "INSERT INTO words_of_entries SELECT doc, group_concat(term, ' ') FROM vocabulary GROUP BY doc",
    "DROP TABLE temp.vocabulary",
)


def read_out(source: Connection) -> int:
    """Collect the words of each entry in force, in a table that ends with the connection; returns
    how many entries have some."""
    slot = generation(source) % 2
    for statement in _READ_OUT:
        source.exec_driver_sql(statement.replace("SLOT", str(slot)))
    count: int = source.execute(select(func.count()).select_from(_found)).scalar_one()
    return count


def write(source: Connection, target: Connection) -> None:
    """Write what an earlier run has not; `target` is without a transaction. Call `read_out` first."""
    slot = generation(source) % 2
    with target.begin():
        last = target.execute(select(func.max(words[slot].c.id))).scalar_one() or 0
    while rows := source.execute(_AFTER, {"last": last}).all():
        last = rows[-1].id
        with target.begin():
            target.execute(
                put_words(slot), [{"number": n, "folded": lexemes(folded)} for n, folded in rows]
            )


def are_same(source: Connection, target: Connection) -> bool:
    """Whether every entry is found by the same words on both sides."""
    table = words[generation(source) % 2]
    there = (
        select(table.c.id, func.tsvector_to_array(table.c.words))
        .where(table.c.id > bindparam("last"))
        .order_by(table.c.id)
        .limit(SLICE)
    )
    with target.begin():
        return all(
            ours == theirs
            for ours, theirs in zip(_sets(source, _AFTER), _sets(target, there), strict=False)
        ) and _count(source, _found) == _count(target, table)


def _sets(connection: Connection, statement: Select[Any]) -> Iterator[tuple[int, set[str]]]:
    last = 0
    while rows := connection.execute(statement, {"last": last}).all():
        last = rows[-1][0]
        for number, found in rows:
            split: Sequence[str] = lexemes(found).split() if isinstance(found, str) else found
            yield number, set(split)


def _count(connection: Connection, table: Table) -> int:
    count: int = connection.execute(select(func.count()).select_from(table)).scalar_one()
    return count
