"""A PostgreSQL database, as one node of several opens it."""

from pathlib import Path

from miss_server.config import Settings
from miss_server.storage.postgres.lives import Life
from miss_server.storage.postgres.overview import PostgresOverview
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.preparing import prepare as prepare_postgres
from miss_server.storage.postgres.quiet import SIZE as QUIET
from miss_server.storage.postgres.seat import Seat
from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.settlement.meeting import FirstContacts


def options_of(settings: Settings) -> Options:
    """How this process connects to PostgreSQL: the doorbell, the node's seat and whoever looks at
    everything have one connection each, the quiet part some, and the hot path what is left."""
    size = max(2, settings.database_connections - QUIET - 3)
    return Options(settings.postgres.secret, size=size)


async def prepare(settings: Settings, now_ms: int) -> Options:
    """Make the tables if there are none.

    Raises:
        DatabaseError: see `stores.serving`.
    """
    options = options_of(settings)
    await prepare_postgres(
        options,
        domain=settings.domain,
        now_ms=now_ms,
        connections=settings.workers * settings.database_connections,
    )
    return options


async def opened(
    settings: Settings, name: str, first_contacts: FirstContacts, now_ms: int
) -> tuple[PostgresStore, PostgresOverview, Path, Seat]:
    """The store of a node, whose life has begun, what looks at all of it, and the node's seat.

    Raises:
        DatabaseError: see `stores.serving`.
    """
    options = await prepare(settings, now_ms)
    seat = Seat(options.dsn, name)
    try:
        await seat.take_at_start()
        store = PostgresStore(options, Life(settings.node_folder, name), first_contacts)
        await store.begin_life(now_ms=now_ms)
    finally:
        await seat.give_up()  # whoever serves holds one, in its own event loop
    overview = PostgresOverview(options)
    return store, overview, settings.node_folder, Seat(options.dsn, name)
