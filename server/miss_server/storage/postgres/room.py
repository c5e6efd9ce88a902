"""How many connections PostgreSQL leaves to our role: the least of what three limits allow."""

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from miss_server.words import Both

_LIMITS = """\
WITH me AS (SELECT oid, rolconnlimit, rolsuper FROM pg_roles WHERE rolname = session_user),
clients AS (SELECT usesysid, datid FROM pg_stat_activity
            WHERE coalesce(backend_type, 'client backend') = 'client backend')
SELECT 'server' AS of, current_setting('max_connections')::int
    - current_setting('superuser_reserved_connections')::int
    - CASE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_use_reserved_connections'
                        AND pg_has_role(session_user, oid, 'USAGE')) THEN 0
      ELSE coalesce(current_setting('reserved_connections', true)::int, 0) END AS most,
    (SELECT count(*) FROM clients WHERE usesysid IS NOT NULL) AS used
UNION ALL SELECT 'role', rolconnlimit, (SELECT count(*) FROM clients WHERE usesysid = me.oid)
    FROM me WHERE rolconnlimit >= 0 AND NOT rolsuper
UNION ALL SELECT 'database', datconnlimit, (SELECT count(*) FROM clients WHERE datid = d.oid)
    FROM me, pg_database d
    WHERE datname = current_database() AND datconnlimit >= 0 AND NOT rolsuper"""
"""A superuser is held by the server's limit alone; `reserved_connections` came with PostgreSQL 16."""

_RAISE = {
    "server": Both(
        "raise max_connections in postgresql.conf",
        "augmentez max_connections dans postgresql.conf",
    ),
    "role": Both(
        "raise the role's limit: ALTER ROLE ... CONNECTION LIMIT ...",
        "augmentez la limite du rôle : ALTER ROLE ... CONNECTION LIMIT ...",
    ),
    "database": Both(
        "raise the database's limit: ALTER DATABASE ... CONNECTION LIMIT ...",
        "augmentez la limite de la base : ALTER DATABASE ... CONNECTION LIMIT ...",
    ),
}


class Limit(NamedTuple):
    """`most` connections of a server, a role or a database, of which `used` are taken."""

    of: str
    most: int
    used: int

    @property
    def left(self) -> int:
        """How many more there may be."""
        return self.most - self.used

    @property
    def do(self) -> Both:
        """What to change, as the end of a sentence."""
        return _RAISE[self.of]


async def limits(connection: "asyncpg.Connection[asyncpg.Record]") -> Sequence[Limit]:
    """All that hold for the role of a connection. Raises what the driver raises."""
    return [Limit(*row) for row in await connection.fetch(_LIMITS)]
