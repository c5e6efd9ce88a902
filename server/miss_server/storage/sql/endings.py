"""What ends by the clock: messages past their time become gaps, what is kept for retries goes."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, or_, select, update

from miss_protocol.ids import DeviceId
from miss_server.storage.meeting_tables import silenced
from miss_server.storage.messages import ROW_OVERHEAD
from miss_server.storage.schema import (
    device_links,
    devices,
    enrolment_codes,
    envelopes,
    mailboxes,
    nonces,
    sends,
)
from miss_server.storage.settlement.news import News
from miss_server.storage.sql import epochs, invitations, issuing, locks, reports
from miss_server.storage.sql.dialects import is_postgres
from miss_server.storage.sql.meeting_words import meets
from miss_server.storage.sql.news import tell

EXPIRED_AT_ONCE = 500
"""Rows of one expiry transaction: a few milliseconds, so that sends are not held up."""
CODES_KEPT_MS = 90 * 24 * 3600 * 1000
"""Codes are kept for a while after their end, so that "expired" and "used" can be told."""
LOCK = epochs.LOCK + 1
"""The advisory lock of this file: one node at a time is enough, and two would wait in circles."""

_ALONE = select(func.pg_try_advisory_xact_lock(LOCK))
_SIZE = func.length(envelopes.c.body) + func.length(envelopes.c.wrap)
_DUE = (
    select(envelopes.c.id, envelopes.c.device, envelopes.c.position, envelopes.c.sender_device)
    .where(envelopes.c.expires_ms <= bindparam("now"))
    # What ran out at one moment ends in the order in which it came, on any engine.
    .order_by(envelopes.c.expires_ms, envelopes.c.id)
    .execution_options(stream_results=True, max_row_buffer=EXPIRED_AT_ONCE)
)
_STILL_DUE = select(
    envelopes.c.id, envelopes.c.device, envelopes.c.sender_device, envelopes.c.message, _SIZE
).where(
    envelopes.c.id.in_(bindparam("ids", expanding=True)),
    envelopes.c.expires_ms <= bindparam("now"),
)
# What a block kept out of a mailbox ends at the same look, so that its sender sees no difference.
_SILENCED_DUE = (
    select(silenced.c.id, silenced.c.device, silenced.c.sender_device, silenced.c.message)
    .where(silenced.c.expires_ms <= bindparam("now"))
    .order_by(silenced.c.expires_ms, silenced.c.id)
    .limit(EXPIRED_AT_ONCE)
)
_FORGET_SILENCED = delete(silenced).where(silenced.c.id.in_(bindparam("ids", expanding=True)))
# The row keeps its hash and digest: the device's rolling digest must come out the same.
_EXPIRE = (
    update(envelopes)
    .where(envelopes.c.id.in_(bindparam("ids", expanding=True)))
    .values(gap="expired", body=b"", wrap=b"", expires_ms=None)
)
_FREE = (
    update(mailboxes)
    .where(mailboxes.c.device == bindparam("mailbox"))
    .values(bytes=mailboxes.c.bytes - bindparam("freed"))
)
_CLEANED = (
    delete(sends).where(
        sends.c.rowid_.in_(
            select(sends.c.rowid_)
            .join(devices, devices.c.id == sends.c.device)
            .where(
                sends.c.kept_until_ms <= bindparam("now"),
                # A removed device comes for no status any more.
                or_(
                    sends.c.tick.is_(None),
                    sends.c.tick <= devices.c.tick_acked,
                    devices.c.revoked_ms.is_not(None),
                ),
            )
            .limit(1000)
            .with_for_update(of=sends, skip_locked=True)
        )
    ),
    delete(nonces).where(nonces.c.expires_ms <= bindparam("now")),
    delete(device_links).where(device_links.c.expires_ms <= bindparam("now")),
    delete(enrolment_codes).where(enrolment_codes.c.expires_ms + CODES_KEPT_MS <= bindparam("now")),
)


def _is_alone(connection: Connection) -> bool:
    return not is_postgres(connection) or bool(connection.execute(_ALONE).scalar_one())


def expire(
    connection: Connection,
    protected: Mapping[DeviceId, int],
    now_ms: int,
    *,
    elsewhere: Callable[[Iterable[bytes]], Collection[bytes]] = lambda _: (),
) -> Sequence[DeviceId]:
    """Turn rows past their time into gaps; returns the devices to ring.

    Args:
        elsewhere: which of some devices have a live session at another node; theirs are left to
            that one.
    """
    epochs.hold(connection)
    if not _is_alone(connection):
        return ()
    with connection.execute(_DUE, {"now": now_ms}) as rows:
        # Counted after the protected ones are left out: devices that hold on to theirs must not
        # keep everybody else's from expiring.
        free = (r for r in rows if r[2] > protected.get(DeviceId(r[1]), 0))
        chosen: list[Any] = []
        while len(chosen) < EXPIRED_AT_ONCE and (some := list(islice(free, EXPIRED_AT_ONCE))):
            others = elsewhere({row.device for row in some})
            chosen += [row for row in some if row.device not in others]
        chosen = chosen[:EXPIRED_AT_ONCE]
    silent = connection.execute(_SILENCED_DUE, {"now": now_ms}).all() if meets(connection) else []
    if not chosen and not silent:
        return ()
    # The owners, too: a session that begins meanwhile waits, one that has begun is seen now.
    owners = {row.device for row in chosen}
    senders = {row.sender_device for row in (*chosen, *silent)}
    locks.devices_of(connection, owners | senders)
    locks.mailboxes_of(connection, owners)
    others = elsewhere(owners)
    # Some may have been acknowledged before their mailboxes were locked.
    ids = [row.id for row in chosen if row.device not in others]
    due = connection.execute(_STILL_DUE, {"ids": ids, "now": now_ms}).all()
    due = sorted(due, key=lambda row: ids.index(row[0]))
    freed: dict[bytes, int] = {}
    if due:
        connection.execute(_EXPIRE, {"ids": [row[0] for row in due]})
        for _, device, _, _, size in due:
            freed[device] = freed.get(device, 0) + size + ROW_OVERHEAD
        freeing = [{"mailbox": d, "freed": size} for d, size in sorted(freed.items())]
        connection.execute(_FREE, freeing)
    if silent:
        connection.execute(_FORGET_SILENCED, {"ids": [row.id for row in silent]})
    if not due and not silent:
        return ()
    ended = [*((row[1], row[2], row[3]) for row in due), *((s[1], s[2], s[3]) for s in silent)]
    news = [News(sender, message, device, "expired", now_ms) for device, sender, message in ended]
    told = tell(connection, news, now_ms)
    return sorted({DeviceId(device) for device in freed} | told)


def clean(connection: Connection, now_ms: int) -> int:
    """Forget results, nonces, codes, links, invitations, wishes and reports past their time."""
    if not _is_alone(connection):
        return 0
    count = sum(connection.execute(statement, {"now": now_ms}).rowcount for statement in _CLEANED)
    count += issuing.forget(connection, now_ms - CODES_KEPT_MS)
    return count + invitations.forget(connection, now_ms) + reports.forget(connection, now_ms)
