"""Rosters: which devices an account has, by whose word, since when. Spec: 04-encryption §3.

An account key signs the first roster (the genesis) and is then destroyed. Every later roster is
signed by a device that the roster before it lists with the right to approve, names that roster's
hash, and counts one higher. So a phone that was revoked cannot come back, even with its whole
state, and a server that invents a device must also invent a new genesis, which clients refuse.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from nacl.signing import SigningKey

from miss_protocol.errors import Untrusted
from miss_protocol.identity.roster_form import (
    NO_PREVIOUS,
    Revocation,
    Roster,
    RosterEntry,
    decode,
)
from miss_protocol.identity.signing import Role, sign, verify
from miss_protocol.ids import AccountAddress, DeviceId

__all__ = [
    "NO_PREVIOUS",
    "Revocation",
    "Roster",
    "RosterEntry",
    "decode",
    "found",
    "succeed",
    "verify_chain",
    "verify_genesis",
    "verify_successor",
]


def found(
    account_key: SigningKey, account: AccountAddress, *entries: RosterEntry, now_ms: int
) -> Roster:
    """Make version 1, signed by the account key. Next: destroy that key.

    Args:
        entries: the first device, with the right to approve (or several).

    Raises:
        Untrusted, Malformed: nobody would accept such a roster.
    """
    unsigned = Roster(
        account=account,
        account_key=bytes(account_key.verify_key),
        version=1,
        previous=NO_PREVIOUS,
        entries=_sorted_entries(entries),
        revoked=(),
        created_ms=now_ms,
        signer=b"",
        signature=b"",
    )
    genesis = _signed(unsigned, account_key)
    verify_genesis(genesis, account)
    return genesis


def succeed(
    previous: Roster,
    signer_key: SigningKey,
    signer_device: DeviceId,
    *,
    add: Iterable[RosterEntry] = (),
    revoke: Iterable[DeviceId] = (),
    now_ms: int,
) -> Roster:
    """Make the version after `previous`, signed by one of its devices.

    Args:
        previous: the newest version, verified.
        signer_device: a device that `previous` lists with `approve`.
        add: new devices; an entry with a listed device's own certificate replaces its name
            and right.
        revoke: devices to strike out for ever, if they are listed.

    Raises:
        Untrusted, Malformed: the change breaks a rule of `verify_successor`.
    """
    gone = frozenset(revoke)
    changed = {entry.device: entry for entry in (*previous.entries, *add)}
    unsigned = replace(
        previous,
        version=previous.version + 1,
        previous=previous.hash,
        entries=_sorted_entries(e for e in changed.values() if e.device not in gone),
        revoked=tuple(
            sorted(
                (*previous.revoked, *(Revocation(device, now_ms) for device in gone)),
                key=lambda revocation: revocation.device,
            )
        ),
        created_ms=now_ms,
        signer=bytes(signer_device),
        signature=b"",
    )
    following = _signed(unsigned, signer_key)
    verify_successor(previous, following)
    return following


def verify_genesis(roster: Roster, account: AccountAddress) -> None:
    """Check that `roster` founds `account`: version 1, signed by the account key it carries.

    That this key is really the person's is not shown by it: see spec 04 §3, "first contact".

    Raises:
        Untrusted: it is not the genesis of that account, or its signature does not hold.
    """
    if roster.account != account:
        raise Untrusted("the genesis of another account")
    if roster.version != 1 or roster.previous != NO_PREVIOUS or roster.signer or roster.revoked:
        raise Untrusted("not a genesis")
    verify(roster.account_key, roster.signature, Role.ROSTER, *roster.signed_fields())


def verify_successor(previous: Roster, following: Roster) -> None:
    """Check that `following` may come directly after `previous`, which must itself be verified.

    Raises:
        Untrusted: another account or account key; not the next version; a broken hash; a signer
            whom `previous` does not list with the right to approve, or whose signature does not
            hold; a device that left without being revoked, changed its keys, or came back; a
            device that took over another's key; a revocation that vanished, changed, or names a
            device that was not listed; or a device that leaves by its own signature and changes
            anything else by it.
    """
    if (following.account, following.account_key) != (previous.account, previous.account_key):
        raise Untrusted("another account or another founding key")
    if following.version != previous.version + 1 or following.previous != previous.hash:
        raise Untrusted("not the version after this one")
    signer = previous.find(following.signer)
    if signer is None or not signer.approve:
        raise Untrusted("a signer without the right to approve")
    verify(
        signer.certificate.signing_key,
        following.signature,
        Role.ROSTER,
        *following.signed_fields(),
    )
    _check_revocations(previous, following)
    _check_entries(previous, following)
    _check_farewell(signer, previous, following)


def verify_chain(
    blobs: Sequence[bytes], *, account: AccountAddress, known: Roster | None
) -> Roster:
    """Check encoded rosters as a server delivered them, oldest first; return the newest.

    Args:
        blobs: consecutive versions: from 1 if nothing is known, else from any version up to
            `known.version + 1`. May be empty if one is known.
        account: whose rosters were asked for.
        known: the newest version that this client has verified before, or `None` at first
            contact. Next: save what is returned, and pin its `genesis`.

    Raises:
        Malformed: a blob is not a roster.
        Untrusted: a rule of `verify_genesis` or `verify_successor` is broken, a version is
            missing, or the server went back: it ended below `known`, or told another history.
    """
    if known is not None and known.account != account:
        raise Untrusted("the known roster is of another account")
    chain = [decode(blob) for blob in blobs]
    if known is None:
        if not chain:
            raise Untrusted("an account without a genesis")
        newest, *following = chain
        verify_genesis(newest, account)
    else:
        newest, following = known, _after(known, chain)
    for roster in following:
        verify_successor(newest, roster)
        newest = roster
    return newest


def _after(known: Roster, chain: list[Roster]) -> list[Roster]:
    """The rosters of `chain` after `known`, once those up to it are seen to be its own past."""
    past = [roster for roster in chain if roster.version <= known.version]
    if not past:
        return chain
    if past[-1].hash != known.hash:
        raise Untrusted("the server went back, or told another history")
    # `known` was verified, and every hash fixes the version before it: links are enough here.
    for earlier, later in pairwise(past):
        if later.previous != earlier.hash:
            raise Untrusted("a broken link in the history")
    return chain[len(past) :]


def _check_revocations(previous: Roster, following: Roster) -> None:
    before = {gone.device: gone.at_ms for gone in previous.revoked}
    after = {gone.device: gone.at_ms for gone in following.revoked}
    if any(after.get(device) != at_ms for device, at_ms in before.items()):
        raise Untrusted("a revocation vanished or changed")
    if any(previous.find(device) is None for device in after.keys() - before.keys()):
        raise Untrusted("a device was revoked that was not listed")


def _check_entries(previous: Roster, following: Roster) -> None:
    revoked = {gone.device for gone in following.revoked}
    for entry in previous.entries:
        kept = following.find(entry.device)
        if kept is None and entry.device not in revoked:
            raise Untrusted("a device left without being revoked")
        if kept is not None and kept.certificate != entry.certificate:
            raise Untrusted("a device changed its keys")
    held = {
        key
        for entry in previous.entries
        for key in (entry.certificate.signing_key, entry.certificate.olm_key)
    }
    for entry in following.entries:
        new = previous.find(entry.device) is None
        if new and not held.isdisjoint((entry.certificate.signing_key, entry.certificate.olm_key)):
            # Else a device that is being revoked could stay under a new id.
            raise Untrusted("a new device with another's key")


def _check_farewell(signer: RosterEntry, previous: Roster, following: Roster) -> None:
    if following.find(signer.device) is not None:
        return
    # A device may leave, but a stolen one must not hand its place to a device of the thief's
    # in the moment of its going, nor take others with it.
    remaining = tuple(entry for entry in previous.entries if entry.device != signer.device)
    if following.entries != remaining:
        raise Untrusted("a leaving device changed more than its own place")


def _signed(unsigned: Roster, key: SigningKey) -> Roster:
    signature = sign(key, Role.ROSTER, *unsigned.signed_fields())
    return decode(replace(unsigned, signature=signature).encode())


def _sorted_entries(entries: Iterable[RosterEntry]) -> tuple[RosterEntry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.device))
