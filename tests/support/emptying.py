"""Databases of PostgreSQL that many tests use in turn, each as it began.

Even a copied database takes a tenth of a second, dropping one three, and each has a thousand files.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from tests.support.postgres import PostgresProcess

_LARGE = 256 * 1024
"""Bytes of a table that is truncated; of a smaller one it takes longer than deleting its rows."""

_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|information_schema$)' ORDER BY 1
"""
_SHAPE = """
SELECT md5(string_agg(line, chr(10) ORDER BY line)) FROM (
  SELECT concat_ws(' ', 'relation', n.nspname, c.relname, c.relkind, c.relpersistence, c.relowner,
    c.reloptions, c.relacl, c.relhastriggers) AS line
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname !~ '^(pg_|information_schema$)'
  UNION ALL
  SELECT concat_ws(' ', 'column', a.attrelid::regclass, a.attnum, a.attname, a.atttypid, a.attnotnull,
    a.attisdropped, a.atthasdef, a.attstattarget)
  FROM pg_attribute a WHERE a.attrelid >= 16384
    AND a.attrelid IN (SELECT oid FROM pg_class WHERE relkind <> 't')
  UNION ALL
  SELECT concat_ws(' ', 'index', pg_get_indexdef(indexrelid), indisvalid, indisready, indislive)
  FROM pg_index WHERE indrelid >= 16384
    AND indrelid IN (SELECT oid FROM pg_class WHERE relkind <> 't')
  UNION ALL
  SELECT concat_ws(' ', 'constraint', pg_get_constraintdef(oid), convalidated)
  FROM pg_constraint WHERE oid >= 16384
  UNION ALL
  SELECT concat_ws(' ', 'trigger', tgname, tgrelid::regclass, tgenabled) FROM pg_trigger WHERE oid >= 16384
  UNION ALL
  SELECT concat_ws(' ', 'function', proname, md5(prosrc)) FROM pg_proc WHERE oid >= 16384
  UNION ALL
  SELECT concat_ws(' ', 'extension', extname) FROM pg_extension
  UNION ALL
  SELECT concat_ws(' ', 'setting', s.setconfig) FROM pg_db_role_setting s
  JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = current_database()
) AS lines
"""
_SEQUENCES = """
SELECT format('%I.%I', schemaname, sequencename) AS name, last_value FROM pg_sequences ORDER BY 1
"""


@dataclass(frozen=True)
class _Beginning:
    """What a database has in it as it begins."""

    tables: list[str]
    rows: dict[str, list[tuple[Any, ...]]]
    sequences: dict[str, int | None]
    shape: str


Maker = Callable[[PostgresProcess], Awaitable[str]]
"""Makes a database; returns its name."""

_beginnings: dict[tuple[str, Maker], _Beginning] = {}
_spare: defaultdict[tuple[str, Maker], list[str]] = defaultdict(list)


@asynccontextmanager
async def lent(cluster: PostgresProcess, make: Maker) -> AsyncIterator[str]:
    """The name of a database that is as `make` makes them, until the block ends.

    Then it is put back, to be lent again. One is dropped of which more than the rows was changed.
    """
    kind = str(cluster.folder), make
    if _spare[kind]:
        name = _spare[kind].pop()
    else:
        name = await make(cluster)
        if kind not in _beginnings:
            _beginnings[kind] = await _beginning(cluster, name)
    yield name
    if await _emptied(cluster, name, _beginnings[kind]):
        _spare[kind].append(name)
    else:
        await cluster.drop(name)


async def _beginning(cluster: PostgresProcess, database: str) -> _Beginning:
    """How a database begins that nobody has used yet; one that was copied from the same begins so, too."""
    connection = await cluster.connect(database)
    try:
        tables = [row[0] for row in await connection.fetch(_TABLES)]
        rows = {
            table: [tuple(row) for row in await connection.fetch(f"SELECT * FROM {table}")]  # noqa: S608
            for table in await _filled(connection, tables)
        }
        sequences = {row["name"]: row["last_value"] for row in await connection.fetch(_SEQUENCES)}
        return _Beginning(tables, rows, sequences, await connection.fetchval(_SHAPE))
    finally:
        await connection.close()


async def _emptied(cluster: PostgresProcess, database: str, begun: _Beginning) -> bool:
    """Put the rows back, triggers or not; whether the database is then as it began.

    It is not where more than rows was changed, or where somebody is still at work.
    """
    connection = await cluster.connect(database)
    try:
        await connection.execute("SET session_replication_role = replica; SET lock_timeout = '10s'")
        if await connection.fetchval(_SHAPE) != begun.shape:
            return False
        async with connection.transaction():
            for table, size in (await _filled(connection, begun.tables)).items():
                how = "TRUNCATE {} CASCADE" if size > _LARGE else "DELETE FROM {}"
                await connection.execute(how.format(table))
            for table, rows in begun.rows.items():
                values = ", ".join(f"${number}" for number in range(1, len(rows[0]) + 1))
                await connection.executemany(f"INSERT INTO {table} VALUES ({values})", rows)  # noqa: S608
            for row in await connection.fetch(_SEQUENCES):
                began = begun.sequences[row["name"]]
                if row["last_value"] != began:
                    await connection.execute(
                        f"ALTER SEQUENCE {row['name']} RESTART"
                        if began is None
                        else f"SELECT setval('{row['name']}', {began})"
                    )
        return True
    except asyncpg.LockNotAvailableError:
        return False
    finally:
        await connection.close()


async def _filled(connection: "asyncpg.Connection", tables: list[str]) -> dict[str, int]:
    """The tables with a row in them, and their sizes in bytes."""
    each = " UNION ALL ".join(
        f"SELECT '{table}', pg_relation_size('{table}') WHERE EXISTS (SELECT FROM {table})"  # noqa: S608
        for table in tables
    )
    return {row[0]: row[1] for row in await connection.fetch(each)}
