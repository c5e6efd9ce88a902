"""The process that forks servers, and the people of the plays; once for each worker."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.crash.homes import Homes, make_homes, move_in
from tests.crash.stage import Base, Stage, make_base
from tests.support.forks import Forks


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """The forking process."""
    made = Forks()
    yield made
    made.close()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def base(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Base:
    """The people, enrolled."""
    return await make_base(tmp_path_factory.mktemp("base"), forks)


@pytest.fixture
async def stage(base: Base, forks: Forks, tmp_path: Path) -> AsyncIterator[Stage]:
    """A copy of the base for one test."""
    made = Stage.of(base, tmp_path, forks)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def lived_in(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Path:
    """The homes of two people with the reference client, to be copied."""
    return await make_homes(tmp_path_factory.mktemp("homes") / "after", forks)


@pytest.fixture
async def homes(
    lived_in: Path, forks: Forks, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Homes]:
    """A copy of the homes for one test, with a server."""
    program = request.getfixturevalue("program") if "program" in request.fixturenames else ""
    made = await move_in(lived_in, tmp_path / "homes", forks, program)
    yield made
    await made.close()
