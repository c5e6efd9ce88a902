"""The tables of what organisations do about their own people: who acts for them, and what was done.

Spec: 11-accounts §6.
"""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, String, Table

from miss_server.storage.schema import metadata

# Sorted as Python sorts, whatever the database's language: pages join it with the directory.
_Person = String().with_variant(String(collation="C"), "postgresql")

administrators = Table(
    "administrators",
    metadata,
    Column("organisation", String, primary_key=True, comment="identifier of its entry"),
    Column("account", String, primary_key=True),
    Column("given_ms", BigInteger, nullable=False),
    Column("removed_ms", BigInteger, nullable=True, comment="kept, so that an end is seen"),
    Index("administrators_account", "account"),
)

organisation_people = Table(
    "organisation_people",
    metadata,
    Column("organisation", String, primary_key=True),
    Column("person", _Person, primary_key=True, comment="identifier in the directory"),
    Column("since_ms", BigInteger, nullable=False),
    Column(
        "ended_ms",
        BigInteger,
        nullable=True,
        comment="it vouches for them no more, whatever the operator's list says",
    ),
    Column(
        "genesis", LargeBinary(32), nullable=True, comment="that was founded with a code of its"
    ),
    Index("organisation_people_person", "person"),
)

issued_codes = Table(
    "issued_codes",
    metadata,
    Column(
        "request_hash",
        LargeBinary(32),
        primary_key=True,
        comment="keyed hash of the request's id: with the id itself a stolen copy would give the code",
    ),
    Column("organisation", String, nullable=False),
    Column("person", String, nullable=False),
    Column("administrator", String, nullable=False, comment="account address"),
    Column("code_hash", LargeBinary(32), nullable=False, comment="as in enrolment_codes"),
    Column("at_ms", BigInteger, nullable=False),
    Index("issued_codes_code", "code_hash", unique=True),
    Index("issued_codes_organisation", "organisation", "at_ms"),
    Index("issued_codes_at", "at_ms"),
)

tables = (administrators, organisation_people, issued_codes)
