"""Every engine behind the storage interface; each test of this folder runs on all of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.sqlite.store import SqliteStore, prepare
from tests.support.devices import DOMAIN, NOW
from tests.support.postgres import PostgresProcess
from tests.support.stores import prepared

ENGINES = ("sqlite", "postgres")


@pytest.fixture(params=ENGINES)
async def store(
    request: pytest.FixtureRequest, postgres: PostgresProcess, tmp_path: Path
) -> AsyncIterator[SqliteStore | PostgresStore]:
    """An empty, open store."""
    opened: SqliteStore | PostgresStore
    if request.param == "sqlite":
        path = tmp_path / "miss.sqlite"
        prepare(path, domain=DOMAIN, now_ms=NOW)
        opened = SqliteStore(path)
    else:
        opened = PostgresStore(await prepared(postgres))
    opened.open()
    yield opened
    await opened.close()
