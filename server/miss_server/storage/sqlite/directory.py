"""Finds entries by words in SQLite, with FTS5.

Entries are numbered in the order of their names, so FTS5 finds them in that order, and a list that
may be long is read only as far as a page goes. The index is asked once for what few entries match, and
without common words: each question costs what the longest list of its words does, and those of professions
are hundreds of thousands of entries long. Common words are compared with the entries' own.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection

from miss_server.storage.sql.asked import Asked, Clause
from miss_server.storage.sql.seekers import Seeker, rules
from miss_server.storage.sqlite.directory_filling import in_slot
from miss_server.storage.sqlite.engine import reading

FEW = 2_000
"""Matches up to which accounts are looked up by match and not the other way round."""

COMMON = 20_000
"""Entries that a common word matches at least."""
COMPARED_MAX = 10_000
"""Entries that the other words match, of which the words are read."""
REMEMBERED = 50_000
"""Words of which it is remembered whether they are common."""

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
    f" CROSS JOIN directory_entries_SLOT e ON e.person = a.person WHERE +e.id IN {_HITS}"
)
_MATCHED = (
    "SELECT rowid FROM directory_words_SLOT"
    " WHERE directory_words_SLOT MATCH :match ORDER BY rowid LIMIT :few"
)
_COUNT = (
    "SELECT count(*) FROM (SELECT 1 FROM directory_words_SLOT"
    " WHERE directory_words_SLOT MATCH :match LIMIT :most)"
)
_WORDS_OF = (
    "SELECT w.rowid, w.words FROM json_each(:hits) h"
    " CROSS JOIN directory_words_SLOT w ON w.rowid = h.value ORDER BY h.value"
)
_FOUND = "directory matches"
"""Where a connection keeps, for one transaction, what matches."""
_EXACT = f"""
    SELECT e.id FROM directory_entries_SLOT e
    WHERE e.name_key IN {_TYPED} AND +e.id > :id AND +e.id IN {_HITS} AND {_NO_ACCOUNT}
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
    """The implementation of `Words`; between transactions it keeps which words are common, and it may be
    shared."""

    hidden = HIDDEN
    false = "0"

    def __init__(self, *, few: int = FEW, common: int = COMMON) -> None:
        self._few = few
        self._from = common
        self._common: dict[tuple[int, Clause], bool] = {}

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

    def holders(
        self,
        connection: Connection,
        slot: int,
        asked: Asked,
        after: tuple[int, int],
        below: int,
        count: int,
    ) -> Iterable[tuple[int, int]]:
        """See `Words`."""
        rank, id_ = after
        values = {
            "dormant": asked.seeker.dormant,
            "rank": rank,
            "id": id_,
            "below": below,
            "count": count,
        }
        statements = _HOLDERS_OF_FEW, _HOLDERS_OF_MANY
        return self._find(connection, statements, slot, asked, values)

    def exact(
        self, connection: Connection, slot: int, asked: Asked, after: int, count: int
    ) -> Iterable[int]:
        """See `Words`."""
        found = self._find(
            connection, (_EXACT_OF_FEW, _EXACT), slot, asked, {"id": after, "count": count}
        )
        return (id_ for (id_,) in found)

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

    def placed(
        self, connection: Connection, slot: int, asked: Asked, exact: bool, count: int
    ) -> Iterable[tuple[int, bytes]]:
        """See `Words`."""
        found = self._find(
            connection, (_PLACED_OF_FEW, _PLACED), slot, asked, {"exact": exact, "count": count}
        )
        return ((id_, entry) for id_, entry in found)

    def _find(
        self,
        connection: Connection,
        statements: tuple[str, str],
        slot: int,
        asked: Asked,
        values: dict[str, Any],
    ) -> Sequence[Any]:
        hits = self._hits(connection, slot, asked)
        statement = statements[0] if hits is not None else statements[1]
        given = values | {"hits": hits}
        given |= {"match": _match(asked), "names": json.dumps(asked.names)}
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
            found = self._by_the_rare(connection, slot, asked)
            if found is None:
                found = _matched(connection, slot, match, self._few)
            known[match] = json.dumps(found) if len(found) < self._few else None
        return known[match]

    def _by_the_rare(self, connection: Connection, slot: int, asked: Asked) -> Sequence[int] | None:
        """Those that match, found without common words; None if all are common or none is, if the others
        match many, or if the index keeps no words."""
        rare = [clause for clause in asked.begun if not self._is_common(connection, slot, clause)]
        if not rare or len(rare) == len(asked.begun):
            return None
        match = " AND ".join(f"({_begun(one)})" for one in rare)
        found = _matched(connection, slot, match, COMPARED_MAX)
        if len(found) == COMPARED_MAX:
            return None
        hits = {"hits": json.dumps(found)}
        rows = connection.exec_driver_sql(in_slot(_WORDS_OF, slot), hits).all()
        if any(words is None for _, words in rows):
            return None  # an index of a version that kept none
        return [id_ for id_, words in rows if _fits(words.split(), asked)]

    def _is_common(self, connection: Connection, slot: int, clause: Clause) -> bool:
        # What is remembered wrongly after an import costs time, and changes no answer.
        key = slot, clause
        if key not in self._common:
            values = {"match": _begun(clause), "most": self._from}
            statement = in_slot(_COUNT, slot)
            count = connection.exec_driver_sql(statement, values).scalar_one()
            if len(self._common) >= REMEMBERED:
                self._common.clear()
            self._common[key] = count == self._from
        return self._common[key]


def _matched(connection: Connection, slot: int, match: str, most: int) -> Sequence[int]:
    """The first entries that match, by number."""
    values = {"match": match, "few": most}
    rows = connection.exec_driver_sql(in_slot(_MATCHED, slot), values)
    found: Sequence[int] = rows.scalars().all()
    return found


def _fits(words: Sequence[str], asked: Asked) -> bool:
    """Whether an entry of these words matches."""
    return (
        all(any(word.startswith(clause) for word in words) for clause in asked.begun)
        and all(not set(clause).isdisjoint(words) for clause in asked.marks)
        and set(asked.without).isdisjoint(words)
    )


def _begun(clause: Clause) -> str:
    return " OR ".join(f'"{text}"*' for text in clause)


def _match(asked: Asked) -> str:
    # Words are letters and digits only (marks have no quotes either); quoted, none can be an operator
    # (AND, NEAR, *).
    clauses = [_begun(clause) for clause in asked.begun]
    clauses += [" OR ".join(f'"{mark}"' for mark in clause) for clause in asked.marks]
    match = " AND ".join(f"({clause})" for clause in clauses)
    without = " OR ".join(f'"{mark}"' for mark in asked.without)
    return f"({match}) NOT ({without})" if without else match
