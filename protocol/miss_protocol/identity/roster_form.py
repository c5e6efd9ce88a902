"""A roster's form: its fields, its one encoding, and what holds for each version by itself.

Who may sign what, and what may follow what, is in `roster`. Spec: 04-encryption §3.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from miss_protocol.encoding import (
    fixed,
    pack,
    pack_all,
    read_text,
    read_u64,
    u64,
    unpack,
    unpack_exactly,
)
from miss_protocol.errors import Malformed, Untrusted
from miss_protocol.identity import certificate as certificates
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.digests import DIGEST_BYTES, SUITE, digest
from miss_protocol.identity.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from miss_protocol.ids import (
    ADDRESS_MAX_BYTES,
    ID_BYTES,
    AccountAddress,
    DeviceId,
    device_id,
    parse_address,
)
from miss_protocol.limits import DEVICE_NAME_MAX, DEVICES_PER_ACCOUNT_MAX, ROSTER_MAX

NO_PREVIOUS = bytes(DIGEST_BYTES)
"""The `previous` of a genesis."""

_MAY_NOT, _MAY = b"\0", b"\1"


@dataclass(frozen=True)
class RosterEntry:
    """One device of an account.

    Attributes:
        certificate: the device's keys.
        name: what the user calls it, at most 64 bytes of UTF-8; its correspondents see it.
        approve: whether it may sign the next roster.
    """

    certificate: DeviceCertificate
    name: str
    approve: bool

    @property
    def device(self) -> DeviceId:
        """The device's id."""
        return self.certificate.device


@dataclass(frozen=True)
class Revocation:
    """A device that will never be listed again; `at_ms` by the clock of the signer."""

    device: DeviceId
    at_ms: int


@dataclass(frozen=True)
class Roster:
    """One version of an account's list of devices. Obtain one from `decode`,
    `roster.found` or `roster.succeed`.

    `decode` checks form and certificates. It does not check who signed: trust a roster only after
    `roster.verify_genesis`, `roster.verify_successor` or, for what a server delivered,
    `roster.verify_chain`.

    Attributes:
        account: whose.
        account_key: Ed25519 key that founded the account, 32 bytes; the same in every version.
        version: u64, from 1.
        previous: `hash` of the version before, 32 bytes; zeros in version 1.
        entries: sorted by device id.
        revoked: sorted by device id; only ever grows.
        created_ms: Unix milliseconds by the signer's clock; information only.
        signer: empty in version 1 (the account key), else the id of a device.
        signature: 64 bytes, role ROSTER.
    """

    account: AccountAddress
    account_key: bytes
    version: int
    previous: bytes
    entries: tuple[RosterEntry, ...]
    revoked: tuple[Revocation, ...]
    created_ms: int
    signer: bytes
    signature: bytes

    def encode(self) -> bytes:
        """Write the roster in its one canonical form; `decode` reads it."""
        return pack(*self.signed_fields(), self.signature)

    @cached_property
    def hash(self) -> bytes:
        """32 bytes that name this version: BLAKE2b-256 of the signed fields."""
        return digest(b"MiSS/1 roster", *self.signed_fields())

    @cached_property
    def genesis(self) -> bytes:
        """32 bytes that name the account for ever: what is pinned and what safety numbers show."""
        return digest(b"MiSS/1 genesis", SUITE, self.account.encode(), self.account_key)

    def find(self, device: bytes) -> RosterEntry | None:
        """The entry of a device that is listed and not revoked."""
        return next((entry for entry in self.entries if entry.device == device), None)

    def signed_fields(self) -> tuple[bytes, ...]:
        """What the signature is over, behind role ROSTER, in order."""
        return (
            SUITE,
            self.account.encode(),
            self.account_key,
            u64(self.version),
            self.previous,
            pack_all(_encode_entry(entry) for entry in self.entries),
            pack_all(pack(gone.device, u64(gone.at_ms)) for gone in self.revoked),
            u64(self.created_ms),
            self.signer,
        )


def decode(data: bytes) -> Roster:
    """Read a roster and check its form and every certificate in it, but not who signed it.

    Raises:
        Malformed: not the canonical encoding of a roster, larger than `ROSTER_MAX`, lists out of
            order or with duplicates.
        Untrusted: a certificate does not hold or is of another account, a key is listed twice,
            a listed device is revoked, too many devices, or none that may approve.
    """
    if len(data) > ROSTER_MAX:
        raise Malformed(f"a roster of more than {ROSTER_MAX} bytes")
    fields = unpack_exactly(data, 10)
    suite, account, account_key, version, previous, entries, revoked, created = fields[:8]
    signer, signature = fields[8:]
    if suite != SUITE:
        raise Malformed("a roster of another suite")
    if signer and len(signer) != ID_BYTES:
        raise Malformed("a roster's signer is a device id or nothing")
    roster = Roster(
        account=parse_address(read_text(account, limit=ADDRESS_MAX_BYTES)),
        account_key=fixed(account_key, PUBLIC_KEY_BYTES),
        version=read_u64(version),
        previous=fixed(previous, DIGEST_BYTES),
        entries=_decode_entries(entries),
        revoked=tuple(_decode_revocation(field) for field in unpack(revoked)),
        created_ms=read_u64(created),
        signer=signer,
        signature=fixed(signature, SIGNATURE_BYTES),
    )
    _check_lists(roster)
    return roster


def _encode_entry(entry: RosterEntry) -> bytes:
    return pack(
        entry.certificate.encode(), entry.name.encode(), _MAY if entry.approve else _MAY_NOT
    )


def _decode_entries(data: bytes) -> tuple[RosterEntry, ...]:
    fields = unpack(data)
    # Before any signature is checked: a long list must not buy time on our processor.
    if len(fields) > DEVICES_PER_ACCOUNT_MAX:
        raise Untrusted(f"more than {DEVICES_PER_ACCOUNT_MAX} devices")
    return tuple(_decode_entry(field) for field in fields)


def _decode_entry(data: bytes) -> RosterEntry:
    certificate, name, approve = unpack_exactly(data, 3)
    if approve not in (_MAY, _MAY_NOT):
        raise Malformed("a right is 0 or 1")
    return RosterEntry(
        certificate=certificates.decode(certificate),
        name=read_text(name, limit=DEVICE_NAME_MAX),
        approve=approve == _MAY,
    )


def _decode_revocation(data: bytes) -> Revocation:
    device, at = unpack_exactly(data, 2)
    return Revocation(device_id(device), read_u64(at))


def _check_lists(roster: Roster) -> None:
    listed = [entry.device for entry in roster.entries]
    revoked = [revocation.device for revocation in roster.revoked]
    for devices in (listed, revoked):
        if any(one >= other for one, other in pairwise(devices)):
            raise Malformed("a list of devices out of order, or one device twice")
    if not set(listed).isdisjoint(revoked):
        raise Untrusted("a revoked device is listed")
    held = [entry.certificate for entry in roster.entries]
    for keys in ({one.signing_key for one in held}, {one.olm_key for one in held}):
        if len(keys) != len(held):
            raise Untrusted("one key for two devices")
    if any(certificate.account != roster.account for certificate in held):
        raise Untrusted("a device of another account")
    if not any(entry.approve for entry in roster.entries):
        # Such an account could never change again, not even to revoke a stolen phone.
        raise Untrusted("no device may approve")
