"""Makes the tables of an empty PostgreSQL database, and checks that this server may use one."""

import os

import asyncpg
from sqlalchemy import Connection, func, insert, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from miss_server.storage import directory_tables, epoch_ids
from miss_server.storage.database import DatabaseError
from miss_server.storage.messages import NotDurable
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.quiet import Quiet
from miss_server.storage.postgres.trouble import describe
from miss_server.storage.schema import SCHEMA_VERSION, metadata, settings

_LOCK = 0x4D69_5353_00FF
"""Two nodes may begin at once on an empty database."""


async def prepare(options: Options, *, domain: str, now_ms: int) -> None:
    """Create the tables if there are none, and check that this server may use the database.

    Raises:
        DatabaseError: it cannot be reached or lets nobody in, a newer schema, another domain, not
            one of our databases, or one that may lose what it said it stored.
    """
    quiet = Quiet(options)
    try:
        await quiet.write(lambda connection: _prepare(connection, domain, now_ms))
    except NotDurable as error:
        raise DatabaseError(f"PostgreSQL: {error}") from error
    except (SQLAlchemyError, asyncpg.PostgresError, OSError, ValueError) as error:
        raise DatabaseError(f"PostgreSQL: {describe(error)}") from error
    finally:
        await quiet.close()


def _prepare(connection: Connection, domain: str, now_ms: int) -> None:
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    tables = set(inspect(connection).get_table_names())
    if not tables:
        metadata.create_all(connection)
        metadata.create_all(connection, tables=directory_tables.tables)
        pepper = os.urandom(32)
        values = {
            "schema": str(SCHEMA_VERSION).encode(),
            "domain": domain.encode(),
            "epoch": epoch_ids.make(pepper, epoch_ids.FIRST),
            "epoch_ms": now_ms.to_bytes(8, "big"),
            "pepper": pepper,
        }
        connection.execute(
            insert(settings), [{"name": name, "value": value} for name, value in values.items()]
        )
        return
    stored: dict[str, bytes] = {}
    if "settings" in tables:
        stored = dict(connection.execute(select(settings.c.name, settings.c.value)).all())
    try:
        schema, owner = int(stored["schema"]), stored["domain"].decode()
    except (KeyError, ValueError):
        raise DatabaseError("this PostgreSQL database is another program's") from None
    if schema > SCHEMA_VERSION:
        raise DatabaseError("the database was written by a newer version: upgrade miss-server")
    if owner != domain:
        raise DatabaseError(f"the database belongs to the domain {owner}, not to {domain}")
