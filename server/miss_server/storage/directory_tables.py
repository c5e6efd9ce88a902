"""The tables of the directory: two slots and one row that says which is in force.

An import writes what differs into the slot that is not in force and then changes that row. Compared with
renaming tables, nothing changes the schema under a running server (no statement is prepared anew, no
virtual table renamed), a reader sees the change at the start of its next transaction, the same
works on every engine, and an import that died half-way left rows that the next one compares as well.
Both slots stay filled: the one aside is what was in force before, so that the next import need not write
a nation to change a few.

The words by which entries are found are each engine's own: `sqlite/directory_filling.py` and
`postgres/directory_filling.py`.
"""

from sqlalchemy import BigInteger, Column, Float, Integer, LargeBinary, MetaData, String, Table

from miss_server.storage.schema import metadata

state = Table(
    "directory_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="always 1"),
    Column(
        "generation",
        BigInteger,
        nullable=False,
        comment="goes up when the slots change places; its parity: a slot",
    ),
)

sources = Table(
    "directory_sources",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String, nullable=False),
    Column("file", String, nullable=False),
    Column("date_ms", BigInteger, nullable=False, comment="of the data, not of the import"),
    Column("imported_ms", BigInteger, nullable=False),
    Column("activities", BigInteger, nullable=False, comment="lines"),
)


communes = Table(
    "communes",
    metadata,
    Column("code", String, primary_key=True, comment="of INSEE"),
    Column("name", String, nullable=False),
    Column("latitude", Float(53), nullable=True, comment="of the centre, degrees, WGS 84"),
    Column("longitude", Float(53), nullable=True),
    Column("postcodes", String, nullable=False, comment="separated by spaces"),
)


def _slot(number: int) -> Table:
    return Table(
        f"directory_entries_{number}",
        metadata,
        Column(
            "id",
            Integer,
            primary_key=True,
            autoincrement=False,
            comment="in order of names, with room between",
        ),
        # Sorted as Python sorts, whatever the database's language: imports compare side by side.
        Column(
            "person",
            String().with_variant(String(collation="C"), "postgresql"),
            nullable=False,
            unique=True,
        ),
        Column("name_key", String, nullable=False, index=True),
        Column("digest", LargeBinary(16), nullable=False),
        Column("entry", LargeBinary, nullable=False, comment="an Entry in JSON"),
    )


entries = (_slot(0), _slot(1))

_persons_metadata = MetaData()


def _persons(number: int) -> Table:
    return Table(
        f"directory_persons_{number}",
        _persons_metadata,
        Column("person", String, primary_key=True),
        Column("id", Integer, nullable=False),
        Column("digest", LargeBinary(16), nullable=False),
        sqlite_with_rowid=False,
    )


persons = (_persons(0), _persons(1))
"""Which number the entry of an identifier has: every search by identifier asks these. SQLite has tables, which
an import writes in the order of identifiers; PostgreSQL has views of the entries, whose own index is built
at once."""

by_person = tuple(
    placed.join(slot, (slot.c.id == placed.c.id) & (slot.c.person == placed.c.person))
    for slot, placed in zip(entries, persons, strict=True)
)
"""Entries by their identifiers. By both: a number that was given anew must not lend one person's entry to
another."""
tables = (state, sources, communes, *entries)
