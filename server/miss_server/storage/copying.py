"""Moves a SQLite database into an empty PostgreSQL database, once and for all.

**One of the two serves.** Before the first row is copied, the file is marked as moved, and from then on
no server and no command uses it: two servers that both believed to be the one would lose messages to
each other. The target is marked as incomplete until all of it was compared, and no node serves it
before. To go back to the file is a restore: `go_back` takes the mark off and begins a new epoch.

**It may end at any point.** Rows are copied in the order of SQLite's row numbers, in slices; how far a
table came is written in the transaction of each slice. Another run goes on from there.

**The epoch stays**, so devices go on as if nothing had been; what an earlier restore of the file would
have to void is voided before (the caller begins a life of the file). How a directory's words are kept is
each engine's own: `storage.copying_words`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, Table, func, insert, literal_column, select, text, tuple_

from miss_server.storage import copying_words, directory_tables, epoch_ids, migrating
from miss_server.storage.audit import SERVER, Action, Deed
from miss_server.storage.database import MOVED, DatabaseError
from miss_server.storage.postgres.directory_filling import create_directory
from miss_server.storage.schema import SCHEMA_VERSION, metadata
from miss_server.storage.schema import settings as settings_table
from miss_server.storage.sql import audit, epochs, settings
from miss_server.storage.sql.directory import generation

COPYING = "copying"
"""The setting of the target while it is incomplete: which file it is made from."""
SLICE = 2_000
"""Rows of one transaction."""

_NOT_COPIED = {"schema", MOVED}
_COPIED = "copied "
_ROW: Any = literal_column("rowid").label("rowid_of_the_file")

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Copied:
    """Rows by table, all of them compared."""

    rows: dict[str, int]


def tables() -> Sequence[Table]:
    """What is copied, the settings last."""
    found = [table for table in metadata.sorted_tables if table is not settings_table]
    return [*sorted(found, key=lambda table: table.name), settings_table]


def check(source: Connection, target: str) -> None:
    """Whether the file may be moved to this target.

    Raises:
        DatabaseError: it was moved to another database before, or needs `db upgrade` first.
    """
    moved = settings.get(source, MOVED)
    if moved is not None and moved != target.encode():
        raise DatabaseError(f"it was moved to {moved.decode(errors='replace')} before")
    if migrating.version(source) != SCHEMA_VERSION:
        raise DatabaseError("its schema is not this version's: run miss-server db upgrade")


def mark_moved(source: Connection, target: str) -> None:
    """Let nobody use the file any more, in the caller's transaction: after `begin`, so that a wrong
    target leaves the file as it was, and before `copy`, so that nothing changes what was copied."""
    settings.put(source, MOVED, target.encode())


def is_marked(source: Connection) -> bool:
    """Whether the file was moved, wholly or in part.

    Raises:
        ValueError: it is another program's.
    """
    return migrating.version(source) is not None and settings.get(source, MOVED) is not None


def go_back(source: Connection, now_ms: int, actor: str = SERVER) -> None:
    """Let the file serve again as the older copy that it is: a new epoch begins (rule C6).

    Raises:
        DatabaseError: it was not moved.
    """
    if settings.get(source, MOVED) is None:
        raise DatabaseError("it was not moved")
    source.execute(settings_table.delete().where(settings_table.c.name == MOVED))
    now, _ = epochs.current(source)
    epochs.change(source, now_ms, after=epoch_ids.number(now))
    audit.note(source, Deed(actor, Action.DATABASE_UNMOVED), now_ms)


def copy(
    source: Connection,
    target: Connection,
    *,
    now_ms: int,
    actor: str = SERVER,
    progress: Progress = lambda share: None,
) -> Copied:
    """Copy everything that is not there yet, compare all of it, and let the target serve; `begin` and
    `mark_moved` first.

    Args:
        source: of the file, which is marked; a read transaction is held on it throughout.
        target: without a transaction; this begins and commits its own.

    Raises:
        DatabaseError: the two differ.
    """
    words = copying_words.read_out(source)
    copied = [table for table in tables() if table is not _aside(source)]
    total = sum(_count(source, table) for table in copied) + words or 1
    done = 0
    for table in copied:
        for rows in _copy_table(source, target, table):
            done += rows
            progress(done / total / 2)
    copying_words.write(source, target)
    progress(0.5)
    counts: dict[str, int] = {}
    for table in copied:
        here, there = _digest(source, table), _digest(target, table)
        if here != there:
            counted = f"{here[0]} rows in the file, {there[0]} in PostgreSQL"
            raise DatabaseError(_differs(f"{table.name} differs: {counted}"))
        counts[table.name] = here[0]
        progress(0.5 + sum(counts.values()) / total / 2)
    if not copying_words.are_same(source, target):
        raise DatabaseError(_differs("what finds people in the directory differs"))
    _finish(
        target, Deed(actor, Action.DATABASE_COPIED, detail={"rows": sum(counts.values())}), now_ms
    )
    return Copied(counts)


def _aside(source: Connection) -> Table:
    """The directory that is not in force: nobody reads it, and the next import makes it anew."""
    return directory_tables.entries[(generation(source) + 1) % 2]


def _differs(what: str) -> str:
    return f"{what}; drop the PostgreSQL database, make it anew and copy again"


def _fingerprint(source: Connection) -> bytes:
    return blake2b(settings.secret(source), person=b"MiSS copy", digest_size=16).digest()


def begin(source: Connection, target: Connection) -> None:
    """Make the tables of an empty target, or find what an earlier run left there.

    Raises:
        DatabaseError: the target holds something else.
    """
    name = _fingerprint(source)
    with target.begin():
        try:
            version = migrating.version(target)
        except ValueError:
            raise DatabaseError("the PostgreSQL database is another program's") from None
        if version is None:
            migrating.upgrade(target)
            create_directory(target)
            target.execute(directory_tables.state.delete())  # the file's comes in its place
            settings.put(target, COPYING, name)
        marked = settings.get(target, COPYING)
        if marked is None:
            raise DatabaseError("the PostgreSQL database is in use: make an empty one")
        if marked != name:
            raise DatabaseError("the PostgreSQL database holds a part of another file's copy")


def _copy_table(source: Connection, target: Connection, table: Table) -> Iterator[int]:
    """Copy slice by slice; yields how many rows of each are there."""
    with target.begin():
        marked = settings.get(target, _COPIED + table.name)
    last = int.from_bytes(marked or b"", "big", signed=True) if marked else -(1 << 63)
    if marked:
        yield source.execute(
            select(func.count()).select_from(table).where(literal_column("rowid") <= last)
        ).scalar_one()
    statement = select(_ROW, *table.c).order_by(text("rowid")).limit(SLICE)
    while rows := source.execute(statement.where(literal_column("rowid") > last)).all():
        last = rows[-1][0]
        values = [dict(zip(table.c.keys(), row[1:], strict=True)) for row in rows]
        if table is settings_table:
            values = [each for each in values if each["name"] not in _NOT_COPIED]
        with target.begin():
            if values:
                target.execute(insert(table), values)
            settings.put(target, _COPIED + table.name, last.to_bytes(8, "big", signed=True))
        yield len(rows)


def _count(source: Connection, table: Table) -> int:
    return source.execute(select(func.count()).select_from(table)).scalar_one()


def _digest(connection: Connection, table: Table) -> tuple[int, int]:
    """How many rows, and a sum of their hashes: the same in whatever order they are read."""
    count = total = 0
    keys = list(table.primary_key.columns)
    statement = select(*table.c).order_by(*keys).limit(SLICE)
    after: Sequence[Any] | None = None
    with nullcontext() if connection.in_transaction() else connection.begin():
        while True:
            page = statement if after is None else statement.where(_beyond(keys, after))
            rows = connection.execute(page).all()
            for row in rows:
                if table is settings_table and _is_a_note(row[0]):
                    continue
                count += 1
                total += int.from_bytes(
                    blake2b(repr(tuple(map(_plain, row))).encode(), digest_size=16).digest(), "big"
                )
            if len(rows) < SLICE:
                return count, total % (1 << 128)
            after = [rows[-1]._mapping[key.name] for key in keys]


def _beyond(keys: Sequence[Any], after: Sequence[Any]) -> Any:
    return tuple_(*keys) > tuple_(*after)


def _is_a_note(name: str) -> bool:
    return name in _NOT_COPIED or name == COPYING or name.startswith(_COPIED)


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _finish(target: Connection, deed: Deed, now_ms: int) -> None:
    """New rows are numbered after the copied ones, the marks go, and the audit log tells where this
    database comes from: all in one transaction."""
    with target.begin():
        for table in tables():
            for column in table.primary_key.columns:
                if column.autoincrement is True:
                    target.execute(
                        text(
                            f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column.name}'),"  # noqa: S608  # names of ours
                            f' coalesce((SELECT max("{column.name}") FROM "{table.name}"), 0) + 1, false)'
                        )
                    )
        target.execute(
            settings_table.delete().where(
                (settings_table.c.name == COPYING) | settings_table.c.name.startswith(_COPIED)
            )
        )
        audit.append(target, deed, now_ms)
    with target.begin():
        target.execute(text("ANALYZE"))
