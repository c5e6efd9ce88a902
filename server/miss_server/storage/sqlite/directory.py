"""Searches the directory in SQLite: FTS5 for words, the tables of accounts for who can be reached.

Entries are numbered in the order of their names, so FTS5 finds them in that order. A page is put
together from three ordered lists: those with an account (ranked), those whose family name was
typed in full, all others; the last one, which may be long, is read only as far as the page goes.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from miss_protocol import limits
from miss_protocol.directory import Entry, Reach, SearchPage, Source, normalise, query_words
from miss_protocol.errors import Code, Malformed, Refused
from miss_protocol.ids import AccountAddress
from miss_server.storage.directory import ImportedFile
from miss_server.storage.sqlite.directory_filling import generation, in_slot
from miss_server.storage.sqlite.engine import reading

_CURSOR_MAX = 256
_RUN = 6
"""Words of the longest family name that is recognised as typed in full."""
FEW = 2_000
"""Matches up to which accounts are looked up by match and not the other way round."""
_HOLDER_RANKS = 4
_EXACT_RANK, _REST_RANK = 4, 5

# A device of an account that is not suspended makes its person reachable (or dormant).
_REACH = """
    SELECT a.person AS person, a.address AS account, max(d.seen_ms) AS seen
    FROM accounts a JOIN devices d ON d.account = a.address
    WHERE a.person IS NOT NULL AND NOT a.suspended AND d.revoked_ms IS NULL
"""
_HITS = "(SELECT rowid FROM directory_words_SLOT WHERE directory_words_SLOT MATCH :match)"
_NO_ACCOUNT = """
    NOT EXISTS (SELECT 1 FROM accounts a JOIN devices d ON d.account = a.address
                WHERE a.person = e.person AND NOT a.suspended AND d.revoked_ms IS NULL)
"""
_TYPED = "(SELECT value FROM json_each(:names))"

_RANKED_HOLDERS = f"""
    SELECT id, rank FROM (
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
    SELECT e.id, {_EXACT_RANK} FROM directory_entries_SLOT e
    WHERE e.name_key IN {_TYPED} AND +e.id > :id AND +e.id IN {_HITS} AND {_NO_ACCOUNT}
    ORDER BY e.id LIMIT :count
"""  # noqa: S608 - constants of this file
_REST = f"""
    SELECT e.id, {_REST_RANK}
    FROM directory_words_SLOT w CROSS JOIN directory_entries_SLOT e ON e.id = w.rowid
    WHERE directory_words_SLOT MATCH :match AND w.rowid > :id
        AND e.name_key NOT IN {_TYPED} AND {_NO_ACCOUNT}
    ORDER BY w.rowid LIMIT :count
"""  # noqa: S608 - constants of this file
_SHOWN = f"""
    SELECT e.id, e.entry, r.account, r.seen
    FROM directory_entries_SLOT e LEFT JOIN
        ({_REACH} AND a.person IN (SELECT value FROM json_each(:persons)) GROUP BY a.address) r
        ON r.person = e.person
    WHERE e.person IN (SELECT value FROM json_each(:persons))
"""  # noqa: S608 - constants of this file


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Where a page ended: in which directory, at which rank, entry and person."""

    generation: int
    rank: int
    id: int
    person: str


_read_cursor = msgspec.json.Decoder(_Cursor)
_read_entry = msgspec.json.Decoder(Entry)


class SqliteDirectory:
    """The implementation of `Directory`; it keeps nothing between calls and may be shared."""

    def __init__(self, *, few: int = FEW) -> None:
        self._few = few

    def search(
        self,
        connection: Connection,
        query: str,
        *,
        now_ms: int,
        cursor: str | None = None,
        limit: int = limits.PAGE_DEFAULT,
    ) -> SearchPage:
        """See `Directory`."""
        if limit < 1:
            raise Malformed("a page of no entries")
        limit = min(limit, limits.PAGE_MAX)
        asked = _asked(query, now_ms)
        with reading(connection):
            now_in_force = generation(connection)
            start = _start(connection, cursor, now_in_force)
            ranked: list[tuple[int, int]] = []
            if asked["match"]:
                ranked = _ranked(
                    connection, asked | {"few": self._few}, start, now_in_force % 2, limit + 1
                )
            shown = _shown_by_id(connection, [i for i, _ in ranked[:limit]], now_in_force, now_ms)
            files = self.files(connection)
        entries = tuple(shown[i] for i, _ in ranked[:limit])
        following = None
        if len(ranked) > limit:
            last_id, last_rank = ranked[limit - 1]
            following = _write_cursor(_Cursor(now_in_force, last_rank, last_id, entries[-1].person))
        made_from = sorted({(file.name, file.date) for file in files})
        return SearchPage(
            entries,
            following,
            min((date for _, date in made_from), default=""),
            tuple(Source(name, date) for name, date in made_from),
        )

    def entry(self, connection: Connection, person: str, *, now_ms: int) -> Entry | None:
        """See `Directory`."""
        with reading(connection):
            shown = _shown(connection, [person], generation(connection), now_ms)
        return next(iter(shown.values()), None)

    def by_account(
        self, connection: Connection, addresses: Sequence[AccountAddress], *, now_ms: int
    ) -> dict[AccountAddress, Entry]:
        """See `Directory`."""
        with reading(connection):
            owners = {
                person: AccountAddress(address)
                for address, person in connection.exec_driver_sql(
                    "SELECT address, person FROM accounts WHERE person IS NOT NULL"
                    " AND address IN (SELECT value FROM json_each(?))",
                    (json.dumps(addresses),),
                )
            }
            shown = _shown(connection, list(owners), generation(connection), now_ms)
        return {owners[entry.person]: entry for entry in shown.values()}

    def files(self, connection: Connection) -> list[ImportedFile]:
        """See `Directory`."""
        rows = connection.exec_driver_sql(
            "SELECT name, file, date_ms, imported_ms, activities FROM directory_sources ORDER BY id"
        )
        return [ImportedFile(*row) for row in rows]


def _asked(query: str, now_ms: int) -> dict[str, Any]:
    """A query as values of the statements; `match` is empty when it says nothing."""
    words = query_words(query)  # refuses before anything else is done with a long query
    typed = normalise(query)
    # A family name in full may hold words that a query ignores: Du Pont, Le Goff.
    runs = {" ".join(typed[i:j]) for i in range(len(typed)) for j in range(i + 1, i + 1 + _RUN)}
    return {
        # Words are letters and digits only; quoted, none can be an operator (AND, NEAR, *).
        "match": " AND ".join(f'"{word}"*' for word in words),
        "names": json.dumps(sorted(runs)),
        "dormant": now_ms - limits.DORMANT_AFTER * 1000,
    }


def _ranked(
    connection: Connection, asked: dict[str, Any], start: _Cursor, slot: int, count: int
) -> list[tuple[int, int]]:
    """The next `count` matches after `start` as (id, rank): 0-3 with account, 4 exact, 5 others."""
    matches = connection.exec_driver_sql(in_slot(_COUNT, slot), asked).scalar_one()
    found: list[tuple[int, int]] = []
    for statement, last_rank in (
        (_HOLDERS_OF_FEW if matches < asked["few"] else _HOLDERS_OF_MANY, _HOLDER_RANKS - 1),
        (_EXACT, _EXACT_RANK),
        (_REST, _REST_RANK),
    ):
        if start.rank > last_rank or len(found) == count:
            continue
        inside = start.rank == last_rank or last_rank < _HOLDER_RANKS
        values = asked | {
            "rank": start.rank,
            "id": start.id if inside else 0,
            "count": count - len(found),
        }
        rows = connection.exec_driver_sql(in_slot(statement, slot), values)
        found += [(int(i), int(rank)) for i, rank in rows]
    return found


def _shown_by_id(
    connection: Connection, ids: list[int], in_force: int, now_ms: int
) -> dict[int, Entry]:
    persons = connection.exec_driver_sql(
        in_slot(
            "SELECT person FROM directory_entries_SLOT"
            " WHERE id IN (SELECT value FROM json_each(?))",
            in_force % 2,
        ),
        (json.dumps(ids),),
    ).scalars()
    return _shown(connection, list(persons), in_force, now_ms)


def _shown(
    connection: Connection, persons: list[str], in_force: int, now_ms: int
) -> dict[int, Entry]:
    """Entries with what is known of their account at this moment, by their number."""
    rows = connection.exec_driver_sql(
        in_slot(_SHOWN, in_force % 2), {"persons": json.dumps(persons)}
    )
    dormant = now_ms - limits.DORMANT_AFTER * 1000
    shown: dict[int, Entry] = {}
    for number, encoded, account, seen in rows:
        entry = _read_entry.decode(encoded)
        if account is not None:
            reach: Reach = "dormant" if seen < dormant else "miss"
            entry = msgspec.structs.replace(entry, account=account, reach=reach)
        shown[number] = entry
    return shown


def _start(connection: Connection, cursor: str | None, in_force: int) -> _Cursor:
    if cursor is None:
        return _Cursor(in_force, -1, 0, "")
    start = _parse_cursor(cursor)
    if start.generation != in_force:
        # The directory was replaced between two pages: go on after the same person.
        row = connection.exec_driver_sql(
            in_slot("SELECT id FROM directory_entries_SLOT WHERE person = ?", in_force % 2),
            (start.person,),
        ).one_or_none()
        if row is None:
            raise Refused(Code.OUT_OF_PLACE, "the cursor's person is no longer in the directory")
        start.id = int(row[0])
    return start


def _write_cursor(cursor: _Cursor) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def _parse_cursor(text: str) -> _Cursor:
    try:
        if len(text) > _CURSOR_MAX:
            raise Malformed("not a cursor")
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        cursor = _read_cursor.decode(base64.b64decode(padded, b"-_", validate=True))
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed("not a cursor") from None
    # Beyond 64 bits the driver itself would raise OverflowError.
    if not (0 <= cursor.rank <= _REST_RANK and 0 <= cursor.id < 2**63):
        raise Malformed("not a cursor")
    return cursor
