"""A directory put in force by hand, for tests of what follows from who is in it."""

from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, delete, insert, update

from miss_protocol.directory import Entry
from miss_server.storage.directory import ImportedFile, name_key, sort_key
from miss_server.storage.directory_tables import entries, persons, sources, state
from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.sql import leavers, settings
from miss_server.storage.sql.directory import FRESHNESS, Fresh, generation
from miss_server.storage.sqlite.store import SqliteStore
from tests.support.devices import NOW

Store = SqliteStore | PostgresStore


def source(name: str, *, date_ms: int = NOW, since_ms: int | None = None) -> ImportedFile:
    """A file that a directory was made from, of that date."""
    return ImportedFile(name, f"{name}.txt", date_ms, NOW, 1, b"", since_ms or date_ms)


async def put_in_force(
    store: Store,
    people: Iterable[Entry],
    files: Iterable[ImportedFile] = (),
    *,
    at_ms: int = NOW,
) -> None:
    """Make these entries the directory, as an import does at its end."""
    listed = sorted(people, key=lambda one: sort_key(one.name, one.given, one.person))
    made_from = list(files) or [source("RPPS")]

    def work(connection: Connection) -> None:
        now = generation(connection) + 1
        slot, placed = entries[now % 2], persons[now % 2]
        connection.execute(delete(slot))
        rows = [
            {
                "id": number * 1000,
                "person": one.person,
                "name_key": name_key(one.name),
                "digest": bytes(16),
                "entry": msgspec.json.encode(one),
            }
            for number, one in enumerate(listed, 1)
        ]
        if rows:
            connection.execute(insert(slot), rows)
        if connection.dialect.name == "sqlite":  # elsewhere it is a view
            connection.execute(delete(placed))
            if rows:
                connection.execute(
                    insert(placed),
                    [{name: row[name] for name in ("person", "id", "digest")} for row in rows],
                )
        leavers.note(connection, (now - 1) % 2, at_ms)
        connection.execute(update(state).values(generation=now))
        connection.execute(delete(sources))
        connection.execute(
            insert(sources),
            [
                {
                    "id": number,
                    "name": file.name,
                    "file": file.file,
                    "date_ms": file.date_ms,
                    "imported_ms": file.imported_ms,
                    "activities": file.activities,
                }
                for number, file in enumerate(made_from)
            ],
        )
        fresh = [Fresh(f.name, f.file, f.digest, f.since_ms, f.kind) for f in made_from]
        settings.put(connection, FRESHNESS, msgspec.json.encode(fresh))

    await store._write(work)
