"""Begins a session that changes more than its device: its account, or the epoch (rule C6)."""

from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from miss_server.storage import epoch_ids
from miss_server.storage.messages import Greeting, SessionRefused, SessionStart
from miss_server.storage.postgres import presence
from miss_server.storage.schema import (
    accounts,
    charters,
    devices,
    envelopes,
    mailboxes,
    prekeys,
)
from miss_server.storage.settlement.sessions import Comparison, Known
from miss_server.storage.sql import epochs, locks, settings, witnessed

_ACCOUNT = select(devices.c.account).where(devices.c.id == bindparam("device"))
_KNOWN = (
    select(
        devices.c.account,
        devices.c.sn,
        devices.c.generation,
        devices.c.epoch,
        devices.c.tick_acked,
        devices.c.seen_ms,
        devices.c.window,
        accounts.c.roster_version,
        accounts.c.confirmed,
        mailboxes.c.head,
        mailboxes.c.digest,
        mailboxes.c.acked,
        mailboxes.c.acked_digest,
        select(envelopes.c.digest)
        .where(
            envelopes.c.device == bindparam("device"), envelopes.c.position == bindparam("position")
        )
        .scalar_subquery(),
        select(func.count())
        .select_from(prekeys)
        .where(prekeys.c.device == bindparam("device"), ~prekeys.c.last_resort)
        .scalar_subquery(),
        func.coalesce(
            select(charters.c.version)
            .where(charters.c.account == devices.c.account)
            .order_by(charters.c.at_ms.desc())
            .limit(1)
            .scalar_subquery(),
            "",
        ),
    )
    .join(accounts, accounts.c.address == devices.c.account)
    .join(mailboxes, mailboxes.c.device == devices.c.id)
    .where(devices.c.id == bindparam("device"), devices.c.revoked_ms.is_(None))
)


def begin(
    connection: Connection,
    greeting: Greeting,
    now_ms: int,
    witness: str = witnessed.ALONE,
    node: str | None = None,
) -> SessionStart | SessionRefused:
    """Compare what both ends remember and open a session; the only one to begin meanwhile."""
    epochs.take(connection)
    account = connection.execute(_ACCOUNT, {"device": greeting.device}).scalar_one_or_none()
    if account is None:
        return SessionRefused(revoked=True)
    locks.account(connection, account)
    locks.devices_of(connection, [greeting.device])
    row = connection.execute(
        _KNOWN, {"device": greeting.device, "position": greeting.position}
    ).one_or_none()
    if row is None:
        return SessionRefused(revoked=True)
    epoch, since = epochs.current(connection)
    values: list[Any] = [*row, epoch, since, settings.secret(connection)]
    known = Known(*values)
    comparison = Comparison(greeting, known)
    if comparison.refused is not None:
        return comparison.refused
    after, began = comparison.proven_after, None
    if comparison.differs and epochs.may_tell(connection, account, now_ms):
        after = epoch_ids.number(epoch)
    if after is not None:
        began = epochs.change(connection, now_ms, after=after, witness=witness)
    opened = comparison.open(now_ms, began)
    if opened.confirmed is not None:
        connection.execute(
            update(accounts).where(accounts.c.address == account).values(confirmed=opened.confirmed)
        )
    connection.execute(
        update(devices)
        .where(devices.c.id == greeting.device)
        .values(
            generation=opened.generation,
            sn=opened.sn,
            epoch=opened.noted,
            seen_ms=now_ms,
            app=greeting.app,
        )
    )
    if greeting.live and node is not None:
        presence.note(connection, greeting.device, node)
    return opened.start
