"""Small helpers over the driver for the hot statements: many keys in few statements."""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

_SIZES = (1, 4, 16, 64, 256)
"""Lengths of key lists: few, so that the driver's statement cache always has them prepared."""


def select_many(
    db: sqlite3.Connection, statement: str, keys: Sequence[Any]
) -> list[tuple[Any, ...]]:
    """Run `statement`, whose `{keys}` stands for a list of keys, over any number of keys.

    A list is padded by repeating a key, which changes nothing for `IN ({keys})`.
    """
    rows: list[tuple[Any, ...]] = []
    for part in _padded(keys):
        marks = ",".join("?" * len(part))
        rows += db.execute(statement.replace("{keys}", marks), part).fetchall()
    return rows


def select_pairs(
    db: sqlite3.Connection, statement: str, pairs: Sequence[tuple[Any, Any]]
) -> list[tuple[Any, ...]]:
    """As `select_many` for pairs: `{pairs}` stands for the rows of a `VALUES`.

    A padded pair stands there twice, so `statement` must use them as a set.
    """
    rows: list[tuple[Any, ...]] = []
    for part in _padded(pairs):
        marks = ",".join(["(?,?)"] * len(part))
        flat = [value for pair in part for value in pair]
        rows += db.execute(statement.replace("{pairs}", marks), flat).fetchall()
    return rows


def _padded(keys: Sequence[Any]) -> Iterator[list[Any]]:
    for at in range(0, len(keys), _SIZES[-1]):
        part = list(keys[at : at + _SIZES[-1]])
        size = next(size for size in _SIZES if size >= len(part))
        yield part + [part[0]] * (size - len(part))
