"""Finds entries by words in SQLite, with FTS5.

Entries are numbered in the order of their names, so FTS5 finds them in that order, and a list that
may be long is read only as far as a page goes.
"""

import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection

from miss_server.storage.sql.directory import Asked
from miss_server.storage.sqlite.directory_filling import in_slot
from miss_server.storage.sqlite.engine import reading

FEW = 2_000
"""Matches up to which accounts are looked up by match and not the other way round."""

_HITS = "(SELECT rowid FROM directory_words_SLOT WHERE directory_words_SLOT MATCH :match)"
_NO_ACCOUNT = """
    NOT EXISTS (SELECT 1 FROM accounts a JOIN devices d ON d.account = a.address
                WHERE a.person = e.person AND NOT a.suspended AND d.revoked_ms IS NULL)
"""
_TYPED = "(SELECT value FROM json_each(:names))"

_RANKED_HOLDERS = f"""
    SELECT rank, id FROM (
        SELECT e.id AS id, 2 * (max(d.seen_ms) < :dormant) + (e.name_key NOT IN {_TYPED}) AS rank
        FROM %s AND NOT a.suspended AND d.revoked_ms IS NULL
        GROUP BY a.address
    ) WHERE (rank, id) > (:rank, :id) ORDER BY rank, id LIMIT :count
"""  # noqa: S608 - constants of this file
# Few matches: look each one's account up. Many: look each account's match up. (CROSS JOIN keeps
# SQLite from choosing the order, and the plus sign from reading all matches for every account.)
_HOLDERS_OF_FEW = _RANKED_HOLDERS % (
    "directory_words_SLOT w CROSS JOIN directory_entries_SLOT e ON e.id = w.rowid"
    " CROSS JOIN accounts a ON a.person = e.person CROSS JOIN devices d ON d.account = a.address"
    " WHERE directory_words_SLOT MATCH :match"
)
_HOLDERS_OF_MANY = _RANKED_HOLDERS % (
    "accounts a CROSS JOIN devices d ON d.account = a.address"
    f" CROSS JOIN directory_entries_SLOT e ON e.person = a.person WHERE +e.id IN {_HITS}"
)
_COUNT = (
    "SELECT count(*) FROM (SELECT 1 FROM directory_words_SLOT"
    " WHERE directory_words_SLOT MATCH :match LIMIT :few)"
)
_EXACT = f"""
    SELECT e.id FROM directory_entries_SLOT e
    WHERE e.name_key IN {_TYPED} AND +e.id > :id AND +e.id IN {_HITS} AND {_NO_ACCOUNT}
    ORDER BY e.id LIMIT :count
"""  # noqa: S608 - constants of this file
_REST = f"""
    SELECT e.id
    FROM directory_words_SLOT w CROSS JOIN directory_entries_SLOT e ON e.id = w.rowid
    WHERE directory_words_SLOT MATCH :match AND w.rowid > :id
        AND e.name_key NOT IN {_TYPED} AND {_NO_ACCOUNT}
    ORDER BY w.rowid LIMIT :count
"""  # noqa: S608 - constants of this file


class SqliteWords:
    """The implementation of `Words`; it keeps nothing between calls and may be shared."""

    def __init__(self, *, few: int = FEW) -> None:
        self._few = few

    def reading(self, connection: Connection) -> AbstractContextManager[Connection]:
        """See `Words`."""
        return reading(connection)

    def holders(
        self, connection: Connection, slot: int, asked: Asked, after: tuple[int, int], count: int
    ) -> Iterable[tuple[int, int]]:
        """See `Words`."""
        match = {"match": _match(asked), "few": self._few}
        matches = connection.exec_driver_sql(in_slot(_COUNT, slot), match).scalar_one()
        statement = _HOLDERS_OF_FEW if matches < self._few else _HOLDERS_OF_MANY
        rank, id_ = after
        values = {"dormant": asked.dormant, "rank": rank, "id": id_, "count": count}
        return _find(connection, statement, slot, asked, values)

    def exact(
        self, connection: Connection, slot: int, asked: Asked, after: int, count: int
    ) -> Iterable[int]:
        """See `Words`."""
        found = _find(connection, _EXACT, slot, asked, {"id": after, "count": count})
        return (id_ for (id_,) in found)

    def rest(
        self, connection: Connection, slot: int, asked: Asked, after: int, count: int
    ) -> Iterable[int]:
        """See `Words`."""
        found = _find(connection, _REST, slot, asked, {"id": after, "count": count})
        return (id_ for (id_,) in found)


def _find(
    connection: Connection, statement: str, slot: int, asked: Asked, values: dict[str, Any]
) -> Iterable[Any]:
    given = values | {"match": _match(asked), "names": json.dumps(asked.names)}
    return connection.exec_driver_sql(in_slot(statement, slot), given).all()


def _match(asked: Asked) -> str:
    # Words are letters and digits only; quoted, none can be an operator (AND, NEAR, *).
    return " AND ".join(f'"{word}"*' for word in asked.words)
