"""The SQLite side of a move into PostgreSQL (see `storage.copying`). Hold the `ServeLock`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection

from miss_server.storage import copying
from miss_server.storage.audit import SERVER
from miss_server.storage.database import DatabaseError
from miss_server.storage.sqlite.engine import driver, open_engine, reading, writing
from miss_server.storage.sqlite.store import SqliteStore, check_ours


@contextmanager
def leaving(
    path: Path, target: str, *, domain: str, now_ms: int, begin: Callable[[Connection], None]
) -> Iterator[Connection]:
    """Mark the file as moved to `target` and read from it.

    Args:
        begin: makes sure that the target can take it; called before the file is marked.

    Raises:
        DatabaseError: not one of this domain's, of another version, or moved elsewhere before.
    """
    engine = open_engine(path)
    try:
        with engine.connect() as connection:
            if not _is_marked(connection):
                check_ours(path, driver(connection), domain)
                # An older copy that was put back would take its past with it.
                SqliteStore(path).begin_life(now_ms=now_ms)
            try:
                copying.check(connection, target)
            except DatabaseError as error:
                raise DatabaseError(f"{path}: {error}") from None
            begin(connection)
            with writing(connection):
                copying.mark_moved(connection, target)
            with reading(connection):
                yield connection
    finally:
        engine.dispose()


def unmove(path: Path, *, now_ms: int, actor: str = SERVER) -> None:
    """Let the file serve again, in a new epoch.

    Raises:
        DatabaseError: it was not moved.
    """
    engine = open_engine(path)
    try:
        with engine.connect() as connection, writing(connection):
            if not _is_marked(connection):
                raise DatabaseError(f"{path} was not moved")
            copying.go_back(connection, now_ms, actor)
    finally:
        engine.dispose()


def _is_marked(connection: Connection) -> bool:
    try:
        return copying.is_marked(connection)
    except ValueError:
        raise DatabaseError("the file is a database of another program") from None
