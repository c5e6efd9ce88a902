"""Stores on PostgreSQL for tests: each on a database of its own, with our tables in it."""

from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.preparing import prepare
from tests.support.devices import DOMAIN, NOW
from tests.support.postgres import PostgresProcess

_templates: dict[str, str] = {}


async def prepared(cluster: PostgresProcess) -> Options:
    """A new database as a first start leaves it; copied, because making the tables takes longer."""
    where = str(cluster.folder)
    if where not in _templates:
        template = await cluster.new_database()
        await prepare(Options(cluster.dsn(template)), domain=DOMAIN, now_ms=NOW)
        _templates[where] = template
    return Options(cluster.dsn(await cluster.new_database(_templates[where])))
