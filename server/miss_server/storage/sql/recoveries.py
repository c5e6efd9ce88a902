"""Recoveries: a genesis that waits, an objection that ends it, and its taking the old one's place.

Whoever changes one holds the account's row: an objection and the completion exclude each other by it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Connection, bindparam, delete, insert, literal, select, update

from miss_protocol.errors import Code, Refused
from miss_protocol.identity import charter, prekeys
from miss_protocol.identity.roster import decode
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.account_tables import former_rosters, recoveries, recovery_codes
from miss_server.storage.accounts import Account, Enrolment, RosterChange
from miss_server.storage.audit import SERVER, Action, Deed
from miss_server.storage.audit import account as account_
from miss_server.storage.proof_tables import proofs
from miss_server.storage.recoveries import Recovered, Recovery, State
from miss_server.storage.schema import accounts, device_links, devices, rosters
from miss_server.storage.sql import accounts as accounts_
from miss_server.storage.sql import audit, epochs, locks, schemas
from miss_server.storage.sql import devices as devices_
from miss_server.storage.sql import prekeys as prekeys_
from miss_server.storage.sql import rosters as rosters_

SINCE = 2
"""The first schema that has recoveries."""
AT_ONCE = 50
"""Recoveries that one look completes; the next look comes soon."""

_CODE = select(
    recovery_codes.c.account, recovery_codes.c.expires_ms, recovery_codes.c.used_ms
).where(recovery_codes.c.code_hash == bindparam("hash_"))
_STANDS = (
    recoveries.c.account,
    recoveries.c.device,
    recoveries.c.begun_ms,
    recoveries.c.due_ms,
    recoveries.c.state,
)
_OF_DEVICE = select(*_STANDS, recoveries.c.proof, recoveries.c.roster).where(
    recoveries.c.device == bindparam("device_")
)
_ALL = (
    select(*_STANDS)
    .where(recoveries.c.state == "waiting")
    .order_by(recoveries.c.due_ms, recoveries.c.account)
)
_WAITING = _ALL.where(recoveries.c.account == bindparam("account_"))
_DUE = (
    select(recoveries.c.account)
    .join(accounts, accounts.c.address == recoveries.c.account)
    .where(
        recoveries.c.state == "waiting",
        recoveries.c.due_ms <= bindparam("now"),
        ~accounts.c.suspended,
    )
    .order_by(recoveries.c.due_ms)
    .limit(AT_ONCE)
)
_KEPT = select(
    recoveries.c.device,
    recoveries.c.roster,
    recoveries.c.prekeys,
    recoveries.c.acceptance,
    recoveries.c.app,
    accounts.c.suspended,
).join(accounts, accounts.c.address == recoveries.c.account)
_TO_COMPLETE = _KEPT.where(
    recoveries.c.account == bindparam("account_"),
    recoveries.c.state == "waiting",
    recoveries.c.due_ms <= bindparam("now"),
)
_STANDING = select(accounts.c.genesis, accounts.c.suspended).where(
    accounts.c.address == bindparam("account_")
)
_ACTIVE = select(devices.c.id).where(
    devices.c.account == bindparam("account_"), devices.c.revoked_ms.is_(None)
)
_ANEW = (
    update(recoveries)
    .where(recoveries.c.account == bindparam("account_"), recoveries.c.state == "waiting")
    .values(
        begun_ms=bindparam("now", type_=BigInteger),
        due_ms=bindparam("now", type_=BigInteger) + recoveries.c.due_ms - recoveries.c.begun_ms,
    )
)
_KNOWN_DEVICE = select(devices.c.id).where(devices.c.id == bindparam("device_"))


def add_code(
    connection: Connection,
    account: AccountAddress,
    code: str,
    expires_ms: int,
    now_ms: int,
    actor: str = SERVER,
) -> None:
    """Keep a code's hash; earlier unused ones end now."""
    schemas.require(connection, SINCE)
    locks.account(connection, account)
    row = connection.execute(_STANDING, {"account_": account}).one_or_none()
    if row is None or row.genesis is None:
        raise Refused(Code.UNKNOWN_ACCOUNT, "nothing to recover")
    connection.execute(
        update(recovery_codes)
        .where(
            recovery_codes.c.account == account,
            recovery_codes.c.used_ms.is_(None),
            recovery_codes.c.expires_ms > now_ms,
        )
        .values(expires_ms=now_ms)
    )
    connection.execute(
        insert(recovery_codes).values(
            code_hash=accounts_.code_hash(connection, code),
            account=account,
            created_ms=now_ms,
            expires_ms=expires_ms,
        )
    )
    made = Deed(actor, Action.RECOVERY_CODE_MADE, account, {"expires_ms": expires_ms})
    audit.append(connection, made, now_ms)


def account_of_code(connection: Connection, code: str, now_ms: int) -> Account:
    """Whose account a code recovers."""
    schemas.require(connection, SINCE)
    address, expires, used = _code(connection, accounts_.code_hash(connection, code))
    if used is not None:
        raise Refused(Code.CODE_USED)
    if expires <= now_ms:
        raise Refused(Code.CODE_EXPIRED)
    account = accounts_.find(connection, AccountAddress(address))
    assert account is not None  # noqa: S101  # codes are only made for accounts
    return account


def begin(connection: Connection, enrolment: Enrolment, delay_ms: int, now_ms: int) -> Recovery:
    """Use a code, and let its genesis wait."""
    schemas.require(connection, SINCE)
    proof = accounts_.code_hash(connection, enrolment.code)
    address = AccountAddress(_code(connection, proof)[0])
    locks.account(connection, address)
    _, expires, used = _code(connection, proof)  # as it stands now that nobody else may use it
    if used is not None:
        return _repeated(connection, proof, enrolment)
    if expires <= now_ms:
        raise Refused(Code.CODE_EXPIRED)
    begun = _begin_proven(connection, address, proof, enrolment, delay_ms, now_ms)
    connection.execute(
        update(recovery_codes).where(recovery_codes.c.code_hash == proof).values(used_ms=now_ms)
    )
    # Who holds the code did it: that it is the account's own person is what is claimed.
    detail: dict[str, str | int] = {"device": begun.device.hex(), "due_ms": begun.due_ms}
    audit.append(connection, Deed(SERVER, Action.RECOVERY_BEGUN, address, detail), now_ms)
    return begun


def _begin_proven(
    connection: Connection,
    address: AccountAddress,
    proof: bytes,
    enrolment: Enrolment,
    delay_ms: int,
    now_ms: int,
) -> Recovery:
    """Let a genesis wait whose holder has proven by a code to be the account's person; the account is
    locked. `proof`, the code's hash, is kept with it."""
    standing = connection.execute(_STANDING, {"account_": address}).one()
    if standing.suspended:
        raise Refused(Code.SUSPENDED)
    if connection.execute(_WAITING, {"account_": address}).first() is not None:
        raise Refused(Code.RECOVERING)
    roster = enrolment.roster
    device = roster.entries[0].certificate.device
    if roster.account != address or roster.genesis == standing.genesis:
        raise Refused(Code.UNTRUSTED, "not a new genesis for this account")
    if (
        connection.execute(_KNOWN_DEVICE, {"device_": device}).first() is not None
        or connection.execute(_OF_DEVICE, {"device_": device}).first() is not None
    ):
        raise Refused(Code.UNTRUSTED, "a device id that is in use")
    connection.execute(
        insert(recoveries).values(
            device=device,
            account=address,
            proof=proof,
            roster=roster.encode(),
            prekeys=msgspec.msgpack.encode([key.encode() for key in enrolment.prekeys]),
            acceptance=enrolment.acceptance.encode(),
            app=enrolment.app,
            begun_ms=now_ms,
            due_ms=now_ms + delay_ms,
            state="waiting",
        )
    )
    return Recovery(address, device, now_ms, now_ms + delay_ms, "waiting")


def waiting(connection: Connection, account: AccountAddress) -> Recovery | None:
    """The one of an account that waits."""
    if not schemas.has(connection, SINCE):
        return None
    row = connection.execute(_WAITING, {"account_": account}).one_or_none()
    return None if row is None else Recovery(*row)


def listing(connection: Connection) -> list[Recovery]:
    """All that wait."""
    if not schemas.has(connection, SINCE):
        return []
    return [Recovery(*row) for row in connection.execute(_ALL)]


def veto(
    connection: Connection,
    account: AccountAddress,
    device: DeviceId | None,
    now_ms: int,
    actor: str = SERVER,
) -> Recovery:
    """End the one that waits."""
    schemas.require(connection, SINCE)
    locks.account(connection, account)
    if device is not None:
        # Read under the lock: the completion that came first has revoked it.
        active = connection.execute(_ACTIVE, {"account_": account}).scalars().all()
        if device not in active:
            raise Refused(Code.REVOKED)
    found = connection.execute(_WAITING, {"account_": account}).one_or_none()
    if found is None:
        raise Refused(Code.NOT_FOUND, "no recovery waits")
    state: State = "cancelled" if device is None else "vetoed"
    _end(connection, found.device, state, device, now_ms)
    by = actor if device is None else account_(account)
    _note_end(connection, Deed(by, Action.RECOVERY_STOPPED, account), found.device, now_ms)
    return Recovery(account, found.device, found.begun_ms, found.due_ms, state)


def begin_anew(connection: Connection, account: AccountAddress, now_ms: int) -> None:
    """Let the whole delay of one that waits pass again, since its account's devices could not object while it
    was suspended; the account is locked."""
    if schemas.has(connection, SINCE):
        connection.execute(_ANEW, {"account_": account, "now": now_ms})


def due(connection: Connection, now_ms: int) -> Sequence[AccountAddress]:
    """The accounts whose recovery's time has come."""
    if not schemas.has(connection, SINCE):
        return ()
    found = connection.execute(_DUE, {"now": now_ms}).scalars()
    return [AccountAddress(account) for account in found]


def complete(connection: Connection, account: AccountAddress, now_ms: int) -> Recovered | None:
    """Put the new genesis in the place of the old one, if it still waits and its time has come."""
    epochs.hold(connection)
    locks.account(connection, account)
    row = connection.execute(_TO_COMPLETE, {"account_": account, "now": now_ms}).one_or_none()
    if row is None or row.suspended:
        return None
    genesis = decode(row.roster)
    certificate = genesis.entries[0].certificate
    if connection.execute(_KNOWN_DEVICE, {"device_": row.device}).first() is not None:
        _end(connection, row.device, "cancelled", None, now_ms)  # taken meanwhile: never two of it
        _note_end(connection, Deed(SERVER, Action.RECOVERY_STOPPED, account), row.device, now_ms)
        return None
    gone = [DeviceId(d) for d in connection.execute(_ACTIVE, {"account_": account}).scalars()]
    gone.sort()
    ring = rosters_.revoke(connection, gone, now_ms) if gone else set()
    _replace_chain(connection, account, row.roster, now_ms)
    connection.execute(
        update(accounts)
        .where(accounts.c.address == account)
        .values(genesis=genesis.genesis, roster_version=1, confirmed=True)
    )
    connection.execute(delete(device_links).where(device_links.c.account == account))
    # What a provider said, it said of the old genesis (rule A4).
    connection.execute(delete(proofs).where(proofs.c.account == account))
    new = devices_.add(connection, certificate, row.app, now_ms)
    keys = [prekeys.decode(blob) for blob in msgspec.msgpack.decode(row.prekeys, type=list[bytes])]
    # A repeat of what a restore undid brings one-time prekeys that may have been handed out.
    prekeys_.keep(connection, certificate.device, [k for k in keys if new or k.last_resort])
    accounts_.sign_charter(connection, charter.decode(row.acceptance), now_ms)
    _end(connection, row.device, "done", None, now_ms)
    _note_end(connection, Deed(SERVER, Action.RECOVERY_DONE, account), row.device, now_ms)
    return Recovered(account, RosterChange([certificate.device], gone, sorted(ring)))


def _replace_chain(
    connection: Connection, account: AccountAddress, roster: bytes, now_ms: int
) -> None:
    old = select(
        rosters.c.account, literal(now_ms, BigInteger), rosters.c.version, rosters.c.roster
    ).where(rosters.c.account == account)
    connection.execute(
        insert(former_rosters).from_select(["account", "replaced_ms", "version", "roster"], old)
    )
    connection.execute(delete(rosters).where(rosters.c.account == account))
    connection.execute(insert(rosters).values(account=account, version=1, roster=roster))


def _code(connection: Connection, hashed: bytes) -> Any:
    row = connection.execute(_CODE, {"hash_": hashed}).one_or_none()
    if row is None:
        raise Refused(Code.CODE_UNKNOWN)
    return row


def _repeated(connection: Connection, proof: bytes, enrolment: Enrolment) -> Recovery:
    """The reply was lost, and the device asks again; or it wants to know how things stand."""
    device = enrolment.roster.entries[0].certificate.device
    row = connection.execute(_OF_DEVICE, {"device_": device}).one_or_none()
    if row is None or row.proof != proof or row.roster != enrolment.roster.encode():
        raise Refused(Code.CODE_USED)
    return Recovery(row.account, row.device, row.begun_ms, row.due_ms, row.state)


def _note_end(connection: Connection, deed: Deed, device: bytes, now_ms: int) -> None:
    """Record what became of a recovery; `device` is the first of its new genesis."""
    audit.append(connection, replace(deed, detail={"device": device.hex()}), now_ms)


def _end(
    connection: Connection, device: bytes, state: State, by: DeviceId | None, now_ms: int
) -> None:
    connection.execute(
        update(recoveries)
        .where(recoveries.c.device == device)
        .values(state=state, ended_ms=now_ms, ended_by=by)
    )
