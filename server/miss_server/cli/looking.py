"""What the commands that only look share: a database that is there, opened for reading."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import TypeVar
from urllib.parse import quote

from sqlalchemy.exc import SQLAlchemyError

from miss_server.cli.common import fail, must_exist
from miss_server.config import Settings
from miss_server.dsn import Dsn
from miss_server.storage.messages import NotDurable
from miss_server.storage.overview import Overview
from miss_server.storage.sqlite.overview import SqliteOverview
from miss_server.storage.sqlite.store import DatabaseError, check_ours
from miss_server.words import tr

T = TypeVar("T")


def with_overview(chosen: Settings, work: Callable[[Overview], Awaitable[T]]) -> T:
    """Run `work` over an existing database; nothing of it is changed."""
    if isinstance(chosen.database, Dsn):
        return _on_postgres(chosen, work)
    must_exist(chosen.file)
    try:
        name = f"file:{quote(str(chosen.file))}?mode=ro"
        with closing(sqlite3.connect(name, uri=True)) as db:
            check_ours(chosen.file, db, chosen.domain)

        async def run() -> T:
            return await work(SqliteOverview(chosen.file))

        return asyncio.run(run())
    except DatabaseError as error:
        fail(str(error))
    except (sqlite3.Error, SQLAlchemyError, OSError) as error:
        fail(f"{chosen.file}: {getattr(error, 'orig', error)}")


def _on_postgres(chosen: Settings, work: Callable[[Overview], Awaitable[T]]) -> T:
    async def run() -> T:
        from miss_server.shared_stores import options_of
        from miss_server.storage.postgres.overview import PostgresOverview

        return await work(PostgresOverview(options_of(chosen)))

    try:
        return asyncio.run(run())
    except (NotDurable, SQLAlchemyError, OSError) as error:
        fail(
            f"PostgreSQL: {getattr(error, 'orig', error)}",
            hint=tr(
                "See miss-server doctor; an empty database gets its tables at the first start.",
                "Voir miss-server doctor ; une base vide reçoit ses tables au premier démarrage.",
            ),
        )
