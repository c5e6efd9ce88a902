"""Where this database stands, read by the driver: the writer asks after every batch with a job in it."""

import sqlite3

from miss_server.storage.sql.witnessed import ALONE
from miss_server.storage.witness import Testimony


def stands(db: sqlite3.Connection) -> Testimony:
    """As `sql.witnessed.stands`."""
    rows = db.execute("SELECT name, value FROM settings WHERE name IN ('epoch', ?)", (ALONE,))
    found: dict[str, bytes] = dict(rows.fetchall())
    return Testimony(found["epoch"], int.from_bytes(found.get(ALONE, b""), "big"))
