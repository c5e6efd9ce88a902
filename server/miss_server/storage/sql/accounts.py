"""Accounts, enrolment codes, charters and signed requests' nonces."""

from collections.abc import Collection
from hashlib import blake2b

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from miss_protocol.directory import normalise
from miss_protocol.errors import Code, Refused
from miss_protocol.identity.charter import CharterAcceptance
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.accounts import Account, Enrolment
from miss_server.storage.audit import SERVER, Action, Deed
from miss_server.storage.schema import accounts, charters, devices, enrolment_codes, nonces
from miss_server.storage.schema import rosters as rosters_table
from miss_server.storage.sql import audit, epochs, issued, locks, prekeys, settings, vouching
from miss_server.storage.sql import devices as devices_
from miss_server.storage.sql.dialects import Upsert

_ACTIVE = (devices.c.account == accounts.c.address) & devices.c.revoked_ms.is_(None)
_ACCOUNT = select(
    accounts.c.address,
    accounts.c.person,
    accounts.c.name,
    accounts.c.genesis.is_not(None),
    accounts.c.suspended,
    accounts.c.roster_version,
    select(func.count()).select_from(devices).where(_ACTIVE).scalar_subquery(),
    select(func.max(devices.c.seen_ms)).where(_ACTIVE).scalar_subquery(),
    accounts.c.created_ms,
)
_FIND = _ACCOUNT.where(accounts.c.address == bindparam("address_"))
_LISTING = (
    _ACCOUNT.where(accounts.c.address > bindparam("after"))
    .order_by(accounts.c.address)
    .limit(bindparam("most"))
)
_NAMES = (
    select(accounts.c.address, accounts.c.name, accounts.c.person)
    .where(accounts.c.address > bindparam("after"))
    .order_by(accounts.c.address)
)
_SOME = _ACCOUNT.where(accounts.c.address.in_(bindparam("addresses", expanding=True))).order_by(
    accounts.c.address
)
_SOME_MAX = 500
"""Addresses in one question: far from what a database takes."""
_OF_PERSON = select(accounts.c.address).where(accounts.c.person == bindparam("person_"))
_FOUNDED = select(accounts.c.genesis, accounts.c.person).where(
    accounts.c.address == bindparam("address_")
)
_CODE = select(
    enrolment_codes.c.account, enrolment_codes.c.expires_ms, enrolment_codes.c.used_ms
).where(enrolment_codes.c.code_hash == bindparam("hash_"))

_CREATE = Upsert(accounts, lambda insert: insert.on_conflict_do_nothing(index_elements=["person"]))
_SIGN = Upsert(
    charters, lambda insert: insert.on_conflict_do_nothing(index_elements=["account", "version"])
)
_NONCE = Upsert(
    nonces, lambda insert: insert.on_conflict_do_nothing(index_elements=["device", "nonce"])
)


def code_hash(connection: Connection, code: str) -> bytes:
    """What is kept of a code. The database's secret keeps a stolen copy of the table alone from
    being tried."""
    pepper = settings.secret(connection)
    return blake2b(code.encode(), key=pepper, digest_size=32, person=b"MiSS1 code").digest()


def create(
    connection: Connection, person: str | None, name: str, address: AccountAddress, now_ms: int
) -> AccountAddress:
    """Open an account; an existing one of the same person is returned as it is."""
    if _CREATE.run(connection, address=address, person=person, name=name, created_ms=now_ms):
        return address
    # In a statement of its own: it sees what the other one, for whom this one waited, committed.
    return AccountAddress(connection.execute(_OF_PERSON, {"person_": person}).scalar_one())


def find(connection: Connection, address: AccountAddress) -> Account | None:
    """One account."""
    row = connection.execute(_FIND, {"address_": address}).one_or_none()
    return None if row is None else _account(row)


def listing(
    connection: Connection, after: str, limit: int, words: Collection[str] = ()
) -> list[Account]:
    """Accounts by address, perhaps only those that `_bears` these words."""
    if not words:
        found = connection.execute(_LISTING, {"after": after, "most": limit})
        return [_account(row) for row in found]
    named = connection.execute(_NAMES, {"after": after})
    addresses = [row.address for row in named if _bears(row.name, row.person, words)][:limit]
    return [
        _account(row)
        for first in range(0, len(addresses), _SOME_MAX)
        for row in connection.execute(_SOME, {"addresses": addresses[first : first + _SOME_MAX]})
    ]


def _bears(name: str, person: str | None, words: Collection[str]) -> bool:
    """Whether each word begins one of the name or of the identifier. No database folds as we do."""
    borne = (*normalise(name), *normalise(person or ""))
    return all(any(one.startswith(word) for one in borne) for word in words)


def _account(row: Row[*tuple[object, ...]]) -> Account:
    return Account(*row)  # type: ignore[arg-type]  # the columns of _ACCOUNT, in order


def add_code(
    connection: Connection,
    account: AccountAddress,
    code: str,
    expires_ms: int,
    now_ms: int,
    actor: str = SERVER,
    organisation: str = "",
) -> None:
    """Keep a code's hash; earlier unused codes of the account end now. `organisation`: for which an
    administrator issued it; then the caller ends the organisation's own, and those of others stay."""
    locks.account(connection, account)
    if not organisation:
        end_codes(connection, account, now_ms)
    connection.execute(
        insert(enrolment_codes).values(
            code_hash=code_hash(connection, code),
            account=account,
            created_ms=now_ms,
            expires_ms=expires_ms,
        )
    )
    detail: dict[str, str | int] = {"expires_ms": expires_ms}
    if organisation:
        detail["organisation"] = organisation
    audit.note(connection, Deed(actor, Action.CODE_MADE, account, detail), now_ms)


def end_codes(connection: Connection, account: AccountAddress, now_ms: int) -> bool:
    """End the account's unused codes; tells whether there was one. The account is locked."""
    ended = connection.execute(
        update(enrolment_codes)
        .where(
            enrolment_codes.c.account == account,
            enrolment_codes.c.used_ms.is_(None),
            enrolment_codes.c.expires_ms > now_ms,
        )
        .values(expires_ms=now_ms)
    )
    return ended.rowcount > 0


def _code(connection: Connection, hashed: bytes) -> Row[str, int, int | None]:
    row = connection.execute(_CODE, {"hash_": hashed}).one_or_none()
    if row is None:
        raise Refused(Code.CODE_UNKNOWN)
    return row


def account_of_code(connection: Connection, code: str, now_ms: int) -> Account:
    """Whom a code would enrol."""
    address, expires, used = _code(connection, code_hash(connection, code))
    if used is not None:
        raise Refused(Code.CODE_USED)
    if expires <= now_ms:
        raise Refused(Code.CODE_EXPIRED)
    account = find(connection, AccountAddress(address))
    assert account is not None  # noqa: S101  # codes are only made for accounts
    return account


def enrol(connection: Connection, enrolment: Enrolment, now_ms: int) -> AccountAddress:
    """Use the code and make the account's first device."""
    epochs.hold(connection)
    hashed, roster = code_hash(connection, enrolment.code), enrolment.roster
    address = AccountAddress(_code(connection, hashed)[0])
    locks.account(connection, address)
    _, expires, used = _code(connection, hashed)  # as it stands now that nobody else may use it
    genesis, person = connection.execute(_FOUNDED, {"address_": address}).one()
    if used is not None:
        if genesis == roster.genesis:
            return address  # the reply was lost, and the device asks again
        raise Refused(Code.CODE_USED)
    if expires <= now_ms:
        raise Refused(Code.CODE_EXPIRED)
    if genesis is not None:
        raise Refused(Code.ALREADY_ENROLLED)
    if roster.account != address:
        raise Refused(Code.UNTRUSTED, "a genesis for another account")
    if person is not None and vouching.lacking(connection, [person]):
        # Whoever vouched when the code was made may have gone, been suspended or closed since (rule F2).
        raise Refused(Code.NOT_ALLOWED, "nobody vouches for this person any more")
    device = first_device(connection, enrolment, now_ms)
    connection.execute(
        update(enrolment_codes)
        .where(enrolment_codes.c.code_hash == hashed)
        .values(used_ms=now_ms, used_by=device)
    )
    issued.note_enrolled(connection, hashed, roster.genesis)
    return address


def first_device(connection: Connection, enrolment: Enrolment, now_ms: int) -> DeviceId:
    """Make an account's first device; `epochs.hold` and the account's lock first, and it must have
    no genesis. Raises `Refused`: untrusted, a device id that is in use."""
    address, roster = enrolment.roster.account, enrolment.roster
    certificate = roster.entries[0].certificate
    new = devices_.add(connection, certificate, enrolment.app, now_ms)
    connection.execute(
        update(accounts)
        .where(accounts.c.address == address)
        .values(genesis=roster.genesis, roster_version=1)
    )
    connection.execute(
        insert(rosters_table).values(account=address, version=1, roster=roster.encode())
    )
    # A repeat of what a restore undid brings one-time prekeys that may have been handed out.
    safe = [key for key in enrolment.prekeys if new or key.last_resort]
    prekeys.keep(connection, certificate.device, safe)
    sign_charter(connection, enrolment.acceptance, now_ms)
    return certificate.device


def sign_charter(connection: Connection, acceptance: CharterAcceptance, now_ms: int) -> None:
    """Keep an accepted charter; the first acceptance of a version by an account counts."""
    _SIGN.run(
        connection,
        account=acceptance.account,
        version=acceptance.version,
        device=acceptance.device,
        acceptance=acceptance.encode(),
        at_ms=now_ms,
    )


def use_nonce(connection: Connection, device: DeviceId, nonce: str, expires_ms: int) -> bool:
    """Note a nonce; False if it was there."""
    return _NONCE.run(connection, device=device, nonce=nonce, expires_ms=expires_ms)
