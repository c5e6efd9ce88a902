"""The tables of how accounts end and begin anew: departures, attestations, recoveries. Spec: 11-accounts; rules A3, F2."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, String, Table, text

from miss_server.storage.schema import metadata

departures = Table(
    "departures",
    metadata,
    Column("account", String, primary_key=True),
    Column("cause", String, primary_key=True, comment="left, unattested"),
    Column("since_ms", BigInteger, nullable=False),
    Column("due_ms", BigInteger, nullable=False, comment="when its grace ends"),
    Column(
        "suspended_ms", BigInteger, nullable=True, comment="null until the account is suspended"
    ),
    comment="who has left the register or lost what vouched for them; gone when that is over",
)

attestations = Table(
    "attestations",
    metadata,
    Column("person", String, primary_key=True, comment="an entry without a national number"),
    Column("attester", String, primary_key=True, comment="account address"),
    Column("at_ms", BigInteger, nullable=False),
    Column("withdrawn_ms", BigInteger, nullable=True),
    Index("attestations_attester", "attester"),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("code_hash", LargeBinary(32), primary_key=True),
    Column("account", String, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger, nullable=True),
    Index("recovery_codes_account", "account"),
)

_WAITING = text("state = 'waiting'")

recoveries = Table(
    "recoveries",
    metadata,
    Column("device", LargeBinary(16), primary_key=True, comment="the first of the new genesis"),
    Column("account", String, nullable=False),
    Column("proof", LargeBinary, nullable=False, comment="hash of the code, or a provider's word"),
    Column("roster", LargeBinary, nullable=False, comment="the new genesis"),
    Column("prekeys", LargeBinary, nullable=False, comment="as they came, in MessagePack"),
    Column("acceptance", LargeBinary, nullable=False, comment="of the charter"),
    Column("app", String, nullable=False, server_default=""),
    Column("begun_ms", BigInteger, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Column("state", String, nullable=False, comment="waiting, vetoed, cancelled, done"),
    Column("ended_ms", BigInteger, nullable=True),
    Column("ended_by", LargeBinary(16), nullable=True, comment="the device that objected"),
    # One at a time: of two that begin at once the database itself refuses the second.
    Index(
        "recoveries_waiting",
        "account",
        unique=True,
        sqlite_where=_WAITING,
        postgresql_where=_WAITING,
    ),
)

former_rosters = Table(
    "former_rosters",
    metadata,
    Column("account", String, primary_key=True),
    Column("replaced_ms", BigInteger, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("roster", LargeBinary, nullable=False),
    comment="the chains that recoveries replaced, as signed",
)

tables = (departures, attestations, recovery_codes, recoveries, former_rosters)
