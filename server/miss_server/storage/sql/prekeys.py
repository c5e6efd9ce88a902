"""Prekeys: kept, handed out at most once, counted."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from miss_protocol.errors import Code, Refused
from miss_protocol.identity.prekeys import SignedPrekey
from miss_protocol.ids import DeviceId
from miss_server.storage import epoch_ids
from miss_server.storage.schema import devices, prekeys
from miss_server.storage.sql import epochs, witnessed

ID_MAX = 2**53 - 1
"""What JSON readers hold exactly; a higher id could never be followed by another."""

_OF_DEVICE = prekeys.c.device == bindparam("device_")
_other = prekeys.alias()
_HIGH = select(devices.c.prekey_high).where(devices.c.id == bindparam("device_")).with_for_update()
_RAISE = (
    update(devices)
    .where(devices.c.id == bindparam("device_"))
    .values(prekey_high=bindparam("high"))
)
_STORED = select(prekeys.c.id, prekeys.c.prekey).where(_OF_DEVICE)
_DROP_LAST_RESORT = delete(prekeys).where(_OF_DEVICE, prekeys.c.last_resort)
_ADD = insert(prekeys)
_IS_THERE = (
    select(devices.c.id)
    .where(devices.c.id == bindparam("device_"), devices.c.revoked_ms.is_(None))
    .exists()
)
# One that another claim is taking at this moment is passed over, not waited for.
_TAKE = (
    delete(prekeys)
    .where(
        _OF_DEVICE,
        _IS_THERE,
        prekeys.c.id
        == select(_other.c.id)
        .where(_other.c.device == bindparam("device_"), ~_other.c.last_resort)
        .order_by(_other.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery(),
    )
    .returning(prekeys.c.prekey)
)
_LAST_RESORT = select(prekeys.c.prekey).where(_OF_DEVICE, prekeys.c.last_resort, _IS_THERE)
_COUNT = select(
    select(func.count())
    .select_from(prekeys)
    .where(_OF_DEVICE, ~prekeys.c.last_resort)
    .scalar_subquery(),
    devices.c.prekey_high,
).where(devices.c.id == bindparam("device_"))


def add(
    connection: Connection, device: DeviceId, given: Sequence[SignedPrekey], epoch: bytes
) -> tuple[int, int]:
    """Keep prekeys that a device made in the epoch in force, and says so."""
    epochs.hold(connection)
    now, _ = epochs.current(connection)
    untouched = not epoch and epoch_ids.number(now) == epoch_ids.FIRST
    if given and epoch != now and not untouched:
        # These may be keys that were handed out in the time that a restore undid, under ids that
        # this older database does not remember. That the device was told by now is not enough:
        # the upload may have been on its way meanwhile.
        raise Refused(Code.PREKEYS_STALE, "made before the epoch in force")
    return keep(connection, device, given)


def keep(
    connection: Connection, device: DeviceId, given: Sequence[SignedPrekey]
) -> tuple[int, int]:
    """Keep prekeys whose ids are above every id that this device ever uploaded. `epochs.hold`
    first."""
    high: int = connection.execute(_HIGH, {"device_": device}).scalar_one()
    ids = [prekey.id for prekey in given]
    if len(set(ids)) != len(ids) or max(ids, default=0) > ID_MAX:
        raise Refused(Code.MALFORMED, "a prekey id twice, or one too high")
    if ids and min(ids) <= high:
        if max(ids) <= high and _all_known(connection, device, given):
            return count(connection, device)
        raise Refused(Code.PREKEYS_STALE)
    if any(prekey.last_resort for prekey in given):
        connection.execute(_DROP_LAST_RESORT, {"device_": device})
    if given:
        connection.execute(
            _ADD,
            [
                {
                    "device": device,
                    "id": prekey.id,
                    "last_resort": prekey.last_resort,
                    "prekey": prekey.encode(),
                }
                for prekey in given
            ],
        )
        connection.execute(_RAISE, {"device_": device, "high": max(ids)})
    return count(connection, device)


def _all_known(connection: Connection, device: DeviceId, given: Sequence[SignedPrekey]) -> bool:
    """Whether this is a repeat of an upload: what is still here of it is byte for byte the same."""
    stored = dict(connection.execute(_STORED, {"device_": device}).all())
    return all(stored.get(prekey.id, prekey.encode()) == prekey.encode() for prekey in given)


def claim(
    connection: Connection, some: Sequence[DeviceId], *, witness: str = witnessed.ALONE
) -> dict[DeviceId, bytes]:
    """Take one prekey for each device that has one and is not revoked.

    Once the transaction is committed, the witness of that name is told, then the caller.
    """
    epochs.hold(connection)
    claimed: dict[DeviceId, bytes] = {}
    taken = False
    for device in sorted(set(some)):
        key = connection.execute(_TAKE, {"device_": device}).scalar_one_or_none()
        taken = taken or key is not None
        if key is None:
            key = connection.execute(_LAST_RESORT, {"device_": device}).scalar_one_or_none()
        if key is not None:
            claimed[device] = key
    if taken:
        witnessed.count_up(connection, witness)
    return claimed


def count(connection: Connection, device: DeviceId) -> tuple[int, int]:
    """(one-time prekeys left, highest id ever uploaded)."""
    left, high = connection.execute(_COUNT, {"device_": device}).one()
    return left, high
