"""Reads mailboxes and statuses for many connections at once."""

from collections.abc import Sequence

from miss_protocol import frames as f
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.messages import (
    ROW_OVERHEAD,
    DeviceRecord,
    Fetched,
    Head,
    Row,
    Wanted,
)
from miss_server.storage.postgres.pool import Connection
from miss_server.storage.states import decode_states, for_wire

ROWS_AT_ONCE = 256
"""Rows read for one connection at a time; more come with its next acknowledgement."""

_DEVICE = (
    "SELECT d.account, d.signing_key, d.revoked_ms, a.suspended, a.roster_version"
    " FROM devices d JOIN accounts a ON a.address = d.account WHERE d.id = $1"
)
_HEADS = (
    "SELECT m.device, m.head, d.tick, d.generation"
    " FROM unnest($1::bytea[]) AS w(device) JOIN mailboxes m ON m.device = w.device"
    " JOIN devices d ON d.id = w.device WHERE d.revoked_ms IS NULL"
)
# Only what fits leaves the database, and always the first row, which has none before it.
_ROWS = (
    'SELECT w.place, r.position, r.row_hash, r.digest, r.gap, r."count", r.sender_account,'
    " r.sender_device, r.message, r.body, r.wrap, r.kind, r.urgency, r.at_ms"
    " FROM unnest($1::bytea[], $2::bigint[], $3::bigint[]) WITH ORDINALITY"
    " AS w(device, after, room, place) CROSS JOIN LATERAL ("
    " SELECT e.*, sum(e.size) OVER (ORDER BY e.position"
    " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before"
    " FROM (SELECT *, octet_length(body) + octet_length(wrap) + $4::integer AS size"
    " FROM envelopes WHERE device = w.device AND position > w.after"
    " ORDER BY position LIMIT $5::integer) AS e) AS r"
    " WHERE r.before IS NULL OR r.before + r.size <= w.room"
    " ORDER BY w.place, r.position"
)
_STATUSES = (
    "SELECT w.place, s.tick, s.message, s.sn, s.states"
    " FROM unnest($1::bytea[], $2::bigint[], $3::integer[]) WITH ORDINALITY"
    " AS w(device, after, most, place) JOIN devices d ON d.id = w.device CROSS JOIN LATERAL ("
    " SELECT tick, message, sn, states FROM sends WHERE device = w.device"
    " AND tick > greatest(w.after, d.tick_acked) ORDER BY tick LIMIT w.most) AS s"
    " ORDER BY w.place, s.tick"
)


async def device(db: Connection, device_id: DeviceId) -> DeviceRecord | None:
    """Look a device up; revoked ones are found too."""
    row = await db.fetchrow(_DEVICE, device_id)
    if row is None:
        return None
    account, key, revoked, suspended, version = row
    return DeviceRecord(
        device_id, AccountAddress(account), key, revoked is not None, suspended, version
    )


async def heads(db: Connection, devices: Sequence[DeviceId]) -> dict[DeviceId, Head]:
    """The last position, status tick and session of each device that is not revoked."""
    found = await db.fetch(_HEADS, devices)
    return {DeviceId(device): Head(*head) for device, *head in found}


async def fetch(db: Connection, wanted: Sequence[Wanted]) -> list[Fetched]:
    """Read what each connection has room for."""
    known = {
        device: head
        for device, head, *_ in await db.fetch(
            "SELECT device, head FROM mailboxes WHERE device = ANY($1::bytea[])",
            list({one.device for one in wanted}),
        )
    }
    rows: list[list[Row]] = [[] for _ in wanted]
    behind = [
        (place, one)
        for place, one in enumerate(wanted)
        if one.max_bytes > 0 and one.after < known.get(one.device, 0)
    ]
    if behind:
        for place, *values in await db.fetch(
            _ROWS,
            [one.device for _, one in behind],
            [one.after for _, one in behind],
            [one.max_bytes for _, one in behind],
            ROW_OVERHEAD,
            ROWS_AT_ONCE,
        ):
            rows[behind[place - 1][0]].append(Row(*values))
    statuses: list[list[f.Status]] = [[] for _ in wanted]
    curious = [(place, one) for place, one in enumerate(wanted) if one.max_statuses > 0]
    if curious:
        for place, tick, message, sn, states in await db.fetch(
            _STATUSES,
            [one.device for _, one in curious],
            [one.ticks_after for _, one in curious],
            [one.max_statuses for _, one in curious],
        ):
            status = f.Status(tick, message, sn, for_wire(decode_states(states)))
            statuses[curious[place - 1][0]].append(status)
    return [
        Fetched(rows[place], statuses[place], known.get(one.device, 0))
        for place, one in enumerate(wanted)
    ]
