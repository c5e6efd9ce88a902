"""`Overview` over a PostgreSQL database, beside everything else that goes on in it."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, func, select, text

from miss_server.storage.overview import Figures, Sizes, TableSize, Trace
from miss_server.storage.postgres import archive
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.quiet import Quiet
from miss_server.storage.sql import administrators, overview

_BYTES = select(func.pg_database_size(func.current_database()))
_ARCHIVE_FAILS = text(f"SELECT {archive.FAILS}")
_TABLES = text(
    "SELECT relname, pg_total_relation_size(oid) FROM pg_class"
    " WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace ORDER BY 2 DESC"
)


class PostgresOverview:
    """See `Overview`. Each call has a connection of its own, which is closed after it."""

    def __init__(self, options: Options) -> None:
        self._quiet = Quiet(options, keeps=False)

    async def figures(self, *, now_ms: int) -> Figures:
        def sum_up(connection: Connection) -> Figures:
            bytes_ = connection.execute(_BYTES).scalar_one()
            figures = overview.figures(connection, now_ms=now_ms, bytes_=bytes_)
            return replace(figures, archive_fails=connection.execute(_ARCHIVE_FAILS).scalar_one())

        return await self._quiet.read(sum_up)

    async def trace(self, message: bytes, *, now_ms: int) -> Sequence[Trace]:
        return await self._quiet.read(
            lambda connection: overview.trace(connection, message, now_ms=now_ms)
        )

    async def sizes(self, *, now_ms: int) -> Sizes:
        def measure(connection: Connection) -> Sizes:
            return Sizes(
                [
                    TableSize(name, _rows(connection, name), size)
                    for name, size in connection.execute(_TABLES).all()
                ],
                connection.execute(_BYTES).scalar_one(),
                0,  # PostgreSQL uses again what it frees, and tells only by reading every page
                0,  # and its log is the cluster's, not this database's
                *overview.growth(connection, now_ms=now_ms),
            )

        return await self._quiet.read(measure)

    async def without_administrator(self) -> Sequence[str]:
        return await self._quiet.read(administrators.unattended)


def _rows(connection: Connection, name: str) -> int:
    quoted = connection.dialect.identifier_preparer.quote(name)
    count: int = connection.execute(text(f"SELECT count(*) FROM {quoted}")).scalar_one()  # noqa: S608  # from the catalogue
    return count
