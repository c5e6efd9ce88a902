"""Enrolment codes for many people at once: for all of them, or for none."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, insert, select, update

from miss_protocol.ids import AccountAddress
from miss_server.storage.accounts import CodeOrder
from miss_server.storage.audit import SERVER, Action, Deed
from miss_server.storage.schema import accounts, enrolment_codes
from miss_server.storage.sql import accounts as accounts_
from miss_server.storage.sql import audit, locks

AT_ONCE = 500
"""Values of one statement."""

_OF_PERSONS = select(accounts.c.person, accounts.c.address, accounts.c.genesis.is_not(None)).where(
    accounts.c.person.in_(bindparam("persons", expanding=True))
)
_END = (
    update(enrolment_codes)
    .where(
        enrolment_codes.c.account == bindparam("account_"),
        enrolment_codes.c.used_ms.is_(None),
        enrolment_codes.c.expires_ms > bindparam("now"),
    )
    .values(expires_ms=bindparam("now"))
)


def issue(
    connection: Connection, orders: Sequence[CodeOrder], now_ms: int, actor: str = SERVER
) -> list[AccountAddress | None]:
    """Open accounts where there are none and keep the hashes of their codes, in order.

    Nobody who has a device gets a code: it could not be used.
    """
    # In one order, or two nodes that open accounts for the same people wait for each other.
    for order in sorted(orders, key=lambda order: order.person):
        accounts_.create(connection, order.person, order.name, order.address, now_ms)
    known = _accounts(connection, orders)
    addresses = sorted(address for address, _ in known.values())
    for at in range(0, len(addresses), AT_ONCE):
        locks.accounts_of(connection, addresses[at : at + AT_ONCE])
    known = _accounts(connection, orders)  # as it stands now that nobody enrols meanwhile
    fresh = [order for order in orders if not known[order.person][1]]
    if fresh:
        connection.execute(
            _END, [{"account_": known[order.person][0], "now": now_ms} for order in fresh]
        )
        connection.execute(
            insert(enrolment_codes),
            [
                {
                    "code_hash": accounts_.code_hash(connection, order.code),
                    "account": known[order.person][0],
                    "created_ms": now_ms,
                    "expires_ms": order.expires_ms,
                }
                for order in fresh
            ],
        )
    for order in fresh:
        detail = {"expires_ms": order.expires_ms}
        made = Deed(actor, Action.CODE_MADE, known[order.person][0], detail)
        audit.note(connection, made, now_ms)
    return [None if known[o.person][1] else known[o.person][0] for o in orders]


def _accounts(
    connection: Connection, orders: Sequence[CodeOrder]
) -> dict[str, tuple[AccountAddress, bool]]:
    """Of each person, the account and whether it has a genesis."""
    found: dict[str, tuple[AccountAddress, bool]] = {}
    for at in range(0, len(orders), AT_ONCE):
        persons = [order.person for order in orders[at : at + AT_ONCE]]
        for person, address, enrolled in connection.execute(_OF_PERSONS, {"persons": persons}):
            found[person] = (AccountAddress(address), enrolled)
    return found
