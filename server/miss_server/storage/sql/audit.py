"""Appends to the audit log and reads it. No statement here changes or deletes an entry."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Connection, LargeBinary, case, cast, func, insert, select

from miss_protocol.audit import START, AuditEntry, Head, entry_hash
from miss_server.storage.audit import DETAIL_MAX, Deed
from miss_server.storage.audit_tables import audit
from miss_server.storage.sql import schemas
from miss_server.storage.sql.dialects import is_postgres

LOCK = 0x4D69_5353_0002
"""The advisory lock of the log's end: without it two nodes would both follow the same entry."""

SINCE = 2
"""The first schema that has the log."""

_TAKE = select(func.pg_advisory_xact_lock(LOCK))
_HEAD = select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
_COLUMNS = tuple(audit.c[name] for name in AuditEntry.__struct_fields__)
# SQLite keeps whatever somebody put into the file. As bytes all text can be read, and shown; what is of
# another type was never written so, and is none.
_COLUMNS_OF_SQLITE = tuple(
    one
    if isinstance(one.type, BigInteger)
    else case(
        (
            func.typeof(one) == ("blob" if isinstance(one.type, LargeBinary) else "text"),
            cast(one, LargeBinary),
        ),
    )
    for one in _COLUMNS
)


def append(connection: Connection, deed: Deed, now_ms: int) -> Head:
    """Write a deed in the caller's transaction; returns the head with it.

    Call it last: its lock is the last in the order of locks, and is held until the commit.
    """
    return append_all(connection, [deed], now_ms)


def append_all(connection: Connection, deeds: Sequence[Deed], now_ms: int) -> Head:
    """As `append`, for deeds of one moment in their order; of none it does nothing but look."""
    if deeds and is_postgres(connection):
        connection.execute(_TAKE)
    last = head(connection)  # in a statement of its own, after the lock
    rows = []
    for deed in deeds:
        detail = msgspec.json.encode(dict(deed.detail), order="deterministic").decode()
        assert len(detail.encode()) <= DETAIL_MAX, deed.action  # noqa: S101  # ours, never a peer's
        fields = {
            "seq": last.seq + 1,
            "at_ms": now_ms,
            "actor": deed.actor,
            "action": deed.action.value,
            "subject": deed.subject,
            "detail": detail,
        }
        made = entry_hash(last.hash, **fields)  # type: ignore[arg-type]  # as they are named there
        rows.append({"previous": last.hash, "hash": made, **fields})
        last = Head(last.seq + 1, made)
    if rows:
        connection.execute(insert(audit), rows)
    return last


def note(connection: Connection, deed: Deed, now_ms: int) -> None:
    """As `append`, for what the version before did without a log: on its schema, which has none, the
    deed goes unwritten as it did then (rolling upgrade)."""
    if is_kept(connection):
        append(connection, deed, now_ms)


def is_kept(connection: Connection) -> bool:
    """Whether this database has a log."""
    return schemas.has(connection, SINCE)


def head(connection: Connection) -> Head:
    """How far the log goes."""
    row = connection.execute(_HEAD).one_or_none()
    return Head(0, START) if row is None else Head(*row)


def entries(
    connection: Connection, after: int | None, limit: int, subject: str | None, since_ms: int | None
) -> list[AuditEntry]:
    """Entries by their number."""
    wanted = select(*(_COLUMNS if is_postgres(connection) else _COLUMNS_OF_SQLITE))
    wanted = wanted.order_by(audit.c.seq).limit(limit)
    if since_ms is not None:
        wanted = wanted.where(audit.c.at_ms >= since_ms)
    if after is not None:
        wanted = wanted.where(audit.c.seq > after)
    if subject is not None:
        wanted = wanted.where(audit.c.subject == subject)
    return [_entry(*row) for row in connection.execute(wanted)]


def _entry(seq: int, at_ms: int, *fields: Any) -> AuditEntry:
    *words, previous, made = fields
    actor, action, subject, detail = (
        word.decode(errors="backslashreplace") if isinstance(word, bytes) else word
        for word in words
    )
    return AuditEntry(seq, at_ms, actor, action, subject, detail, previous, made)
