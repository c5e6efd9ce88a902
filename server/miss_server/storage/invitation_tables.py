"""The tables of who was invited to MiSS, and of who wants to know when somebody joins. Spec: 12.

Nothing is stored when somebody joins: that an account has its first device is where it always was, and
what a wish comes to is looked up in the directory, by whose rules the account may be found.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table, text

from miss_server.storage.schema import metadata

invitations = Table(
    "invitations",
    metadata,
    Column("account", String, primary_key=True, comment="who invites"),
    Column("person", String, primary_key=True, comment="identifier in the directory"),
    Column("at_ms", BigInteger, nullable=False),
    Column(
        "handed_ms", BigInteger, nullable=True, comment="when the operator sent it; null: it waits"
    ),
    Index("invitations_account", "account", "at_ms"),
    Index("invitations_at", "at_ms"),
    Index(
        "invitations_waiting",
        "person",
        sqlite_where=text("handed_ms IS NULL"),
        postgresql_where=text("handed_ms IS NULL"),
    ),
)

invited_people = Table(
    "invited_people",
    metadata,
    Column(
        "person_hash", LargeBinary(32), primary_key=True, comment="keyed hash of the identifier"
    ),
    Column("invitations", Integer, nullable=False, server_default="0", comment="ever"),
    Column(
        "refused_ms", BigInteger, nullable=True, comment="asked not to be invited; null: did not"
    ),
    comment="outlives the invitations, so that nobody is pestered; a hash is enough for that",
)

wishes = Table(
    "wishes",
    metadata,
    Column("account", String, primary_key=True, comment="who wants to know"),
    Column("person", String, primary_key=True, comment="identifier in the directory"),
    Column("at_ms", BigInteger, nullable=False),
    Index("wishes_at", "at_ms"),
)

tables = (invitations, invited_people, wishes)
