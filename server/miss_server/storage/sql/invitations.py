"""Invitations and wishes: who may make one more, what waits for the operator, what is forgotten."""

from collections.abc import Sequence
from hashlib import blake2b

from sqlalchemy import Connection, and_, bindparam, delete, exists, func, insert, select, update

from miss_protocol import limits
from miss_protocol.errors import Code, Refused
from miss_protocol.ids import AccountAddress
from miss_protocol.invitations import Invitation
from miss_server.storage.audit import SERVER, Action, Deed
from miss_server.storage.invitation_tables import invitations, invited_people, wishes
from miss_server.storage.invitations import Inviter, Letter, WishMade
from miss_server.storage.schema import accounts
from miss_server.storage.sql import audit, locks, schemas, settings
from miss_server.storage.sql.dialects import Upsert

SINCE = 2
"""The first schema that has these tables."""
DAY_MS = 24 * 3600 * 1000

_joined = accounts.alias()

_KNOWN = select(invitations.c.at_ms).where(
    invitations.c.account == bindparam("account_"), invitations.c.person == bindparam("person_")
)
_OF_TODAY = select(func.count(), func.min(invitations.c.at_ms)).where(
    invitations.c.account == bindparam("account_"), invitations.c.at_ms > bindparam("since")
)
_ONE_MORE = Upsert(
    invited_people,
    lambda insert: insert.on_conflict_do_update(
        index_elements=["person_hash"],
        set_={"invitations": invited_people.c.invitations + 1},
        where=and_(
            invited_people.c.invitations < limits.INVITATIONS_PER_PERSON,
            invited_people.c.refused_ms.is_(None),
        ),
    ),
)
_REFUSE = Upsert(
    invited_people,
    lambda insert: insert.on_conflict_do_update(
        index_elements=["person_hash"], set_={"refused_ms": insert.excluded.refused_ms}
    ),
)
_PAGE = (
    select(invitations.c.person, invitations.c.at_ms, invitations.c.handed_ms)
    .where(invitations.c.account == bindparam("account_"))
    .order_by(invitations.c.at_ms.desc(), invitations.c.person.desc())
    .limit(bindparam("most"))
)
_PAGE_BEFORE = _PAGE.where(
    (invitations.c.at_ms < bindparam("at"))
    | ((invitations.c.at_ms == bindparam("at")) & (invitations.c.person < bindparam("person_")))
)
_WAITING = and_(
    invitations.c.handed_ms.is_(None),
    invitations.c.account.in_(select(accounts.c.address).where(~accounts.c.suspended)),
    ~exists().where(_joined.c.person == invitations.c.person, _joined.c.genesis.is_not(None)),
)
_LETTERS = (
    select(
        invitations.c.person,
        invitations.c.account,
        accounts.c.person,
        accounts.c.name,
        invitations.c.at_ms,
    )
    .join(accounts, accounts.c.address == invitations.c.account)
    .where(
        _WAITING,
        invitations.c.person.in_(
            select(invitations.c.person)
            .where(_WAITING, invitations.c.person > bindparam("after"))
            .group_by(invitations.c.person)
            .order_by(invitations.c.person)
            .limit(bindparam("most"))
        ),
    )
    .order_by(invitations.c.person, invitations.c.at_ms, invitations.c.account)
)
_HAND_OVER = (
    update(invitations)
    .where(invitations.c.person == bindparam("person_"), _WAITING)
    .values(handed_ms=bindparam("now"))
    .returning(invitations.c.account, invitations.c.at_ms)
)
_WISH = Upsert(
    wishes,
    lambda insert: insert.on_conflict_do_update(
        index_elements=["account", "person"], set_={"at_ms": insert.excluded.at_ms}
    ),
)
_WISHES = (
    select(wishes.c.person, wishes.c.at_ms)
    .where(wishes.c.account == bindparam("account_"), wishes.c.at_ms > bindparam("since"))
    .order_by(wishes.c.at_ms, wishes.c.person)
)
_FORGOTTEN = (
    delete(invitations).where(invitations.c.at_ms <= bindparam("invitations_before")),
    delete(wishes).where(wishes.c.at_ms <= bindparam("wishes_before")),
)


def _hash(connection: Connection, person: str) -> bytes:
    """What is kept of who must not be pestered; the database's secret keeps a stolen copy of the table
    alone from being tried with the register."""
    pepper = settings.secret(connection)
    return blake2b(person.encode(), key=pepper, digest_size=32, person=b"MiSS1 invited").digest()


def invite(connection: Connection, account: AccountAddress, person: str, now_ms: int) -> None:
    """Invite a person once."""
    schemas.require(connection, SINCE)
    locks.account(connection, account)
    values = {"account_": account, "person_": person}
    if connection.execute(_KNOWN, values).one_or_none() is not None:
        return
    count, oldest = connection.execute(
        _OF_TODAY, {"account_": account, "since": now_ms - DAY_MS}
    ).one()
    if count >= limits.INVITATIONS_PER_DAY:
        wait = max(1.0, (oldest + DAY_MS - now_ms) / 1000)
        raise Refused(Code.RATE_LIMITED, "invitations", retry_after=wait)
    if not _ONE_MORE.run(connection, person_hash=_hash(connection, person), invitations=1):
        raise Refused(Code.NOT_TO_BE_INVITED)
    connection.execute(insert(invitations).values(account=account, person=person, at_ms=now_ms))


def page(
    connection: Connection,
    account: AccountAddress,
    before: tuple[int, str] | None,
    limit: int,
    now_ms: int,
) -> tuple[list[Invitation], int]:
    """An account's invitations, and how many more it may make today."""
    schemas.require(connection, SINCE)
    if before is None:
        found = connection.execute(_PAGE, {"account_": account, "most": limit})
    else:
        at, person = before
        values = {"account_": account, "most": limit, "at": at, "person_": person}
        found = connection.execute(_PAGE_BEFORE, values)
    made = [Invitation(*row) for row in found]
    today = {"account_": account, "since": now_ms - DAY_MS}
    count, _ = connection.execute(_OF_TODAY, today).one()
    return made, max(0, limits.INVITATIONS_PER_DAY - count)


def letters(connection: Connection, after: str, limit: int) -> list[Letter]:
    """What waits to be sent, by person."""
    schemas.require(connection, SINCE)
    found: dict[str, Letter] = {}
    rows = connection.execute(_LETTERS, {"after": after, "most": limit})
    for person, account, own, name, at_ms in rows:
        inviter = Inviter(AccountAddress(account), own, name)
        before = found.get(person)
        if before is None:
            found[person] = Letter(person, (inviter,), at_ms)
        else:
            found[person] = Letter(person, (*before.inviters, inviter), before.since_ms)
    return list(found.values())


def hand_over(
    connection: Connection, person: str, now_ms: int, actor: str = SERVER
) -> list[AccountAddress]:
    """Note that the letter to a person is sent; the first inviter first."""
    schemas.require(connection, SINCE)
    rows = connection.execute(_HAND_OVER, {"person_": person, "now": now_ms}).all()
    if rows:
        audit.append(connection, Deed(actor, Action.INVITATION_SENT, person), now_ms)
    return [
        AccountAddress(account) for account, _ in sorted(rows, key=lambda row: (row[1], row[0]))
    ]


def take_back(
    connection: Connection,
    person: str,
    inviters: Sequence[AccountAddress],
    now_ms: int,
    actor: str = SERVER,
) -> None:
    """Note that these invitations were not sent."""
    schemas.require(connection, SINCE)
    taken = connection.execute(
        update(invitations)
        .where(
            invitations.c.person == person,
            invitations.c.account.in_(inviters),
            invitations.c.handed_ms.is_not(None),
        )
        .values(handed_ms=None)
    )
    if taken.rowcount:
        audit.append(connection, Deed(actor, Action.INVITATION_NOT_SENT, person), now_ms)


def refuse(connection: Connection, person: str, now_ms: int, actor: str = SERVER) -> int:
    """Never invite a person again; returns how many invitations are dropped."""
    schemas.require(connection, SINCE)
    hashed = _hash(connection, person)
    # First, so that an invitation that is being made is either seen below or refused.
    _REFUSE.run(connection, person_hash=hashed, invitations=0, refused_ms=now_ms)
    waiting = (invitations.c.person == person) & invitations.c.handed_ms.is_(None)
    dropped = connection.execute(delete(invitations).where(waiting)).rowcount
    _record(connection, actor, Action.INVITATIONS_REFUSED, hashed, now_ms)
    return dropped


def allow(connection: Connection, person: str, now_ms: int, actor: str = SERVER) -> bool:
    """Take a refusal back; tells whether there was one."""
    schemas.require(connection, SINCE)
    hashed = _hash(connection, person)
    refused = (
        update(invited_people)
        .where(invited_people.c.person_hash == hashed, invited_people.c.refused_ms.is_not(None))
        .values(refused_ms=None)
    )
    if not connection.execute(refused).rowcount:
        return False
    _record(connection, actor, Action.INVITATIONS_ALLOWED, hashed, now_ms)
    return True


def _record(connection: Connection, actor: str, action: Action, hashed: bytes, now_ms: int) -> None:
    # Never the identifier: of who asked to be left alone nothing else is kept, for good.
    deed = Deed(actor, action, detail={"person_hash": hashed.hex()})
    audit.append(connection, deed, now_ms)


def wish(connection: Connection, account: AccountAddress, person: str, now_ms: int) -> None:
    """Wait for a person, from now on."""
    schemas.require(connection, SINCE)
    locks.account(connection, account)
    waiting = {one.person for one in made(connection, account, now_ms)}
    if person not in waiting and len(waiting) >= limits.WISHES_MAX:
        raise Refused(Code.TOO_MANY_WISHES)
    _WISH.run(connection, account=account, person=person, at_ms=now_ms)


def withdraw(connection: Connection, account: AccountAddress, person: str) -> None:
    """Wait no longer."""
    schemas.require(connection, SINCE)
    connection.execute(delete(wishes).where(wishes.c.account == account, wishes.c.person == person))


def made(connection: Connection, account: AccountAddress, now_ms: int) -> list[WishMade]:
    """Whom an account waits for."""
    schemas.require(connection, SINCE)
    since = now_ms - limits.WISH_TTL * 1000
    rows = connection.execute(_WISHES, {"account_": account, "since": since})
    return [WishMade(*row) for row in rows]


def forget(connection: Connection, now_ms: int) -> int:
    """Forget what is past its time; returns how many rows. Of nobody before the tables are there."""
    if not schemas.has(connection, SINCE):
        return 0
    before = {
        "invitations_before": now_ms - limits.INVITATION_KEPT * 1000,
        "wishes_before": now_ms - limits.WISH_TTL * 1000,
    }
    return sum(connection.execute(each, before).rowcount for each in _FORGOTTEN)
