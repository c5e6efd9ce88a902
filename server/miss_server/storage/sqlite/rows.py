"""Small helpers over the driver for the hot statements: many keys in few statements.

A statement reads its keys from a table `wanted` that stands before it. Joined from there (CROSS JOIN
keeps the planner from turning it round) each key is one look into an index; an `IN` list would
first sort the keys into a table of its own.
"""

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Lengths of key lists: few enough that the driver's statement cache always has them prepared, and
close enough that little is filled up with keys that match nothing."""


_MOST = _SIZES[-1]
_SIZE_FOR = [next(size for size in _SIZES if size >= count) for count in range(_MOST + 1)]


def select_many(
    db: sqlite3.Connection, statement: str, keys: Sequence[Any]
) -> list[tuple[Any, ...]]:
    """Run `statement`, which reads `wanted(key)`, over any number of different keys."""
    rows: list[tuple[Any, ...]] = []
    for at in range(0, len(keys), _MOST):
        part = keys[at : at + _MOST]
        size = _SIZE_FOR[len(part)]
        # NULL equals nothing, so what fills the list up finds nothing.
        values = [*part, *[None] * (size - len(part))]
        rows += db.execute(_text("key", "(?)", size, statement), values)
    return rows


def select_pairs(
    db: sqlite3.Connection, statement: str, pairs: Sequence[tuple[Any, Any]]
) -> list[tuple[Any, ...]]:
    """Run `statement`, which reads `wanted(device, what)`, over different pairs."""
    rows: list[tuple[Any, ...]] = []
    for at in range(0, len(pairs), _MOST):
        part = pairs[at : at + _MOST]
        size = _SIZE_FOR[len(part)]
        values = [value for pair in part for value in pair]
        values += [None] * (2 * (size - len(part)))
        rows += db.execute(_text("device, what", "(?,?)", size, statement), values)
    return rows


@lru_cache(maxsize=512)
def _text(columns: str, mark: str, size: int, statement: str) -> str:
    return f"WITH wanted({columns}) AS (VALUES {','.join([mark] * size)}) {statement}"
