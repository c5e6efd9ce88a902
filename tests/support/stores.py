"""Stores for tests: each on a database of its own, with our tables in it and nobody else's rows."""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.preparing import prepare
from miss_server.storage.sqlite import store as sqlite
from tests.support import emptying
from tests.support.devices import DOMAIN, NOW
from tests.support.postgres import PostgresProcess

_templates: dict[str, str] = {}


def new_file(path: Path) -> None:
    """A new SQLite database as a first start leaves it; copied, because making the tables takes longer."""
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(_first_start())


@cache
def _first_start() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "miss.sqlite"
        sqlite.prepare(path, domain=DOMAIN, now_ms=NOW)
        return path.read_bytes()


async def prepared(cluster: PostgresProcess) -> Options:
    """A new database as a first start leaves it; copied, because making the tables takes longer."""
    where = str(cluster.folder)
    if where not in _templates:
        template = await cluster.new_database()
        await prepare(Options(cluster.dsn(template)), domain=DOMAIN, now_ms=NOW)
        _templates[where] = template
    return Options(cluster.dsn(await cluster.new_database(_templates[where])))


@asynccontextmanager
async def lent(cluster: PostgresProcess) -> AsyncIterator[Options]:
    """A database like a `prepared` one until the block ends, in which nothing but rows is changed."""
    async with emptying.lent(cluster, _copied) as name:
        yield Options(cluster.dsn(name))


async def _copied(cluster: PostgresProcess) -> str:
    return (await prepared(cluster)).dsn.rpartition("/")[2]
