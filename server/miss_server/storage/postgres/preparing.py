"""Makes the tables of an empty PostgreSQL database, and checks that this server may use one."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import asyncpg
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError

from miss_server.storage import epoch_ids, migrating
from miss_server.storage.copying import COPYING
from miss_server.storage.database import ANOTHER, RIGHT_DOMAIN, DatabaseError
from miss_server.storage.messages import NotDurable
from miss_server.storage.postgres import presence, room
from miss_server.storage.postgres.directory_filling import create_directory
from miss_server.storage.postgres.pool import CONNECT_SECONDS, Options
from miss_server.storage.postgres.quiet import Quiet
from miss_server.storage.postgres.trouble import describe, forbidden
from miss_server.storage.schema import SCHEMA_VERSION
from miss_server.storage.sql import settings
from miss_server.words import Both

T = TypeVar("T")

_NOT_OURS = "this PostgreSQL database is another program's"
_TOO_NEW = "the database was written by a newer version: upgrade miss-server"
_RUNNING = Both(
    "Start it, or correct MISS_DATABASE (--database).",
    "Démarrez-le, ou corrigez MISS_DATABASE (--database).",
)
_ITS_LOG = Both(
    "Look at its log, and at MISS_DATABASE (--database).",
    "Voyez son journal, et MISS_DATABASE (--database).",
)
_OWNER = Both(
    "Make the role of MISS_DATABASE the database's owner: ALTER DATABASE ... OWNER TO ...",
    "Rendez le rôle de MISS_DATABASE propriétaire de la base : ALTER DATABASE ... OWNER TO ...",
)
_LOCK = 0x4D69_5353_00FF
"""Two nodes may begin at once on an empty database."""


async def prepare(options: Options, *, domain: str, now_ms: int, connections: int = 0) -> None:
    """Create the tables if there are none, and check that this server may use the database.

    Args:
        connections: how many this process may open.

    Raises:
        DatabaseError: it cannot be reached or lets nobody in, a newer schema, another domain, not
            one of our databases, or one that may lose what it said it stored.
    """
    await _reached(options, connections)
    await _run(options, lambda connection: _prepare(connection, domain, now_ms))


async def upgrade(options: Options, *, steps: Sequence[Path] = migrating.STEPS) -> int:
    """Take the steps that are missing, beside the nodes that run; returns how many.

    Raises:
        DatabaseError: see `prepare`.
    """

    def run(connection: Connection) -> int:
        _alone(connection)
        try:
            if migrating.version(connection) is None:
                return 0  # `prepare` makes the tables, and with them whose they are
            return migrating.upgrade(connection, steps=steps)
        except migrating.TooNewError:
            raise DatabaseError(_TOO_NEW) from None
        except ValueError:
            raise DatabaseError(_NOT_OURS, ANOTHER) from None

    await _reached(options)
    return await _run(options, run)


async def schema_of(options: Options) -> int | None:
    """The number of the database's schema; None if it has no tables yet.

    Raises:
        DatabaseError: it cannot be reached, or is another program's.
    """

    def run(connection: Connection) -> int | None:
        try:
            return migrating.version(connection)
        except ValueError:
            raise DatabaseError(_NOT_OURS, ANOTHER) from None

    await _reached(options)
    return await _run(options, run)


async def _run(options: Options, work: Callable[[Connection], T]) -> T:
    quiet = Quiet(options)
    try:
        return await quiet.write(work)
    except NotDurable as error:
        raise DatabaseError(f"PostgreSQL: {error}", _ITS_LOG) from error
    except (SQLAlchemyError, asyncpg.PostgresError, OSError, ValueError) as error:
        do = _OWNER if forbidden(error) else _ITS_LOG
        raise DatabaseError(f"PostgreSQL: {describe(error)}", do) from error
    finally:
        await quiet.close()


async def _reached(options: Options, connections: int = 0) -> None:
    """Say in one line why it cannot be reached, and what to change."""
    try:
        connection = await asyncpg.connect(options.dsn, timeout=CONNECT_SECONDS)
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        raise DatabaseError(
            f"PostgreSQL refuses: {error}; set MISS_DATABASE_PASSWORD or PGPASSFILE"
        ) from error
    except asyncpg.InvalidCatalogNameError as error:
        raise DatabaseError(f"PostgreSQL: {error}; make it with createdb --owner ROLE") from error
    except asyncpg.TooManyConnectionsError as error:
        raise DatabaseError(
            f"PostgreSQL: {error}; raise max_connections in postgresql.conf, or the limit of the role"
            " or the database (CONNECTION LIMIT)"
        ) from error
    except asyncpg.PostgresError as error:
        raise DatabaseError(f"PostgreSQL refuses: {describe(error)}", _ITS_LOG) from error
    except (OSError, TimeoutError) as error:
        why = str(error) or f"no answer within {CONNECT_SECONDS} seconds"
        raise DatabaseError(f"PostgreSQL cannot be reached: {why}", _RUNNING) from error
    except (ValueError, asyncpg.InterfaceError) as error:
        # What the driver says of an address may show it, password and all.
        raise DatabaseError(
            "the address of PostgreSQL is wrong: correct MISS_DATABASE (--database)"
        ) from error
    try:
        least = min(await room.limits(connection), key=lambda limit: limit.most)
    finally:
        await connection.close()
    if connections > least.most:
        raise DatabaseError(
            f"PostgreSQL allows {least.most} connections and this process, with its workers, may open"
            f" {connections}: lower MISS_DATABASE_CONNECTIONS, or {least.do.en}"
        )


def _alone(connection: Connection) -> None:
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def _prepare(connection: Connection, domain: str, now_ms: int) -> None:
    _alone(connection)
    try:
        version = migrating.version(connection)
    except ValueError:
        raise DatabaseError(_NOT_OURS, ANOTHER) from None
    if version is None:
        migrating.create(connection)
        pepper = os.urandom(32)
        for name, value in {
            "domain": domain.encode(),
            "epoch": epoch_ids.make(pepper, epoch_ids.FIRST),
            "epoch_ms": now_ms.to_bytes(8, "big"),
            "pepper": pepper,
        }.items():
            settings.put(connection, name, value)
    elif version > SCHEMA_VERSION:
        raise DatabaseError(_TOO_NEW)
    elif version < migrating.OLDEST_SERVED:
        raise DatabaseError("the database was written by an old version: miss-server db upgrade")
    if settings.get(connection, COPYING) is not None:
        raise DatabaseError(
            "a copy into this database is not complete: run miss-server db copy again"
        )
    owner = settings.get(connection, "domain") or b""
    if owner != domain.encode():
        shown = owner.decode(errors="replace")
        raise DatabaseError(
            f"the database belongs to the domain {shown}, not to {domain}", RIGHT_DOMAIN
        )
    create_directory(connection)
    presence.create(connection)
