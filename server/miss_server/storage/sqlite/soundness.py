"""Whether the pages of a SQLite database are sound, but for an index that an import is just writing."""

import re
import sqlite3
from collections.abc import Iterable
from typing import Literal

_TOLD = 100
"""Faults: many more are no news."""


def fault(db: sqlite3.Connection, check: Literal["quick_check", "integrity_check"]) -> str:
    """What the check finds wrong, or "".

    From SQLite 3.44 on it looks into full-text indexes, too. That of the directory that is not in force is
    whole after an import only, and nobody searches it before.
    """
    row = db.execute("SELECT generation FROM directory_state").fetchone()
    aside = f"directory_words_{1 - row[0] % 2}" if row else ""
    return first([said for (said,) in db.execute(f"PRAGMA {check}({_TOLD})")], aside)


def first(faults: Iterable[str], aside: str) -> str:
    """The first of what a check says, in SQLite's words, that is not about the index `aside`.

    Its words change with its versions; each names the index, or one of the tables that it is kept in.
    """
    about = re.compile(rf"\b{aside}(_[a-z]+)?\b" if aside else r"(?!)")
    return next((one for one in faults if one != "ok" and not about.search(one)), "")
