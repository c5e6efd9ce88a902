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

_DEVICES = (
    "SELECT d.id, d.account, d.signing_key, d.revoked_ms, a.suspended, a.roster_version"
    " FROM unnest($1::bytea[]) AS w(id) JOIN devices d ON d.id = w.id"
    " JOIN accounts a ON a.address = d.account"
)
_HEADS = (
    "SELECT m.device, m.head, d.tick, d.generation"
    " FROM unnest($1::bytea[]) AS w(device) JOIN mailboxes m ON m.device = w.device"
    " JOIN devices d ON d.id = w.device WHERE d.revoked_ms IS NULL"
)
# One statement, since each is a way to PostgreSQL and back for which a message waits, and one look:
# no row above a head that is told. Heads have no `kind` and no `message`, statuses no `kind`.
# Only what fits leaves the database, and always the first row, which has none before it.
_FETCH = (
    "WITH wanted AS (SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[],"
    " $5::integer[]) WITH ORDINALITY AS w(device, after, room, ticks_after, most, place))"
    ' SELECT w.place, r.position, r.row_hash, r.digest, r.gap, r."count", r.sender_account,'
    " r.sender_device, r.message, r.body, r.wrap, r.kind, r.urgency, r.at_ms"
    " FROM wanted w CROSS JOIN LATERAL ("
    " SELECT e.*, sum(e.size) OVER (ORDER BY e.position"
    " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before"
    " FROM (SELECT *, octet_length(body) + octet_length(wrap) + $6::integer AS size"
    " FROM envelopes WHERE device = w.device AND position > w.after"
    " ORDER BY position LIMIT $7::integer) AS e) AS r"
    " WHERE w.room > 0 AND (r.before IS NULL OR r.before + r.size <= w.room)"
    " UNION ALL"
    " SELECT w.place, s.tick, NULL, NULL, NULL, NULL, NULL, NULL, s.message, s.states, NULL, NULL,"
    " NULL, s.sn FROM wanted w JOIN devices d ON d.id = w.device CROSS JOIN LATERAL ("
    " SELECT tick, message, sn, states FROM sends WHERE device = w.device"
    " AND tick > greatest(w.ticks_after, d.tick_acked) ORDER BY tick LIMIT greatest(w.most, 0)) AS s"
    " WHERE w.most > 0"
    " UNION ALL"
    " SELECT w.place, m.head, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"
    " FROM wanted w JOIN mailboxes m ON m.device = w.device"
    " ORDER BY 1, 2"
)


async def devices(db: Connection, wanted: Sequence[DeviceId]) -> list[DeviceRecord | None]:
    """Look devices up; revoked ones are found too, None stands for those that are not there."""
    found = {
        id_: DeviceRecord(
            DeviceId(id_), AccountAddress(account), key, revoked is not None, suspended, version
        )
        for id_, account, key, revoked, suspended, version in await db.fetch(_DEVICES, wanted)
    }
    return [found.get(device) for device in wanted]


async def heads(db: Connection, devices: Sequence[DeviceId]) -> dict[DeviceId, Head]:
    """The last position, status tick and session of each device that is not revoked."""
    found = await db.fetch(_HEADS, devices)
    return {DeviceId(device): Head(*head) for device, *head in found}


async def fetch(db: Connection, wanted: Sequence[Wanted]) -> list[Fetched]:
    """Read what each connection has room for."""
    rows: list[list[Row]] = [[] for _ in wanted]
    statuses: list[list[f.Status]] = [[] for _ in wanted]
    heads = [0] * len(wanted)
    for place, position, *values in await db.fetch(
        _FETCH,
        [one.device for one in wanted],
        [one.after for one in wanted],
        [one.max_bytes for one in wanted],
        [one.ticks_after for one in wanted],
        [one.max_statuses for one in wanted],
        ROW_OVERHEAD,
        ROWS_AT_ONCE,
    ):
        message, states, kind, last = values[6], values[7], values[9], values[11]
        if kind is not None:
            rows[place - 1].append(Row(position, *values))
        elif message is not None:
            told = for_wire(decode_states(states))
            statuses[place - 1].append(f.Status(position, message, last, told))
        else:
            heads[place - 1] = position
    return [Fetched(*found) for found in zip(rows, statuses, heads, strict=True)]
