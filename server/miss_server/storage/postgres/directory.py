"""Finds entries by words in PostgreSQL, with its text search vectors and a GIN index.

No dictionary, stemmer or extension takes part: a vector holds the folded words as they are
(`miss_protocol.directory.normalise` alone decides what a word is), and a query asks for words that
begin so. The planner chooses whether accounts or matches are looked up first.
"""

from collections.abc import Iterable, Iterator
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

from miss_server.storage.sql.directory import Asked

WORD_MAX = 255
"""Characters of a word: PostgreSQL refuses those above 2046 bytes, and nobody types so many."""

_FOUND = """
    directory_words_SLOT w JOIN directory_entries_SLOT e ON e.id = w.id
"""
_MATCHES = "w.words @@ CAST(:match AS tsquery)"
# A value, not NOT EXISTS: for few rows of an ordered list it is looked up row by row, where the planner
# would first join everybody who has an account.
_NO_ACCOUNT = """
    (SELECT a.address FROM accounts a JOIN devices d ON d.account = a.address
     WHERE a.person = e.person AND NOT a.suspended AND d.revoked_ms IS NULL LIMIT 1) IS NULL
"""
_HOLDERS = f"""
    SELECT rank, id FROM (
        SELECT e.id AS id, 2 * CAST(max(d.seen_ms) < :dormant AS integer)
            + CAST(e.name_key <> ALL(:names) AS integer) AS rank
        FROM {_FOUND} JOIN accounts a ON a.person = e.person
            JOIN devices d ON d.account = a.address
        WHERE {_MATCHES} AND NOT a.suspended AND d.revoked_ms IS NULL
        GROUP BY e.id, e.name_key
    ) AS ranked WHERE (rank, id) > (:rank, :id) ORDER BY rank, id LIMIT :count
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

# Planned for the very words: a plan for any words would read the whole directory for rare ones.
_PLANNING = select(
    func.set_config("plan_cache_mode", "force_custom_plan", True),
    func.set_config("jit", "off", True),
)

_NUMBERS = ("dormant", "rank", "id", "count")


def _statements(statement: str) -> tuple[Any, ...]:
    """The same for each slot, with what the driver must know of the values' types."""
    types: list[BindParameter[Any]] = [
        bindparam("match", type_=String),
        bindparam("names", type_=ARRAY(String)),
    ]
    types += [bindparam(n, type_=BigInteger) for n in _NUMBERS if f":{n}" in statement]
    return tuple(text(statement.replace("_SLOT", f"_{slot}")).bindparams(*types) for slot in (0, 1))


_HOLDERS_IN, _EXACT_IN, _REST_IN = map(_statements, (_HOLDERS, _EXACT, _REST))


class PostgresWords:
    """The implementation of `Words`; it keeps nothing between calls and may be shared."""

    @contextmanager
    def reading(self, connection: Connection) -> Iterator[Connection]:
        """See `Words`."""
        with connection.begin():
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            connection.execute(_PLANNING)
            yield connection

    def holders(
        self, connection: Connection, slot: int, asked: Asked, after: tuple[int, int], count: int
    ) -> Iterable[tuple[int, int]]:
        """See `Words`."""
        rank, id_ = after
        values = _values(asked, id_, count) | {"dormant": asked.dormant, "rank": rank}
        return ((int(r), int(i)) for r, i in connection.execute(_HOLDERS_IN[slot], values))

    def exact(
        self, connection: Connection, slot: int, asked: Asked, after: int, count: int
    ) -> Iterable[int]:
        """See `Words`."""
        return connection.execute(_EXACT_IN[slot], _values(asked, after, count)).scalars()

    def rest(
        self, connection: Connection, slot: int, asked: Asked, after: int, count: int
    ) -> Iterable[int]:
        """See `Words`."""
        return connection.execute(_REST_IN[slot], _values(asked, after, count)).scalars()


def _values(asked: Asked, after: int, count: int) -> dict[str, Any]:
    # Words are letters and digits only; quoted, none can be an operator (&, |, !, *).
    match = " & ".join(f"'{word[:WORD_MAX]}':*" for word in asked.words)
    return {"match": match, "names": list(asked.names), "id": after, "count": count}
