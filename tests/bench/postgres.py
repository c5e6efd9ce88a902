"""PostgreSQL for benches: everything on the same cores, every commit on the disk."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from sqlalchemy import Connection, Table, select

from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.preparing import prepare
from miss_server.storage.schema import metadata
from miss_server.storage.sqlite.engine import open_engine
from tests.bench.machine import family_cpu_seconds, now_ms
from tests.support.postgres import PostgresProcess, postgres_server
from tests.support.server import DOMAIN

SETTINGS = {
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "min_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "autovacuum_naptime": "15s",
}
"""As server/POSTGRES.md advises; what makes a commit durable is as it comes."""
USED_MIB = 2_048
"""How much of the log is filled first: as much as is kept for use again."""
_USE = (
    "SELECT count(pg_logical_emit_message(false, 'bench', repeat('-', 1048576)))"
    " FROM generate_series(1, USED_MIB)"
)


@dataclass
class Cluster:
    """A running PostgreSQL, and a database in it that every run begins with."""

    process: PostgresProcess
    template: str = ""
    current: str = ""
    """The copy of the run that is under way: the one before it is not kept."""

    async def take_over(self, database: Path) -> None:
        """Make the template from a SQLite database."""
        self.template = await self.process.new_database()
        options = Options(self.process.dsn(self.template))
        await prepare(options, domain=DOMAIN, now_ms=now_ms())
        source = open_engine(database, read_only=True)
        target = await self.process.connect(self.template)
        try:
            with source.connect() as connection:
                for name in ("settings", "accounts", "devices", "mailboxes", "relations"):
                    await _copy(connection, target, metadata.tables[name])
        finally:
            await target.close()
            source.dispose()
        await self.tidy()

    async def tidy(self) -> None:
        """Leave nothing to do for the time that is taken, after the template was filled."""
        await self.process.sql("VACUUM ANALYZE", database=self.template)

    async def fresh(self) -> str:
        """A copy of it; returns its DSN. Nothing of the copying is left to do."""
        if self.current:
            await self.process.drop(self.current)
        self.current = await self.process.new_database(self.template, "STRATEGY FILE_COPY")
        await self.process.sql("CHECKPOINT")
        return self.process.dsn(self.current)

    async def size(self) -> int:
        """Bytes of the template on the disk, indexes included."""
        return await self._ask("SELECT pg_database_size($1)", self.template)

    async def logged(self) -> int:
        """Bytes that were written into the log (WAL) so far."""
        return await self._ask("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")

    async def _ask(self, question: str, *values: str) -> int:
        connection = await self.process.connect()
        try:
            return int(await connection.fetchval(question, *values))
        finally:
            await connection.close()

    def cpu_seconds(self) -> float:
        """CPU time of all its processes, those that ended among them."""
        assert self.process.process is not None
        return family_cpu_seconds(self.process.process.pid)


async def _copy(source: Connection, target: "asyncpg.Connection", table: Table) -> None:
    await target.execute(f"TRUNCATE {table.name}")
    await target.copy_records_to_table(
        table.name,
        records=(tuple(row) for row in source.execute(select(table))),
        columns=[column.name for column in table.columns],
    )


@asynccontextmanager
async def server() -> AsyncIterator[PostgresProcess]:
    """A started PostgreSQL with the settings of the benches, whose log has been in use for a while: a new
    one makes each piece of it within somebody's commit, once."""
    async with postgres_server(**SETTINGS) as process:
        await process.sql(_USE.replace("USED_MIB", str(USED_MIB)))
        await process.sql("CHECKPOINT")
        yield process


@asynccontextmanager
async def cluster_in(process: PostgresProcess, database: Path) -> AsyncIterator[Cluster]:
    """Its template knows what a SQLite database does; dropped with all copies after the block."""
    cluster = Cluster(process)
    await cluster.take_over(database)
    yield cluster
    for name in (cluster.current, cluster.template):
        if name:
            await process.drop(name)


@asynccontextmanager
async def cluster_with(database: Path) -> AsyncIterator[Cluster]:
    """The same in a PostgreSQL of its own."""
    async with server() as process, cluster_in(process, database) as cluster:
        yield cluster
