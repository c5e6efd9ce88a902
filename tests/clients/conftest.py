"""People with devices, against a real server process over real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from miss_client import Client, Store, new_device
from miss_client.events import Event
from miss_client.transport import Timing
from miss_server.importers.generate import DEMO_PEOPLE
from tests.support.server import DOMAIN, ServerProcess, miss_server, run_command

QUICK = Timing(backoff_min=0.05, backoff_max=0.2)


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a small fictive directory, copied for each test that needs one."""
    folder = tmp_path_factory.mktemp("directory")
    database, people = folder / "miss.sqlite", str(folder / "people.txt")
    words = ("directory", "generate", people, "--people", "40", "--seed", "7")
    run_command("miss_server", *words).check_returncode()
    miss_server("directory", "import", people, "--domain", DOMAIN, database=database)
    return database


@dataclass
class World:
    """A running server, and the clients and stores that a test made; all are closed at its end."""

    server: ServerProcess
    folder: Path
    clients: list[Client] = field(default_factory=list)
    stores: list[Store] = field(default_factory=list)

    def store(self, name: str) -> Store:
        self.stores.append(Store.create(self.folder / f"{name}.miss"))
        return self.stores[-1]

    def person(self, role: str) -> str:
        return DEMO_PEOPLE[role].national

    async def enrol(self, role: str, device: str = "phone", timing: Timing = QUICK) -> Client:
        """A person of the directory with a first device, not yet connected."""
        client = await new_device.enrol(
            self.server.url,
            self.server.code_for(self.person(role)),
            self.store(f"{role}-{device}"),
            device_name=device,
            accept_charter=True,
            timing=timing,
        )
        self.clients.append(client)
        return client

    async def second(self, first: Client, device: str = "tablet", timing: Timing = QUICK) -> Client:
        """A further device of the same person, approved by the first."""
        invitation = await first.invite_device()
        joining = await new_device.join_account(
            self.server.url,
            invitation.code,
            self.store(f"{first.account[:8]}-{device}"),
            device_name=device,
            timing=timing,
        )
        await first.approve_device(joining.approval_code)
        client = await joining.approved()
        self.clients.append(client)
        return client

    def reopen(self, client: Client, timing: Timing = QUICK) -> Client:
        """The same device after its process ended."""
        return self.reopen_path(client.vault.store.path, timing)

    def reopen_path(self, path: Path, timing: Timing = QUICK) -> Client:
        """The device of a store, as a new process would open it."""
        self.stores.append(Store.open(path))
        again = Client.open(self.stores[-1], timing=timing)
        self.clients.append(again)
        return again

    async def close(self) -> None:
        """Also the stores of which no client came: their enrolment was refused, or they are over."""
        for client in self.clients:
            await client.close()
        for store in self.stores:
            store.close()


@asynccontextmanager
async def _world(directory: Path, folder: Path, *, budgets: bool) -> AsyncIterator[World]:
    database = folder / "miss.sqlite"
    database.write_bytes(directory.read_bytes())
    server = ServerProcess(database, folder / "server.log", domain=DOMAIN, budgets=budgets)
    await server.start()
    made = World(server, folder)
    try:
        yield made
    finally:
        await made.close()
        await server.kill()


@pytest.fixture
async def world(directory: Path, tmp_path: Path) -> AsyncIterator[World]:
    async with _world(directory, tmp_path, budgets=False) as made:
        yield made


@pytest.fixture
async def strangers(directory: Path, tmp_path: Path) -> AsyncIterator[World]:
    """As `world`, with the limits of people who have not met."""
    async with _world(directory, tmp_path, budgets=True) as made:
        yield made


E = TypeVar("E")


async def until(events: AsyncIterator[Event], kind: type[E]) -> E:
    """The next event of a kind."""
    async for event in events:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"the events ended without {kind}")
