"""A server and an identity provider for all tests of a process that sign in."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.people import people_directory
from tests.support.provider import running_provider
from tests.support.server import DOMAIN, ServerProcess
from tests.support.signing_in import Place


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def standing_place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("identity")
    people = people_directory(folder)
    async with running_provider() as provider:
        server = ServerProcess(
            folder / "miss.sqlite",
            folder / "server.log",
            domain=DOMAIN,
            settings=provider.settings(
                MISS_TRUSTED_PROXIES="127.0.0.1", MISS_PROVIDER_RENEW_DAYS="365"
            ),
        )
        await server.start()
        yield Place(server, provider, people=people)
        assert await server.stop() == 0, server.log_text()
        assert "Traceback" not in server.log_text()


@pytest.fixture
async def place(standing_place: Place) -> Place:
    await standing_place.provider.control(reset=True)
    return standing_place
