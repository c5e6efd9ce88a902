"""Accounts with one device each, put straight into the database before the server runs.

Enrolment over HTTP is not what is measured, and a hundred thousand of them would take an hour.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from nacl.signing import SigningKey

from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.ids import AccountAddress, DeviceId, new_address
from miss_server.storage.sql import accounts, devices
from miss_server.storage.sqlite.engine import driver, open_engine, writing
from miss_server.storage.sqlite.store import prepare
from tests.bench.machine import now_ms
from tests.support.server import DOMAIN


@dataclass(frozen=True, slots=True)
class Peer:
    """An account and its only device. `key` is None for one that never logs in."""

    account: AccountAddress
    device: DeviceId
    key: SigningKey | None = None

    @property
    def signing_key(self) -> SigningKey:
        """The device's key."""
        assert self.key is not None
        return self.key


def populate(database: Path, count: int, *, keys: bool = True) -> list[Peer]:
    """Add `count` accounts to the database, which is made if there is none."""
    prepare(database, domain=DOMAIN, now_ms=now_ms())
    peers = [_peer(SigningKey.generate if keys else None) for _ in range(count)]
    at = now_ms()
    engine = open_engine(database)
    with engine.connect() as connection, writing(connection):
        for number, peer in enumerate(peers):
            accounts.create(connection, None, f"Bench {number}", peer.account, at)
            public = bytes(peer.key.verify_key) if peer.key else bytes(32)
            listed = DeviceCertificate(peer.account, peer.device, public, bytes(32), at, b"")
            devices.add(connection, listed, "bench", at)
        driver(connection).executemany(
            "UPDATE accounts SET genesis = ?, roster_version = 1 WHERE address = ?",
            [(os.urandom(32), peer.account) for peer in peers],
        )
    engine.dispose()
    return peers


def acquaint(database: Path, pairs: Iterable[tuple[Peer, Peer]]) -> None:
    """Let the two of each pair have written to each other before, as most who write have: nothing
    is unanswered between them, and no budget is spent (spec 08)."""
    known = {pair for one, other in pairs for pair in _both_ways(one.account, other.account)}
    at = now_ms()
    engine = open_engine(database)
    with engine.connect() as connection, writing(connection):
        driver(connection).executemany(
            "INSERT OR IGNORE INTO relations (owner, peer, first_ms, accepted_ms) VALUES (?, ?, ?, ?)",
            [(owner, peer, at, at) for owner, peer in sorted(known)],
        )
    engine.dispose()


def _both_ways(one: str, other: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return (one, other), (other, one)


def _peer(generate: Callable[[], SigningKey] | None) -> Peer:
    return Peer(
        new_address(os.urandom(16), DOMAIN),
        DeviceId(os.urandom(16)),
        generate() if generate is not None else None,
    )
