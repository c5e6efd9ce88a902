"""Who acts for organisations: the role, and whether it may be used at this moment."""

from sqlalchemy import Connection, bindparam, select, union, update

from miss_protocol.errors import Code, Refused
from miss_protocol.ids import AccountAddress
from miss_server.storage.account_tables import departures
from miss_server.storage.audit import Action, Deed
from miss_server.storage.organisation_tables import administrators, organisation_people
from miss_server.storage.organisations import Administrator
from miss_server.storage.schema import accounts
from miss_server.storage.sql import audit, people, schemas
from miss_server.storage.sql.dialects import Upsert, is_postgres
from miss_server.storage.standing_tables import standings

SINCE = 2
"""The first schema that has administrators."""

_ABLE = (
    administrators.c.removed_ms.is_(None)
    & accounts.c.genesis.is_not(None)
    & ~accounts.c.suspended
    & ~select(departures.c.account).where(departures.c.account == accounts.c.address).exists()
    & ~select(standings.c.account).where(standings.c.account == accounts.c.address).exists()
)
"""Whether a role may be used, of a row joined with its account: who is restricted or leaves may not."""

_LOCK = (
    select(administrators.c.account)
    .where(administrators.c.organisation == bindparam("organisation_"))
    .order_by(administrators.c.account)
    .with_for_update()
)
_ROLES = select(
    administrators.c.organisation,
    administrators.c.account,
    accounts.c.name,
    administrators.c.given_ms,
    administrators.c.removed_ms,
    _ABLE,
).join(accounts, accounts.c.address == administrators.c.account)
_ALL = _ROLES.order_by(
    administrators.c.organisation, administrators.c.given_ms, administrators.c.account
)
_OF_ORGANISATION = _ALL.where(administrators.c.organisation == bindparam("organisation_"))
_USABLE = (
    select(administrators.c.organisation)
    .join(accounts, accounts.c.address == administrators.c.account)
    .where(administrators.c.account == bindparam("account_"), _ABLE)
    .order_by(administrators.c.organisation)
)
_THIS = _USABLE.where(administrators.c.organisation == bindparam("organisation_"))
_ROW = select(administrators.c.removed_ms).where(
    administrators.c.organisation == bindparam("organisation_"),
    administrators.c.account == bindparam("account_"),
)
_ADD = Upsert(
    administrators,
    lambda insert: insert.on_conflict_do_nothing(index_elements=["organisation", "account"]),
)
# A role that was taken away stands for nothing, unless its organisation still has people.
_CONCERNED = union(
    select(organisation_people.c.organisation).where(organisation_people.c.ended_ms.is_(None)),
    select(administrators.c.organisation).where(administrators.c.removed_ms.is_(None)),
)
_ATTENDED = (
    select(administrators.c.organisation)
    .join(accounts, accounts.c.address == administrators.c.account)
    .where(_ABLE)
    .distinct()
)
_GENESIS = select(accounts.c.genesis).where(accounts.c.address == bindparam("account_"))


def lock(connection: Connection, organisation: str) -> None:
    """Let one transaction at a time act for an organisation, or change who does. Before any account."""
    schemas.require(connection, SINCE)
    if is_postgres(connection):
        connection.execute(_LOCK, {"organisation_": organisation}).all()


def require(connection: Connection, account: AccountAddress, organisation: str) -> None:
    """Whether an account may act for an organisation now; `lock` first if something follows of it.

    Raises:
        Refused: not_allowed, it may not; not_found, the directory has no such organisation any more.
    """
    schemas.require(connection, SINCE)
    values = {"account_": account, "organisation_": organisation}
    if connection.execute(_THIS, values).first() is None:
        raise Refused(Code.NOT_ALLOWED, "no administrator of it, or not at present")
    if people.organisation(connection, organisation) is None:
        raise Refused(Code.NOT_FOUND, "the organisation has left the directory")


def require_no_other(
    connection: Connection, organisation: str, account: AccountAddress | None
) -> None:
    """Keep administrators of an organisation, oneself among them, out of each other's hands.

    Raises:
        Refused: not_allowed.
    """
    values = {"organisation_": organisation, "account_": account or ""}
    row = connection.execute(_ROW, values).one_or_none()
    if row is not None and row.removed_ms is None:
        raise Refused(Code.NOT_ALLOWED, "the operator decides about administrators")


def usable(connection: Connection, account: AccountAddress) -> list[str]:
    """The organisations for which an account may act now."""
    schemas.require(connection, SINCE)
    found = connection.execute(_USABLE, {"account_": account}).scalars()
    return [one for one in found if people.organisation(connection, one) is not None]


def add(
    connection: Connection, organisation: str, account: AccountAddress, actor: str, now_ms: int
) -> bool:
    """Name an administrator."""
    schemas.require(connection, SINCE)
    if people.organisation(connection, organisation) is None:
        raise Refused(Code.NOT_FOUND, "no such organisation in the directory")
    if connection.execute(_GENESIS, {"account_": account}).scalar_one_or_none() is None:
        raise Refused(Code.UNKNOWN_ACCOUNT, "no account with a device")
    lock(connection, organisation)
    values = {"organisation_": organisation, "account_": account}
    row = connection.execute(_ROW, values).one_or_none()
    if row is None:
        # Of two at once for a first administrator, whom no row keeps apart, one finds the other.
        given = {"organisation": organisation, "account": account, "given_ms": now_ms}
        if not _ADD.run(connection, **given):
            return False
    elif row.removed_ms is None:
        return False
    else:
        _set(connection, organisation, account, given_ms=now_ms, removed_ms=None)
    detail = {"organisation": organisation}
    audit.append(connection, Deed(actor, Action.ADMINISTRATOR_ADDED, account, detail), now_ms)
    return True


def remove(
    connection: Connection, organisation: str, account: AccountAddress, actor: str, now_ms: int
) -> bool:
    """Take the role away."""
    schemas.require(connection, SINCE)
    lock(connection, organisation)
    values = {"organisation_": organisation, "account_": account}
    row = connection.execute(_ROW, values).one_or_none()
    if row is None or row.removed_ms is not None:
        return False
    _set(connection, organisation, account, removed_ms=now_ms)
    detail = {"organisation": organisation}
    audit.append(connection, Deed(actor, Action.ADMINISTRATOR_REMOVED, account, detail), now_ms)
    return True


def listing(connection: Connection, organisation: str | None) -> list[Administrator]:
    """Every role, past ones, too."""
    schemas.require(connection, SINCE)
    found = (
        connection.execute(_ALL)
        if organisation is None
        else connection.execute(_OF_ORGANISATION, {"organisation_": organisation})
    )
    return [
        Administrator(of, AccountAddress(account), name, given, removed, bool(acts))
        for of, account, name, given, removed, acts in found
    ]


def unattended(connection: Connection) -> list[str]:
    """See `Overview.without_administrator`."""
    if not schemas.has(connection, SINCE):
        return []
    concerned = set(connection.execute(_CONCERNED).scalars())
    return sorted(concerned - set(connection.execute(_ATTENDED).scalars()))


def _set(
    connection: Connection, organisation: str, account: AccountAddress, **values: int | None
) -> None:
    connection.execute(
        update(administrators)
        .where(administrators.c.organisation == organisation, administrators.c.account == account)
        .values(**values)
    )
