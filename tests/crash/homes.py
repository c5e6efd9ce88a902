"""Two people with the reference client, whose processes can be told to die."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from miss_client import Client, Store, new_device
from miss_client.vault import Vault
from tests.clients.conftest import QUICK
from tests.support.forks import CLIENT, ForkedServer, Forks
from tests.support.wire import new_account

TEXTS = ("un", "deux")
NAMES = ("gp", "nurse")


async def make_homes(folder: Path, forks: Forks) -> Path:
    """Enrol both; the GP's texts are then on the server. Returns the folder for `move_in`."""
    folder.mkdir()
    homes = Homes(folder, forks)
    await homes.server.start()
    for name in NAMES:
        _, code = await new_account(homes.server)
        client = await new_device.enrol(
            homes.server.url,
            code,
            Store.create(homes.store(name)),
            device_name=name,
            accept_charter=True,
            timing=QUICK,
        )
        await client.close()
    # First what `send` starts from, then what `receive` does.
    assert await homes.server.stop() == 0
    shutil.copytree(folder, folder.with_name("before"))
    await homes.server.start()
    gp, nurse = homes.open("gp"), homes.open("nurse")
    async with gp:
        for text in TEXTS:
            await gp.wait_for_state(await gp.send([nurse.account], text), "sent")
    await nurse.close()
    assert await homes.server.stop() == 0
    return folder


async def move_in(made: Path, folder: Path, forks: Forks, program: str, fault: str = "") -> "Homes":
    """A copy of what `make_homes` made, as a program starts from it, with a server."""
    shutil.copytree(made.with_name("before") if program == "send" else made, folder)
    homes = Homes(folder, forks, fault)
    await homes.server.start()
    homes.move()
    return homes


@dataclass
class Homes:
    """A folder with the server's database and both stores."""

    folder: Path
    forks: Forks
    fault: str = ""
    """A fault of `tests.mutation.played_faults` in every process that is started."""
    clients: list[Client] = field(default_factory=list)
    server: ForkedServer = field(init=False)

    def __post_init__(self) -> None:
        self.server = ForkedServer(
            self.folder / "miss.sqlite", self.folder / "server.log", forks=self.forks
        )
        self.server.crashing = self._faulty()

    def _faulty(self) -> tuple[str, ...]:
        return ("--fault", self.fault) if self.fault else ()

    def store(self, name: str) -> Path:
        """Where a person's device is."""
        return self.folder / f"{name}.miss"

    @property
    def note(self) -> Path:
        """What a dying sender was told."""
        return self.folder / "note"

    def move(self) -> None:
        """The server is at another address than when the stores were made."""
        for name in NAMES:
            vault = Vault(Store.open(self.store(name)))
            info = vault.info
            info.server = self.server.url
            with vault.store.transaction():
                vault.put_info(info)
            vault.store.close()

    def open(self, name: str) -> Client:
        """A person's device, in this process."""
        client = Client.open(Store.open(self.store(name)), timing=QUICK)
        self.clients.append(client)
        return client

    async def run(self, program: str, *crashing: str) -> int:
        """Run a client's process to its end; returns its status."""
        if program == "receive":
            return await self._run("receive", self.store("nurse"), len(TEXTS), options=crashing)
        nurse = self.open("nurse")
        async with nurse:
            words = ("send", self.store("gp"), nurse.account, TEXTS[0], self.note)
            return await self._run(*words, options=crashing)

    async def _run(self, *words: object, options: Sequence[str]) -> int:
        options = [*options, *self._faulty(), "--", *map(str, words)]
        return await self.forks.begin(options, self.folder / "client.log", module=CLIENT).wait()

    async def close(self) -> None:
        """Close every client and end the server."""
        for client in self.clients:
            await client.close()
        if self.server.process is not None:
            await self.server.kill()
