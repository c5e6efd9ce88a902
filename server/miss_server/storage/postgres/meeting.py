"""Loads what the first contacts of a batch are decided by; `batch` reads the relations themselves.

Whoever may write a row of `relations`, or spends a budget, holds its owner's lock: an advisory one,
the last kind that a batch takes, sorted. A row lock in its place would be one of `accounts`, which
others hold FOR SHARE. So two nodes cannot both spend the last of a budget.
"""

from collections.abc import Sequence
from typing import Any

from miss_server.storage.postgres.pool import Connection
from miss_server.storage.settlement.meeting import DAY_MS, Meeting, Pair, Row
from miss_server.storage.sql.meeting_words import ANSWERED, SETTLED, ended_by, reach_of, traits_of

_WHAT_THERE_IS = (
    "coalesce(({row}.unanswered > 0)::integer + 2 * ({row}.first_ms IS NOT NULL)::integer"
    " + 4 * ({row}.accepted_ms IS NOT NULL)::integer + 8 * ({row}.declined_ms IS NOT NULL)::integer"
    " + 16 * ({row}.blocked_ms IS NOT NULL)::integer, 0)"
)
# A part of what a batch reads once its rows are locked: of its pairs those that are not
# `SETTLED`, which are few. For these it is enough to know what there is; exact values are read under
# the locks of `load_writers`.
PART = (  # noqa: S608  # made of constants
    " UNION ALL SELECT 3, NULL, w.number, NULL, NULL, NULL, NULL,"
    " ({mine} + 32 * {theirs})::bigint, NULL, NULL"
    " FROM unnest($6::text[], $7::text[]) WITH ORDINALITY AS w(owner, peer, number)"
    " LEFT JOIN relations mine ON mine.owner = w.owner AND mine.peer = w.peer"
    " LEFT JOIN relations theirs ON theirs.owner = w.peer AND theirs.peer = w.owner"
    " WHERE ({settled}) IS NOT TRUE"
).format(
    mine=_WHAT_THERE_IS.format(row="mine"),
    theirs=_WHAT_THERE_IS.format(row="theirs"),
    settled=SETTLED,
)
_THERE = "SELECT to_regclass('relations') IS NOT NULL"
# In the order of the subquery: two batches never wait for each other in a circle.
_LOCK = (
    "SELECT pg_advisory_xact_lock(key) FROM (SELECT DISTINCT hashtextextended(account, 20114) AS key"
    " FROM unnest($1::text[]) AS w(account) ORDER BY key) AS keys"
)
_RELATIONS = (
    "SELECT r.owner, r.peer, r.first_ms, r.unanswered, r.accepted_ms, r.declined_ms, r.blocked_ms"
    " FROM unnest($1::text[], $2::text[]) AS w(owner, peer)"
    " JOIN relations r ON r.owner = w.owner AND r.peer = w.peer"
)
_BUDGETS = (
    "SELECT account, per_hour, per_day FROM budgets WHERE account = ANY($1::text[])"
    " UNION ALL SELECT account, -1, -1 FROM standings WHERE account = ANY($1::text[])"
    " AND state = 'restricted'"
)
_SPENT = (
    "SELECT mine.owner, mine.first_ms FROM unnest($1::text[]) AS w(account)"
    " JOIN relations mine ON mine.owner = w.account AND mine.first_ms > $2 WHERE NOT ANSWERED"
).replace("ANSWERED", ANSWERED)
_REACH = (
    "SELECT account, reached_by, professions, establishments FROM reach_rules"
    " WHERE account = ANY($1::text[])"
)
_SLOT = "SELECT coalesce(max(generation), 0) % 2 FROM directory_state"
_ENTRIES = (
    "SELECT a.address, e.entry, ENDED FROM accounts a JOIN directory_entries_{slot} e"
    " ON e.person = a.person WHERE a.address = ANY($1::text[])"
).replace("ENDED", ended_by("string_agg"))
_ADMINISTRATORS = (
    "SELECT account FROM administrators WHERE account = ANY($1::text[]) AND removed_ms IS NULL"
)
KEEP = (
    "INSERT INTO relations AS r (owner, peer, first_ms, unanswered, accepted_ms, declined_ms,"
    " blocked_ms) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::integer[],"
    " $5::bigint[], $6::bigint[], $7::bigint[]) ON CONFLICT (owner, peer) DO UPDATE SET"
    " first_ms = excluded.first_ms, unanswered = excluded.unanswered,"
    " accepted_ms = excluded.accepted_ms, declined_ms = excluded.declined_ms,"
    " blocked_ms = excluded.blocked_ms"
)
SILENCE = (
    "INSERT INTO silenced (device, sender_device, message, expires_ms)"
    " SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[])"
)


def told(pair: Pair, what: int) -> tuple[Pair, Row, Row]:
    """A row of `PART`: what there is each way, without the times. One that is not there says nothing."""
    return pair, _row(pair, what & 31), _row(pair[::-1], what >> 5)


def _row(pair: Pair, what: int) -> Row:
    first, accepted, declined, blocked = (0 if what & 2 << at else None for at in range(4))
    return *pair, first, what & 1, accepted, declined, blocked


class Ground:
    """Whether the database has the tables for it; asked until it has, which `db upgrade` brings."""

    def __init__(self) -> None:
        self._there = False

    async def is_there(self, db: Connection) -> bool:
        """Look, unless it is known."""
        if not self._there:
            self._there = bool(await db.fetchval(_THERE))
        return self._there


async def load_writers(db: Connection, meeting: Meeting, now_ms: int) -> None:
    """Lock whose rows may change and read what that needs, after the locks (rule C1)."""
    if not meeting.writers:
        return
    await db.execute(_LOCK, meeting.writers)
    owners, peers = zip(*meeting.again, strict=True)
    reach = [reach_of(*row) for row in await _some(db, _REACH, meeting.strangers)]
    traits = []
    if meeting.by_role or any(rule.reached_by == "listed" for _, rule in reach):
        entries = _ENTRIES.format(slot=int(await db.fetchval(_SLOT)))
        found = await db.fetch(entries, meeting.writers)
        traits = [(account, traits_of(entry, ended)) for account, entry, ended in found]
    meeting.see_again(
        await db.fetch(_RELATIONS, owners, peers),  # type: ignore[arg-type]  # its columns
        await db.fetch(_BUDGETS, meeting.writers),  # type: ignore[arg-type]
        await db.fetch(_SPENT, meeting.writers, now_ms - DAY_MS),  # type: ignore[arg-type]
        reach,
        traits,
        [row["account"] for row in await db.fetch(_ADMINISTRATORS, meeting.writers)]
        if meeting.by_role
        else (),
    )


async def _some(db: Connection, statement: str, keys: Sequence[str]) -> Sequence[Any]:
    return await db.fetch(statement, keys) if keys else ()
