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
    _accounts()
    _organisations()
    _invitations()
    _audit()
    _proofs()
    _search()
    _standing()
    _reports()


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
    op.create_index("relations_peer", "relations", ["peer", "owner"])
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


def _accounts() -> None:
    op.create_table(
        "departures",
        sa.Column("account", sa.String, primary_key=True),
        sa.Column("cause", sa.String, primary_key=True),
        sa.Column("since_ms", _MS, nullable=False),
        sa.Column("due_ms", _MS, nullable=False),
        sa.Column("suspended_ms", _MS, nullable=True),
    )
    op.create_table(
        "attestations",
        sa.Column("person", sa.String, primary_key=True),
        sa.Column("attester", sa.String, primary_key=True),
        sa.Column("at_ms", _MS, nullable=False),
        sa.Column("withdrawn_ms", _MS, nullable=True),
    )
    op.create_index("attestations_attester", "attestations", ["attester"])
    op.create_table(
        "recovery_codes",
        sa.Column("code_hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("created_ms", _MS, nullable=False),
        sa.Column("expires_ms", _MS, nullable=False),
        sa.Column("used_ms", _MS, nullable=True),
    )
    op.create_index("recovery_codes_account", "recovery_codes", ["account"])
    op.create_table(
        "recoveries",
        sa.Column("device", _ID, primary_key=True),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("proof", sa.LargeBinary, nullable=False),
        sa.Column("roster", sa.LargeBinary, nullable=False),
        sa.Column("prekeys", sa.LargeBinary, nullable=False),
        sa.Column("acceptance", sa.LargeBinary, nullable=False),
        sa.Column("app", sa.String, nullable=False, server_default=""),
        sa.Column("begun_ms", _MS, nullable=False),
        sa.Column("due_ms", _MS, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("ended_ms", _MS, nullable=True),
        sa.Column("ended_by", _ID, nullable=True),
    )
    waiting = sa.text("state = 'waiting'")
    op.create_index(
        "recoveries_waiting",
        "recoveries",
        ["account"],
        unique=True,
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.create_table(
        "former_rosters",
        sa.Column("account", sa.String, primary_key=True),
        sa.Column("replaced_ms", _MS, primary_key=True),
        sa.Column("version", _MS, primary_key=True),
        sa.Column("roster", sa.LargeBinary, nullable=False),
    )


def _organisations() -> None:
    person = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    op.create_table(
        "administrators",
        sa.Column("organisation", sa.String, primary_key=True),
        sa.Column("account", sa.String, primary_key=True),
        sa.Column("given_ms", _MS, nullable=False),
        sa.Column("removed_ms", _MS, nullable=True),
    )
    op.create_index("administrators_account", "administrators", ["account"])
    op.create_table(
        "organisation_people",
        sa.Column("organisation", sa.String, primary_key=True),
        sa.Column("person", person, primary_key=True),
        sa.Column("since_ms", _MS, nullable=False),
        sa.Column("ended_ms", _MS, nullable=True),
        sa.Column("genesis", sa.LargeBinary(32), nullable=True),
    )
    op.create_index("organisation_people_person", "organisation_people", ["person"])
    op.create_table(
        "issued_codes",
        sa.Column("request_hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("organisation", sa.String, nullable=False),
        sa.Column("person", sa.String, nullable=False),
        sa.Column("administrator", sa.String, nullable=False),
        sa.Column("code_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("at_ms", _MS, nullable=False),
    )
    op.create_index("issued_codes_code", "issued_codes", ["code_hash"], unique=True)
    op.create_index("issued_codes_organisation", "issued_codes", ["organisation", "at_ms"])
    op.create_index("issued_codes_at", "issued_codes", ["at_ms"])


def _invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column("account", sa.String, primary_key=True),
        sa.Column("person", sa.String, primary_key=True),
        sa.Column("at_ms", _MS, nullable=False),
        sa.Column("handed_ms", _MS, nullable=True),
    )
    op.create_index("invitations_account", "invitations", ["account", "at_ms"])
    op.create_index("invitations_at", "invitations", ["at_ms"])
    waiting = sa.text("handed_ms IS NULL")
    op.create_index(
        "invitations_waiting",
        "invitations",
        ["person"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.create_table(
        "invited_people",
        sa.Column("person_hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("invitations", sa.Integer, nullable=False, server_default="0"),
        sa.Column("refused_ms", _MS, nullable=True),
    )
    op.create_table(
        "wishes",
        sa.Column("account", sa.String, primary_key=True),
        sa.Column("person", sa.String, primary_key=True),
        sa.Column("at_ms", _MS, nullable=False),
    )
    op.create_index("wishes_at", "wishes", ["at_ms"])


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("detail", sa.String, nullable=False),
        sa.Column("previous", sa.LargeBinary(32), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
    )
    op.create_index("audit_subject", "audit", ["subject", "seq"])
    if op.get_bind().dialect.name == "sqlite":
        for deed in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER audit_not_{deed}d BEFORE {deed.upper()} ON audit"
                " BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END"
            )
        op.execute(
            "CREATE TRIGGER audit_not_replaced BEFORE INSERT ON audit"
            " WHEN EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq)"
            " BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END"
        )
    else:
        op.execute(
            "CREATE FUNCTION audit_only_added_to() RETURNS trigger LANGUAGE plpgsql AS $$"
            " BEGIN RAISE EXCEPTION 'the audit log is only added to'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_not_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON audit"
            " FOR EACH STATEMENT EXECUTE FUNCTION audit_only_added_to()"
        )


def _proofs() -> None:
    op.create_table(
        "sign_ins",
        sa.Column("id", sa.LargeBinary(32), primary_key=True),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("renews", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("stage", sa.String, nullable=False),
        sa.Column("method", sa.String, nullable=False, server_default=""),
        sa.Column("state_hash", sa.LargeBinary(32), nullable=True),
        sa.Column("verifier", sa.String, nullable=False, server_default=""),
        sa.Column("request", sa.String, nullable=False, server_default=""),
        sa.Column("interval_s", sa.Integer, nullable=False, server_default="0"),
        sa.Column("polled_ms", _MS, nullable=False, server_default="0"),
        sa.Column("hint", sa.String, nullable=False, server_default=""),
        sa.Column("call", sa.LargeBinary, nullable=False, server_default=""),
        sa.Column("begun_ms", _MS, nullable=False, server_default="0"),
        sa.Column("shown", sa.LargeBinary, nullable=False, server_default=""),
        sa.Column("confirm_hash", sa.LargeBinary(32), nullable=True),
        sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
        sa.Column("code", sa.String, nullable=False, server_default=""),
        sa.Column("reason", sa.String, nullable=False, server_default=""),
        sa.Column("expires_ms", _MS, nullable=False),
    )
    op.create_index("sign_ins_state", "sign_ins", ["state_hash"], unique=True)
    op.create_index("sign_ins_expiry", "sign_ins", ["expires_ms"])
    op.create_table(
        "proofs",
        sa.Column("account", sa.String, primary_key=True),
        sa.Column("genesis", sa.LargeBinary(32), nullable=False),
        sa.Column("person", sa.String, nullable=False),
        sa.Column("method", sa.String, nullable=False),
        sa.Column("issuer", sa.String, nullable=False),
        sa.Column("client", sa.String, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("level", sa.String, nullable=False),
        sa.Column("proved_ms", _MS, nullable=False),
        sa.Column("lapsed", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("userinfo", sa.Text, nullable=False, server_default=""),
    )
    op.create_index("proofs_proved", "proofs", ["proved_ms"])


def _search() -> None:
    word = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    for slot in (0, 1):
        name = f"directory_vocabulary_{slot}"
        op.create_table(
            name,
            sa.Column("word", word, primary_key=True),
            sa.Column("sound", word, nullable=False),
        )
        op.create_index(f"ix_{name}_sound", name, ["sound"])


def _standing() -> None:
    op.create_table(
        "standings",
        sa.Column("account", sa.String, primary_key=True),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("since_ms", _MS, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
    )


def _reports() -> None:
    op.create_table(
        "reports",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("reporter", sa.String, nullable=False),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("device", _ID, nullable=False),
        sa.Column("message", _ID, nullable=False),
        sa.Column("signed", sa.LargeBinary, nullable=False),
        sa.Column("signed_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("certificate", sa.LargeBinary, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("note", sa.String, nullable=False),
        sa.Column("received_ms", _MS, nullable=False),
        sa.Column("taken_ms", _MS, nullable=True),
        sa.Column("filed_ms", _MS, nullable=False),
        sa.Column("seen_ms", _MS, nullable=True),
        sa.Column("closed_ms", _MS, nullable=True),
        sa.Column("outcome", sa.String, nullable=True),
        sa.Column("delete_ms", _MS, nullable=True),
    )
    op.create_index("reports_once", "reports", ["reporter", "signed_hash"], unique=True)
    op.create_index("reports_reporter", "reports", ["reporter", "filed_ms"])
    op.create_index("reports_account", "reports", ["account"])
    waiting = sa.text("closed_ms IS NULL")
    op.create_index(
        "reports_open", "reports", ["filed_ms"], sqlite_where=waiting, postgresql_where=waiting
    )
    op.create_index("reports_deletion", "reports", ["delete_ms"])
