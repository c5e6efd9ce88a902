"""Begins and ends sessions: generations, counts, digests, and the epoch (rule C6)."""

import sqlite3
from collections.abc import Sequence

from miss_protocol import limits
from miss_protocol.digest import EMPTY
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.messages import DeviceRecord, Greeting, SessionRefused, SessionStart
from miss_server.storage.sqlite import epochs, witness

GENERATIONS_OF_AN_EPOCH = 32
"""Bits: counted on from the epoch's number, a generation that a restore undid never comes again."""


def device(db: sqlite3.Connection, device_id: DeviceId) -> DeviceRecord | None:
    """Look a device up; revoked ones are found too."""
    row = db.execute(
        "SELECT d.id, d.account, d.signing_key, d.revoked_ms, a.suspended, a.roster_version"
        " FROM devices d JOIN accounts a ON a.address = d.account WHERE d.id = ?",
        (device_id,),
    ).fetchone()
    if row is None:
        return None
    return DeviceRecord(
        DeviceId(row[0]), AccountAddress(row[1]), row[2], row[3] is not None, bool(row[4]), row[5]
    )


def current_epoch(db: sqlite3.Connection) -> tuple[bytes, int]:
    """The mailbox epoch and the time it began."""
    epoch: bytes = db.execute("SELECT value FROM settings WHERE name = 'epoch'").fetchone()[0]
    since: bytes = db.execute("SELECT value FROM settings WHERE name = 'epoch_ms'").fetchone()[0]
    return epoch, int.from_bytes(since, "big")


def change_epoch(db: sqlite3.Connection, now_ms: int, *, after: int) -> bytes:
    """The database turned out to be older than what its devices saw: start a new epoch, of a
    number above `after`.

    One-time prekeys are voided, because some of them may have been handed out in the lost time
    (invariant I11), and every account waits until one of its devices confirms its roster.
    """
    epoch = epochs.make(secret(db), after + 1)
    witness.count_up(db)
    db.execute("UPDATE settings SET value = ? WHERE name = 'epoch'", (epoch,))
    db.execute(
        "UPDATE settings SET value = ? WHERE name = 'epoch_ms'", (now_ms.to_bytes(8, "big"),)
    )
    db.execute("DELETE FROM prekeys")
    db.execute("UPDATE accounts SET confirmed = 0 WHERE genesis IS NOT NULL")
    return epoch


def begin(db: sqlite3.Connection, greeting: Greeting, now_ms: int) -> SessionStart | SessionRefused:
    """Compare what both ends remember and open a session."""
    row = db.execute(
        "SELECT d.account, d.sn, d.generation, d.revoked_ms, d.epoch, d.tick_acked, d.seen_ms,"
        " d.window, a.roster_version, a.confirmed, m.head, m.digest, m.acked, m.acked_digest"
        " FROM devices d JOIN accounts a ON a.address = d.account"
        " JOIN mailboxes m ON m.device = d.id WHERE d.id = ?",
        (greeting.device,),
    ).fetchone()
    if row is None or row[3] is not None:
        return SessionRefused(revoked=True)
    account, sn, generation, _, noted, ticks, seen, window, version, confirmed = row[:10]
    head, digest, acked, acked_digest = row[10:]
    epoch, epoch_since = current_epoch(db)
    if not noted and greeting.epoch == epoch:
        noted = epoch  # it was told, and shows that it heard
    restored_since: int | None = None
    new_epoch = False
    resume = greeting.position
    alone = False
    if greeting.sn < sn:
        # A device never takes a number back, whatever became of this database: its state is older
        # than what it sent, and would use keys and numbers a second time (rule B2).
        return SessionRefused(rolled_back=True)
    if epochs.proves_restore(greeting.epoch, epoch, secret(db)):
        # The device has seen a later epoch of this very database: it is an older copy.
        epoch = change_epoch(db, now_ms, after=epochs.number(greeting.epoch))
        new_epoch, epoch_since = True, now_ms
    elif noted == epoch and greeting.epoch in (b"", epoch):
        if greeting.position < acked:
            return SessionRefused(rolled_back=True)
        known = _digest_at(
            db, greeting.device, greeting.position, head, digest, acked, acked_digest
        )
        # Rows that it never received, or its own sends that were answered, are gone from here.
        differs = known != greeting.digest or greeting.settled > sn
        if differs and epochs.may_tell(db, account, now_ms):
            epoch = change_epoch(db, now_ms, after=epochs.number(epoch))
            new_epoch, epoch_since = True, now_ms
        elif differs:
            # It alone begins anew; whether others must is for others to tell.
            alone, epoch_since = True, now_ms
    if alone or noted != epoch or greeting.epoch not in (b"", epoch):
        # The device learns of the epoch once; it goes on from where this database stands, and its
        # sends count on from what it declares: what was delivered before left its outbox.
        restored_since = epoch_since
        resume, sn = acked, greeting.sn
        if greeting.roster > version:
            confirmed = 0  # it brings the rosters that were lost
            db.execute("UPDATE accounts SET confirmed = 0 WHERE address = ?", (account,))
    if (new_epoch or not confirmed) and greeting.roster == version:
        # At any hello: it may have had to fetch a newer roster before it could confirm it.
        db.execute("UPDATE accounts SET confirmed = 1 WHERE address = ?", (account,))
    if greeting.live:
        generation = max(generation, epochs.number(epoch) << GENERATIONS_OF_AN_EPOCH) + 1
    # One that knew no epoch is told of the restore until it shows this one: its welcome may get lost.
    heard = restored_since is None or greeting.epoch
    db.execute(
        "UPDATE devices SET generation = ?, sn = ?, epoch = ?, seen_ms = ?, app = ? WHERE id = ?",
        (generation, sn, epoch if heard else b"", now_ms, greeting.app, greeting.device),
    )
    prekeys = db.execute(
        "SELECT count(*) FROM prekeys WHERE device = ? AND last_resort = 0", (greeting.device,)
    ).fetchone()[0]
    charter = db.execute(
        "SELECT version FROM charters WHERE account = ? ORDER BY at_ms DESC LIMIT 1", (account,)
    ).fetchone()
    return SessionStart(
        account=AccountAddress(account),
        generation=generation,
        epoch=epoch,
        head=head,
        acked=acked,
        resume_after=resume,
        sn=sn,
        ticks_after=ticks,
        prekeys=prekeys,
        roster_version=version,
        window=window,
        charter=charter[0] if charter else "",
        dormant=seen < now_ms - limits.DORMANT_AFTER * 1000,
        restored_since=restored_since,
        digest=acked_digest if restored_since is not None else None,
        epoch_changed=new_epoch,
    )


def secret(db: sqlite3.Connection) -> bytes:
    """The database's own secret."""
    value: bytes = db.execute("SELECT value FROM settings WHERE name = 'pepper'").fetchone()[0]
    return value


def _digest_at(
    db: sqlite3.Connection,
    device_id: DeviceId,
    position: int,
    head: int,
    digest: bytes,
    acked: int,
    acked_digest: bytes,
) -> bytes | None:
    """The rolling digest at a position, None for one that this database never gave."""
    if position == head:
        return digest
    if position == acked:
        return acked_digest
    row: tuple[bytes] | None = db.execute(
        "SELECT digest FROM envelopes WHERE device = ? AND position = ?", (device_id, position)
    ).fetchone()
    return None if row is None else row[0]


def end(
    db: sqlite3.Connection, device_id: DeviceId, generation: int, window: int, now_ms: int
) -> None:
    """Note when a session ended; a newer one of the same device is left alone."""
    db.execute(
        "UPDATE devices SET seen_ms = max(seen_ms, ?), window = ? WHERE id = ? AND generation = ?",
        (now_ms, window, device_id, generation),
    )


def note_seen(db: sqlite3.Connection, devices: Sequence[DeviceId], now_ms: int) -> None:
    """Note that these devices are connected."""
    db.executemany(
        "UPDATE devices SET seen_ms = max(seen_ms, ?) WHERE id = ?",
        [(now_ms, device) for device in sorted(devices)],
    )


def add_device(
    db: sqlite3.Connection, certificate: DeviceCertificate, app: str, now_ms: int
) -> bool:
    """Make a device and its empty mailbox; tells whether it is surely new.

    One that is older than the epoch may have been here in the time that a restore undid. It counts
    as not told of the epoch: at its first hello it learns that messages may be missing, and prekeys
    that it made before are refused.
    """
    device_id, account = certificate.device, certificate.account
    epoch, since = current_epoch(db)
    is_new = (
        epochs.number(epoch) == epochs.FIRST
        or certificate.created_ms > since + limits.CLOCK_SKEW_MAX * 1000
    )
    db.execute(
        "INSERT INTO devices (id, account, signing_key, created_ms, seen_ms, epoch, app)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            device_id,
            account,
            certificate.signing_key,
            now_ms,
            now_ms,
            epoch if is_new else b"",
            app,
        ),
    )
    db.execute(
        "INSERT INTO mailboxes (device, digest, acked_digest) VALUES (?, ?, ?)",
        (device_id, EMPTY, EMPTY),
    )
    return is_new
