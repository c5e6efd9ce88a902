"""Accounts of people in a directory, with a device each: whom a search lists first."""

import random
import secrets
import sqlite3
from contextlib import closing
from typing import NamedTuple

import asyncpg

from tests.bench.machine import now_ms
from tests.support.devices import DOMAIN
from tests.support.server import ServerProcess

DORMANT = 0.3
"""Of the accounts, those that nobody has used for long."""


class _Row(NamedTuple):
    address: str
    person: str
    device: bytes
    seen_ms: int


async def enrol(server: ServerProcess, count: int) -> None:
    """Give accounts to so many people of the directory in force, the same ones on every engine."""
    if server.dsn:
        connection = await asyncpg.connect(server.dsn)
        slot = await connection.fetchval("SELECT generation % 2 FROM directory_state")
        persons = await connection.fetch(f"SELECT person FROM directory_entries_{slot}")  # noqa: S608
        rows = _rows([person for (person,) in persons], count)
        await connection.executemany(
            "INSERT INTO accounts (address, person, name, genesis, created_ms)"
            " VALUES ($1, $2, '', '\\x00', 1)",
            [(row.address, row.person) for row in rows],
        )
        await connection.executemany(
            "INSERT INTO devices (id, account, signing_key, created_ms, seen_ms, epoch)"
            " VALUES ($1, $2, '\\x00', 1, $3, '\\x00')",
            [(row.device, row.address, row.seen_ms) for row in rows],
        )
        await connection.execute("ANALYZE accounts, devices")
        await connection.close()
        return
    with closing(sqlite3.connect(server.database)) as db, db:
        (slot,) = db.execute("SELECT generation % 2 FROM directory_state").fetchone()
        persons = db.execute(f"SELECT person FROM directory_entries_{slot}").fetchall()  # noqa: S608
        rows = _rows([person for (person,) in persons], count)
        db.executemany(
            "INSERT INTO accounts (address, person, name, genesis, created_ms)"
            " VALUES (?, ?, '', x'00', 1)",
            [(row.address, row.person) for row in rows],
        )
        db.executemany(
            "INSERT INTO devices (id, account, signing_key, created_ms, seen_ms, epoch)"
            " VALUES (?, ?, x'00', 1, ?, x'00')",
            [(row.device, row.address, row.seen_ms) for row in rows],
        )


def _rows(persons: list[str], count: int) -> list[_Row]:
    chosen = random.Random(1)
    people = sorted(person for person in persons if person.startswith(("8", "0")))
    return [
        _Row(
            f"{secrets.token_hex(8)}@{DOMAIN}",
            person,
            secrets.token_bytes(16),
            1 if chosen.random() < DORMANT else now_ms(),
        )
        for person in chosen.sample(people, min(count, len(people)))
    ]
