"""Small helpers over the driver for the hot statements: many keys in few statements."""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

_SIZES = (1, 4, 16, 64, 256)


def select_many(
    db: sqlite3.Connection, statement: str, keys: Sequence[Any]
) -> Iterator[tuple[Any, ...]]:
    """Run `statement`, whose `{keys}` stands for a list of keys, over any number of keys.

    Lists are padded to a few fixed lengths by repeating a key, so that the driver's statement
    cache always has them prepared.
    """
    at = 0
    while at < len(keys):
        part = keys[at : at + _SIZES[-1]]
        at += len(part)
        size = next(size for size in _SIZES if size >= len(part))
        padded = [*part, *([part[0]] * (size - len(part)))]
        marks = ",".join("?" * size)
        yield from db.execute(statement.replace("{keys}", marks), padded)
