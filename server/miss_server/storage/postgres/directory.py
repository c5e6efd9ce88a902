"""Finds entries by words in PostgreSQL, with its text search vectors and a GIN index.

No dictionary, stemmer or extension takes part: a vector holds the folded words as they are
(`miss_protocol.directory.normalise` alone decides what a word is), and a query asks for words that
begin so. The planner chooses whether accounts or matches are looked up first.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    BindParameter,
    Connection,
    String,
    bindparam,
    func,
    select,
    text,
)

from miss_server.storage.sql.asked import Asked, Clause
from miss_server.storage.sql.seekers import Seeker, rules
from miss_server.storage.sql.vocabulary import WORD_MAX

HIDDEN, KNOWN = rules(within="strpos", of="unnest(CAST(:{name} AS varchar[])) AS p (code)")

_FOUND = """
    directory_words_SLOT w JOIN directory_entries_SLOT e ON e.id = w.id
"""
_MATCHES = "w.words @@ CAST(:match AS tsquery)"
# A value, not NOT EXISTS: for few rows of an ordered list it is looked up row by row, where the planner
# would first join everybody who has an account.
_NO_ACCOUNT = """
    (SELECT a.address FROM accounts a JOIN devices d ON d.account = a.address
     WHERE a.person = e.person AND NOT a.suspended AND d.revoked_ms IS NULL AND NOT HIDDEN
     LIMIT 1) IS NULL
"""
_HOLDERS = f"""
    SELECT rank, id FROM (
        SELECT e.id AS id, 4 * CAST(max(d.seen_ms) < :dormant AS integer)
            + 2 * CAST(NOT (KNOWN) AS integer)
            + CAST(e.name_key <> ALL(:names) AS integer) AS rank
        FROM {_FOUND} JOIN accounts a ON a.person = e.person
            JOIN devices d ON d.account = a.address
        WHERE {_MATCHES} AND NOT a.suspended AND d.revoked_ms IS NULL AND NOT HIDDEN
        GROUP BY e.id, e.name_key, a.address
    ) AS ranked WHERE (rank, id) > (:rank, :id) AND rank < :below ORDER BY rank, id LIMIT :count
"""  # noqa: S608 - constants of this file
_EXACT = f"""
    SELECT e.id FROM {_FOUND}
    WHERE {_MATCHES} AND e.name_key = ANY(:names) AND e.id > :id AND {_NO_ACCOUNT}
    ORDER BY e.id LIMIT :count
"""  # noqa: S608 - constants of this file
_REST = f"""
    SELECT e.id FROM {_FOUND}
    WHERE {_MATCHES} AND w.id > :id AND e.name_key <> ALL(:names) AND {_NO_ACCOUNT}
    ORDER BY w.id LIMIT :count
"""  # noqa: S608 - constants of this file
_FIRST = f"""
    SELECT w.id, tsvector_to_array(w.words) FROM directory_words_SLOT w
    WHERE {_MATCHES} ORDER BY w.id LIMIT :count
"""  # noqa: S608 - constants of this file
_BEARING = tuple(
    text(
        f"SELECT id, tsvector_to_array(words) FROM directory_words_{slot} WHERE id = ANY(:ids)"  # noqa: S608
    ).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))
    for slot in (0, 1)
)
_PLACED = f"""
    SELECT e.id, e.entry FROM {_FOUND}
    WHERE {_MATCHES} AND (e.name_key = ANY(:names)) = CAST(:exact AS boolean) AND {_NO_ACCOUNT}
    ORDER BY w.id LIMIT :count
"""  # noqa: S608 - constants of this file

# Planned for the very words: a plan for any words would read the whole directory for rare ones.
_PLANNING = select(
    func.set_config("plan_cache_mode", "force_custom_plan", True),
    func.set_config("jit", "off", True),
)

_NUMBERS = ("dormant", "rank", "id", "below", "count")
_LISTS = ("names", "professions", "establishments")


def _statements(statement: str) -> dict[tuple[int, bool], Any]:
    """The same for each slot, with and without the tables of people (the schema before has none), with
    what the driver must know of the values' types."""
    made = {}
    for slot in (0, 1):
        for people in (False, True):
            written = statement.replace("_SLOT", f"_{slot}")
            written = written.replace("HIDDEN", HIDDEN if people else "false")
            written = written.replace("KNOWN", KNOWN if people else "false")
            types: list[BindParameter[Any]] = [bindparam("match", type_=String)]
            types += [bindparam(n, type_=ARRAY(String)) for n in _LISTS if f":{n}" in written]
            types += [bindparam(n, type_=BigInteger) for n in _NUMBERS if f":{n}" in written]
            if ":seeker" in written:
                types.append(bindparam("seeker", type_=String))
            made[slot, people] = text(written).bindparams(*types)
    return made


_HOLDERS_IN, _EXACT_IN, _REST_IN, _FIRST_IN, _PLACED_IN = map(
    _statements, (_HOLDERS, _EXACT, _REST, _FIRST, _PLACED)
)


class PostgresWords:
    """The implementation of `Words`; it keeps nothing between calls and may be shared."""

    hidden = HIDDEN
    false = "false"

    @contextmanager
    def reading(self, connection: Connection) -> Iterator[Connection]:
        """See `Words`."""
        with connection.begin():
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            connection.execute(_PLANNING)
            yield connection

    def seeking(self, seeker: Seeker) -> dict[str, Any]:
        """See `Words`."""
        return seeker.values()

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
        more = {"dormant": asked.seeker.dormant, "rank": rank, "below": below}
        found = _find(connection, _HOLDERS_IN, slot, asked, count, more | {"id": id_})
        return ((int(r), int(i)) for r, i in found)

    def exact(
        self, connection: Connection, slot: int, asked: Asked, after: int, count: int
    ) -> Iterable[int]:
        """See `Words`."""
        return (id_ for (id_,) in _find(connection, _EXACT_IN, slot, asked, count, {"id": after}))

    def rest(
        self, connection: Connection, slot: int, asked: Asked, after: int, count: int
    ) -> Iterable[int]:
        """See `Words`."""
        return (id_ for (id_,) in _find(connection, _REST_IN, slot, asked, count, {"id": after}))

    def first(
        self, connection: Connection, slot: int, asked: Asked, count: int
    ) -> Iterable[tuple[int, Sequence[str]]]:
        """See `Words`."""
        found = _find(connection, _FIRST_IN, slot, asked, count, {})
        return ((id_, words) for id_, words in found)

    def bearing(
        self, connection: Connection, slot: int, ids: Sequence[int]
    ) -> Iterable[tuple[int, Sequence[str]]]:
        """See `Words`."""
        found = connection.execute(_BEARING[slot], {"ids": list(ids)}).all()
        return ((id_, words) for id_, words in found)

    def placed(
        self, connection: Connection, slot: int, asked: Asked, exact: bool, count: int
    ) -> Iterable[tuple[int, bytes]]:
        """See `Words`."""
        found = _find(connection, _PLACED_IN, slot, asked, count, {"exact": exact})
        return ((id_, bytes(entry)) for id_, entry in found)


def _find(
    connection: Connection,
    statements: dict[tuple[int, bool], Any],
    slot: int,
    asked: Asked,
    count: int,
    more: dict[str, Any],
) -> Sequence[Any]:
    values = more | asked.seeker.values()
    values |= {"match": _match(asked), "names": list(asked.names), "count": count}
    return connection.execute(statements[slot, asked.seeker.people], values).all()


def _begun(asked: Asked, clause: Clause) -> str:
    words, beginnings = asked.sought(clause)
    # PostgreSQL refuses words above 2046 bytes.
    sought = [f"'{word}'" for word in words] + [f"'{text[:WORD_MAX]}':*" for text in beginnings]
    return " | ".join(sought)


def _match(asked: Asked) -> str:
    # Words are letters and digits only (marks have no quotes either); quoted, none can be an operator
    # (&, |, !, *).
    clauses = [_begun(asked, clause) for clause in asked.begun]
    clauses += [" | ".join(f"'{mark}'" for mark in clause) for clause in asked.marks]
    clauses += [f"!'{mark}'" for mark in asked.without]
    return " & ".join(f"({clause})" for clause in clauses)
