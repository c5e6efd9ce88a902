"""The tables of who knows whom, who may reach or find whom, and of what a blocked sender waits for.

A row of `relations` belongs to its owner: nobody else's send or call ever writes it. So whether a
pair knows each other is read from two rows, the one each way, and no two transactions write one row
for different reasons. A peer has answered if *its* row about me has `first_ms` or `accepted_ms`.
Spec: 08-meeting; rules F1, C1.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    false,
    text,
)

from miss_server.storage.schema import metadata

_AUTO = BigInteger().with_variant(Integer, "sqlite")

relations = Table(
    "relations",
    metadata,
    Column("owner", String, primary_key=True, comment="account address"),
    Column("peer", String, primary_key=True, comment="account address"),
    Column(
        "first_ms",
        BigInteger,
        nullable=True,
        comment="when the owner first wrote to the peer; null: never, control messages do not count",
    ),
    Column(
        "unanswered",
        Integer,
        nullable=False,
        server_default="0",
        comment="messages that the owner sent before the peer first answered; no longer counted then",
    ),
    # Three times and not one state: what was before a block goes on underneath, so that the blocked
    # one sees nothing change, and comes back with its end.
    Column(
        "accepted_ms", BigInteger, nullable=True, comment="the owner accepted the peer; null: no"
    ),
    Column("declined_ms", BigInteger, nullable=True, comment="the owner declined it; null: no"),
    Column("blocked_ms", BigInteger, nullable=True, comment="the owner blocked it; null: no"),
    # The budget counts the newest first contacts of an owner.
    Index(
        "relations_first",
        "owner",
        "first_ms",
        sqlite_where=text("first_ms IS NOT NULL"),
        postgresql_where=text("first_ms IS NOT NULL"),
    ),
    # Who wrote to me: the requests.
    Index("relations_peer", "peer", "owner"),
)

reach_rules = Table(
    "reach_rules",
    metadata,
    Column("account", String, primary_key=True),
    Column(
        "reached_by",
        String,
        nullable=False,
        server_default="anyone",
        comment="who may write first: 'anyone', 'contacts', 'listed' (the lists below)",
    ),
    Column(
        "found_by",
        String,
        nullable=False,
        server_default="anyone",
        comment="who finds the account in a search: as above; contacts always do",
    ),
    Column(
        "professions",
        String,
        nullable=False,
        server_default="[]",
        comment="codes of professions as directory entries have them: a JSON array of strings",
    ),
    Column(
        "establishments",
        String,
        nullable=False,
        server_default="[]",
        comment="identifiers of establishments as directory entries have them: a JSON array",
    ),
    Column(
        "red_listed",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="no search finds the account, whoever asks; writing is a matter of reached_by",
    ),
    Column("changed_ms", BigInteger, nullable=False),
    comment="accounts without a row: anyone reaches and finds them",
)

budgets = Table(
    "budgets",
    metadata,
    Column("account", String, primary_key=True),
    Column("per_hour", Integer, nullable=False, comment="new distinct recipients"),
    Column("per_day", Integer, nullable=False, comment="new distinct recipients"),
    Column("set_ms", BigInteger, nullable=False),
    comment="accounts whose role needs another budget than the operator's settings give everybody",
)

silenced = Table(
    "silenced",
    metadata,
    Column("id", _AUTO, primary_key=True, autoincrement=True),
    Column("device", LargeBinary(16), nullable=False, comment="that would have received it"),
    Column("sender_device", LargeBinary(16), nullable=False),
    Column("message", LargeBinary(16), nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Index("silenced_device", "device"),
    Index("silenced_expiry", "expires_ms"),
    comment="messages of blocked senders: nothing is stored of them but when they end as `expired`",
)

tables = (relations, reach_rules, budgets, silenced)
