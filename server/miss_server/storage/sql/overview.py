"""Sums up a database and finds a message in it, in SQL that every engine speaks.

Each function takes a `Connection` inside a read transaction: SQLite's directly, PostgreSQL's inside
`AsyncConnection.run_sync`.
"""

from typing import Any

import msgspec
from sqlalchemy import Connection, and_, case, func, select

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.directory_tables import entries, sources, state
from miss_server.storage.geography import SOURCE as COMMUNES
from miss_server.storage.meeting_tables import silenced as silent
from miss_server.storage.overview import LOW_PREKEYS, Figures, Place, Trace
from miss_server.storage.schema import (
    accounts,
    devices,
    envelopes,
    mailboxes,
    prekeys,
    sends,
    settings,
)
from miss_server.storage.sql import reports
from miss_server.storage.sql.meeting_words import meets
from miss_server.storage.states import RecipientState, decode_states

MONTH_MS = 30 * 24 * 3600 * 1000
WEEK_MS = 7 * 24 * 3600 * 1000

_decode_reply = msgspec.msgpack.Decoder(f.Sent | f.Refused).decode


def figures(connection: Connection, *, now_ms: int, bytes_: int) -> Figures:
    """See `Overview.figures`; `bytes_` is what only the engine knows."""
    horizon = now_ms - limits.DORMANT_AFTER * 1000
    people = connection.execute(
        select(func.count(), _count(accounts.c.confirmed.is_(False))).select_from(accounts)
    ).one()
    left = (
        select(devices.c.id, devices.c.seen_ms, func.count(prekeys.c.id).label("left"))
        .select_from(
            devices.outerjoin(
                prekeys, and_(prekeys.c.device == devices.c.id, prekeys.c.last_resort.is_(False))
            )
        )
        .where(devices.c.revoked_ms.is_(None))
        .group_by(devices.c.id)
        .subquery()
    )
    awake = left.c.seen_ms >= horizon
    supply = connection.execute(
        select(
            func.count(),
            _count(left.c.seen_ms < horizon),
            func.coalesce(func.sum(left.c.left), 0),
            _count(and_(awake, left.c.left < LOW_PREKEYS)),
            _count(and_(awake, left.c.left == 0)),
        )
    ).one()
    full = (mailboxes.c.waiting >= limits.MAILBOX_ROWS_MAX) | (
        mailboxes.c.bytes >= limits.MAILBOX_BYTES_MAX
    )
    depth = connection.execute(
        select(
            func.coalesce(func.sum(mailboxes.c.waiting), 0),
            func.coalesce(func.sum(mailboxes.c.bytes), 0),
            _count(mailboxes.c.waiting > 0),
            func.coalesce(func.max(mailboxes.c.waiting), 0),
            _count(full),
        )
    ).one()
    oldest = connection.execute(
        # Rows are appended, so the lowest id that is no gap is the oldest message.
        select(envelopes.c.at_ms)
        .where(envelopes.c.expires_ms.is_not(None))
        .order_by(envelopes.c.id)
        .limit(1)
    ).scalar()
    epoch = connection.execute(select(settings.c.value).where(settings.c.name == "epoch")).scalar()
    dates = select(sources.c.name, func.min(sources.c.date_ms)).group_by(sources.c.name)
    made_from = tuple(
        (name, date_ms) for name, date_ms in connection.execute(dates.order_by(sources.c.name))
    )
    reported, oldest_report = reports.sums(connection)
    slot = entries[(connection.execute(select(state.c.generation)).scalar() or 0) % 2]
    return Figures(
        accounts=people[0],
        unconfirmed=people[1],
        devices=supply[0],
        dormant=supply[1],
        prekeys=int(supply[2]),
        low_on_prekeys=supply[3],
        without_prekeys=supply[4],
        waiting=int(depth[0]),
        waiting_bytes=int(depth[1]),
        mailboxes=depth[2],
        deepest=depth[3],
        full=depth[4],
        oldest_ms=oldest,
        epoch=int.from_bytes((epoch or b"")[:4], "big"),
        directory_ms=min((ms for name, ms in made_from if name != COMMUNES), default=None),
        directory_sources=made_from,
        directory_entries=connection.execute(select(func.count()).select_from(slot)).scalar() or 0,
        reports_open=reported,
        oldest_report_ms=oldest_report,
        bytes=bytes_,
    )


def growth(connection: Connection, *, now_ms: int) -> tuple[int, int, int]:
    """(new accounts, new devices, messages of a week), see `Sizes`."""
    since = now_ms - MONTH_MS
    return (
        _scalar(connection, select(func.count()).where(accounts.c.created_ms >= since)),
        _scalar(
            connection,
            select(func.count()).where(
                devices.c.created_ms >= since, devices.c.revoked_ms.is_(None)
            ),
        ),
        _scalar(connection, select(func.count()).where(sends.c.kept_until_ms.is_not(None))),
    )


def trace(connection: Connection, message: bytes, *, now_ms: int) -> list[Trace]:
    """See `Overview.trace`."""
    found = connection.execute(
        select(
            sends.c.device,
            sends.c.sn,
            sends.c.kind,
            sends.c.reply,
            sends.c.states,
            sends.c.tick,
            sends.c.kept_until_ms,
            devices.c.account,
            devices.c.tick_acked,
        )
        .join_from(sends, devices, devices.c.id == sends.c.device)
        .where(sends.c.message == message)
        .order_by(sends.c.device, sends.c.sn)
    ).all()
    return [_trace(connection, row, message, now_ms) for row in found]


def _trace(connection: Connection, row: Any, message: bytes, now_ms: int) -> Trace:
    reply = _decode_reply(row.reply)
    sent = isinstance(reply, f.Sent)
    return Trace(
        account=AccountAddress(row.account),
        device=DeviceId(row.device),
        sn=row.sn,
        kind=row.kind,
        outcome="sent" if isinstance(reply, f.Sent) else reply.code,
        sent_ms=reply.at if isinstance(reply, f.Sent) else None,
        told=sent and (row.tick is None or row.tick <= row.tick_acked),
        kept_until_ms=row.kept_until_ms,
        places=[
            _place(connection, state, row.device, message, now_ms)
            for state in decode_states(row.states)
        ],
    )


def _place(
    connection: Connection, state: RecipientState, sender: bytes, message: bytes, now_ms: int
) -> Place:
    owner = connection.execute(
        select(devices.c.account, devices.c.seen_ms).where(devices.c.id == state.device)
    ).first()
    waiting = connection.execute(
        select(envelopes.c.position, envelopes.c.expires_ms).where(
            envelopes.c.device == state.device,
            envelopes.c.message == message,
            envelopes.c.sender_device == sender,
            envelopes.c.gap.is_(None),
        )
    ).first()
    silenced = None if waiting is not None else _silenced(connection, state.device, sender, message)
    ahead = 0
    if waiting is not None:
        ahead = _scalar(
            connection,
            select(func.count()).where(
                envelopes.c.device == state.device, envelopes.c.position < waiting.position
            ),
        )
    horizon = now_ms - limits.DORMANT_AFTER * 1000
    return Place(
        device=DeviceId(state.device),
        account=AccountAddress(owner.account) if owner else None,
        own=state.own,
        state=state.state,
        at_ms=state.at,
        signed=bool(state.signature),
        position=waiting.position if waiting else None,
        ahead=ahead,
        expires_ms=waiting.expires_ms if waiting else silenced,
        seen_ms=owner.seen_ms if owner else None,
        dormant=bool(owner and owner.seen_ms < horizon),
        silenced=silenced is not None,
    )


def _silenced(connection: Connection, device: bytes, sender: bytes, message: bytes) -> int | None:
    """When a message that a block keeps from a device will count as expired; None if none does."""
    if not meets(connection):
        return None
    found = select(silent.c.expires_ms).where(
        silent.c.device == device, silent.c.message == message, silent.c.sender_device == sender
    )
    return connection.execute(found).scalar()


def _count(condition: Any) -> Any:
    """How many rows meet a condition."""
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _scalar(connection: Connection, statement: Any) -> int:
    return int(connection.execute(statement).scalar() or 0)
