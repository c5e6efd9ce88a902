"""Builds what finds a whole directory's entries in a file of its own: the full-text index, its words, and who
is where.

An index that is filled beside a running server, a few rows in each transaction, is written many times over:
each commit ends a piece of the full-text index, and pieces are merged again and again, all of it through
the server's log. Built aside in large transactions and without a journal it is written once, and what the
server's database then takes are finished pages (`directory_scratch`). It touches nothing but that file,
so that a process of its own can do it while entries are written.

The index keeps no texts: they are in a table of their own, to be copied behind it. Newer SQLite compares an
index with its texts whenever it checks a database, so that both must come within moments.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from miss_server.storage.sql import vocabulary
from miss_server.working import Crew, Told, Worker

CACHE_KIB = 16_384
HASH_BYTES = 64 << 20
"""Words that the full-text index gathers before it writes a piece."""
PIECES_MAX = 1_900
"""Pieces that are not merged before the end, when all are at once."""
PERSONS = "persons"
"""The table with (person, id, digest), read in the order of identifiers."""

TEXTS = "texts"
"""The table with (number, words) of each entry."""
HEARD = "heard"
"""The table with the vocabulary's rows, but for the one that says that it is whole."""

_SORT = f"""
    CREATE TABLE {PERSONS} (person, id, digest, PRIMARY KEY (person)) WITHOUT ROWID;
    INSERT INTO {PERSONS} SELECT * FROM unsorted ORDER BY person
"""  # noqa: S608  # a constant of this file
Row = tuple[int, str, str, bytes]
"""An entry's number, words, identifier and digest."""


class Plan(NamedTuple):
    """Where to build, the index's name, and the statement that makes one without texts."""

    file: Path
    words: str
    made_by: str


class CannotBuild(Told):
    """The database's folder does not take what is built; the text is SQLite's."""


def build(plan: Plan, batches: Iterable[list[Row]], *, apart: bool) -> None:
    """Build it from all batches, numbers going up. `apart`: in a process, while the next batch is made.

    Raises:
        sqlite3.Error, CannotBuild: there is no room; `ChildProcessError` if the process is gone.
    """
    if not apart:
        for _ in _built(plan, batches):
            pass
        return
    with Crew(serve, 1) as crew:
        for _ in crew.mapped(iter([plan])):
            pass
        for _ in crew.mapped(_jobs(batches)):
            pass


def _jobs(batches: Iterable[list[Row]]) -> Iterator[list[Row]]:
    yield from batches
    yield []


def serve(worker: Worker) -> None:
    """Build one plan, which comes first, from the batches behind it; an empty one is the last."""
    jobs = worker.received()
    plan = next(jobs)
    worker.send(None)
    try:
        for _ in _built(plan, _until_empty(jobs)):
            worker.send(None)
    except sqlite3.Error as error:
        raise CannotBuild(str(error)) from None
    worker.send(None)


def _until_empty(jobs: Iterator[list[Row]]) -> Iterator[list[Row]]:
    for batch in jobs:
        if not batch:
            return
        yield batch
    raise SystemExit  # the import has died: half an index is of no use to anybody


def _built(plan: Plan, batches: Iterable[list[Row]]) -> Iterator[None]:
    with closing(sqlite3.connect(plan.file, isolation_level=None)) as db:
        db.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;"
            f" PRAGMA cache_size = -{CACHE_KIB}; {plan.made_by};"
            f" CREATE TABLE {TEXTS} (id INTEGER PRIMARY KEY, words);"
            " CREATE TABLE unsorted (person, id, digest)"
        )
        for command, value in (
            ("hashsize", HASH_BYTES),
            ("automerge", 0),
            ("crisismerge", PIECES_MAX),
        ):
            _tell(db, plan.words, command, value)
        for batch in batches:
            db.execute("BEGIN")
            db.executemany(
                f"INSERT INTO {plan.words} (rowid, words) VALUES (?, ?)",  # noqa: S608  # our own name
                [(number, words) for number, words, _, _ in batch],
            )
            db.executemany(
                f"INSERT INTO {TEXTS} VALUES (?, ?)",  # noqa: S608  # a constant of this file
                [(number, words) for number, words, _, _ in batch],
            )
            db.executemany(
                "INSERT INTO unsorted VALUES (?, ?, ?)",
                [(person, number, digest) for number, _, person, digest in batch],
            )
            db.execute("COMMIT")
            yield
        # One piece is read quickest.
        _tell(db, plan.words, "optimize", None)
        db.executescript(_SORT)
        _hear(db, plan.words)


def _hear(db: sqlite3.Connection, words: str) -> None:
    db.executescript(
        f"CREATE VIRTUAL TABLE terms USING fts5vocab('{words}', 'row');"
        f" CREATE TABLE {HEARD} (word PRIMARY KEY, sound) WITHOUT ROWID; BEGIN"
    )
    known = (word for (word,) in db.execute("SELECT term FROM terms"))
    db.executemany(f"INSERT INTO {HEARD} VALUES (?, ?)", vocabulary.rows(known))  # noqa: S608  # our own name
    db.execute("COMMIT")


def _tell(db: sqlite3.Connection, words: str, command: str, value: int | None) -> None:
    db.execute(f"INSERT INTO {words}({words}, rank) VALUES (?, ?)", (command, value))  # noqa: S608
