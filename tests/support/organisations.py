"""Two establishments with their people, for tests of administrators."""

import os

from miss_protocol import limits
from miss_protocol.directory import Entry, Place
from miss_protocol.errors import Code, Refused
from miss_protocol.ids import AccountAddress
from miss_server.storage.audit import operator
from miss_server.storage.organisations import CodeMade, CodeRequest
from tests.support.devices import NOW, Person, address
from tests.support.in_force import Store, put_in_force, source

HOME, OTHER_HOME = "1590000014", "1620000010"
WARD = f"{HOME}.cardiologie"
MAILBOXED = "bal.0123456789abcdef"
NUMBERED = "3590000014/12"
AIDE, SECRETARY, ELSEWHERE = "local.members.7", "local.members.8", "local.members.9"
DOCTOR, NURSE, STRANGER = "810000000017", "810000000025", "810000000033"
CLAIRE = operator("claire")
FILES = [source("RPPS"), source("FINESS"), source("MSSANTE"), source("members")]
TTL_MS = limits.ENROLMENT_CODE_TTL * 1000


def person(identifier: str, at: str = "", **fields: str) -> Entry:
    """Somebody of the directory; with a national number, working `at` an establishment."""
    places = (Place(organisation="un lieu"), Place(establishment=at)) if at else ()
    name = f"FICTIF {identifier[-2:]}"
    return Entry(identifier, "person", name, places=places, **fields)  # type: ignore[arg-type]


def organisation(identifier: str, **fields: str) -> Entry:
    """An establishment, or a service of one."""
    return Entry(identifier, "organisation", f"EHPAD {identifier[-2:]}", **fields)  # type: ignore[arg-type]


PEOPLE = (
    organisation(HOME),
    organisation(OTHER_HOME),
    organisation(WARD, part_of=HOME),
    person(AIDE, part_of=HOME),
    person(SECRETARY, part_of=HOME),
    person(MAILBOXED, part_of=HOME),
    person(NUMBERED, part_of=HOME),
    person(ELSEWHERE, part_of=OTHER_HOME),
    person(DOCTOR, at=HOME),
    person(NURSE, part_of=HOME),
    person(STRANGER, at=OTHER_HOME),
)
"""At home an aide, a secretary, somebody known by a mailbox only, one by a number of the home's, a doctor by the
register and a nurse by the operator's list."""


async def open_house(store: Store) -> None:
    """Put them in force."""
    await put_in_force(store, PEOPLE, FILES)


async def code_for(
    store: Store,
    by: Person,
    whom: str,
    *,
    at: str = HOME,
    request: bytes | None = None,
    most: int = 50,
    now_ms: int = NOW,
) -> CodeMade:
    """Ask for a code as an administrator."""
    wanted = CodeRequest(by.account, at, whom, request or os.urandom(16), address())
    return await store.issue_code(wanted, ttl_ms=TTL_MS, most=most, now_ms=now_ms)


async def name(store: Store, account: AccountAddress, organisation: str = HOME) -> None:
    """Make somebody an administrator."""
    await store.add_administrator(organisation, account, actor=CLAIRE, now_ms=NOW)


async def refusal(work: object) -> Code | None:
    """The code of a refusal, None if there is none."""
    try:
        await work  # type: ignore[misc]  # any of the store's coroutines
    except Refused as refused:
        return refused.code
    return None
