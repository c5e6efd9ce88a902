"""What vouches for accounts: kept when a sign-in is carried out, and looked at by the calendar."""

from sqlalchemy import Connection, Row, bindparam, select, update

from miss_protocol.errors import Code, Refused
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.accounts import Enrolment
from miss_server.storage.audit import SERVER, Action, Deed
from miss_server.storage.audit import account as account_
from miss_server.storage.meeting_tables import budgets
from miss_server.storage.proof_tables import proofs
from miss_server.storage.proofs import Lapsed, Proof, Shown, SignIn
from miss_server.storage.schema import accounts, devices, enrolment_codes
from miss_server.storage.sql import accounts as accounts_
from miss_server.storage.sql import audit, epochs, locks, schemas, standing, vouching
from miss_server.storage.sql import sign_ins as sign_ins_
from miss_server.storage.sql.dialects import Upsert, is_postgres
from miss_server.storage.standing_tables import standings

LAPSED_AT_ONCE = 100
_WHY = {"cause": "unproven"}
_MOVED = (enrolment_codes, budgets, standings)
"""What an account may have before it is founded, beside its own row: what only an operator or a code gives.
All else is of who has a device. Sign-ins need the schema that brought these tables."""
_OF_PERSON = select(accounts.c.address, accounts.c.genesis).where(
    accounts.c.person == bindparam("person_")
)
_FOUNDED = select(accounts.c.person, accounts.c.genesis).where(
    accounts.c.address == bindparam("address_")
)
_PROOF = (
    select(proofs)
    # After a recovery (rule A3) the account has another genesis, which the old token does not name.
    .join(
        accounts,
        (accounts.c.address == proofs.c.account) & (accounts.c.genesis == proofs.c.genesis),
    )
    .where(proofs.c.account == bindparam("account_"))
)
_LAPSED = select(proofs.c.lapsed).where(proofs.c.account == bindparam("account_"))
_KEEP = Upsert(
    proofs,
    lambda insert: insert.on_conflict_do_update(
        index_elements=["account"],
        set_={column.name: insert.excluded[column.name] for column in proofs.c},
    ),
)


def finish(
    connection: Connection, secret: str, enrolment: Enrolment | None, now_ms: int
) -> AccountAddress:
    """See `Proofs.finish`."""
    epochs.hold(connection)
    one = sign_ins_.find(connection, secret, now_ms, lock=True)
    if one.stage == "done":
        return one.account
    if one.stage != "confirmed" or one.shown is None:
        raise Refused(Code.OUT_OF_PLACE, one.stage)
    if one.renews:
        genesis = _renewed(connection, one, one.shown)
    else:
        genesis = _founded(connection, one, one.shown, enrolment, now_ms)
    lapsed = connection.execute(_LAPSED, {"account_": one.account}).scalar()
    _keep(connection, one, one.shown, genesis)
    sign_ins_.done(connection, one)
    if lapsed:
        _reinstate(connection, one.account, now_ms)
    return one.account


def _keep(connection: Connection, one: SignIn, shown: Shown, genesis: bytes) -> None:
    by_code = one.method == "code"
    token = shown.token if by_code else ""
    anew = {"level": shown.level, "proved_ms": shown.issued_ms, "lapsed": False}
    if not token:
        # An older token still says whose this genesis is; what contacts cannot check says no more than when.
        shown_before = (
            update(proofs)
            .where(
                proofs.c.account == one.account,
                proofs.c.genesis == genesis,
                proofs.c.person == shown.person,
                proofs.c.token != "",
            )
            .values(**anew)
        )
        if connection.execute(shown_before).rowcount:
            return
    _KEEP.run(
        connection,
        account=one.account,
        genesis=genesis,
        person=shown.person,
        method=one.method,
        issuer=shown.issuer,
        client=shown.client,
        token=token,
        userinfo=shown.userinfo if by_code else "",
        **anew,
    )


def _reinstate(connection: Connection, address: AccountAddress, now_ms: int) -> None:
    """Take back the suspension that was for want of this proof, unless there is another cause."""
    if standing.is_suspended_by_anything(connection, address):
        return
    standing.lift(connection, address, now_ms)
    audit.append(
        connection, Deed(account_(address), Action.ACCOUNT_REINSTATED, address, _WHY), now_ms
    )


def _renewed(connection: Connection, one: SignIn, shown: Shown) -> bytes:
    locks.account(connection, one.account)
    person, genesis = connection.execute(_FOUNDED, {"address_": one.account}).one()
    if person != shown.person:
        raise Refused(Code.ANOTHER_PERSON)
    return bytes(genesis)


def _founded(
    connection: Connection, one: SignIn, shown: Shown, enrolment: Enrolment | None, now_ms: int
) -> bytes:
    """Make the account's first device under the address that its genesis is of."""
    if (
        enrolment is None
        or enrolment.roster.account != one.account
        or enrolment.roster.genesis != one.genesis
    ):
        raise Refused(Code.UNTRUSTED, "another genesis than the sign-in was for")
    there = connection.execute(_OF_PERSON, {"person_": shown.person}).one_or_none()
    taken = connection.execute(_FOUNDED, {"address_": one.account}).one_or_none()
    if taken is not None and taken.person != shown.person:
        raise Refused(Code.ALREADY_ENROLLED)
    if there is None:
        address = accounts_.create(connection, shown.person, shown.name, one.account, now_ms)
    else:
        address = AccountAddress(there.address)
    locks.account(connection, address)
    genesis = connection.execute(_FOUNDED, {"address_": address}).one().genesis
    if genesis is not None:
        # Founded by somebody who proved less, or by this person before: recovery is rule A3's.
        raise Refused(Code.ALREADY_ENROLLED)
    if vouching.is_ended(connection, shown.person):
        # Their access ended at once (spec 11 §6.1): to sign in anew is no way back.
        raise Refused(Code.NOT_ALLOWED, "an organisation vouches no more")
    if address != one.account:
        _move(connection, address, one.account)
    accounts_.first_device(connection, enrolment, now_ms)
    return enrolment.roster.genesis


def _move(connection: Connection, old: AccountAddress, new: AccountAddress) -> None:
    """Give an account that nobody has founded, so that nothing refers to it yet, the address that was
    drawn for this genesis before anybody knew whose it would be."""
    connection.execute(update(accounts).where(accounts.c.address == old).values(address=new))
    for table in _MOVED:
        connection.execute(update(table).where(table.c.account == old).values(account=new))


def find(connection: Connection, account: AccountAddress) -> Proof | None:
    """See `Proofs.proof`; None before `db upgrade`, too: then only codes enrolled anybody."""
    if not schemas.has(connection, sign_ins_.SCHEMA):
        return None
    row = connection.execute(_PROOF, {"account_": account}).one_or_none()
    return None if row is None else _proof(row)


def _proof(row: Row[*tuple[object, ...]]) -> Proof:
    return Proof(**row._asdict())


def lapse(connection: Connection, before_ms: int, now_ms: int) -> list[Lapsed]:
    """See `Proofs.lapse`."""
    if not schemas.has(connection, sign_ins_.SCHEMA):
        return []
    due = (
        select(proofs.c.account)
        .join(accounts, accounts.c.address == proofs.c.account)
        .where(
            proofs.c.proved_ms < before_ms,
            proofs.c.lapsed.is_(False),
            accounts.c.suspended.is_(False),
        )
        .order_by(proofs.c.account)
        .limit(LAPSED_AT_ONCE)
    )
    if is_postgres(connection):
        due = due.with_for_update(skip_locked=True)
    lapsed = []
    for address in connection.execute(due).scalars().all():
        connection.execute(
            update(accounts).where(accounts.c.address == address).values(suspended=True)
        )
        connection.execute(update(proofs).where(proofs.c.account == address).values(lapsed=True))
        theirs = connection.execute(
            select(devices.c.id).where(devices.c.account == address, devices.c.revoked_ms.is_(None))
        ).scalars()
        lapsed.append(Lapsed(AccountAddress(address), tuple(DeviceId(one) for one in theirs)))
    for one in lapsed:
        audit.append(connection, Deed(SERVER, Action.ACCOUNT_SUSPENDED, one.account, _WHY), now_ms)
    return lapsed
