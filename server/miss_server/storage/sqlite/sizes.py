"""What a SQLite database takes on its disk, table by table."""

import sqlite3
from collections import Counter
from pathlib import Path

from miss_server.storage.overview import TableSize


def on_disk(path: Path) -> int:
    """Bytes of the file and of what SQLite keeps beside it."""
    return sum(_size(path.with_name(path.name + suffix)) for suffix in ("", "-wal", "-shm"))


def log(path: Path) -> int:
    """Bytes of the write-ahead log."""
    return _size(path.with_name(path.name + "-wal"))


def free(db: sqlite3.Connection) -> int:
    """Bytes inside the file that are used again before it grows."""
    pages: int = db.execute("PRAGMA freelist_count").fetchone()[0]
    size: int = db.execute("PRAGMA page_size").fetchone()[0]
    return pages * size


def tables(db: sqlite3.Connection) -> list[TableSize]:
    """Every table with its indexes, the largest first. Reads all pages of the file.

    The full-text index of a directory is five tables of SQLite's own making and shown as one.
    """
    owners = dict(db.execute("SELECT name, tbl_name FROM sqlite_schema"))
    taken: Counter[str] = Counter()
    for name, size in db.execute("SELECT name, pgsize FROM dbstat WHERE aggregate = TRUE"):
        taken[_shown(owners.get(name, name))] += size
    virtual = {
        name
        for (name,) in db.execute(
            "SELECT name FROM sqlite_schema WHERE sql LIKE 'CREATE VIRTUAL TABLE%'"
        )
    }
    found = []
    for name, size in taken.most_common():
        rows = 0
        if name not in virtual and not name.startswith("sqlite_"):
            rows = db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608  # its own name
        found.append(TableSize(name, rows, size))
    return found


def _shown(table: str) -> str:
    words, _, rest = table.partition("directory_words_")
    return f"directory_words_{rest[0]}" if not words and rest else table


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
