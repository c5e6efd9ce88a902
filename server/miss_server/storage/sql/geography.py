"""Reads and writes the table of communes: the same on every engine."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from hashlib import blake2b
from itertools import islice
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select

from miss_server.storage.directory_tables import communes as table
from miss_server.storage.geography import Commune, Geography, Position
from miss_server.storage.sql import settings

EDITION = "communes"
"""The setting with a digest of the table: it changes after the table did."""


class KeptGeography:
    """The geography of one database, read again when it changed; may be shared between threads."""

    def __init__(self) -> None:
        self._kept: tuple[bytes | None, Geography] = (None, Geography())

    def of(self, connection: Connection) -> Geography:
        """The geography in force, in the caller's transaction. The first call takes about 0.2 s."""
        edition = settings.get(connection, EDITION)
        before, kept = self._kept
        if edition != before:
            kept = Geography(read(connection))
            self._kept = edition, kept
        return kept


def read(connection: Connection) -> list[Commune]:
    """All communes, by code."""
    rows = connection.execute(select(table).order_by(table.c.code))
    return [
        Commune(
            code,
            name,
            None if latitude is None else Position(latitude, longitude),
            tuple(postcodes.split()),
        )
        for code, name, latitude, longitude, postcodes in rows
    ]


def write(
    connection: Connection,
    communes: Sequence[Commune],
    before: Sequence[Commune],
    *,
    part: Callable[[], AbstractContextManager[Any]],
    size: int,
) -> None:
    """Make `communes` the table, which has `before`: only differences are written, `size` rows in each
    transaction that `part` begins. A search amid it sees some communes of either edition."""
    old = set(before)
    wanted = set(communes)
    gone = iter(sorted(one.code for one in old - wanted))
    while codes := list(islice(gone, size)):
        with part():
            connection.execute(delete(table).where(table.c.code.in_(codes)))
    new = iter(sorted(wanted - old))
    while some := list(islice(new, size)):
        with part():
            connection.execute(insert(table), [_row(one) for one in some])
    edition = blake2b(msgspec.json.encode(sorted(wanted)), digest_size=16).digest()
    with part():
        if settings.get(connection, EDITION) != edition:
            settings.put(connection, EDITION, edition)


def _row(one: Commune) -> dict[str, Any]:
    latitude, longitude = one.position or (None, None)
    return {
        "code": one.code,
        "name": one.name,
        "latitude": latitude,
        "longitude": longitude,
        "postcodes": " ".join(one.postcodes),
    }
