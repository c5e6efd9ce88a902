"""Takes a SQLite database to this version's schema, and keeps a copy of what it was.

A single process serves it, so `serve` does this by itself when it starts: the one technician who
installs a new version and restarts has nothing else to do. The copy is for the way back; it is an
older database, so going back begins a new epoch like any restore (rule C6).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from miss_server.storage import migrating
from miss_server.storage.database import ANOTHER_FILE, WRITABLE
from miss_server.storage.sqlite.backups import back_up
from miss_server.storage.sqlite.engine import open_engine, writing
from miss_server.storage.sqlite.store import DatabaseError


@dataclass(frozen=True, slots=True)
class Upgraded:
    """From one schema to another; `kept` is the copy of the database as it was."""

    before: int
    now: int
    kept: Path | None


def schema_of(path: Path) -> int | None:
    """The number of a database's schema; None if it has no tables yet.

    Raises:
        DatabaseError: it is another program's.
    """
    engine = open_engine(path, read_only=True)
    try:
        with engine.connect() as connection:
            return migrating.version(connection)
    except ValueError:
        raise DatabaseError(f"{path} is a database of another program", ANOTHER_FILE) from None
    except SQLAlchemyError as error:
        raise DatabaseError(f"{path}: {getattr(error, 'orig', error)}", WRITABLE) from error
    finally:
        engine.dispose()


def upgrade(
    path: Path,
    *,
    domain: str,
    now_ms: int,
    steps: Sequence[Path] = migrating.STEPS,
    progress: Callable[[float], None] = lambda share: None,
) -> Upgraded | None:
    """Copy an older database and take its steps; None if it has them all. Hold the `ServeLock`.

    Raises:
        DatabaseError: a newer schema, another domain, or not one of our files.
        OSError: the copy cannot be written; nothing was changed.
    """
    before = schema_of(path) if path.exists() else None
    last = migrating.last(steps)
    if before is None or before == last:
        return None
    if before > last:
        raise DatabaseError(f"{path} was written by a newer version: upgrade miss-server")
    kept = path.with_name(f"{path.name}.schema-{before}")
    back_up(path, kept, domain=domain, now_ms=now_ms, progress=progress)
    engine = open_engine(path)
    try:
        with engine.connect() as connection, writing(connection):
            migrating.upgrade(connection, steps=steps)
    finally:
        engine.dispose()
    return Upgraded(before, last, kept)
