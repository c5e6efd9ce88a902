"""Picks the store that the settings name: a SQLite file, or a PostgreSQL database."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import structlog

from miss_server.config import Settings
from miss_server.dsn import Dsn
from miss_server.node import name_in
from miss_server.storage.database import OWN_FOLDER, WRITABLE, DatabaseError, WitnessError
from miss_server.storage.overview import Overview
from miss_server.storage.settlement.meeting import FirstContacts
from miss_server.storage.sqlite.overview import SqliteOverview
from miss_server.storage.sqlite.store import ServeLock, SqliteStore, prepare
from miss_server.storage.sqlite.upgrading import upgrade
from miss_server.words import Both

if TYPE_CHECKING:
    # Loaded where a database of it is opened only: a single node starts in half the time.
    from miss_server.storage.postgres.seat import Seat
    from miss_server.storage.postgres.store import PostgresStore

log = structlog.get_logger()

_OWN_EACH = Both(
    "Give each node its own MISS_NODE_FOLDER.",
    "Donnez à chaque nœud son propre MISS_NODE_FOLDER.",
)

Store: TypeAlias = "SqliteStore | PostgresStore"


@dataclass(frozen=True, slots=True)
class Opened:
    """A store that may serve; `disk` is the folder whose disk must have room."""

    store: Store
    overview: Overview
    disk: Path
    seat: "Seat | None" = None
    """Of a node among others, to be held for as long as it is at work."""


@contextmanager
def serving(settings: Settings, *, now_ms: int) -> Iterator[Opened]:
    """Prepare the database and begin a life of it; for `serve` alone.

    Raises:
        DatabaseError: it cannot be used, or another server holds the file.
        WitnessError: what this node knows of it cannot be read or written.
    """
    if isinstance(settings.database, Dsn):
        from miss_server import shared_stores

        folder = settings.node_folder
        _make_own(folder)
        with locked(folder / "node", taken=_OWN_EACH, unwritable=OWN_FOLDER):
            name = settings.node or _name_in(folder)
            yield Opened(
                *asyncio.run(shared_stores.opened(settings, name, first_contacts(settings), now_ms))
            )
        return
    try:
        settings.file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(f"{settings.file}: {error.strerror}", WRITABLE) from error
    with locked(settings.file):
        upgraded = upgrade(settings.file, domain=settings.domain, now_ms=now_ms)
        if upgraded is not None:
            log.info("schema upgraded", now=upgraded.now, kept=str(upgraded.kept))
        prepare(settings.file, domain=settings.domain, now_ms=now_ms)
        store = SqliteStore(settings.file, first_contacts(settings))
        store.begin_life(now_ms=now_ms)
        store.open()
        yield Opened(store, SqliteOverview(settings.file), settings.file.parent)


def first_contacts(settings: Settings) -> FirstContacts:
    """What the operator allows people who have not met."""
    return FirstContacts(
        settings.first_messages,
        settings.new_recipients_per_hour,
        settings.new_recipients_per_day,
        dict(settings.new_recipients_by_role),
    )


@contextmanager
def locked(path: Path, **do: Both) -> Iterator[None]:
    """Hold the lock of `serve` until the block ends; `do` as for `ServeLock`.

    Raises:
        DatabaseError: another process holds it, or it cannot be made.
    """
    lock = ServeLock(path, **do)
    lock.take()
    try:
        yield
    finally:
        lock.release()


def _make_own(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise WitnessError(f"{folder}: {error.strerror or error}", OWN_FOLDER) from error


def _name_in(folder: Path) -> str:
    try:
        return name_in(folder)
    except OSError as error:
        raise WitnessError(f"{folder / 'name'}: {error.strerror or error}", OWN_FOLDER) from error


def prepare_once(settings: Settings, *, now_ms: int) -> None:
    """Prepare the database before workers are started on it.

    Raises:
        DatabaseError: see `serving`.
    """
    from miss_server import shared_stores

    asyncio.run(shared_stores.prepare(settings, now_ms))


def as_worker(settings: Settings, number: int) -> Settings:
    """The settings of one of several workers: each is a node, with a folder and a name."""
    node = None if settings.node is None else f"{settings.node}-{number}"
    folder = settings.node_folder / f"worker-{number}"
    return settings.model_copy(update={"node": node, "node_folder": folder})
