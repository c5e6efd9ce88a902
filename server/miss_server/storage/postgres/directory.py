"""Finds entries by words in PostgreSQL, with its text search vectors and a GIN index.

No dictionary, stemmer or extension takes part: a vector holds the folded words as they are
(`miss_protocol.directory.normalise` alone decides what a word is), and a query asks for words that
begin so.

The planner takes every word that is not among the commonest for hundreds of entries, so a few dozen rare
ones for a good part of the nation, and would then read the directory in its order until a page is full:
to its end. So the index is asked first, whatever the planner thinks; only what matches many is left to it.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
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
from miss_server.storage.sql.words import FEW

REMEMBERED = 10_000
"""Matches of which it is remembered that they are many."""

HIDDEN, KNOWN = rules(within="strpos", of="unnest(CAST(:{name} AS varchar[])) AS p (code)")

_FOUND = """
    directory_words_SLOT w JOIN directory_entries_SLOT e ON e.id = w.id
"""
_MATCHES = {False: "w.words @@ CAST(:match AS tsquery)", True: "w.id = ANY(:hits)"}
"""What is asked for: by words, or by number once it is known that few match."""
# An entry's identifier is sorted as bytes are, an account's as the database's language does, and an index only
# answers in its own order: so it is said in whose the two are compared.
#
# A value, not NOT EXISTS: for few rows of an ordered list it is looked up row by row, where the planner
# would first join everybody who has an account.
_NO_ACCOUNT = """
    (SELECT a.address FROM accounts a JOIN devices d ON d.account = a.address
     WHERE a.person = e.person COLLATE "default" AND NOT a.suspended AND d.revoked_ms IS NULL AND NOT HIDDEN
     LIMIT 1) IS NULL
"""
_HOLDERS = f"""
    SELECT rank, id FROM (
        SELECT e.id AS id, 4 * CAST(max(d.seen_ms) < :dormant AS integer)
            + 2 * CAST(NOT (KNOWN) AS integer)
            + CAST(e.name_key <> ALL(:names) AS integer) AS rank
        FROM {_FOUND}
            JOIN accounts a ON a.person = e.person COLLATE "default" AND e.person = a.person COLLATE "C"
            JOIN devices d ON d.account = a.address
        WHERE MATCHES AND NOT a.suspended AND d.revoked_ms IS NULL AND NOT HIDDEN
        GROUP BY e.id, e.name_key, a.address
    ) AS ranked WHERE (rank, id) > (:rank, :id) AND rank < :below ORDER BY rank, id LIMIT :count
"""  # noqa: S608 - constants of this file
_EXACT = f"""
    SELECT e.id FROM {_FOUND}
    WHERE MATCHES AND e.name_key = ANY(:names) AND e.id > :id AND {_NO_ACCOUNT}
    ORDER BY e.id LIMIT :count
"""  # noqa: S608 - constants of this file
_REST = f"""
    SELECT e.id FROM {_FOUND}
    WHERE MATCHES AND w.id > :id AND e.name_key <> ALL(:names) AND {_NO_ACCOUNT}
    ORDER BY w.id LIMIT :count
"""  # noqa: S608 - constants of this file
_FIRST = """
    SELECT w.id, tsvector_to_array(w.words) FROM directory_words_SLOT w
    WHERE MATCHES ORDER BY w.id LIMIT :count
"""
_BEARING = tuple(
    text(
        f"SELECT id, tsvector_to_array(words) FROM directory_words_{slot} WHERE id = ANY(:ids)"  # noqa: S608
    ).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))
    for slot in (0, 1)
)
_PLACED = f"""
    SELECT e.id, e.entry FROM {_FOUND}
    WHERE MATCHES AND (e.name_key = ANY(:names)) = CAST(:exact AS boolean) AND {_NO_ACCOUNT}
    ORDER BY w.id LIMIT :count
"""  # noqa: S608 - constants of this file

_PLANNING = {
    # For the very words: a plan for any words would read the whole directory for rare ones. A whole table may be
    # read where many match, not to find out whether few do.
    "words": {"plan_cache_mode": "force_custom_plan", "enable_seqscan": "off"},
    "many": {"plan_cache_mode": "force_custom_plan", "enable_seqscan": "on"},
    # One plan for any numbers: they are few, and to make it takes longer than to follow it.
    "numbers": {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"},
}
_PLANS = {
    kind: select(*[func.set_config(name, value, True) for name, value in settings.items()])
    for kind, settings in _PLANNING.items()
}
_BEGIN = _PLANS["words"].add_columns(func.set_config("jit", "off", True))
_PLANS_BY = "directory is planned by"
"""Where a connection keeps, for one transaction, which of them is in force."""
_HITS = tuple(
    text(
        f"SELECT w.id FROM directory_words_{slot} w WHERE {_MATCHES[False]} LIMIT {FEW}"  # noqa: S608
    ).bindparams(bindparam("match", type_=String))
    for slot in (0, 1)
)
_FOLLOWING = tuple(
    text(
        f"SELECT w.id FROM directory_words_{slot} w"  # noqa: S608
        f" WHERE {_MATCHES[False]} AND w.id > :id ORDER BY w.id LIMIT :count"
    ).bindparams(
        bindparam("match", type_=String),
        bindparam("id", type_=BigInteger),
        bindparam("count", type_=BigInteger),
    )
    for slot in (0, 1)
)
_DISTINGUISHED = tuple(
    text(
        f"""
        SELECT e.id FROM relations k JOIN accounts a ON a.address = k.peer
            JOIN directory_entries_{slot} e ON e.person = a.person COLLATE "C"
            JOIN directory_words_{slot} w ON w.id = e.id
        WHERE k.owner = :seeker AND (k.first_ms IS NOT NULL OR k.accepted_ms IS NOT NULL)
            AND {_MATCHES[False]}
        UNION
        SELECT e.id FROM directory_entries_{slot} e
            JOIN accounts a ON a.person = e.person COLLATE "default"
            JOIN directory_words_{slot} w ON w.id = e.id
        WHERE e.name_key = ANY(:names) AND {_MATCHES[False]}
        """  # noqa: S608
    ).bindparams(
        bindparam("match", type_=String),
        bindparam("seeker", type_=String),
        bindparam("names", type_=ARRAY(String)),
    )
    for slot in (0, 1)
)
_FOUND_HITS = "directory matches"
"""Where a connection keeps, for one transaction, what matches."""

_TEXTS = ("match", "seeker")
_NUMBERS = ("dormant", "rank", "id", "below", "count")
_LISTS = ("names", "professions", "establishments")


def _statements(statement: str) -> dict[tuple[int, bool, bool], Any]:
    """The same for each slot, with and without the tables of people (the schema before has none), by words and
    by number, with what the driver must know of the values' types."""
    made = {}
    for slot, people, few in product((0, 1), (False, True), (False, True)):
        written = statement.replace("_SLOT", f"_{slot}").replace("MATCHES", _MATCHES[few])
        written = written.replace("HIDDEN", HIDDEN if people else "false")
        written = written.replace("KNOWN", KNOWN if people else "false")
        types: list[BindParameter[Any]] = (
            [bindparam("hits", type_=ARRAY(BigInteger))] if few else []
        )
        types += [bindparam(n, type_=String) for n in _TEXTS if f":{n}" in written]
        types += [bindparam(n, type_=ARRAY(String)) for n in _LISTS if f":{n}" in written]
        types += [bindparam(n, type_=BigInteger) for n in _NUMBERS if f":{n}" in written]
        made[slot, people, few] = text(written).bindparams(*types)
    return made


_HOLDERS_IN, _EXACT_IN, _REST_IN, _FIRST_IN, _PLACED_IN = map(
    _statements, (_HOLDERS, _EXACT, _REST, _FIRST, _PLACED)
)


class PostgresWords:
    """The implementation of `Words`; between transactions it keeps what matched many, and it may be shared."""

    hidden = HIDDEN
    false = "false"

    def __init__(self, *, few: int = FEW) -> None:
        self._few = few
        # Hashes, since nobody may learn from a process's memory where somebody searched (spec 05 §3.2).
        self._many: set[int] = set()

    @contextmanager
    def reading(self, connection: Connection) -> Iterator[Connection]:
        """See `Words`."""
        connection.info.pop(_FOUND_HITS, None)
        # Said with BEGIN, which saves a way to PostgreSQL and back; the pool takes it back.
        connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            connection.execute(_BEGIN)
            connection.info[_PLANS_BY] = "words"
            yield connection

    def seeking(self, seeker: Seeker) -> dict[str, Any]:
        """See `Words`."""
        return seeker.values()

    def hits(self, connection: Connection, slot: int, asked: Asked) -> Sequence[int] | None:
        """See `Words`."""
        return self._hits(connection, slot, _match(asked))

    def following(
        self, connection: Connection, slot: int, asked: Asked, after: int, count: int
    ) -> Sequence[int]:
        """See `Words`."""
        _plan_by(connection, "many")
        values = {"match": _match(asked), "id": after, "count": count}
        return connection.execute(_FOLLOWING[slot], values).scalars().all()

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
        values = _bounds(asked, after, below) | {"hits": list(ids)}
        return self._asked(connection, _HOLDERS_IN, slot, asked, count, values)

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
        values = _bounds(asked, after, below) | {"match": _match(asked)}
        return self._asked(connection, _HOLDERS_IN, slot, asked, count, values)

    def distinguished(self, connection: Connection, slot: int, asked: Asked) -> Sequence[int]:
        """See `Words`."""
        _plan_by(connection, "many")
        values = {"match": _match(asked), "names": list(asked.names)}
        values |= {"seeker": asked.seeker.values()["seeker"]}
        return connection.execute(_DISTINGUISHED[slot], values).scalars().all()

    def exact(
        self, connection: Connection, slot: int, asked: Asked, after: int, count: int
    ) -> Iterable[int]:
        """See `Words`."""
        return (
            id_ for (id_,) in self._find(connection, _EXACT_IN, slot, asked, count, {"id": after})
        )

    def rest(
        self, connection: Connection, slot: int, asked: Asked, after: int, count: int
    ) -> Iterable[int]:
        """See `Words`."""
        return (
            id_ for (id_,) in self._find(connection, _REST_IN, slot, asked, count, {"id": after})
        )

    def first(
        self, connection: Connection, slot: int, asked: Asked, count: int
    ) -> Iterable[tuple[int, Sequence[str]]]:
        """See `Words`."""
        found = self._find(connection, _FIRST_IN, slot, asked, count, {})
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
        found = self._find(connection, _PLACED_IN, slot, asked, count, {"exact": exact})
        return ((id_, bytes(entry)) for id_, entry in found)

    def _find(
        self,
        connection: Connection,
        statements: dict[tuple[int, bool, bool], Any],
        slot: int,
        asked: Asked,
        count: int,
        more: dict[str, Any],
    ) -> Sequence[Any]:
        match = _match(asked)
        hits = self._hits(connection, slot, match)
        if hits is not None and not hits:
            return []
        which = {"match": match} if hits is None else {"hits": hits}
        return self._asked(connection, statements, slot, asked, count, more | which)

    def _asked(
        self,
        connection: Connection,
        statements: dict[tuple[int, bool, bool], Any],
        slot: int,
        asked: Asked,
        count: int,
        more: dict[str, Any],
    ) -> Sequence[Any]:
        """By number if `more` has those of `hits`, otherwise by words."""
        _plan_by(connection, "numbers" if "hits" in more else "many")
        values = more | asked.seeker.values() | {"names": list(asked.names), "count": count}
        statement = statements[slot, asked.seeker.people, "hits" in more]
        rows: Sequence[Any] = connection.execute(statement, values).all()
        return rows

    def _hits(self, connection: Connection, slot: int, match: str) -> Sequence[int] | None:
        """The numbers of all entries that match; None if they are not few."""
        # What is remembered wrongly, after an import or by two of one hash, costs time and changes no answer.
        key = hash((slot, match))
        if key in self._many:
            _plan_by(connection, "many")
            return None
        known: dict[str, Sequence[int]] = connection.info.setdefault(_FOUND_HITS, {})
        if match not in known:
            _plan_by(connection, "words")
            known[match] = connection.execute(_HITS[slot], {"match": match}).scalars().all()
        if len(known[match]) < self._few:
            return known[match]
        if len(self._many) >= REMEMBERED:
            self._many.clear()
        self._many.add(key)
        _plan_by(connection, "many")
        return None


def _plan_by(connection: Connection, kind: str) -> None:
    if connection.info.get(_PLANS_BY) != kind:
        connection.execute(_PLANS[kind])
        connection.info[_PLANS_BY] = kind


def _bounds(asked: Asked, after: tuple[int, int], below: int) -> dict[str, Any]:
    rank, id_ = after
    return {"dormant": asked.seeker.dormant, "rank": rank, "below": below, "id": id_}


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
