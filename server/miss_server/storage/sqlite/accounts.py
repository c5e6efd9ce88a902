"""Accounts, enrolment codes, charters and signed requests' nonces."""

import sqlite3
from hashlib import blake2b

from miss_protocol.errors import Code, Refused
from miss_protocol.identity.charter import CharterAcceptance
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.accounts import Account, Enrolment
from miss_server.storage.sqlite import prekeys, sessions

_ACCOUNT = (
    "SELECT a.address, a.person, a.name, a.genesis IS NOT NULL, a.suspended, a.roster_version,"
    " (SELECT count(*) FROM devices d WHERE d.account = a.address AND d.revoked_ms IS NULL),"
    " (SELECT max(seen_ms) FROM devices d WHERE d.account = a.address AND d.revoked_ms IS NULL),"
    " a.created_ms FROM accounts a"
)


def code_hash(code: str, pepper: bytes) -> bytes:
    """What is kept of a code. The pepper keeps a stolen copy of the table alone from being tried."""
    return blake2b(code.encode(), key=pepper, digest_size=32, person=b"MiSS1 code").digest()


def pepper(db: sqlite3.Connection) -> bytes:
    """The database's secret for hashes of codes."""
    value: bytes = db.execute("SELECT value FROM settings WHERE name = 'pepper'").fetchone()[0]
    return value


def create(
    db: sqlite3.Connection, person: str | None, name: str, address: AccountAddress, now_ms: int
) -> AccountAddress:
    """Open an account; an existing one of the same person is returned as it is."""
    if person is not None:
        row = db.execute("SELECT address FROM accounts WHERE person = ?", (person,)).fetchone()
        if row is not None:
            return AccountAddress(row[0])
    db.execute(
        "INSERT INTO accounts (address, person, name, created_ms) VALUES (?, ?, ?, ?)",
        (address, person, name, now_ms),
    )
    return address


def find(db: sqlite3.Connection, address: AccountAddress) -> Account | None:
    """One account."""
    row = db.execute(f"{_ACCOUNT} WHERE a.address = ?", (address,)).fetchone()
    return None if row is None else _account(row)


def listing(db: sqlite3.Connection, after: str, limit: int) -> list[Account]:
    """Accounts by address."""
    return [
        _account(row)
        for row in db.execute(
            f"{_ACCOUNT} WHERE a.address > ? ORDER BY a.address LIMIT ?", (after, limit)
        )
    ]


def _account(row: tuple[object, ...]) -> Account:
    values = list(row)
    values[3], values[4] = bool(values[3]), bool(values[4])
    return Account(*values)  # type: ignore[arg-type]  # the columns of _ACCOUNT, in order


def add_code(
    db: sqlite3.Connection, account: AccountAddress, code: str, expires_ms: int, now_ms: int
) -> None:
    """Keep a code's hash; earlier unused codes of the account end now."""
    db.execute(
        "UPDATE enrolment_codes SET expires_ms = ? WHERE account = ? AND used_ms IS NULL"
        " AND expires_ms > ?",
        (now_ms, account, now_ms),
    )
    db.execute(
        "INSERT INTO enrolment_codes (code_hash, account, created_ms, expires_ms)"
        " VALUES (?, ?, ?, ?)",
        (code_hash(code, pepper(db)), account, now_ms, expires_ms),
    )


def _code(db: sqlite3.Connection, code: str) -> tuple[bytes, str, int, int | None]:
    row: tuple[bytes, str, int, int | None] | None = db.execute(
        "SELECT code_hash, account, expires_ms, used_ms FROM enrolment_codes WHERE code_hash = ?",
        (code_hash(code, pepper(db)),),
    ).fetchone()
    if row is None:
        raise Refused(Code.CODE_UNKNOWN)
    return row


def account_of_code(db: sqlite3.Connection, code: str, now_ms: int) -> Account:
    """Whom a code would enrol."""
    _, address, expires, used = _code(db, code)
    if used is not None:
        raise Refused(Code.CODE_USED)
    if expires <= now_ms:
        raise Refused(Code.CODE_EXPIRED)
    account = find(db, AccountAddress(address))
    assert account is not None  # noqa: S101  # codes are only made for accounts
    return account


def enrol(db: sqlite3.Connection, enrolment: Enrolment, now_ms: int) -> AccountAddress:
    """Use the code and make the account's first device."""
    hashed, name, expires, used = _code(db, enrolment.code)
    address, roster = AccountAddress(name), enrolment.roster
    genesis = db.execute("SELECT genesis FROM accounts WHERE address = ?", (address,)).fetchone()[0]
    if used is not None:
        if genesis == roster.genesis:
            return address  # the reply was lost, and the device asks again
        raise Refused(Code.CODE_USED)
    if expires <= now_ms:
        raise Refused(Code.CODE_EXPIRED)
    if genesis is not None:
        raise Refused(Code.ALREADY_ENROLLED)
    if roster.account != address:
        raise Refused(Code.UNTRUSTED, "a genesis for another account")
    certificate = roster.entries[0].certificate
    if db.execute("SELECT 1 FROM devices WHERE id = ?", (certificate.device,)).fetchone():
        raise Refused(Code.UNTRUSTED, "a device id that is in use")
    db.execute(
        "UPDATE accounts SET genesis = ?, roster_version = 1 WHERE address = ?",
        (roster.genesis, address),
    )
    db.execute(
        "INSERT INTO rosters (account, version, roster) VALUES (?, 1, ?)",
        (address, roster.encode()),
    )
    new = sessions.add_device(db, certificate, enrolment.app, now_ms)
    # A repeat of what a restore undid brings one-time prekeys that may have been handed out.
    safe = [key for key in enrolment.prekeys if new or key.last_resort]
    prekeys.keep(db, certificate.device, safe)
    sign_charter(db, enrolment.acceptance, now_ms)
    db.execute(
        "UPDATE enrolment_codes SET used_ms = ?, used_by = ? WHERE code_hash = ?",
        (now_ms, certificate.device, hashed),
    )
    return address


def sign_charter(db: sqlite3.Connection, acceptance: CharterAcceptance, now_ms: int) -> None:
    """Keep an accepted charter; the first acceptance of a version by an account counts."""
    db.execute(
        "INSERT INTO charters (account, version, device, acceptance, at_ms)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (account, version) DO NOTHING",
        (acceptance.account, acceptance.version, acceptance.device, acceptance.encode(), now_ms),
    )


def use_nonce(db: sqlite3.Connection, device: DeviceId, nonce: str, expires_ms: int) -> bool:
    """Note a nonce; False if it was there."""
    return (
        db.execute(
            "INSERT INTO nonces (device, nonce, expires_ms) VALUES (?, ?, ?)"
            " ON CONFLICT (device, nonce) DO NOTHING",
            (device, nonce, expires_ms),
        ).rowcount
        == 1
    )


def clean(db: sqlite3.Connection, now_ms: int) -> int:
    """Forget results, nonces, codes and links past their time."""
    removed = 0
    for statement in (
        """DELETE FROM sends WHERE rowid_ IN
            (SELECT s.rowid_ FROM sends s JOIN devices d ON d.id = s.device
                -- A removed device comes for no status any more.
                WHERE s.kept_until_ms <= ? AND (s.tick IS NULL OR s.tick <= d.tick_acked
                OR d.revoked_ms IS NOT NULL) LIMIT 1000)""",
        "DELETE FROM nonces WHERE expires_ms <= ?",
        "DELETE FROM device_links WHERE expires_ms <= ?",
        # Codes are kept for a while after their end, so that "expired" and "used" can be told.
        "DELETE FROM enrolment_codes WHERE expires_ms + 7776000000 <= ?",
    ):
        removed += db.execute(statement, (now_ms,)).rowcount
    return removed
