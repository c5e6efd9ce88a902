"""Every engine behind the storage interface; each test of this folder runs on all of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from miss_server.storage.sqlite.store import SqliteStore, prepare
from tests.support.devices import DOMAIN, NOW


@pytest.fixture(params=["sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An empty, open store."""
    path = tmp_path / "miss.sqlite"
    prepare(path, domain=DOMAIN, now_ms=NOW)
    opened = SqliteStore(path)
    opened.open()
    yield opened
    await opened.close()
