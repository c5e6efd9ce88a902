"""The fictive people of the simulation, the same in every run, and a database that knows them.

Keys and ids come from fixed seeds, so that a recorded run can be replayed. Each account has one
enrolled device and some that its roster may list later.
"""

import functools
import os
import random
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from nacl.public import PrivateKey
from nacl.signing import SigningKey
from sqlalchemy import Connection

from miss_protocol.identity import charter
from miss_protocol.identity import roster as rosters
from miss_protocol.identity.certificate import DeviceCertificate, issue
from miss_protocol.identity.roster import Roster, RosterEntry
from miss_protocol.ids import AccountAddress, DeviceId, new_address
from miss_server.storage.accounts import Enrolment
from miss_server.storage.sql import accounts
from miss_server.storage.sqlite.engine import open_engine, writing
from miss_server.storage.sqlite.store import prepare

DOMAIN = "messagerie.example"
NOW = 1_790_000_000_000
"""When every simulated world begins, by everybody's clock."""
ACCOUNTS = 3
DEVICES = (2, 3, 1)
"""How many devices each account may come to have."""


@dataclass(frozen=True)
class Member:
    """A device that exists, whether or not a roster lists it yet."""

    account: AccountAddress
    key: SigningKey
    certificate: DeviceCertificate

    @property
    def id(self) -> DeviceId:
        """The device's id."""
        return self.certificate.device

    @property
    def entry(self) -> RosterEntry:
        """As a roster lists it."""
        return RosterEntry(self.certificate, "appareil", approve=True)


@dataclass(frozen=True)
class Cast:
    """Everybody: members by account, the first rosters, and the database with them in it."""

    members: tuple[tuple[Member, ...], ...]
    rosters: tuple[Roster, ...]
    database: bytes

    def member(self, device: bytes) -> Member:
        """A device by its id."""
        return next(m for some in self.members for m in some if m.id == device)


def folder() -> str | None:
    """Where databases are put: in memory if the system has such a place."""
    shared = Path("/dev/shm")  # noqa: S108  # a directory of our own is made in it
    return str(shared) if shared.is_dir() and os.access(shared, os.W_OK) else None


@functools.cache
def cast() -> Cast:
    """Make everybody and their database; once in a process."""
    draw = random.Random(20_260_101)
    members: list[tuple[Member, ...]] = []
    founded: list[Roster] = []
    for number in range(ACCOUNTS):
        address = new_address(draw.randbytes(16), DOMAIN)
        some = tuple(_member(draw, address) for _ in range(DEVICES[number]))
        members.append(some)
        account_key = SigningKey(draw.randbytes(32))
        founded.append(rosters.found(account_key, address, some[0].entry, now_ms=NOW))
    with tempfile.TemporaryDirectory(dir=folder()) as made:
        path = Path(made) / "miss.sqlite"
        prepare(path, domain=DOMAIN, now_ms=NOW)
        engine = open_engine(path)
        with engine.connect() as connection, writing(connection):
            for some, roster in zip(members, founded, strict=True):
                _enrol(connection, some[0], roster)
        engine.dispose()
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = DELETE")
        return Cast(tuple(members), tuple(founded), path.read_bytes())


def _member(draw: random.Random, address: AccountAddress) -> Member:
    key = SigningKey(draw.randbytes(32))
    olm = bytes(PrivateKey(draw.randbytes(32)).public_key)
    return Member(address, key, issue(key, address, DeviceId(draw.randbytes(16)), olm, NOW))


def _enrol(connection: Connection, first: Member, roster: Roster) -> None:
    accounts.create(connection, None, "Dr Fictif", first.account, NOW)
    code = first.id.hex()
    accounts.add_code(connection, first.account, code, NOW + 1000, NOW)
    accepted = charter.accept(
        first.key, first.certificate, version="1", text_hash=bytes(32), at_ms=NOW
    )
    accounts.enrol(connection, Enrolment(code, roster, [], accepted, "simulation"), NOW)
