"""The tables, written once for every engine. Times are milliseconds, UTC.

A message lives in `envelopes` (one row a recipient device) until that device acknowledged it, and
in `sends` (one row a message of a sender device) until seven days after its last state.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    false,
    text,
    true,
)

SCHEMA_VERSION = 2
"""Raised with every change of a table; a server refuses a database of a newer one."""

metadata = MetaData()

_Id = LargeBinary(16)
_Hash = LargeBinary(32)
_Ms = BigInteger
_Auto = BigInteger().with_variant(Integer, "sqlite")  # SQLite's rowid must be spelt INTEGER

settings = Table(
    "settings",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    comment="schema version, domain, mailbox epoch, the pepper of enrolment codes",
)

accounts = Table(
    "accounts",
    metadata,
    Column("address", String, primary_key=True),
    Column("person", String, nullable=True, comment="national identifier in the directory"),
    Column("name", String, nullable=False, comment="shown name, from the directory"),
    Column("genesis", _Hash, nullable=True, comment="null until the first device is enrolled"),
    Column("roster_version", BigInteger, nullable=False, server_default="0"),
    Column("confirmed", Boolean, nullable=False, server_default=true()),
    Column("suspended", Boolean, nullable=False, server_default=false()),
    Column("created_ms", _Ms, nullable=False),
    Index("accounts_person", "person", unique=True),
)

rosters = Table(
    "rosters",
    metadata,
    Column("account", String, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("roster", LargeBinary, nullable=False),
)

devices = Table(
    "devices",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("account", String, nullable=False),
    Column("signing_key", _Hash, nullable=False),
    Column("created_ms", _Ms, nullable=False),
    Column("seen_ms", _Ms, nullable=False),
    Column("revoked_ms", _Ms, nullable=True),
    Column("generation", BigInteger, nullable=False, server_default="0"),
    Column("sn", BigInteger, nullable=False, server_default="0"),
    Column("tick", BigInteger, nullable=False, server_default="0"),
    Column("tick_acked", BigInteger, nullable=False, server_default="0"),
    Column("prekey_high", BigInteger, nullable=False, server_default="-1"),
    Column("epoch", _Id, nullable=False, comment="the epoch that the device has taken note of"),
    Column("window", Integer, nullable=False, server_default="0"),
    Column("app", String, nullable=False, server_default=""),
    Index("devices_account", "account"),
)

mailboxes = Table(
    "mailboxes",
    metadata,
    Column("device", _Id, primary_key=True),
    Column("head", BigInteger, nullable=False, server_default="0", comment="last position given"),
    Column("digest", _Hash, nullable=False, comment="rolling digest at head"),
    Column("acked", BigInteger, nullable=False, server_default="0"),
    Column("acked_digest", _Hash, nullable=False),
    Column("waiting", Integer, nullable=False, server_default="0", comment="rows"),
    Column("bytes", BigInteger, nullable=False, server_default="0"),
)

envelopes = Table(
    "envelopes",
    metadata,
    Column("id", _Auto, primary_key=True, autoincrement=True),
    Column("device", _Id, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("gap", String, nullable=True, comment="a reason: this position holds nothing any more"),
    Column("count", Integer, nullable=False, server_default="1"),
    Column("row_hash", _Hash, nullable=False),
    Column("digest", _Hash, nullable=False, comment="rolling digest after this row"),
    Column("sender_account", String, nullable=False),
    Column("sender_device", _Id, nullable=False),
    Column("message", _Id, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("wrap", LargeBinary, nullable=False),
    Column("kind", String, nullable=False),
    Column("urgency", String, nullable=False),
    Column("at_ms", _Ms, nullable=False),
    Column("expires_ms", _Ms, nullable=True, comment="null once it is a gap"),
    # An appended row and a narrow index: quicker with a large backlog than a clustered key.
    Index("envelopes_position", "device", "position", unique=True),
    Index("envelopes_expiry", "expires_ms"),
)

sends = Table(
    "sends",
    metadata,
    Column("rowid_", _Auto, primary_key=True, autoincrement=True),
    Column("device", _Id, nullable=False),
    Column("sn", BigInteger, nullable=False),
    Column("message", _Id, nullable=False),
    Column("fingerprint", _Hash, nullable=False, comment="of the whole send, for retries"),
    Column("reply", LargeBinary, nullable=False, comment="the settled answer, for retries"),
    Column("states", LargeBinary, nullable=False, comment="state of each recipient device"),
    Column("kind", String, nullable=False),
    Column(
        "tick",
        BigInteger,
        nullable=True,
        comment="place among the statuses; pending while above tick_acked",
    ),
    Column("open", Integer, nullable=False, comment="recipient devices without a last state"),
    Column("kept_until_ms", _Ms, nullable=True, comment="set once nothing is open"),
    Index("sends_sn", "device", "sn", unique=True),
    Index("sends_message", "device", "message"),
    Index(
        "sends_tick",
        "device",
        "tick",
        sqlite_where=text("tick IS NOT NULL"),
        postgresql_where=text("tick IS NOT NULL"),
    ),
    Index(
        "sends_kept",
        "kept_until_ms",
        sqlite_where=text("kept_until_ms IS NOT NULL"),
        postgresql_where=text("kept_until_ms IS NOT NULL"),
    ),
)

prekeys = Table(
    "prekeys",
    metadata,
    Column("device", _Id, primary_key=True),
    Column("id", BigInteger, primary_key=True),
    Column("last_resort", Boolean, nullable=False),
    Column("prekey", LargeBinary, nullable=False),
)

enrolment_codes = Table(
    "enrolment_codes",
    metadata,
    Column("code_hash", _Hash, primary_key=True),
    Column("account", String, nullable=False),
    Column("created_ms", _Ms, nullable=False),
    Column("expires_ms", _Ms, nullable=False),
    Column("used_ms", _Ms, nullable=True),
    Column("used_by", _Id, nullable=True),
    Index("enrolment_codes_account", "account"),
)

device_links = Table(
    "device_links",
    metadata,
    Column("code_hash", _Hash, primary_key=True),
    Column("account", String, nullable=False),
    Column("certificate", LargeBinary, nullable=False),
    Column("name", String, nullable=False),
    Column("created_ms", _Ms, nullable=False),
    Column("expires_ms", _Ms, nullable=False),
    comment="new devices that wait for approval by an old one",
)

charters = Table(
    "charters",
    metadata,
    Column("account", String, primary_key=True),
    Column("version", String, primary_key=True),
    Column("device", _Id, nullable=False),
    Column("acceptance", LargeBinary, nullable=False),
    Column("at_ms", _Ms, nullable=False),
)

nonces = Table(
    "nonces",
    metadata,
    Column("device", _Id, primary_key=True),
    Column("nonce", String, primary_key=True),
    Column("expires_ms", _Ms, nullable=False),
    Index("nonces_expiry", "expires_ms"),
    comment="nonces of signed HTTP requests, kept for as long as their time would be accepted",
)
