"""Handing out enrolment codes to people of the directory."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from miss_protocol import limits
from miss_protocol.ids import AccountAddress, new_address
from miss_server.relay.clock import Clock
from miss_server.storage.accounts import Accounts, CodeOrder
from miss_server.storage.attestations import Attestations
from miss_server.storage.audit import SERVER
from miss_server.storage.code_letters import code_of, shown_code
from miss_server.storage.directory import DirectoryReader, name_of


class UnknownPerson(LookupError):
    """Nobody of that identifier is in the directory."""


class UnvouchedPerson(LookupError):
    """They have no national number, and neither an organisation nor a practitioner vouches for them."""


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """A code to hand over, once, to the person it is for."""

    person: str
    name: str
    account: AccountAddress
    code: str
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Orders:
    """What would be made for a list of people; nothing is made yet. `unvouched` have no national number, and
    nobody who vouches for them (rule F2)."""

    codes: Sequence[CodeOrder]
    unknown: Sequence[str]
    unvouched: Sequence[str]


@dataclass(frozen=True, slots=True)
class Issued:
    """What was made: codes, and those who have a device already and got none."""

    codes: Sequence[IssuedCode]
    enrolled: Sequence[str]


def new_code() -> str:
    """A random code, as it is kept."""
    return code_of(secrets.token_bytes(32))


async def issue_code(
    accounts: Accounts,
    directory: DirectoryReader,
    attestations: Attestations,
    person: str,
    *,
    domain: str,
    clock: Clock,
    actor: str = SERVER,
) -> IssuedCode:
    """Open the person's account if there is none and make a code for it.

    An earlier code that was not used ends. `actor` stands in the audit log.

    Raises:
        UnknownPerson, UnvouchedPerson: there is none to make.
    """
    now_ms = clock.now_ms()
    entry = await directory.entry(person, now_ms=now_ms)
    if entry is None:
        raise UnknownPerson(person)
    if await attestations.lacking([person]):
        raise UnvouchedPerson(person)
    name = name_of(entry)
    address = await accounts.create(
        person, name, new_address(secrets.token_bytes(16), domain), now_ms=now_ms
    )
    code = new_code()
    expires = now_ms + limits.ENROLMENT_CODE_TTL * 1000
    await accounts.add_code(address, code, expires_ms=expires, now_ms=now_ms, actor=actor)
    return IssuedCode(person, name, address, shown_code(code), expires)


async def order_codes(
    directory: DirectoryReader,
    attestations: Attestations,
    people: Sequence[str],
    *,
    domain: str,
    clock: Clock,
) -> Orders:
    """Look everybody up and think out codes; `issue_codes` keeps them."""
    now_ms = clock.now_ms()
    expires = now_ms + limits.ENROLMENT_CODE_TTL * 1000
    codes: list[CodeOrder] = []
    unknown: list[str] = []
    lacking = await attestations.lacking(people)
    for person in dict.fromkeys(people):
        entry = await directory.entry(person, now_ms=now_ms)
        if entry is None:
            unknown.append(person)
            continue
        if person in lacking:
            continue
        address = new_address(secrets.token_bytes(16), domain)
        codes.append(CodeOrder(person, name_of(entry), address, new_code(), expires))
    unvouched = [person for person in dict.fromkeys(people) if person in lacking]
    return Orders(codes, unknown, unvouched)


async def issue_codes(
    accounts: Accounts, orders: Sequence[CodeOrder], *, clock: Clock, actor: str = SERVER
) -> Issued:
    """Keep the codes, all of them or none; earlier ones of the same people end."""
    addresses = await accounts.issue_codes(orders, now_ms=clock.now_ms(), actor=actor)
    made = [
        IssuedCode(order.person, order.name, address, shown_code(order.code), order.expires_ms)
        for order, address in zip(orders, addresses, strict=True)
        if address is not None
    ]
    enrolled = [o.person for o, address in zip(orders, addresses, strict=True) if address is None]
    return Issued(made, enrolled)
