"""Reports: kept once, shown and closed with an entry in the audit log, deleted when their time is over."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.errors import Code, Refused
from miss_protocol.identity import roster as rosters_
from miss_protocol.ids import AccountAddress, DeviceId, MessageId
from miss_server.storage.account_tables import former_rosters
from miss_server.storage.audit import Action, Deed
from miss_server.storage.audit import account as by_account
from miss_server.storage.report_tables import reports
from miss_server.storage.reports import Evidence, Filed, Filing, Outcome, Signer
from miss_server.storage.schema import accounts, devices, rosters, sends
from miss_server.storage.sql import audit, locks, schemas
from miss_server.storage.sql.dialects import is_postgres

SINCE = 2
"""The first schema that has reports."""
DAY_MS = 24 * 3600 * 1000

_decode_reply = msgspec.msgpack.Decoder(f.Sent | f.Refused).decode

_ACCOUNT = select(accounts.c.address).where(accounts.c.address == bindparam("account_"))
_DEVICE = select(devices.c.signing_key, devices.c.revoked_ms).where(
    devices.c.id == bindparam("device_"), devices.c.account == bindparam("account_")
)
_CHAINS = (
    select(rosters.c.roster)
    .where(rosters.c.account == bindparam("account_"))
    .order_by(rosters.c.version.desc()),
    select(former_rosters.c.roster)
    .where(former_rosters.c.account == bindparam("account_"))
    .order_by(former_rosters.c.replaced_ms.desc(), former_rosters.c.version.desc()),
)
_HISTORIES = (
    select(rosters.c.roster)
    .where(rosters.c.account == bindparam("account_"))
    .order_by(rosters.c.version),
    select(former_rosters.c.roster)
    .where(former_rosters.c.account == bindparam("account_"))
    .order_by(former_rosters.c.replaced_ms.desc(), former_rosters.c.version),
)
_FILED = select(
    reports.c.id,
    reports.c.reporter,
    reports.c.account,
    reports.c.device,
    reports.c.message,
    reports.c.reason,
    reports.c.received_ms,
    reports.c.filed_ms,
    reports.c.seen_ms,
    reports.c.closed_ms,
    reports.c.outcome,
)
_ONE = _FILED.where(reports.c.id == bindparam("id_"))
_LOCKED = _ONE.with_for_update()
_SAME = _FILED.where(
    reports.c.reporter == bindparam("reporter_"), reports.c.signed_hash == bindparam("hash_")
)
_OF_TODAY = select(func.count(), func.min(reports.c.filed_ms)).where(
    reports.c.reporter == bindparam("reporter_"), reports.c.filed_ms > bindparam("since")
)
_TAKEN = select(sends.c.reply).where(
    sends.c.device == bindparam("device_"), sends.c.message == bindparam("message_")
)
_PAGE = (
    _FILED.where(reports.c.reporter == bindparam("reporter_"))
    .order_by(reports.c.filed_ms.desc(), reports.c.id.desc())
    .limit(bindparam("most"))
)
_PAGE_BEFORE = _PAGE.where(
    (reports.c.filed_ms < bindparam("at"))
    | ((reports.c.filed_ms == bindparam("at")) & (reports.c.id < bindparam("id_")))
)
_OPEN = (
    _FILED.where(reports.c.closed_ms.is_(None))
    .order_by(reports.c.filed_ms, reports.c.id)
    .limit(bindparam("most"))
)
_CLOSED = (
    _FILED.where(reports.c.closed_ms.is_not(None))
    .order_by(reports.c.closed_ms.desc(), reports.c.id)
    .limit(bindparam("most"))
)
_IDS = (
    select(reports.c.id)
    .where(reports.c.id.startswith(bindparam("beginning"), autoescape=False))
    .order_by(reports.c.id)
    .limit(bindparam("most"))
)
_SHOWN = select(reports.c.signed, reports.c.certificate, reports.c.note, reports.c.taken_ms).where(
    reports.c.id == bindparam("id_")
)
_NAMED = select(accounts.c.name, accounts.c.person).where(
    accounts.c.address == bindparam("account_")
)
_REVOKED = select(devices.c.revoked_ms).where(devices.c.id == bindparam("device_"))
_ABOUT = select(func.count()).where(reports.c.account == bindparam("account_"))
_SUMS = select(func.count(), func.min(reports.c.filed_ms)).where(reports.c.closed_ms.is_(None))
_OVER = reports.c.delete_ms <= bindparam("now")


def signer(connection: Connection, account: AccountAddress, device: DeviceId) -> Signer | None:
    """A device by the rosters of its account, those before a recovery included.

    Each was verified when it was taken, back to its genesis, so what lists the device vouches for it.
    """
    schemas.require(connection, SINCE)
    if connection.execute(_ACCOUNT, {"account_": account}).first() is None:
        raise Refused(Code.UNKNOWN_ACCOUNT)
    found = connection.execute(_DEVICE, {"account_": account, "device_": device}).one_or_none()
    if found is None:
        return None
    key, revoked_ms = found
    for chain in _CHAINS:
        statement = chain.execution_options(stream_results=True, max_row_buffer=16)
        with connection.execute(statement, {"account_": account}) as blobs:
            # Its key stands only where it is listed: one roster is decoded, and not each.
            for blob in blobs.scalars():
                if key in blob and (entry := rosters_.decode(blob).find(device)) is not None:
                    return Signer(entry.certificate, revoked_ms)
    return None


def file(connection: Connection, filing: Filing, now_ms: int) -> Filed:
    """Keep a report, once."""
    schemas.require(connection, SINCE)
    locks.account(connection, filing.reporter)
    hashed = blake2b(filing.signed, digest_size=32, person=b"MiSS1 reported").digest()
    same = {"reporter_": filing.reporter, "hash_": hashed}
    known = connection.execute(_SAME, same).one_or_none()
    if known is not None:
        return _filed(known)
    count, oldest = connection.execute(
        _OF_TODAY, {"reporter_": filing.reporter, "since": now_ms - DAY_MS}
    ).one()
    if count >= limits.REPORTS_PER_DAY:
        wait = max(1.0, (oldest + DAY_MS - now_ms) / 1000)
        raise Refused(Code.RATE_LIMITED, "reports", retry_after=wait)
    by = filing.signer.certificate
    connection.execute(
        insert(reports).values(
            id=filing.id,
            reporter=filing.reporter,
            account=by.account,
            device=by.device,
            message=filing.message,
            signed=filing.signed,
            signed_hash=hashed,
            certificate=by.encode(),
            reason=filing.reason,
            note=filing.note,
            received_ms=filing.received_ms,
            taken_ms=_taken(connection, by.device, filing.message),
            filed_ms=now_ms,
        )
    )
    filed = _one(connection, filing.id)
    _note(connection, by_account(filing.reporter), Action.REPORT_FILED, filed, now_ms)
    return filed


def _taken(connection: Connection, device: DeviceId, message: MessageId) -> int | None:
    """When this server said `sent` to that message, while it is known (spec 03-session §4)."""
    sent = connection.execute(_TAKEN, {"device_": device, "message_": message}).scalars()
    replies = [_decode_reply(one) for one in sent]
    return min((one.at for one in replies if isinstance(one, f.Sent)), default=None)


def page(
    connection: Connection, reporter: AccountAddress, before: tuple[int, str] | None, limit: int
) -> list[Filed]:
    """An account's own reports."""
    schemas.require(connection, SINCE)
    values = {"reporter_": reporter, "most": limit}
    if before is None:
        return [_filed(row) for row in connection.execute(_PAGE, values)]
    at, id = before
    return [_filed(row) for row in connection.execute(_PAGE_BEFORE, values | {"at": at, "id_": id})]


def listing(connection: Connection, closed: bool, limit: int) -> list[Filed]:
    """Reports for the operator."""
    schemas.require(connection, SINCE)
    found = connection.execute(_CLOSED if closed else _OPEN, {"most": limit})
    return [_filed(row) for row in found]


def ids(connection: Connection, beginning: str, limit: int) -> Sequence[str]:
    """The reports whose id begins so."""
    schemas.require(connection, SINCE)
    return connection.execute(_IDS, {"beginning": beginning, "most": limit}).scalars().all()


def export(
    connection: Connection, id: str, actor: str, now_ms: int
) -> tuple[Evidence, Sequence[bytes]]:
    """What a report shows, and what proves whose device signed it."""
    evidence = show(connection, id, actor, now_ms, Action.REPORT_EXPORTED)
    return evidence, _chain(connection, evidence.filed.account, evidence.filed.device)


def _chain(connection: Connection, account: AccountAddress, device: DeviceId) -> list[bytes]:
    """The rosters up to the first that lists a device; none if no chain does."""
    for chain in _HISTORIES:
        found: list[bytes] = []
        for blob in connection.execute(chain, {"account_": account}).scalars():
            roster = rosters_.decode(blob)
            if roster.version == 1:  # of several recoveries, each chain by itself
                found = []
            found.append(bytes(blob))
            if roster.find(device) is not None:
                return found
    return []


def show(
    connection: Connection,
    id: str,
    actor: str,
    now_ms: int,
    action: Action = Action.REPORT_SHOWN,
) -> Evidence:
    """What a report shows, and the entry that somebody saw it."""
    schemas.require(connection, SINCE)
    filed = _one(connection, id, lock=True)
    if filed.seen_ms is None:
        connection.execute(update(reports).where(reports.c.id == id).values(seen_ms=now_ms))
    signed, certificate, note, taken_ms = connection.execute(_SHOWN, {"id_": id}).one()
    account_name, person = _named(connection, filed.account)
    reporter_name, _ = _named(connection, filed.reporter)
    revoked_ms = connection.execute(_REVOKED, {"device_": filed.device}).scalar_one_or_none()
    about = connection.execute(_ABOUT, {"account_": filed.account}).scalar_one()
    _note(connection, actor, action, filed, now_ms)
    return Evidence(
        filed=filed,
        reporter_name=reporter_name,
        account_name=account_name,
        person=person,
        signed=signed,
        certificate=certificate,
        note=note,
        taken_ms=taken_ms,
        revoked_ms=revoked_ms,
        others=about - 1,
    )


def _named(connection: Connection, account: AccountAddress) -> tuple[str, str | None]:
    row = connection.execute(_NAMED, {"account_": account}).one_or_none()
    return ("", None) if row is None else (row[0], row[1])


def close(
    connection: Connection, id: str, outcome: Outcome, delete_ms: int, actor: str, now_ms: int
) -> Filed:
    """Close a report."""
    schemas.require(connection, SINCE)
    filed = _one(connection, id, lock=True)
    if filed.closed_ms is not None:
        if filed.outcome is not outcome:
            raise Refused(Code.OUT_OF_PLACE, "closed with another outcome")
        return filed
    connection.execute(
        update(reports)
        .where(reports.c.id == id)
        .values(closed_ms=now_ms, outcome=outcome.value, delete_ms=delete_ms)
    )
    _note(connection, actor, Action.REPORT_CLOSED, filed, now_ms, outcome)
    return _one(connection, id)


def sums(connection: Connection) -> tuple[int, int | None]:
    """How many are open, and when the oldest of them was filed."""
    if not schemas.has(connection, SINCE):
        return 0, None
    count, oldest = connection.execute(_SUMS).one()
    return count, oldest


def forget(connection: Connection, now_ms: int) -> int:
    """Delete closed reports whose time is over; returns how many. None before the table is there."""
    if not schemas.has(connection, SINCE):
        return 0
    if (
        connection.execute(select(reports.c.id).where(_OVER).limit(1), {"now": now_ms}).first()
        is None
    ):
        return 0
    if is_postgres(connection):
        return connection.execute(delete(reports).where(_OVER), {"now": now_ms}).rowcount
    # SQLite leaves what it deletes in the file until the page is used again, and this is plain text.
    connection.exec_driver_sql("PRAGMA secure_delete = ON")
    try:
        return connection.execute(delete(reports).where(_OVER), {"now": now_ms}).rowcount
    finally:
        connection.exec_driver_sql("PRAGMA secure_delete = OFF")


def _one(connection: Connection, id: str, *, lock: bool = False) -> Filed:
    row = connection.execute(_LOCKED if lock else _ONE, {"id_": id}).one_or_none()
    if row is None:
        raise Refused(Code.NOT_FOUND)
    return _filed(row)


def _note(
    connection: Connection,
    actor: str,
    action: Action,
    filed: Filed,
    now_ms: int,
    outcome: Outcome | None = None,
) -> None:
    """What was done, by its number: nothing of the message, which is deleted one day and this is not."""
    detail = {"report": filed.id} | ({} if outcome is None else {"outcome": outcome.value})
    audit.append(connection, Deed(actor, action, filed.account, detail), now_ms)


def _filed(row: Row[*tuple[Any, ...]]) -> Filed:
    fields = dict(row._mapping)
    outcome = fields.pop("outcome")
    return Filed(**fields, outcome=None if outcome is None else Outcome(outcome))
