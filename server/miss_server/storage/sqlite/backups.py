"""Copies a SQLite database beside its running server, and puts such a copy back (rule C6).

**A backup** is one moment of the database: a read transaction is held while it is copied, which
holds up nobody. It gets its name only when it is whole, checked and on the disk. The witness is not
part of it: that file remembers what a backup cannot know (`storage.witness`).

**A restore** begins the new epoch itself, inside the copy and before it has the database's name, so
that no start, however interrupted, ever serves the old epoch from old data. The replaced database
keeps its content under another name. At every moment the database's name holds either the old
database or the restored one, never nothing: a server would begin an empty one.
"""

import itertools
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.exc import SQLAlchemyError

from miss_protocol.audit import Head
from miss_server.storage import epoch_ids
from miss_server.storage.audit import SERVER, Action, Deed, Detail
from miss_server.storage.sql import audit, epochs, settings, witnessed
from miss_server.storage.sqlite import soundness
from miss_server.storage.sqlite.engine import open_engine, writing
from miss_server.storage.sqlite.store import DatabaseError, ServeLock, check_ours
from miss_server.storage.witness import Damaged, Testimony, Witness, beside

PAGES = 2_048
"""Copied between two calls of `progress`: 8 MiB."""
MADE = "backup_ms"
"""The setting that tells when a backup was made; the database itself never has it."""

Progress = Callable[[float], None]


class NotABackup(DatabaseError):
    """The file cannot be restored from, or must not be written over; the text says why."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was made. `beside`: it is on the disk that it is to guard against."""

    path: Path
    bytes: int
    beside: bool


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did. `made_ms`: when the backup was made, if it tells; `kept`: the replaced
    database's files."""

    made_ms: int | None
    kept: Path | None


def back_up(
    database: Path,
    target: Path,
    *,
    domain: str,
    now_ms: int,
    progress: Progress = lambda share: None,
) -> Backup:
    """Copy `database` to `target`; into a folder, under a name with the time.

    An earlier backup of that name is replaced when the new one is complete.

    Raises:
        NotABackup: `target` is something else than an earlier backup of this domain.
        DatabaseError: the database cannot be read, or the copy is not sound.
        OSError: the copy cannot be written.
    """
    if target.is_dir():
        target /= f"miss-{domain}-{stamp(now_ms)}.sqlite"
    if target.exists():
        if target.samefile(database):
            raise NotABackup(f"{target} is the database itself")
        if _made_ms(target, domain) is None:
            raise NotABackup(f"{target} is no backup: it is left as it is")
    partial = target.with_name(target.name + ".partial")
    try:
        _copy(database, partial, domain, progress)
        with _opened(partial) as db:
            db.execute("PRAGMA journal_mode = DELETE")
            db.execute(
                "INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)",
                (MADE, now_ms.to_bytes(8, "big")),
            )
            _check_sound(partial, db)
        _fsync(partial)
        os.replace(partial, target)
        _fsync(target.parent)
    except sqlite3.Error as error:
        raise DatabaseError(f"{database}: {error}") from error
    finally:
        _remove(partial)
    same = target.stat().st_dev == database.stat().st_dev
    return Backup(target, target.stat().st_size, same)


def restore(
    source: Path,
    database: Path,
    *,
    domain: str,
    now_ms: int,
    actor: str = SERVER,
    progress: Progress = lambda share: None,
) -> Restored:
    """Put a backup in the place of the database, as the first moment of a new epoch; the audit log
    gets an entry, by `actor`, with the head of the log that is replaced.

    Raises:
        NotABackup: the source is damaged, of another domain or version, or no backup.
        DatabaseError: a server runs, or another program has the database open.
        OSError: a file cannot be written.
    """
    if not source.exists():
        raise NotABackup(f"there is no {source}")
    if database.exists() and source.samefile(database):
        raise NotABackup(f"{source} is the database itself")
    database.parent.mkdir(parents=True, exist_ok=True)
    lock = ServeLock(database)
    lock.take()
    fresh = database.with_name(database.name + ".restoring")
    try:
        made_ms = _made_ms(source, domain)
        _copy(source, fresh, domain, progress)
        with _opened(fresh) as db:
            _check_sound(source, db)
            db.execute("DELETE FROM settings WHERE name = ?", (MADE,))
        stands = _begin_epoch(fresh, database, now_ms, made_ms, actor)
        _fsync(fresh)
        kept = _set_aside(database, now_ms)
        os.replace(fresh, database)
        _fsync(database.parent)
        # Without this a start would find it missing or older, and begin one more epoch.
        stands.file.write(stands.now)
    except (sqlite3.Error, SQLAlchemyError) as error:
        raise NotABackup(f"{source}: {getattr(error, 'orig', error)}") from error
    finally:
        _remove(fresh)
        lock.release()
    return Restored(made_ms, kept)


def stamp(now_ms: int) -> str:
    """A moment as it stands in the names of files."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")


@dataclass(frozen=True, slots=True)
class _Stands:
    file: Witness
    now: Testimony


def _begin_epoch(
    fresh: Path, database: Path, now_ms: int, made_ms: int | None, actor: str
) -> _Stands:
    """Begin an epoch in the copy, after every one that its devices can have seen."""
    engine = open_engine(fresh)
    try:
        with engine.connect() as connection:
            with writing(connection):
                now = witnessed.stands(connection)
                file = Witness(beside(database), settings.secret(connection))
                known = [now, *_seen(file, database)]
                after = max(epoch_ids.number(one.epoch) for one in known)
                epochs.change(connection, now_ms, after=after)
                witnessed.count_up(connection, beyond=max(one.count for one in known))
                replaced = _audit_head(database)
                detail: Detail = {"backup_ms": made_ms or 0, "replaced_head": replaced}
                deed = Deed(actor, Action.DATABASE_RESTORED, detail=detail)
                audit.note(connection, deed, now_ms)
            return _Stands(file, witnessed.stands(connection))
    finally:
        engine.dispose()  # the last connection empties its log into the file


def _seen(file: Witness, database: Path) -> list[Testimony]:
    """How far the database had come that is replaced, as far as it can still be read."""
    seen: list[Testimony] = []
    try:
        told = file.read()
    except (Damaged, OSError):
        told = None
    if told is not None:
        seen.append(told)
    if database.exists():
        try:
            with closing(_reader(database)) as db:
                rows = dict(db.execute("SELECT name, value FROM settings").fetchall())
            count = int.from_bytes(rows.get(witnessed.ALONE, b""), "big")
            seen.append(Testimony(rows["epoch"], count))
        except (sqlite3.Error, KeyError):
            pass  # it is damaged: perhaps that is why it is replaced
    return seen


def _audit_head(database: Path) -> str:
    """The head of the audit log that is replaced; empty if it cannot be read, or has none."""
    try:
        with closing(_reader(database)) as db:
            row = db.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    except sqlite3.Error:
        return ""  # it is not there, damaged, or of the schema before
    return "" if row is None else str(Head(*row))


def _set_aside(database: Path, now_ms: int) -> Path | None:
    """Give the old database a second name; its own is then free to be taken over.

    A log that is left beside the name would be replayed into the restored database.
    """
    if not database.exists():
        _remove(database)
        return None
    kept = _free_name(database.with_name(f"{database.name}.before-{stamp(now_ms)}"))
    log = database.with_name(database.name + "-wal")
    try:
        with closing(sqlite3.connect(database)) as db:
            busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy or (log.exists() and log.stat().st_size):
            raise DatabaseError(f"another program has {database} open: end it first")
    except sqlite3.Error:
        # It is damaged; its log goes with it.
        if log.exists():
            os.replace(log, kept.with_name(kept.name + "-wal"))
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    os.link(database, kept)
    return kept


def _free_name(path: Path) -> Path:
    """`path`, or with a number behind it if an earlier restore of that second has it (the lock keeps
    others from choosing meanwhile)."""
    names = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(one for one in itertools.chain([path], names) if not one.exists())


def _copy(source: Path, target: Path, domain: str, progress: Progress) -> None:
    _remove(target)
    with closing(_reader(source)) as reader:
        try:
            check_ours(source, reader, domain)
            # Of one moment: without a transaction each commit of a server would begin it anew.
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM settings").fetchone()
        except sqlite3.Error as error:
            raise NotABackup(f"{source}: {error}") from error
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with _opened(target) as writer:
            reader.backup(
                writer,
                pages=PAGES,
                progress=lambda _, left, total: progress(1 - left / max(1, total)),
            )


def _opened(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(path, isolation_level=None))


def _reader(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)


def _check_sound(path: Path, db: sqlite3.Connection) -> None:
    if wrong := soundness.fault(db, "integrity_check"):
        raise NotABackup(f"{path} is damaged: {wrong}")


def _made_ms(path: Path, domain: str) -> int | None:
    """When a backup of this domain was made; None if this is none, or one made by hand."""
    try:
        with closing(_reader(path)) as db:
            check_ours(path, db, domain)
            row = db.execute("SELECT value FROM settings WHERE name = ?", (MADE,)).fetchone()
    except (sqlite3.Error, DatabaseError):
        return None
    return None if row is None else int.from_bytes(row[0], "big")


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
