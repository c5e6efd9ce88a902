"""Who knows whom, and who may reach whom: the calls of people, once for every engine.

A call locks its own account, which every send of that account and every send to it holds FOR SHARE:
what it says is in force for each send that was not settled before it.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, bindparam, delete, select, union

from miss_protocol.errors import Code, Refused
from miss_protocol.ids import AccountAddress
from miss_protocol.meeting import Act, ReachRules
from miss_server.storage.audit import SERVER, Action, Deed
from miss_server.storage.meeting import Relation
from miss_server.storage.meeting_tables import budgets, reach_rules, relations
from miss_server.storage.schema import accounts
from miss_server.storage.sql import audit, locks, schemas
from miss_server.storage.sql.dialects import Upsert
from miss_server.storage.sql.meeting_words import SINCE

_mine, _theirs = relations.alias("mine"), relations.alias("theirs")
_MET = union(
    select(relations.c.peer.label("peer")).where(relations.c.owner == bindparam("own")),
    # What a peer says about the account is not the account's to know.
    select(relations.c.owner).where(
        relations.c.peer == bindparam("own"), relations.c.first_ms.is_not(None)
    ),
).subquery()
_BETWEEN = (
    select(
        accounts.c.address,
        accounts.c.name,
        accounts.c.person,
        _theirs.c.first_ms,
        _mine.c.first_ms,
        _mine.c.accepted_ms,
        _mine.c.declined_ms,
        _mine.c.blocked_ms,
    )
    .select_from(accounts)
    .outerjoin(_mine, and_(_mine.c.owner == bindparam("own"), _mine.c.peer == accounts.c.address))
    .outerjoin(
        _theirs, and_(_theirs.c.owner == accounts.c.address, _theirs.c.peer == bindparam("own"))
    )
)
_LISTING = (
    _BETWEEN.join(_MET, _MET.c.peer == accounts.c.address)
    .where(accounts.c.address > bindparam("after"))
    .order_by(accounts.c.address)
    .limit(bindparam("most"))
)
_ONE = _BETWEEN.where(accounts.c.address == bindparam("other"))
_RULES = select(
    reach_rules.c.reached_by,
    reach_rules.c.found_by,
    reach_rules.c.professions,
    reach_rules.c.establishments,
    reach_rules.c.red_listed,
).where(reach_rules.c.account == bindparam("own"))
_BUDGET = select(budgets.c.per_hour, budgets.c.per_day).where(budgets.c.account == bindparam("own"))
_KNOWN = select(accounts.c.address).where(accounts.c.address == bindparam("own"))
_STANCES = ("accepted_ms", "declined_ms", "blocked_ms")
_TAKE = Upsert(
    relations,
    lambda insert: insert.on_conflict_do_update(
        index_elements=["owner", "peer"],
        set_={name: insert.excluded[name] for name in _STANCES},
    ),
)
_SET_RULES = Upsert(
    reach_rules,
    lambda insert: insert.on_conflict_do_update(
        index_elements=["account"],
        set_={one.name: insert.excluded[one.name] for one in reach_rules.c if not one.primary_key},
    ),
)
_SET_BUDGET = Upsert(
    budgets,
    lambda insert: insert.on_conflict_do_update(
        index_elements=["account"],
        set_={one.name: insert.excluded[one.name] for one in budgets.c if not one.primary_key},
    ),
)

_decode_codes = msgspec.json.Decoder(tuple[str, ...]).decode


def listing(
    connection: Connection, account: AccountAddress, after: str, limit: int
) -> Sequence[Relation]:
    """Everybody that the account met, by address."""
    schemas.require(connection, SINCE)
    found = connection.execute(_LISTING, {"own": account, "after": after, "most": limit})
    return [_relation(*row) for row in found]


def one(connection: Connection, account: AccountAddress, peer: AccountAddress) -> Relation:
    """What is between two."""
    schemas.require(connection, SINCE)
    row = connection.execute(_ONE, {"own": account, "other": peer}).one_or_none()
    if row is None:
        raise Refused(Code.UNKNOWN_ACCOUNT)
    return _relation(*row)


def _relation(peer: str, *rest: Any) -> Relation:
    return Relation(AccountAddress(peer), *rest)


def act(
    connection: Connection, account: AccountAddress, peer: AccountAddress, what: Act, now_ms: int
) -> Relation:
    """Say what the account wants of a peer from now on."""
    schemas.require(connection, SINCE)
    if account == peer:
        raise Refused(Code.MALFORMED, "an account about itself")
    locks.account(connection, account)
    now = one(connection, account, peer)
    accepted, declined, blocked = now.accepted_ms, now.declined_ms, now.blocked_ms
    match what:
        case "accept":
            accepted, declined, blocked = accepted or now_ms, None, None
        case "decline":
            accepted, declined = None, declined or now_ms
        case "block":
            blocked = blocked or now_ms
        case "unblock":
            blocked = None
    if (accepted, declined, blocked) != (now.accepted_ms, now.declined_ms, now.blocked_ms):
        values = dict(zip(_STANCES, (accepted, declined, blocked), strict=True))
        _TAKE.run(connection, owner=account, peer=peer, **values)
    return one(connection, account, peer)


def rules(connection: Connection, account: AccountAddress) -> ReachRules:
    """Who may reach and find the account."""
    schemas.require(connection, SINCE)
    row = connection.execute(_RULES, {"own": account}).one_or_none()
    if row is None:
        return ReachRules()
    reached_by, found_by, professions, establishments, red_listed = row
    return ReachRules(
        reached_by,
        found_by,
        _decode_codes(professions),
        _decode_codes(establishments),
        bool(red_listed),
    )


def set_rules(
    connection: Connection, account: AccountAddress, new: ReachRules, now_ms: int
) -> None:
    """Replace them."""
    schemas.require(connection, SINCE)
    locks.account(connection, account)
    _SET_RULES.run(
        connection,
        account=account,
        reached_by=new.reached_by,
        found_by=new.found_by,
        professions=msgspec.json.encode(new.professions).decode(),
        establishments=msgspec.json.encode(new.establishments).decode(),
        red_listed=new.red_listed,
        changed_ms=now_ms,
    )


def set_budget(
    connection: Connection,
    account: AccountAddress,
    new: tuple[int, int] | None,
    now_ms: int,
    actor: str = SERVER,
) -> None:
    """Give an account a budget of its own, or take it away."""
    schemas.require(connection, SINCE)
    locks.account(connection, account)
    if connection.execute(_KNOWN, {"own": account}).one_or_none() is None:
        raise Refused(Code.UNKNOWN_ACCOUNT)
    if new == budget(connection, account):
        return
    detail: dict[str, int] = {}
    if new is None:
        connection.execute(delete(budgets).where(budgets.c.account == account))
    else:
        detail = dict(zip(("per_hour", "per_day"), new, strict=True))
        _SET_BUDGET.run(connection, account=account, set_ms=now_ms, **detail)
    audit.append(connection, Deed(actor, Action.BUDGET_SET, account, detail), now_ms)


def budget(connection: Connection, account: AccountAddress) -> tuple[int, int] | None:
    """Its own budget, if it has one."""
    schemas.require(connection, SINCE)
    row = connection.execute(_BUDGET, {"own": account}).one_or_none()
    return None if row is None else (row[0], row[1])
