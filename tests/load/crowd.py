"""The people of a run: half of them online and talking, the others away until the fault is over."""

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from miss_protocol.ids import new_address
from miss_server.storage.sqlite.store import SqliteStore, prepare
from tests.load.history import History
from tests.load.phone import Manners, Phone
from tests.support.devices import Person
from tests.support.mailing import Store, enrol
from tests.support.meeting import LIFTED
from tests.support.server import DOMAIN
from tests.support.wire import Device, Server, now_ms


async def enrol_people(database: Path, count: int, chance: random.Random) -> list[Person]:
    """People with a device each, in a new database that no server runs on yet."""
    prepare(database, domain=DOMAIN, now_ms=now_ms())
    store = SqliteStore(database, LIFTED)
    store.open()
    try:
        return await people_of(cast(Store, store), count, chance)
    finally:
        await store.close()


async def people_of(store: Store, count: int, chance: random.Random) -> list[Person]:
    """The same, through an open store."""
    people = [Person(new_address(chance.randbytes(16), DOMAIN)) for _ in range(count)]
    now = now_ms()
    await asyncio.gather(*(enrol(store, person, now_ms=now) for person in people))
    return people


class Crowd:
    """Phones and who writes to whom, by one seed.

    Args:
        url: asked at each connection: what a phone connects to.
        away: how many of them are away until the fault is over.
    """

    def __init__(
        self,
        server: Server,
        people: Sequence[Person],
        seed: int,
        url: Callable[[], str],
        manners: Manners,
        *,
        away: int,
    ) -> None:
        self.history = History()
        self.chance = random.Random(seed)
        self.phones = [
            Phone(
                number,
                Device(server, person),
                self.history,
                url,
                seed * 10_007 + number,
                manners,
            )
            for number, person in enumerate(people)
        ]
        online = len(people) - away
        self.online, self.away = self.phones[:online], self.phones[online:]
        for phone in self.away:
            phone.timed = False
        self.hushed = False
        """Nobody writes anything new."""
        self._tasks: list[asyncio.Task[None]] = []

    def connect(self, phones: Sequence[Phone]) -> None:
        """Let phones connect, and connect again, until `leave`."""
        self._tasks += [asyncio.create_task(phone.run()) for phone in phones]

    async def connected(self, phones: Sequence[Phone], seconds: float = 120.0) -> None:
        """Wait until all of them are logged in at once."""
        if not await self.history.until(lambda: all(p.welcomed for p in phones), seconds):
            missing = sum(1 for phone in phones if not phone.welcomed)
            raise TimeoutError(f"{missing} of {len(phones)} devices did not connect")

    async def talk(self, rate: float, seconds: float) -> None:
        """Write `rate` messages a second for `seconds`, at moments that no answer delays.

        Half of them go to who is away.
        """
        loop = asyncio.get_running_loop()
        due, end = loop.time(), loop.time() + seconds
        while (due := due + self.chance.expovariate(rate)) < end:
            await asyncio.sleep(due - loop.time())
            if not self.hushed:
                self.exchange(due)

    def exchange(self, due: float) -> None:
        """One message, from somebody who is online."""
        sender = self.chance.choice(self.online)
        others = self.away if self.away and self.chance.random() < 0.5 else self.online
        recipient = self.chance.choice([phone for phone in others if phone is not sender])
        sender.write(recipient, due)

    async def leave(self) -> None:
        """End every connection; raises what went wrong in a phone."""
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for result in results:
            if isinstance(result, Exception):
                raise result
