"""What every play begins with: a doctor with two devices, a GP, and a server that can be told to die."""

import copy
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from websockets.exceptions import WebSocketException

from tests.crash.party import Party
from tests.support.devices import Person
from tests.support.forks import ForkedServer, Forks
from tests.support.points import CRASHED
from tests.support.wire import enrolled, further

BROKEN = (WebSocketException, httpx2.TransportError, OSError, EOFError)
"""What a client sees of a server that is gone."""


@dataclass(frozen=True)
class Base:
    """A database with enrolled people, made once for all plays."""

    database: Path
    gp: Person
    doctor: Person


async def make_base(folder: Path, forks: Forks) -> Base:
    """Enrol the people on a server that does not die."""
    server = ForkedServer(folder / "miss.sqlite", folder / "server.log", forks=forks)
    await server.start()
    gp, phone = await enrolled(server), await enrolled(server)
    await further(phone, approve=True)
    assert await server.stop() == 0
    return Base(server.database, gp.person, phone.person)


@dataclass
class Stage:
    """A copy of the base, with a server and the devices of one play."""

    server: ForkedServer
    gp: Party
    phone: Party
    tablet: Party
    always: Sequence[str] = ()
    """Options of every start."""
    memory: dict[str, Any] = field(default_factory=dict)
    """What else a play's devices have saved."""

    @classmethod
    def of(cls, base: Base, folder: Path, forks: Forks) -> "Stage":
        """A fresh copy in `folder`."""
        database = folder / "miss.sqlite"
        for suffix in ("", ".witness"):
            shutil.copyfile(f"{base.database}{suffix}", f"{database}{suffix}")
        server = ForkedServer(database, folder / "server.log", forks=forks)
        gp, doctor = _copy(base.gp), _copy(base.doctor)
        return cls(server, Party(server, gp), Party(server, doctor), Party(server, doctor, 1))

    async def start(self, *crashing: str) -> bool:
        """Start the server; False if it ended at its point before it listened."""
        self.server.crashing = [*crashing, *self.always]
        try:
            await self.server.start()
        except RuntimeError:
            assert self.server.process is not None
            if self.server.process.returncode != CRASHED:
                raise
            return False
        return True

    async def close(self) -> None:
        """End the server if it runs."""
        if self.server.process is not None:
            await self.server.kill()

    def check_file(self) -> None:
        """The database is whole. No server may be running."""
        with closing(sqlite3.connect(self.server.database)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert not db.execute("PRAGMA foreign_key_check").fetchall()


class Play:
    """Something that people do. `act` is done again after a crash, by devices that remember."""

    clock_ahead: float = 0.0
    """Seconds by which the server's clock is ahead, for what happens by the clock."""

    room: int = 0
    """Rows that a mailbox takes, if fewer than in truth."""

    @property
    def options(self) -> Sequence[str]:
        """What every start of the server is told."""
        ahead = ("--ahead", str(self.clock_ahead)) if self.clock_ahead else ()
        return (*ahead, "--room", str(self.room)) if self.room else ahead

    async def prepare(self, stage: Stage) -> None:
        """What was before, on a server that is not to die."""

    async def act(self, stage: Stage) -> None:
        """Do it, or go on with it. May be cut off anywhere; raises one of `BROKEN` then."""
        raise NotImplementedError

    async def cut(self, stage: Stage, *crashing: str) -> int:
        """Do it with a server that has these options; returns the status with which that ends."""
        if not await stage.start(*crashing, *self.options):
            return CRASHED
        with suppress(*BROKEN):
            await self.act(stage)
        # Perhaps the point is in what the server does when everybody has gone.
        return await stage.server.stop()

    async def check(self, stage: Stage) -> None:
        """What was promised holds, on a server that has started again."""
        raise NotImplementedError


def _copy(person: Person) -> Person:
    """Roster and devices of its own; the keys are the same."""
    twin = copy.copy(person)
    twin.devices = list(person.devices)
    return twin
