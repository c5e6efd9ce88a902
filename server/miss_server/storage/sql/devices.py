"""Devices: looked up, made, noted as seen."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, case, insert, select, update

from miss_protocol import limits
from miss_protocol.digest import EMPTY
from miss_protocol.errors import Code, Refused
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage import epoch_ids
from miss_server.storage.messages import DeviceRecord
from miss_server.storage.schema import accounts, devices, mailboxes
from miss_server.storage.sql import epochs, locks
from miss_server.storage.sql.dialects import Upsert

SEEN_AT_ONCE = 1_000
"""Devices of one transaction of `note_seen`: what they send waits for it."""

_FIND = (
    select(
        devices.c.id,
        devices.c.account,
        devices.c.signing_key,
        devices.c.revoked_ms,
        accounts.c.suspended,
        accounts.c.roster_version,
    )
    .join(accounts, accounts.c.address == devices.c.account)
    .where(devices.c.id == bindparam("device"))
)
_ADD = Upsert(devices, lambda insert: insert.on_conflict_do_nothing(index_elements=["id"]))
_SEEN = (
    update(devices)
    .where(devices.c.id == bindparam("device"))
    .values(
        seen_ms=case(
            (devices.c.seen_ms < bindparam("now"), bindparam("now")), else_=devices.c.seen_ms
        )
    )
)


def find(connection: Connection, device: DeviceId) -> DeviceRecord | None:
    """Look a device up; revoked ones are found too."""
    row = connection.execute(_FIND, {"device": device}).one_or_none()
    if row is None:
        return None
    return DeviceRecord(
        DeviceId(row[0]), AccountAddress(row[1]), row[2], row[3] is not None, row[4], row[5]
    )


def add(connection: Connection, certificate: DeviceCertificate, app: str, now_ms: int) -> bool:
    """Make a device and its empty mailbox; tells whether it is surely new. `epochs.hold` first.

    One that is older than the epoch may have been here in the time that a restore undid. It counts
    as not told of the epoch: at its first hello it learns that messages may be missing, and prekeys
    that it made before are refused.

    Raises:
        Refused: untrusted, for an id that is in use.
    """
    epoch, since = epochs.current(connection)
    is_new = (
        epoch_ids.number(epoch) == epoch_ids.FIRST
        or certificate.created_ms > since + limits.CLOCK_SKEW_MAX * 1000
    )
    added = _ADD.run(
        connection,
        id=certificate.device,
        account=certificate.account,
        signing_key=certificate.signing_key,
        created_ms=now_ms,
        seen_ms=now_ms,
        epoch=epoch if is_new else b"",
        app=app,
    )
    if not added:
        raise Refused(Code.UNTRUSTED, "a device id that is in use")
    connection.execute(
        insert(mailboxes),
        {"device": certificate.device, "digest": EMPTY, "acked_digest": EMPTY},
    )
    return is_new


def note_seen(connection: Connection, some: Sequence[DeviceId], now_ms: int) -> None:
    """Note that these devices are connected; at most `SEEN_AT_ONCE` a transaction."""
    if some:
        locks.devices_of(connection, some)
        connection.execute(_SEEN, [{"device": d, "now": now_ms} for d in sorted(some)])
