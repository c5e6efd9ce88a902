"""Begins and ends sessions: generations, counts, digests, and the epoch (rule C6)."""

import sqlite3

from sqlalchemy import Connection

from miss_protocol import limits
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage import epoch_ids
from miss_server.storage.messages import Greeting, SessionRefused, SessionStart
from miss_server.storage.sql import epochs
from miss_server.storage.sqlite.engine import driver

GENERATIONS_OF_AN_EPOCH = 32
"""Bits: counted on from the epoch's number, a generation that a restore undid never comes again."""


def begin(connection: Connection, greeting: Greeting, now_ms: int) -> SessionStart | SessionRefused:
    """Compare what both ends remember and open a session."""
    db = driver(connection)
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
    epoch, epoch_since, secret = _epoch(db)
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
    if epoch_ids.proves_restore(greeting.epoch, epoch, secret):
        # The device has seen a later epoch of this very database: it is an older copy.
        epoch = epochs.change(connection, now_ms, after=epoch_ids.number(greeting.epoch))
        new_epoch, epoch_since = True, now_ms
    elif noted == epoch and greeting.epoch in (b"", epoch):
        if greeting.position < acked:
            return SessionRefused(rolled_back=True)
        known = _digest_at(
            db, greeting.device, greeting.position, head, digest, acked, acked_digest
        )
        # Rows that it never received, or its own sends that were answered, are gone from here.
        differs = known != greeting.digest or greeting.settled > sn
        if differs and epochs.may_tell(connection, account, now_ms):
            epoch = epochs.change(connection, now_ms, after=epoch_ids.number(epoch))
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
        generation = max(generation, epoch_ids.number(epoch) << GENERATIONS_OF_AN_EPOCH) + 1
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


def _epoch(db: sqlite3.Connection) -> tuple[bytes, int, bytes]:
    """The epoch, the time it began, and the database's secret."""
    found: dict[str, bytes] = dict(
        db.execute(
            "SELECT name, value FROM settings WHERE name IN ('epoch', 'epoch_ms', 'pepper')"
        ).fetchall()
    )
    return found["epoch"], int.from_bytes(found["epoch_ms"], "big"), found["pepper"]


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
