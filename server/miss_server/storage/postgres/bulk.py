"""Many rows into PostgreSQL at once: COPY, and indexes that are built when all is there.

SQLAlchemy has no words for it; the driver's own connection takes part in the transaction that is open. The
driver knows no binary form of search vectors, which COPY asks for: `vector` makes it.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, bindparam, text

from miss_server.storage.postgres.pool import Session

INDEX_SECONDS = 3_600.0
"""For how long one index may be built, or rows be made and copied: a busy machine is no fault of theirs."""

_ENDED = b"\0\0\0"
"""Behind each word of a vector: its end, and that no places of it are known."""
# What a table's primary key is made of stays: rows come in its order.
_CONSTRAINTS = text(
    "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE conrelid = to_regclass(:name) AND contype = 'u'"
).bindparams(bindparam("name"))
_INDEXES = text(
    "SELECT c.relname, pg_get_indexdef(c.oid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " LEFT JOIN pg_constraint k ON k.conindid = c.oid"
    " WHERE i.indrelid = to_regclass(:name) AND k.oid IS NULL"
).bindparams(bindparam("name"))


def vector(words: Iterable[bytes]) -> bytes:
    """A search vector as PostgreSQL sends and takes it: of words in UTF-8, none longer than 2046 bytes."""
    ordered = sorted(words)
    return len(ordered).to_bytes(4, "big") + b"".join([word + _ENDED for word in ordered])


class Bulk:
    """Fills tables over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(self) -> None:
        """Let the driver take vectors as `vector` makes them. Once for a connection."""
        self._driven(
            lambda driver: driver.set_type_codec(
                "tsvector", schema="pg_catalog", format="binary", encoder=bytes, decoder=bytes
            )
        )

    def put(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Add rows, in the transaction that is open and has begun to work."""
        self._driven(
            lambda driver: driver.copy_records_to_table(
                table, columns=columns, records=rows, timeout=INDEX_SECONDS
            )
        )

    @contextmanager
    def unindexed(self, tables: Iterable[str]) -> Iterator[None]:
        """Without indexes but those of primary keys within the block, in the transaction that is open. They
        are as before after it."""
        made: list[str] = []
        for table in tables:
            for name, how in self._connection.execute(_CONSTRAINTS, {"name": table}).all():
                self._driven(_doing(f"ALTER TABLE {table} DROP CONSTRAINT {name}"))
                made.append(f"ALTER TABLE {table} ADD CONSTRAINT {name} {how}")
            for name, how in self._connection.execute(_INDEXES, {"name": table}).all():
                self._driven(_doing(f"DROP INDEX {name}"))
                made.append(how)
        yield
        for statement in made:
            self._driven(_doing(statement))

    def _driven(self, work: "Callable[[Session], Awaitable[Any]]") -> None:
        adapted: Any = self._connection.connection.dbapi_connection
        adapted.run_async(work)


def _doing(statement: str) -> "Callable[[Session], Awaitable[Any]]":
    return lambda driver: driver.execute(statement, timeout=INDEX_SECONDS)
