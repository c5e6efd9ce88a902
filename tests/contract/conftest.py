"""Every engine behind the storage interface; each test of this folder runs on all of them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.settlement.meeting import FirstContacts
from miss_server.storage.sql.words import FEW
from miss_server.storage.sqlite.store import SqliteStore
from tests.support.directories import PostgresShelf, Shelf, SqliteShelf
from tests.support.meeting import LIFTED
from tests.support.postgres import PostgresProcess
from tests.support.searching import CARDIOLOGIST, NURSE, Bench
from tests.support.stores import lent, new_file

ENGINES = ("sqlite", "postgres")


@pytest.fixture(params=ENGINES)
async def store(
    request: pytest.FixtureRequest, postgres: PostgresProcess, tmp_path: Path
) -> AsyncIterator[SqliteStore | PostgresStore]:
    """An empty, open store."""
    opened: SqliteStore | PostgresStore
    # What other modules prove is not about people who have not met.
    first: FirstContacts = getattr(request.module, "FIRST_CONTACTS", LIFTED)
    async with AsyncExitStack() as stack:
        if request.param == "sqlite":
            path = tmp_path / "miss.sqlite"
            new_file(path)
            opened = SqliteStore(path, first)
        else:
            options = await stack.enter_async_context(lent(postgres))
            opened = PostgresStore(options, first_contacts=first)
        opened.open()
        stack.push_async_callback(opened.close)
        yield opened


@pytest.fixture(scope="module")
def postgres_shelf(postgres: PostgresProcess) -> Iterator[PostgresShelf]:
    """A database for all tests of a file, since making one takes long; `cleared` for each."""
    shelf = PostgresShelf(postgres)
    yield shelf
    shelf.close()


@pytest.fixture(scope="module")
def postgres_shelf_of_many(postgres: PostgresProcess) -> Iterator[PostgresShelf]:
    """The same, for searches as of thousands of matches."""
    shelf = PostgresShelf(postgres, few=0)
    yield shelf
    shelf.close()


# As of thousands of matches: gone through in order, by statements that ask for words and not for numbers.
@pytest.fixture(
    params=["sqlite, few matches", "sqlite, many matches", "postgresql", "postgresql, many matches"]
)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if "postgresql" in request.param:
        many = "_of_many" if "many" in request.param else ""
        postgres: PostgresShelf = request.getfixturevalue(f"postgres_shelf{many}")
        postgres.clear()
        yield Bench(postgres, tmp_path)
        return
    few = 0 if "many" in request.param else FEW
    sqlite = SqliteShelf(tmp_path / "miss.sqlite", few)
    yield Bench(sqlite, tmp_path)
    sqlite.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("directory")
    shelf: Shelf = SqliteShelf(folder / "miss.sqlite")
    if request.param == "postgresql":
        shelf = PostgresShelf(request.getfixturevalue("postgres"))
    bench = Bench(shelf, folder)
    bench.load(CARDIOLOGIST, NURSE)
    yield bench
    shelf.close()
