"""Enrolment codes that administrators issue: one for a request, however often it is made."""

from hashlib import blake2b

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from miss_protocol import limits
from miss_protocol.encoding import pack
from miss_protocol.errors import Code, Refused
from miss_protocol.ids import AccountAddress
from miss_server.storage.audit import administrator
from miss_server.storage.code_letters import code_of
from miss_server.storage.directory import is_unnumbered, name_of
from miss_server.storage.organisation_tables import issued_codes
from miss_server.storage.organisations import CodeMade, CodeRequest
from miss_server.storage.schema import accounts, enrolment_codes
from miss_server.storage.sql import accounts as accounts_
from miss_server.storage.sql import (
    administrators,
    issued,
    locks,
    own_people,
    schemas,
    settings,
)

DAY_MS = 24 * 3600 * 1000

_KNOWN = select(issued_codes.c.organisation, issued_codes.c.person, issued_codes.c.code_hash).where(
    issued_codes.c.request_hash == bindparam("hash_")
)
_OF_TODAY = select(func.count(), func.min(issued_codes.c.at_ms)).where(
    issued_codes.c.organisation == bindparam("organisation_"),
    issued_codes.c.at_ms > bindparam("since"),
)
_CODE = select(enrolment_codes.c.expires_ms, enrolment_codes.c.used_ms).where(
    enrolment_codes.c.code_hash == bindparam("hash_")
)
_FORGOTTEN = delete(issued_codes).where(issued_codes.c.at_ms <= bindparam("before"))
_GENESIS = select(accounts.c.genesis).where(accounts.c.address == bindparam("account_"))


def issue(
    connection: Connection, wanted: CodeRequest, ttl_ms: int, most: int, now_ms: int
) -> CodeMade:
    """Make a code, or give again the one that was made for this request."""
    by, organisation = wanted.administrator, wanted.organisation
    administrators.lock(connection, organisation)
    entry = own_people.own(connection, by, organisation, wanted.person)
    request = _hash(connection, wanted, b"MiSS1 request")
    code = code_of(_hash(connection, wanted, b"MiSS1 issued"))
    known = connection.execute(_KNOWN, {"hash_": request}).one_or_none()
    if known is not None:
        if (known.organisation, known.person) != (organisation, wanted.person):
            raise Refused(Code.OUT_OF_PLACE, "a request id of another request")
        expires = _still_open(connection, known.code_hash, now_ms)
        return CodeMade(wanted.person, name_of(entry), code, expires)
    _check_budget(connection, organisation, most, now_ms)
    account = accounts_.create(connection, wanted.person, name_of(entry), wanted.address, now_ms)
    locks.account(connection, account)
    if connection.execute(_GENESIS, {"account_": account}).scalar_one() is not None:
        raise Refused(Code.ALREADY_ENROLLED)
    expires = now_ms + ttl_ms
    if is_unnumbered(entry):
        own_people.vouch(connection, by, organisation, wanted.person, account, now_ms)
    else:
        own_people.begin(connection, organisation, wanted.person, now_ms)
    issued.end(connection, organisation, wanted.person, now_ms)
    connection.execute(
        insert(issued_codes).values(
            request_hash=request,
            organisation=organisation,
            person=wanted.person,
            administrator=by,
            code_hash=accounts_.code_hash(connection, code),
            at_ms=now_ms,
        )
    )
    accounts_.add_code(connection, account, code, expires, now_ms, administrator(by), organisation)
    return CodeMade(wanted.person, name_of(entry), code, expires)


def left_today(
    connection: Connection, account: AccountAddress, most: int, now_ms: int
) -> list[tuple[str, int]]:
    """For which organisations an account may act, and how many more codes each may issue."""
    found = []
    for organisation in administrators.usable(connection, account):
        values = {"organisation_": organisation, "since": now_ms - DAY_MS}
        count, _ = connection.execute(_OF_TODAY, values).one()
        found.append((organisation, max(0, most - count)))
    return found


def forget(connection: Connection, before_ms: int) -> int:
    """Forget codes that ended before; returns how many. Of none before the tables are there."""
    if not schemas.has(connection, administrators.SINCE):
        return 0
    gone = {"before": before_ms - limits.ENROLMENT_CODE_TTL * 1000}
    return connection.execute(_FORGOTTEN, gone).rowcount


def _hash(connection: Connection, wanted: CodeRequest, person: bytes) -> bytes:
    """What follows from a request under the database's secret. The request's id is kept nowhere, so a
    stolen copy of the database gives no code that waits."""
    return blake2b(
        pack(wanted.administrator.encode(), wanted.request),
        key=settings.secret(connection),
        digest_size=32,
        person=person,
    ).digest()


def _still_open(connection: Connection, code_hash: bytes, now_ms: int) -> int:
    row = connection.execute(_CODE, {"hash_": code_hash}).one_or_none()
    if row is not None and row.used_ms is not None:
        raise Refused(Code.CODE_USED)
    if row is None or row.expires_ms <= now_ms:
        raise Refused(Code.CODE_EXPIRED)
    return int(row.expires_ms)


def _check_budget(connection: Connection, organisation: str, most: int, now_ms: int) -> None:
    values = {"organisation_": organisation, "since": now_ms - DAY_MS}
    count, oldest = connection.execute(_OF_TODAY, values).one()
    if count >= most:
        # A clock of another node may be ahead, and with none allowed there is none that ages.
        wait = min(DAY_MS, oldest + DAY_MS - now_ms) if count else DAY_MS
        after = max(1.0, wait / 1000)
        raise Refused(Code.RATE_LIMITED, "codes of the organisation", retry_after=after)
