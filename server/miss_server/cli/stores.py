"""What the commands that change something share: a database that is there, opened."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from miss_protocol.errors import Refused
from miss_server import observe
from miss_server.cli.common import fail, must_exist
from miss_server.config import Settings
from miss_server.dsn import Dsn
from miss_server.relay.clock import SystemClock
from miss_server.storage.database import DatabaseError
from miss_server.storage.messages import NotDurable
from miss_server.storage.sqlite.store import SqliteStore, prepare
from miss_server.stores import Store
from miss_server.words import tr

T = TypeVar("T")


def with_store(chosen: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    """Run `work` over an existing database, beside running servers if there are any."""
    observe.configure(json=chosen.log_json)
    now_ms = SystemClock().now_ms()
    try:
        if isinstance(chosen.database, Dsn):
            return asyncio.run(_on_postgres(chosen, work, now_ms))
        must_exist(chosen.file)
        prepare(chosen.file, domain=chosen.domain, now_ms=now_ms)
        return asyncio.run(_over(SqliteStore(chosen.file), work))
    except (DatabaseError, OSError) as error:
        fail(str(error))
    except Refused as error:  # as what needs a schema that `db upgrade` has not made yet
        fail(str(error))
    except (NotDurable, sqlite3.Error, SQLAlchemyError) as error:
        fail(
            str(getattr(error, "orig", error)),
            hint=tr(
                "Perhaps another command is writing: try again.",
                "Une autre commande écrit peut-être : réessayez.",
            ),
        )


async def _on_postgres(chosen: Settings, work: Callable[[Store], Awaitable[T]], now_ms: int) -> T:
    from miss_server.shared_stores import options_of
    from miss_server.storage.postgres.preparing import prepare as prepare_postgres
    from miss_server.storage.postgres.preparing import schema_of
    from miss_server.storage.postgres.store import PostgresStore

    options = options_of(chosen)
    if await schema_of(options) is None:
        fail(
            tr(
                f"{chosen.database} has no tables yet",
                f"{chosen.database} n'a pas encore de tables",
            ),
            hint=tr(
                "Start a server on it, or import a directory first.",
                "Démarrez-y un serveur ou importez d'abord un annuaire.",
            ),
        )
    await prepare_postgres(options, domain=chosen.domain, now_ms=now_ms)
    return await _over(PostgresStore(options), work)


async def _over(store: Store, work: Callable[[Store], Awaitable[T]]) -> T:
    store.open()
    try:
        return await work(store)
    finally:
        await store.close()
