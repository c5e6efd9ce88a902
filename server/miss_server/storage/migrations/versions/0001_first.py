"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.LargeBinary(16)
_HASH = sa.LargeBinary(32)
_MS = sa.BigInteger
_AUTO = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make every table but the words of the directory, which each import makes anew."""
    _people()
    _messages()
    _small_things()
    _directory()


def _people() -> None:
    op.create_table(
        "settings",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "accounts",
        sa.Column("address", sa.String, primary_key=True),
        sa.Column("person", sa.String, nullable=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("genesis", _HASH, nullable=True),
        sa.Column("roster_version", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("confirmed", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("suspended", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("created_ms", _MS, nullable=False),
    )
    op.create_index("accounts_person", "accounts", ["person"], unique=True)
    op.create_table(
        "rosters",
        sa.Column("account", sa.String, primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True),
        sa.Column("roster", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "devices",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("signing_key", _HASH, nullable=False),
        sa.Column("created_ms", _MS, nullable=False),
        sa.Column("seen_ms", _MS, nullable=False),
        sa.Column("revoked_ms", _MS, nullable=True),
        sa.Column("generation", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("sn", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("tick", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("tick_acked", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("prekey_high", sa.BigInteger, nullable=False, server_default="-1"),
        sa.Column("epoch", _ID, nullable=False),
        sa.Column("window", sa.Integer, nullable=False, server_default="0"),
        sa.Column("app", sa.String, nullable=False, server_default=""),
    )
    op.create_index("devices_account", "devices", ["account"])


def _messages() -> None:
    op.create_table(
        "mailboxes",
        sa.Column("device", _ID, primary_key=True),
        sa.Column("head", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("digest", _HASH, nullable=False),
        sa.Column("acked", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("acked_digest", _HASH, nullable=False),
        sa.Column("waiting", sa.Integer, nullable=False, server_default="0"),
        sa.Column("bytes", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_table(
        "envelopes",
        sa.Column("id", _AUTO, primary_key=True, autoincrement=True),
        sa.Column("device", _ID, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("gap", sa.String, nullable=True),
        sa.Column("count", sa.Integer, nullable=False, server_default="1"),
        sa.Column("row_hash", _HASH, nullable=False),
        sa.Column("digest", _HASH, nullable=False),
        sa.Column("sender_account", sa.String, nullable=False),
        sa.Column("sender_device", _ID, nullable=False),
        sa.Column("message", _ID, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("wrap", sa.LargeBinary, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("urgency", sa.String, nullable=False),
        sa.Column("at_ms", _MS, nullable=False),
        sa.Column("expires_ms", _MS, nullable=True),
    )
    op.create_index("envelopes_position", "envelopes", ["device", "position"], unique=True)
    op.create_index("envelopes_expiry", "envelopes", ["expires_ms"])
    op.create_table(
        "sends",
        sa.Column("rowid_", _AUTO, primary_key=True, autoincrement=True),
        sa.Column("device", _ID, nullable=False),
        sa.Column("sn", sa.BigInteger, nullable=False),
        sa.Column("message", _ID, nullable=False),
        sa.Column("fingerprint", _HASH, nullable=False),
        sa.Column("reply", sa.LargeBinary, nullable=False),
        sa.Column("states", sa.LargeBinary, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("tick", sa.BigInteger, nullable=True),
        sa.Column("open", sa.Integer, nullable=False),
        sa.Column("kept_until_ms", _MS, nullable=True),
    )
    op.create_index("sends_sn", "sends", ["device", "sn"], unique=True)
    op.create_index("sends_message", "sends", ["device", "message"])
    told, settled = sa.text("tick IS NOT NULL"), sa.text("kept_until_ms IS NOT NULL")
    op.create_index(
        "sends_tick", "sends", ["device", "tick"], sqlite_where=told, postgresql_where=told
    )
    op.create_index(
        "sends_kept", "sends", ["kept_until_ms"], sqlite_where=settled, postgresql_where=settled
    )


def _small_things() -> None:
    op.create_table(
        "prekeys",
        sa.Column("device", _ID, primary_key=True),
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("last_resort", sa.Boolean, nullable=False),
        sa.Column("prekey", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "enrolment_codes",
        sa.Column("code_hash", _HASH, primary_key=True),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("created_ms", _MS, nullable=False),
        sa.Column("expires_ms", _MS, nullable=False),
        sa.Column("used_ms", _MS, nullable=True),
        sa.Column("used_by", _ID, nullable=True),
    )
    op.create_index("enrolment_codes_account", "enrolment_codes", ["account"])
    op.create_table(
        "device_links",
        sa.Column("code_hash", _HASH, primary_key=True),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("certificate", sa.LargeBinary, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("created_ms", _MS, nullable=False),
        sa.Column("expires_ms", _MS, nullable=False),
    )
    op.create_table(
        "charters",
        sa.Column("account", sa.String, primary_key=True),
        sa.Column("version", sa.String, primary_key=True),
        sa.Column("device", _ID, nullable=False),
        sa.Column("acceptance", sa.LargeBinary, nullable=False),
        sa.Column("at_ms", _MS, nullable=False),
    )
    op.create_table(
        "nonces",
        sa.Column("device", _ID, primary_key=True),
        sa.Column("nonce", sa.String, primary_key=True),
        sa.Column("expires_ms", _MS, nullable=False),
    )
    op.create_index("nonces_expiry", "nonces", ["expires_ms"])


def _directory() -> None:
    op.create_table(
        "directory_state",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "directory_sources",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("file", sa.String, nullable=False),
        sa.Column("date_ms", sa.BigInteger, nullable=False),
        sa.Column("imported_ms", sa.BigInteger, nullable=False),
        sa.Column("activities", sa.BigInteger, nullable=False),
    )
    sorted_as_bytes = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    for slot in (0, 1):
        name = f"directory_entries_{slot}"
        op.create_table(
            name,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("person", sorted_as_bytes, nullable=False, unique=True),
            sa.Column("name_key", sa.String, nullable=False),
            sa.Column("digest", sa.LargeBinary(16), nullable=False),
            sa.Column("entry", sa.LargeBinary, nullable=False),
        )
        op.create_index(f"ix_{name}_name_key", name, ["name_key"])
