"""Restricts, suspends and reinstates accounts: with the entry in the audit log, or not at all."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, select, update

from miss_protocol.errors import Code, Refused
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.account_tables import departures
from miss_server.storage.audit import Action, Deed
from miss_server.storage.proof_tables import proofs
from miss_server.storage.schema import accounts, devices
from miss_server.storage.sql import audit, locks, recoveries, schemas
from miss_server.storage.sql.dialects import Upsert
from miss_server.storage.standing import Change, Standing, State
from miss_server.storage.standing_tables import standings

SINCE = 2
"""The first schema that has standings."""
LEFT = (
    "Vous n'êtes plus au répertoire professionnel, ou plus attesté. / "
    "You are no longer in the professional register, or no longer attested."
)

LAPSED = (
    "Votre identité n'a pas été prouvée de nouveau à temps. / "
    "Your identity was not proven anew in time."
)

_ACTIONS = {
    State.RESTRICTED: Action.ACCOUNT_RESTRICTED,
    State.SUSPENDED: Action.ACCOUNT_SUSPENDED,
}
_ALL = select(
    standings.c.account,
    standings.c.state,
    standings.c.reason,
    standings.c.since_ms,
    standings.c.actor,
)
_ONE = _ALL.where(standings.c.account == bindparam("account_"))
_FLAG = select(accounts.c.suspended).where(accounts.c.address == bindparam("account_"))
_DEPARTED = select(departures.c.account).where(
    departures.c.account == bindparam("account_"), departures.c.suspended_ms.is_not(None)
)
_LAPSED = select(proofs.c.account).where(
    proofs.c.account == bindparam("account_"), proofs.c.lapsed.is_(True)
)
_DEVICES = select(devices.c.id).where(
    devices.c.account == bindparam("account_"), devices.c.revoked_ms.is_(None)
)
_GENERATIONS = select(devices.c.id, devices.c.generation).where(
    devices.c.id.in_(bindparam("ids", expanding=True))
)
_PUT = Upsert(
    standings,
    lambda insert: insert.on_conflict_do_update(
        index_elements=["account"],
        set_={name: insert.excluded[name] for name in ("state", "reason", "since_ms", "actor")},
    ),
)


def decide(
    connection: Connection,
    account: AccountAddress,
    state: State,
    reason: str,
    actor: str,
    now_ms: int,
) -> Change:
    """Put a decision in force."""
    schemas.require(connection, SINCE)
    suspended = _lock(connection, account)
    before = find(connection, account)
    if before is not None and (before.state, before.reason) == (state, reason):
        return Change(changed=False)
    _PUT.run(
        connection,
        account=account,
        state=state.value,
        reason=reason,
        since_ms=now_ms,
        actor=actor,
    )
    sessions: Sequence[tuple[DeviceId, int]] = ()
    still = is_suspended_otherwise(connection, account)
    if state is State.SUSPENDED and not suspended:
        suspend(connection, account)
        sessions = end_sessions(connection, account)
    elif state is State.RESTRICTED and suspended and not still:
        lift(connection, account, now_ms)
    audit.append(connection, Deed(actor, _ACTIONS[state], account, {"reason": reason}), now_ms)
    return Change(changed=True, sessions=sessions, still=still)


def reinstate(
    connection: Connection, account: AccountAddress, reason: str, actor: str, now_ms: int
) -> Change:
    """Take the decision back."""
    schemas.require(connection, SINCE)
    _lock(connection, account)
    still = is_suspended_otherwise(connection, account)
    before = find(connection, account)
    if before is None:
        return Change(changed=False, still=still)
    connection.execute(delete(standings).where(standings.c.account == account))
    if before.state is State.SUSPENDED and not still:
        lift(connection, account, now_ms)
    detail = {"was": before.state.value, "reason": reason}
    audit.append(connection, Deed(actor, Action.ACCOUNT_REINSTATED, account, detail), now_ms)
    return Change(changed=True, still=still)


def find(connection: Connection, account: AccountAddress) -> Standing | None:
    """The decision in force."""
    if not schemas.has(connection, SINCE):
        return None
    row = connection.execute(_ONE, {"account_": account}).one_or_none()
    return None if row is None else _standing(*row)


def why_suspended(connection: Connection, account: AccountAddress) -> str:
    """What the owner of a suspended account is told; empty if nobody noted a reason."""
    decided = find(connection, account)
    if decided is not None and decided.state is State.SUSPENDED:
        return decided.reason
    if not schemas.has(connection, SINCE):
        return ""
    if connection.execute(_DEPARTED, {"account_": account}).first() is not None:
        return LEFT
    return LAPSED if is_suspended_otherwise(connection, account) else ""


def listing(connection: Connection) -> list[Standing]:
    """Every decision in force."""
    if not schemas.has(connection, SINCE):
        return []
    found = connection.execute(_ALL.order_by(standings.c.since_ms.desc(), standings.c.account))
    return [_standing(*row) for row in found]


def is_suspended_by_anything(connection: Connection, account: AccountAddress) -> bool:
    """Whether a cause is left when another one is over: a decision, a departure, a lapsed proof."""
    decided = find(connection, account)
    if decided is not None and decided.state is State.SUSPENDED:
        return True
    return is_suspended_otherwise(connection, account)


def is_suspended_otherwise(connection: Connection, account: str) -> bool:
    """Whether it is suspended by no decision: its person left the register, or proved nothing anew."""
    return any(
        connection.execute(cause, {"account_": account}).first() is not None
        for cause in (_DEPARTED, _LAPSED)
    )


def _lock(connection: Connection, account: AccountAddress) -> bool:
    """Lock the account, so that every send is before or after the decision; tells whether it is
    suspended now."""
    locks.account(connection, account)
    row = connection.execute(_FLAG, {"account_": account}).one_or_none()
    if row is None:
        raise Refused(Code.UNKNOWN_ACCOUNT)
    return bool(row[0])


def suspend(connection: Connection, account: AccountAddress) -> None:
    """Note that an account is suspended, for whatever cause; it is locked. Then `end_sessions`."""
    connection.execute(update(accounts).where(accounts.c.address == account).values(suspended=True))


def lift(connection: Connection, account: AccountAddress, now_ms: int) -> None:
    """Note that an account is suspended no more, after its last cause; it is locked."""
    connection.execute(
        update(accounts).where(accounts.c.address == account).values(suspended=False)
    )
    recoveries.begin_anew(connection, account, now_ms)


def end_sessions(connection: Connection, account: AccountAddress) -> Sequence[tuple[DeviceId, int]]:
    """Let no session of the account's go on: each node finds its generation passed. The account is
    locked; returns its devices with the generation that a doorbell announces."""
    ids = sorted(connection.execute(_DEVICES, {"account_": account}).scalars())
    locks.devices_of(connection, ids)
    connection.execute(
        update(devices).where(devices.c.id.in_(ids)).values(generation=devices.c.generation + 1)
    )
    found = connection.execute(_GENERATIONS, {"ids": ids})
    return [(DeviceId(device), generation) for device, generation in found]


def _standing(account: str, state: str, reason: str, since_ms: int, actor: str) -> Standing:
    return Standing(AccountAddress(account), State(state), reason, since_ms, actor)
