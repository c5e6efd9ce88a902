"""Rosters and new devices: compare-and-swap by version, revocation with all its consequences."""

import sqlite3

from miss_protocol import limits
from miss_protocol.errors import Code, Refused
from miss_protocol.identity import certificate as certificates
from miss_protocol.identity.roster import Roster, decode, verify_successor
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.accounts import Account, Link, RosterChain, RosterChange
from miss_server.storage.sqlite import accounts, sessions
from miss_server.storage.sqlite.acks import News, tell


def chain(
    db: sqlite3.Connection, account: AccountAddress, after: int, now_ms: int
) -> RosterChain | None:
    """The rosters with a version above `after`."""
    row = db.execute(
        "SELECT name, person FROM accounts WHERE address = ? AND genesis IS NOT NULL", (account,)
    ).fetchone()
    if row is None:
        return None
    rosters = db.execute(
        "SELECT roster FROM rosters WHERE account = ? AND version > ? ORDER BY version LIMIT 64",
        (account, after),
    ).fetchall()
    dormant = db.execute(
        "SELECT id FROM devices WHERE account = ? AND revoked_ms IS NULL AND seen_ms < ?",
        (account, now_ms - limits.DORMANT_AFTER * 1000),
    ).fetchall()
    return RosterChain(
        account, row[0], row[1], [r[0] for r in rosters], [DeviceId(d[0]) for d in dormant]
    )


def change(db: sqlite3.Connection, roster: Roster, now_ms: int) -> RosterChange:
    """Swap to the next version, with every device that comes and goes."""
    row = db.execute(
        "SELECT r.roster FROM accounts a JOIN rosters r"
        " ON r.account = a.address AND r.version = a.roster_version WHERE a.address = ?",
        (roster.account,),
    ).fetchone()
    if row is None:
        raise Refused(Code.UNKNOWN_ACCOUNT)
    current = decode(row[0])
    if current.encode() == roster.encode():
        return RosterChange((), (), ())
    if roster.version != current.version + 1:
        raise Refused(Code.ROSTER_CONFLICT)
    verify_successor(current, roster)
    before = {entry.certificate.device for entry in current.entries}
    after = {entry.certificate.device: entry.certificate for entry in roster.entries}
    added, revoked = sorted(after.keys() - before), sorted(before - after.keys())
    for device in added:
        if db.execute("SELECT 1 FROM devices WHERE id = ?", (device,)).fetchone():
            raise Refused(Code.UNTRUSTED, "a device id that is in use")
        app = _link_name(db, roster.account, device)
        sessions.add_device(db, after[device], app, now_ms)
    ring: set[bytes] = set()
    for device in revoked:
        ring |= _revoke(db, device, now_ms)
    db.execute(
        "INSERT INTO rosters (account, version, roster) VALUES (?, ?, ?)",
        (roster.account, roster.version, roster.encode()),
    )
    db.execute(
        "UPDATE accounts SET roster_version = ?, confirmed = 1 WHERE address = ?",
        (roster.version, roster.account),
    )
    return RosterChange(added, revoked, [DeviceId(device) for device in sorted(ring)])


def _link_name(db: sqlite3.Connection, account: AccountAddress, device: DeviceId) -> str:
    for blob, name in db.execute(
        "SELECT certificate, name FROM device_links WHERE account = ? AND certificate <> x''",
        (account,),
    ):
        if certificates.decode(blob).device == device:
            return str(name)
    return ""


def _revoke(db: sqlite3.Connection, device: DeviceId, now_ms: int) -> set[bytes]:
    """End a device: nothing waits for it any more, and its senders are told."""
    waiting = db.execute(
        "DELETE FROM envelopes WHERE device = ? RETURNING sender_device, message, gap", (device,)
    ).fetchall()
    db.execute("DELETE FROM prekeys WHERE device = ?", (device,))
    db.execute("UPDATE mailboxes SET waiting = 0, bytes = 0 WHERE device = ?", (device,))
    db.execute(
        "UPDATE devices SET revoked_ms = ?, generation = generation + 1 WHERE id = ?",
        (now_ms, device),
    )
    news = [News(r[0], r[1], device, "revoked", now_ms) for r in waiting if r[2] is None]
    told, _ = tell(db, news, now_ms=now_ms)
    return {sender for _, sender, _ in told}


def invite(
    db: sqlite3.Connection, account: AccountAddress, code: str, expires_ms: int, now_ms: int
) -> None:
    """Keep an invitation's hash; the certificate comes with `ask_link`."""
    db.execute(
        "INSERT INTO device_links (code_hash, account, certificate, name, created_ms, expires_ms)"
        " VALUES (?, ?, x'', '', ?, ?)",
        (accounts.code_hash(code, accounts.pepper(db)), account, now_ms, expires_ms),
    )


def _invitation(db: sqlite3.Connection, code: str, now_ms: int) -> tuple[bytes, str, bytes]:
    hashed = accounts.code_hash(code, accounts.pepper(db))
    row = db.execute(
        "SELECT account, certificate, expires_ms FROM device_links WHERE code_hash = ?", (hashed,)
    ).fetchone()
    if row is None:
        raise Refused(Code.CODE_UNKNOWN)
    if row[2] <= now_ms:
        raise Refused(Code.CODE_EXPIRED)
    return hashed, row[0], row[1]


def account_of_invitation(db: sqlite3.Connection, code: str, now_ms: int) -> Account:
    """Which account an invitation names."""
    _, address, _ = _invitation(db, code, now_ms)
    account = accounts.find(db, AccountAddress(address))
    assert account is not None  # noqa: S101  # invitations are only made by an account's device
    return account


def ask_link(db: sqlite3.Connection, code: str, link: Link, now_ms: int) -> None:
    """Attach a new device's certificate to an invitation."""
    hashed, address, known = _invitation(db, code, now_ms)
    blob = link.certificate.encode()
    if known == blob:
        return
    if known:
        raise Refused(Code.CODE_USED)
    if link.certificate.account != address:
        raise Refused(Code.UNTRUSTED, "a certificate for another account")
    db.execute(
        "UPDATE device_links SET certificate = ?, name = ? WHERE code_hash = ?",
        (blob, link.name, hashed),
    )


def links(db: sqlite3.Connection, account: AccountAddress, now_ms: int) -> list[Link]:
    """The devices that wait for approval; approved ones are no longer among them."""
    waiting = [
        Link(certificates.decode(blob), name, created)
        for blob, name, created in db.execute(
            "SELECT certificate, name, created_ms FROM device_links"
            " WHERE account = ? AND certificate <> x'' AND expires_ms > ? ORDER BY created_ms",
            (account, now_ms),
        )
    ]
    known = {row[0] for row in db.execute("SELECT id FROM devices WHERE account = ?", (account,))}
    return [link for link in waiting if link.certificate.device not in known]
