"""The table of reports: messages that their readers showed to the operator. Spec: 09-standing §3.

It is the one place where the server has text that people wrote to each other.
"""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, String, Table, text

from miss_server.storage.schema import metadata

_OPEN = text("closed_ms IS NULL")

reports = Table(
    "reports",
    metadata,
    Column("id", String, primary_key=True, comment="16 hexadecimal digits, drawn by chance"),
    Column("reporter", String, nullable=False),
    Column("account", String, nullable=False, comment="who wrote the message"),
    Column("device", LargeBinary(16), nullable=False, comment="by which device"),
    Column("message", LargeBinary(16), nullable=False, comment="its signed id"),
    Column("signed", LargeBinary, nullable=False, comment="the message as it was signed"),
    Column("signed_hash", LargeBinary(32), nullable=False, comment="the same is reported once"),
    Column("certificate", LargeBinary, nullable=False, comment="of the device that signed"),
    Column("reason", String, nullable=False),
    Column("note", String, nullable=False, comment="the reporter's words"),
    Column("received_ms", BigInteger, nullable=False, comment="by the reporter's clock"),
    Column(
        "taken_ms",
        BigInteger,
        nullable=True,
        comment="when this server took the send; null: unknown",
    ),
    Column("filed_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=True, comment="when an operator was first shown it"),
    Column("closed_ms", BigInteger, nullable=True),
    Column("outcome", String, nullable=True, comment="none, warned, restricted, suspended"),
    Column("delete_ms", BigInteger, nullable=True, comment="set with closed_ms"),
    Index("reports_once", "reporter", "signed_hash", unique=True),
    Index("reports_reporter", "reporter", "filed_ms"),
    Index("reports_account", "account"),
    Index("reports_open", "filed_ms", sqlite_where=_OPEN, postgresql_where=_OPEN),
    Index("reports_deletion", "delete_ms"),
)

tables = (reports,)
