"""People who meet: what the second schema adds, one function a subject."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ID = sa.LargeBinary(16)
_MS = sa.BigInteger
_AUTO = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Only adds, so that a server of the version before goes on beside it."""
    _meeting()
    _geography()


def _meeting() -> None:
    op.create_table(
        "relations",
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("peer", sa.String, primary_key=True),
        sa.Column("first_ms", _MS, nullable=True),
        sa.Column("unanswered", sa.Integer, nullable=False, server_default="0"),
        sa.Column("accepted_ms", _MS, nullable=True),
        sa.Column("declined_ms", _MS, nullable=True),
        sa.Column("blocked_ms", _MS, nullable=True),
    )
    written = sa.text("first_ms IS NOT NULL")
    op.create_index(
        "relations_first",
        "relations",
        ["owner", "first_ms"],
        sqlite_where=written,
        postgresql_where=written,
    )
    op.create_index("relations_peer", "relations", ["peer"])
    op.create_table(
        "reach_rules",
        sa.Column("account", sa.String, primary_key=True),
        sa.Column("reached_by", sa.String, nullable=False, server_default="anyone"),
        sa.Column("found_by", sa.String, nullable=False, server_default="anyone"),
        sa.Column("professions", sa.String, nullable=False, server_default="[]"),
        sa.Column("establishments", sa.String, nullable=False, server_default="[]"),
        sa.Column("red_listed", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("changed_ms", _MS, nullable=False),
    )
    op.create_table(
        "budgets",
        sa.Column("account", sa.String, primary_key=True),
        sa.Column("per_hour", sa.Integer, nullable=False),
        sa.Column("per_day", sa.Integer, nullable=False),
        sa.Column("set_ms", _MS, nullable=False),
    )
    op.create_table(
        "silenced",
        sa.Column("id", _AUTO, primary_key=True, autoincrement=True),
        sa.Column("device", _ID, nullable=False),
        sa.Column("sender_device", _ID, nullable=False),
        sa.Column("message", _ID, nullable=False),
        sa.Column("expires_ms", _MS, nullable=False),
    )
    op.create_index("silenced_device", "silenced", ["device"])
    op.create_index("silenced_expiry", "silenced", ["expires_ms"])


def _geography() -> None:
    # Whoever opens a database makes the directory's tables, on the schema before, too.
    op.create_table(
        "communes",
        sa.Column("code", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("latitude", sa.Float(53), nullable=True),
        sa.Column("longitude", sa.Float(53), nullable=True),
        sa.Column("postcodes", sa.String, nullable=False),
        if_not_exists=True,
    )
