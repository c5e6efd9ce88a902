"""Begins and ends many sessions at once (rule C6)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from miss_protocol.ids import DeviceId
from miss_server.storage.messages import Greeting, SessionRefused, SessionStart
from miss_server.storage.postgres import presence
from miss_server.storage.postgres.pool import Connection
from miss_server.storage.settlement.sessions import Comparison, Known
from miss_server.storage.sql import epochs

if TYPE_CHECKING:
    from miss_server.storage.postgres.batch import Device

_HOLD_EPOCH = "SELECT pg_advisory_xact_lock_shared($1)"
_READ_EPOCH = "SELECT name, value FROM settings WHERE name IN ('epoch', 'epoch_ms', 'pepper')"
_READ = (
    'SELECT d.id, d.epoch, d."window", a.roster_version, a.confirmed, m.head, m.digest, m.acked,'
    " m.acked_digest, e.digest,"
    " (SELECT count(*) FROM prekeys p WHERE p.device = d.id AND NOT p.last_resort),"
    " (SELECT c.version FROM charters c WHERE c.account = d.account ORDER BY c.at_ms DESC LIMIT 1)"
    " FROM unnest($1::bytea[], $2::bigint[]) AS w(id, position)"
    " JOIN devices d ON d.id = w.id JOIN accounts a ON a.address = d.account"
    " JOIN mailboxes m ON m.device = d.id"
    " LEFT JOIN envelopes e ON e.device = w.id AND e.position = w.position"
)
_BEGIN = (
    "UPDATE devices d SET generation = w.generation, sn = w.sn, epoch = w.epoch,"
    " seen_ms = w.seen_ms, app = w.app FROM unnest($1::bytea[], $2::bigint[], $3::bigint[],"
    " $4::bytea[], $5::bigint[], $6::text[]) AS w(id, generation, sn, epoch, seen_ms, app)"
    " WHERE d.id = w.id"
)
_BEGIN_HERE = f"WITH noted AS ({presence.BEGUN.format(devices='$7', node='$8')}) {_BEGIN}"
_END = (
    'UPDATE devices d SET seen_ms = greatest(d.seen_ms, w.seen_ms), "window" = w."window"'
    " FROM unnest($1::bytea[], $2::bigint[], $3::integer[])"
    ' AS w(id, seen_ms, "window") WHERE d.id = w.id'
)
_END_HERE = f"WITH gone AS ({presence.ENDED.format(devices='$1', node='$4')}) {_END}"


class Ending(msgspec.Struct, frozen=True, gc=False):
    """A session that ended, and how wide its window had grown."""

    device: DeviceId
    generation: int
    window: int


Visit = tuple[Greeting | Ending, int]
"""With the time, in milliseconds."""
Outcome = SessionStart | SessionRefused | None


class Alone(Exception):
    """A greeting changes more than its own device, which needs locks of its own: `index`."""

    def __init__(self, index: int) -> None:
        super().__init__("a session that changes its account or the epoch")
        self.index = index


async def hold_epoch(db: Connection) -> None:
    """Keep the epoch as it is until the transaction ends; first of all its locks."""
    await db.execute(_HOLD_EPOCH, epochs.LOCK)


async def settle(
    db: Connection,
    visits: Sequence[Visit],
    devices: Mapping[bytes, "Device"],
    node: str | None = None,
) -> list[Outcome]:
    """Open and end sessions, in order; `devices` are locked and are changed with the database.

    Args:
        node: which node's sessions these are, for `presence`.

    Raises:
        Alone: nothing was written; that visit must have a transaction to itself first.
    """
    begun: dict[DeviceId, tuple[bytes, str]] = {}
    live: list[DeviceId] = []
    ended: dict[DeviceId, int] = {}
    outcomes: list[Outcome] = []
    known = await _read(db, [visit for visit, _ in visits if isinstance(visit, Greeting)], devices)
    for index, (visit, now_ms) in enumerate(visits):
        device = devices.get(visit.device)
        if isinstance(visit, Ending):
            outcomes.append(None)
            if device is not None and device.generation == visit.generation:
                device.seen_ms = max(device.seen_ms, now_ms)
                ended[visit.device] = visit.window
        elif visit.device not in known:
            outcomes.append(SessionRefused(revoked=True))
        elif visit.device in begun or visit.device in ended:
            raise Alone(index)  # it must see what the earlier one wrote
        else:
            assert device is not None  # noqa: S101  # it was read because it is there
            comparison = Comparison(visit, known[visit.device])
            if comparison.refused is not None:
                outcomes.append(comparison.refused)
                continue
            opened = comparison.open(now_ms)
            if comparison.wants_epoch or opened.confirmed is not None:
                raise Alone(index)
            outcomes.append(opened.start)
            device.generation, device.sn, device.seen_ms = opened.generation, opened.sn, now_ms
            begun[visit.device] = (opened.noted, visit.app)
            if visit.live:
                live.append(visit.device)
    if begun:
        rows = [
            (id_, devices[id_].generation, devices[id_].sn, noted, devices[id_].seen_ms, app)
            for id_, (noted, app) in begun.items()
        ]
        columns: list[Any] = list(zip(*rows, strict=True))
        if node is None or not live:
            await db.execute(_BEGIN, *columns)
        else:
            await db.execute(_BEGIN_HERE, *columns, live, node)
    if ended:
        columns = [list(ended), [devices[id_].seen_ms for id_ in ended], list(ended.values())]
        if node is None:
            await db.execute(_END, *columns)
        else:
            await db.execute(_END_HERE, *columns, node)
    return outcomes


async def _read(
    db: Connection, greetings: Sequence[Greeting], devices: Mapping[bytes, "Device"]
) -> dict[DeviceId, Known]:
    """What is known of each device that is not revoked."""
    if not greetings:
        return {}
    settings: dict[str, bytes] = dict(map(tuple, await db.fetch(_READ_EPOCH)))
    since = int.from_bytes(settings["epoch_ms"], "big")
    of_all: list[Any] = [settings["epoch"], since, settings["pepper"]]
    found: dict[DeviceId, Known] = {}
    for id_, noted, *rest, prekeys, charter in await db.fetch(
        _READ, [one.device for one in greetings], [one.position for one in greetings]
    ):
        device = devices[id_]
        if device.revoked_ms is None:
            counts = (device.account, device.sn, device.generation, noted, device.tick_acked)
            values: list[Any] = [*counts, device.seen_ms, *rest, prekeys, charter or ""]
            found[DeviceId(id_)] = Known(*values, *of_all)
    return found
