"""Rosters and new devices: compare-and-swap by version, revocation with all its consequences."""

from collections.abc import Sequence

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, true, update

from miss_protocol import limits
from miss_protocol.errors import Code, Refused
from miss_protocol.identity import certificate as certificates
from miss_protocol.identity.roster import Roster, decode, verify_successor
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.account_tables import former_rosters
from miss_server.storage.accounts import Account, Link, RosterChain, RosterChange
from miss_server.storage.meeting_tables import silenced
from miss_server.storage.schema import (
    accounts,
    device_links,
    devices,
    envelopes,
    mailboxes,
    prekeys,
    rosters,
)
from miss_server.storage.settlement.news import News
from miss_server.storage.sql import accounts as accounts_
from miss_server.storage.sql import devices as devices_
from miss_server.storage.sql import epochs, locks, schemas
from miss_server.storage.sql.meeting_words import meets
from miss_server.storage.sql.news import tell

CHAIN_MAX = 64
"""Rosters of one answer; more are asked for after the last of them."""
RECOVERIES_SINCE = 2
"""The first schema that has recoveries."""

_NAMED = select(accounts.c.name, accounts.c.person).where(
    accounts.c.address == bindparam("account_"), accounts.c.genesis.is_not(None)
)
_CHAIN = (
    select(rosters.c.roster)
    .where(rosters.c.account == bindparam("account_"), rosters.c.version > bindparam("after"))
    .order_by(rosters.c.version)
    .limit(CHAIN_MAX)
)
_FORMER = (
    select(accounts.c.roster_version)
    .join(former_rosters, former_rosters.c.account == accounts.c.address)
    .where(accounts.c.address == bindparam("account_"))
    .limit(1)
)
_DORMANT = select(devices.c.id).where(
    devices.c.account == bindparam("account_"),
    devices.c.revoked_ms.is_(None),
    devices.c.seen_ms < bindparam("horizon"),
)
_REVOKED = select(devices.c.id).where(
    devices.c.account == bindparam("account_"), devices.c.revoked_ms.is_not(None)
)
_IN_FORCE = (
    select(rosters.c.roster)
    .join(
        accounts,
        (rosters.c.account == accounts.c.address)
        & (rosters.c.version == accounts.c.roster_version),
    )
    .where(accounts.c.address == bindparam("account_"))
)
_ASKED = (
    select(device_links.c.certificate, device_links.c.name, device_links.c.created_ms)
    .where(
        device_links.c.account == bindparam("account_"),
        func.length(device_links.c.certificate) > 0,
        device_links.c.expires_ms > bindparam("after"),
    )
    .order_by(device_links.c.created_ms)
)
_INVITATION = select(
    device_links.c.account, device_links.c.certificate, device_links.c.expires_ms
).where(device_links.c.code_hash == bindparam("hash_"))
_LOCKED_INVITATION = _INVITATION.with_for_update()
_SENDERS = (
    select(envelopes.c.sender_device)
    .distinct()
    .where(envelopes.c.device.in_(bindparam("devices_", expanding=True)))
)

_SILENCED_SENDERS = (
    select(silenced.c.sender_device)
    .distinct()
    .where(silenced.c.device.in_(bindparam("devices_", expanding=True)))
)


def chain(
    connection: Connection, account: AccountAddress, after: int, now_ms: int
) -> RosterChain | None:
    """The rosters with a version above `after`."""
    row = connection.execute(_NAMED, {"account_": account}).one_or_none()
    if row is None:
        return None
    if _starts_anew(connection, account):
        after = 0
    found = connection.execute(_CHAIN, {"account_": account, "after": after}).scalars().all()
    horizon = now_ms - limits.DORMANT_AFTER * 1000
    dormant = connection.execute(_DORMANT, {"account_": account, "horizon": horizon}).scalars()
    # Senders leave out what is over, too, although the roster lists it: they ask for no more.
    left_out = [*(DeviceId(device) for device in dormant), *ended(connection, account)]
    return RosterChain(account, row[0], row[1], found, left_out)


def ended(connection: Connection, account: AccountAddress) -> list[DeviceId]:
    """Devices that are over by an organisation's decision, which signs no roster: the one in force
    lists them until a device of the account signs another (spec 11 §6.3)."""
    gone = set(connection.execute(_REVOKED, {"account_": account}).scalars())
    if not gone:
        return []
    in_force = connection.execute(_IN_FORCE, {"account_": account}).scalar_one()
    listed = (entry.certificate.device for entry in decode(in_force).entries)
    return [device for device in listed if device in gone]


def _starts_anew(connection: Connection, account: AccountAddress) -> bool:
    """Whether a recovery replaced this account's chain, which is then told from its genesis on.

    Else whoever knows the old one, at the same version or a higher, would hear of nothing new.
    """
    if not schemas.has(connection, RECOVERIES_SINCE):
        return False
    former = connection.execute(_FORMER, {"account_": account}).first()
    return former is not None and former.roster_version <= CHAIN_MAX


def change(
    connection: Connection, roster: Roster, now_ms: int, confirms: bool = True
) -> RosterChange:
    """Swap to the next version, with every device that comes and goes."""
    epochs.hold(connection)
    locks.account(connection, roster.account)
    in_force = connection.execute(_IN_FORCE, {"account_": roster.account}).scalar_one_or_none()
    if in_force is None:
        raise Refused(Code.UNKNOWN_ACCOUNT)
    current = decode(in_force)
    if current.encode() == roster.encode():
        return RosterChange((), (), ())
    if roster.version != current.version + 1:
        raise Refused(Code.ROSTER_CONFLICT)
    verify_successor(current, roster)
    before = {entry.certificate.device for entry in current.entries}
    after = {entry.certificate.device: entry.certificate for entry in roster.entries}
    added, revoked = sorted(after.keys() - before), sorted(before - after.keys())
    ring = revoke(connection, revoked, now_ms) if revoked else set()
    names = _link_names(connection, roster.account) if added else {}
    for device in added:
        devices_.add(connection, after[device], names.get(device, ""), now_ms)
    connection.execute(
        insert(rosters).values(
            account=roster.account, version=roster.version, roster=roster.encode()
        )
    )
    connection.execute(
        update(accounts)
        .where(accounts.c.address == roster.account)
        .values(
            roster_version=roster.version,
            confirmed=true() if confirms else accounts.c.confirmed,
        )
    )
    return RosterChange(added, revoked, sorted(ring))


def _link_names(connection: Connection, account: AccountAddress) -> dict[DeviceId, str]:
    """How new devices called themselves, also in invitations that have ended since."""
    asked = connection.execute(_ASKED, {"account_": account, "after": 0})
    return {certificates.decode(blob).device: name for blob, name, _ in asked}


def revoke(connection: Connection, gone: Sequence[DeviceId], now_ms: int) -> set[DeviceId]:
    """End devices: nothing waits for them any more, and their senders are told.

    The account is locked, so no send adds a row: who has written is known before it is locked.
    """
    senders = set(connection.execute(_SENDERS, {"devices_": gone}).scalars())
    if meeting := meets(connection):
        senders.update(connection.execute(_SILENCED_SENDERS, {"devices_": gone}).scalars())
    locks.devices_of(connection, {*gone, *senders})
    locks.mailboxes_of(connection, gone)
    waiting = connection.execute(
        delete(envelopes)
        .where(envelopes.c.device.in_(gone))
        .returning(
            envelopes.c.device,
            envelopes.c.position,
            envelopes.c.sender_device,
            envelopes.c.message,
            envelopes.c.gap,
        )
    ).all()
    connection.execute(delete(prekeys).where(prekeys.c.device.in_(gone)))
    connection.execute(
        update(mailboxes).where(mailboxes.c.device.in_(gone)).values(waiting=0, bytes=0)
    )
    connection.execute(
        update(devices)
        .where(devices.c.id.in_(gone))
        .values(revoked_ms=now_ms, generation=devices.c.generation + 1)
    )
    news = [
        News(sender, message, device, "revoked", now_ms)
        for device, _, sender, message, gap in sorted(waiting, key=lambda row: (row[0], row[1]))
        if gap is None
    ]
    if meeting:
        # What a block kept from them ends as the rest does, or its senders would see a difference.
        ended = connection.execute(
            delete(silenced)
            .where(silenced.c.device.in_(gone))
            .returning(
                silenced.c.device, silenced.c.id, silenced.c.sender_device, silenced.c.message
            )
        ).all()
        news += [
            News(sender, message, device, "revoked", now_ms)
            for device, _, sender, message in sorted(ended, key=lambda row: (row[0], row[1]))
        ]
    return tell(connection, news, now_ms) if news else set()


def invite(
    connection: Connection, account: AccountAddress, code: str, expires_ms: int, now_ms: int
) -> None:
    """Keep an invitation's hash; the certificate comes with `ask_link`."""
    connection.execute(
        insert(device_links).values(
            code_hash=accounts_.code_hash(connection, code),
            account=account,
            certificate=b"",
            name="",
            created_ms=now_ms,
            expires_ms=expires_ms,
        )
    )


def account_of_invitation(connection: Connection, code: str, now_ms: int) -> Account:
    """Which account an invitation names."""
    hashed = accounts_.code_hash(connection, code)
    row = connection.execute(_INVITATION, {"hash_": hashed}).one_or_none()
    address, _ = _valid(row, now_ms)
    account = accounts_.find(connection, AccountAddress(address))
    assert account is not None  # noqa: S101  # invitations are only made by an account's device
    return account


def ask_link(connection: Connection, code: str, link: Link, now_ms: int) -> None:
    """Attach a new device's certificate to an invitation."""
    hashed = accounts_.code_hash(connection, code)
    row = connection.execute(_LOCKED_INVITATION, {"hash_": hashed}).one_or_none()
    address, known = _valid(row, now_ms)
    blob = link.certificate.encode()
    if known == blob:
        return
    if known:
        raise Refused(Code.CODE_USED)
    if link.certificate.account != address:
        raise Refused(Code.UNTRUSTED, "a certificate for another account")
    connection.execute(
        update(device_links)
        .where(device_links.c.code_hash == hashed)
        .values(certificate=blob, name=link.name)
    )


def _valid(row: Row[str, bytes, int] | None, now_ms: int) -> tuple[str, bytes]:
    if row is None:
        raise Refused(Code.CODE_UNKNOWN)
    account, certificate, expires = row
    if expires <= now_ms:
        raise Refused(Code.CODE_EXPIRED)
    return account, certificate


def links(connection: Connection, account: AccountAddress, now_ms: int) -> list[Link]:
    """The devices that wait for approval; approved ones are no longer among them."""
    asked = connection.execute(_ASKED, {"account_": account, "after": now_ms})
    waiting = [Link(certificates.decode(blob), name, created) for blob, name, created in asked]
    known = set(
        connection.execute(select(devices.c.id).where(devices.c.account == account)).scalars()
    )
    return [link for link in waiting if link.certificate.device not in known]
