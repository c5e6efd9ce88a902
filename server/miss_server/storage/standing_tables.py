"""The tables of who is restricted or suspended. Spec: 09-standing §2."""

from sqlalchemy import BigInteger, Column, String, Table

from miss_server.storage.schema import metadata

standings = Table(
    "standings",
    metadata,
    Column("account", String, primary_key=True),
    Column("state", String, nullable=False, comment="restricted, suspended"),
    Column("reason", String, nullable=False, comment="shown to the account's owner as it stands"),
    Column("since_ms", BigInteger, nullable=False),
    Column("actor", String, nullable=False, comment="as in the audit log"),
    comment="accounts that are not in good standing by somebody's decision; others have no row",
)

tables = (standings,)
