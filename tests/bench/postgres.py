"""PostgreSQL for benches: everything on the same cores, every commit on the disk."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.engine import Engine

from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.preparing import prepare
from miss_server.storage.postgres.quiet import Quiet
from miss_server.storage.schema import metadata
from miss_server.storage.sqlite.engine import open_engine
from tests.bench.machine import cpu_seconds, now_ms
from tests.support.postgres import PostgresProcess, postgres_server
from tests.support.server import DOMAIN

SETTINGS = {
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "autovacuum_naptime": "15s",
}
"""As server/README.md advises; what makes a commit durable is as it comes."""


@dataclass
class Cluster:
    """A running PostgreSQL, and a database in it that every run begins with."""

    process: PostgresProcess
    template: str = ""

    async def take_over(self, database: Path) -> None:
        """Make the template from a SQLite database."""
        self.template = await self.process.new_database()
        options = Options(self.process.dsn(self.template))
        await prepare(options, domain=DOMAIN, now_ms=now_ms())
        source = open_engine(database, read_only=True)
        quiet = Quiet(options)
        await quiet.write(lambda connection: _copy(source, connection))
        await quiet.close()
        source.dispose()
        await self.process.sql("VACUUM ANALYZE", database=self.template)

    async def fresh(self) -> str:
        """A copy of it; returns its DSN. Nothing of the copying is left to do."""
        name = await self.process.new_database(self.template)
        await self.process.sql("CHECKPOINT")
        return self.process.dsn(name)

    def cpu_seconds(self) -> float:
        """CPU time of all its processes that live."""
        return sum(cpu_seconds(pid) for pid in self.process._family())


def _copy(source: Engine, target: Connection) -> None:
    with source.connect() as connection:
        for name in ("settings", "accounts", "devices", "mailboxes"):
            table = metadata.tables[name]
            target.execute(delete(table))
            rows = [dict(row) for row in connection.execute(select(table)).mappings()]
            if rows:
                target.execute(insert(table), rows)


@asynccontextmanager
async def cluster_with(database: Path) -> AsyncIterator[Cluster]:
    """A cluster whose template knows what a SQLite database does."""
    async with postgres_server(**SETTINGS) as process:
        cluster = Cluster(process)
        await cluster.take_over(database)
        yield cluster
