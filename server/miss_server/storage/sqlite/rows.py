"""Small helpers over the driver for the hot statements: many keys in few statements.

A statement reads its keys from a table `wanted` that stands before it. Joined from there (CROSS JOIN
keeps the planner from turning it round) each key is one look into an index; an `IN` list would
first sort the keys into a table of its own.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Lengths of key lists: few enough that the driver's statement cache always has them prepared, and
close enough that little is filled up with keys that match nothing."""


def select_many(
    db: sqlite3.Connection, statement: str, keys: Sequence[Any]
) -> list[tuple[Any, ...]]:
    """Run `statement`, which reads `wanted(key)`, over any number of different keys."""
    return _select(db, "key", "(?)", statement, [(key,) for key in keys], (None,))


def select_pairs(
    db: sqlite3.Connection, statement: str, pairs: Sequence[tuple[Any, Any]]
) -> list[tuple[Any, ...]]:
    """Run `statement`, which reads `wanted(device, what)`, over different pairs."""
    return _select(db, "device, what", "(?,?)", statement, pairs, (None, None))


def _select(
    db: sqlite3.Connection,
    columns: str,
    mark: str,
    statement: str,
    keys: Sequence[tuple[Any, ...]],
    filler: tuple[None, ...],
) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for part, size in _parts(keys):
        filled = [*part, *[filler] * (size - len(part))]  # NULL equals nothing, so it finds nothing
        marks = ",".join([mark] * size)
        values = [value for key in filled for value in key]
        rows += db.execute(f"WITH wanted({columns}) AS (VALUES {marks}) {statement}", values)
    return rows


def _parts(keys: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Sequence[tuple[Any, ...]], int]]:
    for at in range(0, len(keys), _SIZES[-1]):
        part = keys[at : at + _SIZES[-1]]
        yield part, next(size for size in _SIZES if size >= len(part))
