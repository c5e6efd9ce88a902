"""Finds entries by words in SQLite, with FTS5.

Entries are numbered in the order of their names, so FTS5 finds them in that order, and a list that
may be long is read only as far as a page goes. The index is asked once for what few entries match.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection

from miss_server.storage.sql.asked import Asked, Clause
from miss_server.storage.sql.seekers import Seeker, rules
from miss_server.storage.sql.words import FEW
from miss_server.storage.sqlite.directory_filling import in_slot
from miss_server.storage.sqlite.engine import reading

CALLED_SO = 500
"""Entries without an account of a name that was typed whose words are read together."""

HIDDEN, KNOWN = rules(within="instr", of="(SELECT value AS code FROM json_each(:{name})) p")

_GIVEN = "json_each(:hits) h CROSS JOIN directory_entries_SLOT e ON e.id = h.value"
"""The entries that match, once they are known."""
_HITS = "(SELECT rowid FROM directory_words_SLOT WHERE directory_words_SLOT MATCH :match)"
_NO_ACCOUNT = """
    NOT EXISTS (SELECT 1 FROM accounts a JOIN devices d ON d.account = a.address
                WHERE a.person = e.person AND NOT a.suspended AND d.revoked_ms IS NULL
                    AND NOT HIDDEN)
"""
_TYPED = "(SELECT value FROM json_each(:names))"

_RANKED_HOLDERS = f"""
    SELECT rank, id FROM (
        SELECT e.id AS id, 4 * (max(d.seen_ms) < :dormant) + 2 * (NOT KNOWN)
            + (e.name_key NOT IN {_TYPED}) AS rank
        FROM %s AND NOT a.suspended AND d.revoked_ms IS NULL AND NOT HIDDEN
        GROUP BY a.address
    ) WHERE (rank, id) > (:rank, :id) AND rank < :below ORDER BY rank, id LIMIT :count
"""  # noqa: S608 - constants of this file
# Few matches: look each one's account up. Many: look each account's match up. (CROSS JOIN keeps
# SQLite from choosing the order, and the plus sign from reading all matches for every account.)
_HOLDERS_OF_FEW = _RANKED_HOLDERS % (
    f"{_GIVEN} CROSS JOIN accounts a ON a.person = e.person"
    " CROSS JOIN devices d ON d.account = a.address WHERE true"
)
_HOLDERS_OF_MANY = _RANKED_HOLDERS % (
    "accounts a CROSS JOIN devices d ON d.account = a.address"
    " CROSS JOIN directory_persons_SLOT p ON p.person = a.person"
    f" CROSS JOIN directory_entries_SLOT e ON e.id = p.id WHERE +p.id IN {_HITS}"
)
_DISTINGUISHED = f"""
    SELECT p.id FROM relations k CROSS JOIN accounts a ON a.address = k.peer
        CROSS JOIN directory_persons_SLOT p ON p.person = a.person
    WHERE k.owner = :seeker AND (k.first_ms IS NOT NULL OR k.accepted_ms IS NOT NULL)
    UNION
    SELECT e.id FROM directory_entries_SLOT e CROSS JOIN accounts a ON a.person = e.person
    WHERE e.name_key IN {_TYPED}
"""  # noqa: S608 - constants of this file
"""Whether they match, or not."""
_MATCHED = (
    "SELECT rowid FROM directory_words_SLOT"
    " WHERE directory_words_SLOT MATCH :match AND rowid > :after ORDER BY rowid LIMIT :few"
)
_NONE = "[]"
_FOUND = "directory matches"
"""Where a connection keeps, for one transaction, what matches."""
_CALLED_SO = f"""
    SELECT e.id FROM directory_entries_SLOT e
    WHERE e.name_key IN {_TYPED} AND +e.id > :id AND {_NO_ACCOUNT}
    ORDER BY e.id LIMIT :count
"""  # noqa: S608 - constants of this file
_EXACT_OF_FEW = f"""
    SELECT e.id FROM {_GIVEN}
    WHERE e.name_key IN {_TYPED} AND e.id > :id AND {_NO_ACCOUNT}
    ORDER BY e.id LIMIT :count
"""  # noqa: S608 - constants of this file
_REST_OF_FEW = f"""
    SELECT e.id FROM {_GIVEN}
    WHERE e.name_key NOT IN {_TYPED} AND e.id > :id AND {_NO_ACCOUNT}
    ORDER BY e.id LIMIT :count
"""  # noqa: S608 - constants of this file
_FIRST_OF_FEW = """
    SELECT w.rowid, w.words FROM json_each(:hits) h CROSS JOIN directory_words_SLOT w ON w.rowid = h.value
    ORDER BY h.value LIMIT :count
"""
_PLACED_OF_FEW = f"""
    SELECT e.id, e.entry FROM {_GIVEN}
    WHERE (e.name_key IN {_TYPED}) = :exact AND {_NO_ACCOUNT}
    ORDER BY e.id LIMIT :count
"""  # noqa: S608 - constants of this file
_REST = f"""
    SELECT e.id
    FROM directory_words_SLOT w CROSS JOIN directory_entries_SLOT e ON e.id = w.rowid
    WHERE directory_words_SLOT MATCH :match AND w.rowid > :id
        AND e.name_key NOT IN {_TYPED} AND {_NO_ACCOUNT}
    ORDER BY w.rowid LIMIT :count
"""  # noqa: S608 - constants of this file
_FIRST = """
    SELECT rowid, words FROM directory_words_SLOT
    WHERE directory_words_SLOT MATCH :match ORDER BY rowid LIMIT :count
"""
_PLACED = f"""
    SELECT e.id, e.entry
    FROM directory_words_SLOT w CROSS JOIN directory_entries_SLOT e ON e.id = w.rowid
    WHERE directory_words_SLOT MATCH :match AND (e.name_key IN {_TYPED}) = :exact
        AND {_NO_ACCOUNT}
    ORDER BY w.rowid LIMIT :count
"""  # noqa: S608 - constants of this file


class SqliteWords:
    """The implementation of `Words`; it keeps nothing between transactions and may be shared."""

    hidden = HIDDEN
    false = "0"

    def __init__(self, *, few: int = FEW) -> None:
        self._few = few

    def reading(self, connection: Connection) -> AbstractContextManager[Connection]:
        """See `Words`."""
        connection.info.pop(_FOUND, None)
        return reading(connection)

    def seeking(self, seeker: Seeker) -> dict[str, Any]:
        """See `Words`."""
        return {
            name: json.dumps(value) if isinstance(value, list) else value
            for name, value in seeker.values().items()
        }

    def hits(self, connection: Connection, slot: int, asked: Asked) -> Sequence[int] | None:
        """See `Words`."""
        found = self._hits(connection, slot, asked)
        return None if found is None else json.loads(found)

    def following(
        self, connection: Connection, slot: int, asked: Asked, after: int, count: int
    ) -> Sequence[int]:
        """See `Words`."""
        return _matched(connection, slot, _match(asked), after, count)

    def ranked(
        self,
        connection: Connection,
        slot: int,
        asked: Asked,
        ids: Sequence[int],
        after: tuple[int, int],
        below: int,
        count: int,
    ) -> Iterable[tuple[int, int]]:
        """See `Words`."""
        if not ids:
            return []
        values = _bounds(asked, after, below, count) | {"hits": json.dumps(list(ids))}
        return self._asked(connection, _HOLDERS_OF_FEW, slot, asked, values)

    def by_account(
        self,
        connection: Connection,
        slot: int,
        asked: Asked,
        after: tuple[int, int],
        below: int,
        count: int,
    ) -> Iterable[tuple[int, int]]:
        """See `Words`."""
        values = _bounds(asked, after, below, count)
        return self._asked(connection, _HOLDERS_OF_MANY, slot, asked, values)

    def distinguished(self, connection: Connection, slot: int, asked: Asked) -> Sequence[int]:
        """See `Words`."""
        ids = [id_ for (id_,) in self._asked(connection, _DISTINGUISHED, slot, asked, {})]
        return self._among(connection, slot, asked, ids)

    def exact(
        self, connection: Connection, slot: int, asked: Asked, after: int, count: int
    ) -> Iterable[int]:
        """See `Words`."""
        hits = self._hits(connection, slot, asked)
        if hits is not None:
            values = {"id": after, "count": count, "hits": hits}
            return [id_ for (id_,) in self._asked(connection, _EXACT_OF_FEW, slot, asked, values)]
        found: list[int] = []
        while len(found) < count:
            values = {"id": after, "count": CALLED_SO}
            ids = [id_ for (id_,) in self._asked(connection, _CALLED_SO, slot, asked, values)]
            found += self._among(connection, slot, asked, ids)
            if len(ids) < CALLED_SO:
                break
            after = ids[-1]
        return found[:count]

    def rest(
        self, connection: Connection, slot: int, asked: Asked, after: int, count: int
    ) -> Iterable[int]:
        """See `Words`."""
        found = self._find(
            connection, (_REST_OF_FEW, _REST), slot, asked, {"id": after, "count": count}
        )
        return (id_ for (id_,) in found)

    def first(
        self, connection: Connection, slot: int, asked: Asked, count: int
    ) -> Iterable[tuple[int, Sequence[str]]]:
        """See `Words`."""
        found = self._find(connection, (_FIRST_OF_FEW, _FIRST), slot, asked, {"count": count})
        return ((id_, (words or "").split()) for id_, words in found)

    def bearing(
        self, connection: Connection, slot: int, ids: Sequence[int]
    ) -> Iterable[tuple[int, Sequence[str]]]:
        """See `Words`."""
        given = {"hits": json.dumps(ids), "count": len(ids)}
        found = connection.exec_driver_sql(in_slot(_FIRST_OF_FEW, slot), given).all()
        return ((id_, (words or "").split()) for id_, words in found)

    def placed(
        self, connection: Connection, slot: int, asked: Asked, exact: bool, count: int
    ) -> Iterable[tuple[int, bytes]]:
        """See `Words`."""
        found = self._find(
            connection, (_PLACED_OF_FEW, _PLACED), slot, asked, {"exact": exact, "count": count}
        )
        return ((id_, entry) for id_, entry in found)

    def _among(
        self, connection: Connection, slot: int, asked: Asked, ids: Sequence[int]
    ) -> Sequence[int]:
        """Those of these entries that match. Their words are read: asked entry by entry, the index would gather
        the list of a beginning for each."""
        words = self.bearing(connection, slot, ids)
        return [id_ for id_, own in words if asked.fits(own)]

    def _find(
        self,
        connection: Connection,
        statements: tuple[str, str],
        slot: int,
        asked: Asked,
        values: dict[str, Any],
    ) -> Sequence[Any]:
        hits = self._hits(connection, slot, asked)
        if hits == _NONE:
            return []
        statement = statements[0] if hits is not None else statements[1]
        return self._asked(connection, statement, slot, asked, values | {"hits": hits})

    def _asked(
        self,
        connection: Connection,
        statement: str,
        slot: int,
        asked: Asked,
        values: dict[str, Any],
    ) -> Sequence[Any]:
        given = values | {"match": _match(asked), "names": json.dumps(asked.names)}
        given |= self.seeking(asked.seeker)
        # On the schema before, nobody could hide and nobody was known.
        hidden, known = (HIDDEN, KNOWN) if asked.seeker.people else ("0", "0")
        written = in_slot(statement, slot).replace("HIDDEN", hidden).replace("KNOWN", known)
        return connection.exec_driver_sql(written, given).all()

    def _hits(self, connection: Connection, slot: int, asked: Asked) -> str | None:
        """The numbers of all entries that match, as JSON; None if they are not few."""
        known: dict[str, str | None] = connection.info.setdefault(_FOUND, {})
        match = _match(asked)
        if match not in known:
            found = _matched(connection, slot, match, 0, self._few)
            known[match] = json.dumps(found) if len(found) < self._few else None
        return known[match]


def _bounds(asked: Asked, after: tuple[int, int], below: int, count: int) -> dict[str, Any]:
    rank, id_ = after
    return {
        "dormant": asked.seeker.dormant,
        "rank": rank,
        "id": id_,
        "below": below,
        "count": count,
    }


def _matched(connection: Connection, slot: int, match: str, after: int, most: int) -> Sequence[int]:
    """The first entries above a number that match, by number."""
    values = {"match": match, "after": after, "few": most}
    rows = connection.exec_driver_sql(in_slot(_MATCHED, slot), values)
    found: Sequence[int] = rows.scalars().all()
    return found


def _begun(asked: Asked, clause: Clause) -> str:
    words, beginnings = asked.sought(clause)
    return " OR ".join([f'"{word}"' for word in words] + [f'"{text}"*' for text in beginnings])


def _match(asked: Asked) -> str:
    # Words are letters and digits only (marks have no quotes either); quoted, none can be an operator
    # (AND, NEAR, *).
    clauses = [_begun(asked, clause) for clause in asked.begun]
    clauses += [" OR ".join(f'"{mark}"' for mark in clause) for clause in asked.marks]
    match = " AND ".join(f"({clause})" for clause in clauses)
    without = " OR ".join(f'"{mark}"' for mark in asked.without)
    return f"({match}) NOT ({without})" if without else match
