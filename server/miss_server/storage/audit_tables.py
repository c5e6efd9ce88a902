"""The table of the audit log, to which only ever is added: triggers refuse everything else.

Whoever owns the database can drop a trigger. They stop a slip, and a program that was broken into
with no more than its own statements; what shows the rest is the chain (`miss_protocol.audit`).
"""

from sqlalchemy import BigInteger, Column, Connection, Index, LargeBinary, String, Table, event

from miss_server.storage.schema import metadata

audit = Table(
    "audit",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("detail", String, nullable=False, comment="a JSON object; no content, no secret"),
    Column("previous", LargeBinary(32), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Index("audit_subject", "subject", "seq"),
)

tables = (audit,)

_SAYS = "'the audit log is only added to'"
_FUNCTION = (
    "CREATE FUNCTION audit_only_added_to() RETURNS trigger LANGUAGE plpgsql AS $$"
    f" BEGIN RAISE EXCEPTION {_SAYS}; END $$"
)
_STATEMENTS = (
    "CREATE TRIGGER audit_not_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON audit"
    " FOR EACH STATEMENT EXECUTE FUNCTION audit_only_added_to()"
)
# INSERT OR REPLACE deletes without a trigger of DELETE.
_REPEATED = "SELECT 1 FROM audit WHERE seq = NEW.seq"
_NOT_REPLACED = (
    f"CREATE TRIGGER audit_not_replaced BEFORE INSERT ON audit WHEN EXISTS ({_REPEATED})"
    f" BEGIN SELECT RAISE(ABORT, {_SAYS}); END"
)
REFUSALS = {
    "sqlite": [
        *(
            f"CREATE TRIGGER audit_not_{deed.lower()}d BEFORE {deed} ON audit"
            f" BEGIN SELECT RAISE(ABORT, {_SAYS}); END"
            for deed in ("UPDATE", "DELETE")
        ),
        _NOT_REPLACED,
    ],
    "postgresql": [_FUNCTION, _STATEMENTS],
}


def _refuse_changes(_: Table, connection: Connection, **__: object) -> None:
    for statement in REFUSALS[connection.dialect.name]:
        connection.exec_driver_sql(statement)


event.listen(audit, "after_create", _refuse_changes)
