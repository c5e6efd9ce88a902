"""Rosters: what a server, a thief or a revoked device may not do (rule A2)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from miss_protocol.encoding import pack, unpack
from miss_protocol.errors import Malformed, MissError, Untrusted
from miss_protocol.identity import certificate as certificates
from miss_protocol.identity import roster as rosters
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.roster import Revocation, Roster, RosterEntry
from miss_protocol.identity.signing import Role, sign
from miss_protocol.ids import AccountAddress, DeviceId
from tests.support.devices import NOW, Person, address

Change = Callable[[Roster], Roster]


class Device:
    """Keys and a certificate, without encryption."""

    def __init__(self, account: AccountAddress, number: int) -> None:
        self.key = SigningKey.generate()
        olm = bytes(SigningKey.generate().to_curve25519_private_key().public_key)
        self.certificate = certificates.issue(
            self.key, account, DeviceId(bytes([number]) * 16), olm, NOW
        )

    def entry(self, *, approve: bool = False, name: str = "poste") -> RosterEntry:
        return RosterEntry(self.certificate, name, approve)

    @property
    def id(self) -> DeviceId:
        return self.certificate.device


class Account:
    """An account with three devices over three versions: phone and desk may approve."""

    def __init__(self) -> None:
        self.address = address()
        self.account_key = SigningKey.generate()
        self.phone, self.desk, self.tablet, self.spare = (
            Device(self.address, number) for number in (3, 1, 2, 4)
        )
        self.v1 = rosters.found(
            self.account_key, self.address, self.phone.entry(approve=True), now_ms=NOW
        )
        self.v2 = self.next(self.v1, self.phone, add=[self.desk.entry(approve=True)])
        self.v3 = self.next(self.v2, self.desk, add=[self.tablet.entry()])

    def next(self, previous: Roster, by: Device, **changes: Any) -> Roster:
        return rosters.succeed(previous, by.key, by.id, now_ms=NOW, **changes)

    def verify(self, *versions: Roster, known: Roster | None = None) -> Roster:
        blobs = [version.encode() for version in versions]
        return rosters.verify_chain(blobs, account=self.address, known=known)


def forge(previous: Roster, by: Device, change: Change) -> Roster:
    """What `succeed` would not make: any change, properly signed."""
    following = change(
        replace(
            previous,
            version=previous.version + 1,
            previous=previous.hash,
            signer=by.id,
            signature=b"",
        )
    )
    return resign(following, by.key)


def resign(roster: Roster, key: SigningKey) -> Roster:
    return replace(roster, signature=sign(key, Role.ROSTER, *roster.signed_fields()))


def only(*devices: RosterEntry) -> Change:
    entries = tuple(sorted(devices, key=lambda entry: entry.device))
    return lambda roster: replace(roster, entries=entries)


@pytest.fixture(scope="module")
def account() -> Account:
    return Account()


def test_a_chain_holds_from_the_beginning_or_from_what_is_known(account: Account) -> None:
    v1, v2, v3 = account.v1, account.v2, account.v3
    assert account.verify(v1, v2, v3) == v3
    assert account.verify(v1, v2, v3, known=v1) == v3
    assert account.verify(v2, v3, known=v1) == v3
    assert account.verify(v3, known=v2) == v3
    assert account.verify(v2, v3, known=v3) == v3
    assert account.verify(known=v3) == v3


def test_encoding_is_canonical(account: Account) -> None:
    v3 = account.v3
    assert rosters.decode(v3.encode()) == v3
    assert [entry.device for entry in v3.entries] == sorted(e.device for e in v3.entries)
    assert v3.find(account.desk.id) == account.desk.entry(approve=True)
    assert v3.find(b"x" * 16) is None


def test_the_genesis_names_account_and_key_through_all_versions(account: Account) -> None:
    assert account.v1.genesis == account.v3.genesis
    assert account.v1.genesis != Account().v1.genesis
    assert account.v1.hash != account.v2.hash


def test_first_contact_needs_the_whole_chain(account: Account) -> None:
    with pytest.raises(Untrusted):
        account.verify()
    with pytest.raises(Untrusted):
        account.verify(account.v2, account.v3)


def test_versions_may_not_be_missing(account: Account) -> None:
    with pytest.raises(Untrusted):
        account.verify(account.v1, account.v3)
    with pytest.raises(Untrusted):
        account.verify(account.v3, known=account.v1)
    with pytest.raises(Untrusted):
        account.verify(account.v1, account.v3, known=account.v3)


@pytest.mark.parametrize("changes", [{"previous": b"p" * 32}, {"version": 5}, {"version": 3}])
def test_a_version_follows_by_number_and_by_hash(account: Account, changes: dict[str, Any]) -> None:
    following = forge(account.v3, account.phone, lambda r: replace(r, **changes))
    with pytest.raises(Untrusted):
        rosters.verify_successor(account.v3, following)


def test_what_is_known_must_be_of_that_account(account: Account) -> None:
    with pytest.raises(Untrusted):
        rosters.verify_chain([], account=address(), known=account.v3)


def test_versions_after_the_known_one_come_in_order(account: Account) -> None:
    v4 = account.next(account.v3, account.phone, revoke=[account.tablet.id])
    with pytest.raises(Untrusted):
        account.verify(v4, account.v3, known=account.v3)


def test_a_server_may_not_go_back(account: Account) -> None:
    with pytest.raises(Untrusted):
        account.verify(account.v1, account.v2, known=account.v3)
    with pytest.raises(Untrusted):
        account.verify(account.v1, account.v3, account.v2, known=account.v3)


def test_another_history_is_refused(account: Account) -> None:
    other = account.next(account.v1, account.phone, add=[account.spare.entry()])
    with pytest.raises(Untrusted):
        account.verify(account.v1, other, known=account.v2)
    with pytest.raises(Untrusted):
        account.verify(other, account.v3, known=account.v3)
    with pytest.raises(Untrusted):
        account.verify(other, account.v3, known=account.v1)


def test_a_new_genesis_does_not_pass_for_the_old_account(account: Account) -> None:
    """The operator's plainest attack: found the account again, with its own device."""
    intruder = Device(account.address, 9)
    again = rosters.found(
        SigningKey.generate(), account.address, intruder.entry(approve=True), now_ms=NOW
    )
    with pytest.raises(Untrusted):
        account.verify(again, known=account.v1)
    with pytest.raises(Untrusted):
        account.verify(account.v1, again)
    assert again.genesis != account.v1.genesis


def test_another_accounts_roster_is_refused(account: Account) -> None:
    other = Account()
    with pytest.raises(Untrusted):
        account.verify(other.v1)
    with pytest.raises(Untrusted):
        account.verify(account.v2, known=other.v1)
    with pytest.raises(Untrusted):
        account.verify(other.v2, known=account.v1)


@pytest.mark.parametrize(
    "change",
    [
        lambda r, a: replace(r, version=2),
        lambda r, a: replace(r, previous=b"p" * 32),
        lambda r, a: replace(r, signer=a.phone.id),
        lambda r, a: replace(r, revoked=(Revocation(a.spare.id, NOW),)),
    ],
)
def test_a_genesis_is_only_a_genesis(
    account: Account, change: Callable[[Roster, Account], Roster]
) -> None:
    with pytest.raises(Untrusted):
        account.verify(resign(change(account.v1, account), account.account_key))


def test_a_genesis_needs_the_account_keys_signature(account: Account) -> None:
    with pytest.raises(Untrusted):
        account.verify(resign(account.v1, account.phone.key))


def test_only_a_listed_device_with_the_right_may_sign(account: Account) -> None:
    with pytest.raises(Untrusted):
        account.next(account.v3, account.tablet, add=[account.spare.entry()])
    with pytest.raises(Untrusted):
        account.next(account.v3, account.spare, add=[account.spare.entry(approve=True)])
    taken_name = forge(account.v3, account.phone, lambda r: r)
    with pytest.raises(Untrusted):
        account.verify(resign(taken_name, account.spare.key), known=account.v3)


def test_the_account_key_is_worth_nothing_after_the_genesis(account: Account) -> None:
    by_account_key = resign(
        replace(account.v2, version=3, previous=account.v2.hash, signer=b""), account.account_key
    )
    with pytest.raises(Untrusted):
        account.verify(by_account_key, known=account.v2)


def test_a_revoked_device_stays_out_even_with_its_whole_state(account: Account) -> None:
    v4 = account.next(account.v3, account.phone, revoke=[account.desk.id])
    assert v4.find(account.desk.id) is None
    assert account.verify(v4, known=account.v3) == v4
    with pytest.raises(Untrusted):
        account.next(v4, account.desk, add=[account.spare.entry()])
    with pytest.raises(Untrusted):
        account.next(v4, account.phone, add=[account.desk.entry()])
    came_back = forge(
        v4, account.phone, lambda r: replace(r, entries=account.v3.entries, revoked=())
    )
    with pytest.raises(Untrusted):
        account.verify(came_back, known=v4)


def test_a_revoked_device_cannot_stay_under_a_new_name(account: Account) -> None:
    """Neither its signing key nor its Olm key may return in the roster that revokes it."""
    old = account.desk
    same_signing_key = certificates.issue(
        old.key, account.address, DeviceId(b"\7" * 16), account.spare.certificate.olm_key, NOW
    )
    same_olm_key = certificates.issue(
        account.spare.key, account.address, DeviceId(b"\7" * 16), old.certificate.olm_key, NOW
    )
    for certificate in (same_signing_key, same_olm_key):
        with pytest.raises(Untrusted):
            account.next(
                account.v3,
                account.phone,
                add=[RosterEntry(certificate, "autre", approve=False)],
                revoke=[old.id],
            )


def test_revocations_neither_vanish_nor_change_nor_come_early(account: Account) -> None:
    v4 = account.next(account.v3, account.phone, revoke=[account.tablet.id])
    for revoked in ((), (Revocation(account.tablet.id, NOW + 1),)):
        altered = forge(v4, account.phone, partial(replace, revoked=revoked))
        with pytest.raises(Untrusted):
            account.verify(altered, known=v4)
    with pytest.raises(Untrusted):
        account.next(account.v3, account.phone, revoke=[account.spare.id])


def test_no_device_leaves_silently(account: Account) -> None:
    without_tablet = only(account.phone.entry(approve=True), account.desk.entry(approve=True))
    with pytest.raises(Untrusted):
        account.verify(forge(account.v3, account.phone, without_tablet), known=account.v3)


def test_no_device_changes_its_keys(account: Account) -> None:
    swapped = certificates.issue(
        account.spare.key,
        account.address,
        account.tablet.id,
        account.spare.certificate.olm_key,
        NOW,
    )
    with pytest.raises(Untrusted):
        account.next(account.v3, account.phone, add=[RosterEntry(swapped, "t", approve=False)])


def test_names_and_rights_may_change(account: Account) -> None:
    v4 = account.next(
        account.v3, account.phone, add=[account.tablet.entry(approve=True, name="cabinet")]
    )
    entry = account.verify(v4, known=account.v3).find(account.tablet.id)
    assert entry == account.tablet.entry(approve=True, name="cabinet")


def test_a_device_may_leave_by_its_own_word_and_change_nothing_else(account: Account) -> None:
    farewell = account.next(account.v3, account.desk, revoke=[account.desk.id])
    assert account.verify(farewell, known=account.v3).find(account.desk.id) is None
    with pytest.raises(Untrusted):
        account.next(
            account.v3,
            account.desk,
            add=[account.spare.entry(approve=True)],
            revoke=[account.desk.id],
        )
    with pytest.raises(Untrusted):
        account.next(account.v3, account.desk, revoke=[account.desk.id, account.tablet.id])


def test_somebody_must_be_able_to_approve(account: Account) -> None:
    with pytest.raises(Untrusted):
        account.next(account.v1, account.phone, revoke=[account.phone.id])
    with pytest.raises(Untrusted):
        rosters.found(account.account_key, account.address, account.phone.entry(), now_ms=NOW)
    with pytest.raises(Untrusted):
        rosters.found(account.account_key, account.address, now_ms=NOW)


def test_at_most_ten_devices(account: Account) -> None:
    many = [Device(account.address, number) for number in range(20, 30)]
    ten = [many[0].entry(approve=True), *(device.entry() for device in many[1:])]
    full = rosters.found(account.account_key, account.address, *ten, now_ms=NOW)
    with pytest.raises(Untrusted):
        account.next(full, many[0], add=[account.spare.entry()])


def test_no_key_and_no_device_twice(account: Account) -> None:
    twin = certificates.issue(
        account.phone.key,
        account.address,
        DeviceId(b"\x08" * 16),
        account.spare.certificate.olm_key,
        NOW,
    )
    same_olm = certificates.issue(
        account.spare.key,
        account.address,
        DeviceId(b"\x08" * 16),
        account.phone.certificate.olm_key,
        NOW,
    )
    for certificate in (twin, same_olm, account.phone.certificate):
        with pytest.raises((Malformed, Untrusted)):
            rosters.found(
                account.account_key,
                account.address,
                account.phone.entry(approve=True),
                RosterEntry(certificate, "double", approve=False),
                now_ms=NOW,
            )


def test_one_device_id_is_one_entry(account: Account) -> None:
    again = certificates.issue(
        account.spare.key,
        account.address,
        account.phone.id,
        account.spare.certificate.olm_key,
        NOW,
    )
    with pytest.raises(Malformed):
        rosters.found(
            account.account_key,
            account.address,
            account.phone.entry(approve=True),
            RosterEntry(again, "double", approve=False),
            now_ms=NOW,
        )
    gone = Revocation(account.spare.id, NOW)
    with pytest.raises(Malformed):
        rosters.decode(replace(account.v3, revoked=(gone, gone)).encode())


def test_devices_of_others_are_not_listed(account: Account) -> None:
    stranger = Device(address(), 6)
    with pytest.raises(Untrusted):
        account.next(account.v3, account.phone, add=[stranger.entry()])


def test_a_listed_device_is_not_revoked(account: Account) -> None:
    both = forge(
        account.v3,
        account.phone,
        lambda r: replace(r, revoked=(Revocation(account.tablet.id, NOW),)),
    )
    with pytest.raises(Untrusted):
        account.verify(both, known=account.v3)


def test_lists_have_one_order(account: Account) -> None:
    backwards = forge(
        account.v3, account.phone, lambda r: replace(r, entries=tuple(reversed(r.entries)))
    )
    with pytest.raises(Malformed):
        rosters.decode(backwards.encode())


def test_names_are_short_and_plain(account: Account) -> None:
    for name in ("x" * 65, "é" * 33, "a\nb", "\x1b[2J"):
        with pytest.raises(Malformed):
            account.next(account.v3, account.phone, add=[account.spare.entry(name=name)])
    named = account.next(account.v3, account.phone, add=[account.spare.entry(name="é" * 32)])
    assert named.find(account.spare.id) == account.spare.entry(name="é" * 32)


def test_a_roster_has_a_limit(account: Account) -> None:
    with pytest.raises(Malformed):
        rosters.decode(bytes(16 * 1024 + 1))


@pytest.mark.parametrize(
    ("field", "value"), [(0, b"\2"), (8, b"x" * 15), (3, b"\1"), (2, b"k"), (9, b"")]
)
def test_fields_have_their_form(account: Account, field: int, value: bytes) -> None:
    fields = unpack(account.v2.encode())
    fields[field] = value
    with pytest.raises(Malformed):
        rosters.decode(pack(*fields))


def test_a_right_is_zero_or_one(account: Account) -> None:
    fields = unpack(account.v1.encode())
    certificate, name, _ = unpack(unpack(fields[5])[0])
    fields[5] = pack(pack(certificate, name, b"\2"))
    with pytest.raises(Malformed):
        rosters.decode(pack(*fields))


ROSTER = Person().roster


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_no_altered_byte_is_accepted(at: int, flip: int) -> None:
    data = bytearray(ROSTER.encode())
    data[at % len(data)] ^= flip
    with pytest.raises((Malformed, Untrusted)):
        rosters.verify_chain([bytes(data)], account=ROSTER.account, known=None)


@given(st.lists(st.binary(max_size=64), max_size=12))
def test_any_fields_are_refused_in_order(fields: list[bytes]) -> None:
    with pytest.raises(MissError):
        rosters.decode(pack(*fields))


def test_the_type_is_the_one_that_callers_see() -> None:
    assert isinstance(ROSTER.entries[0].certificate, DeviceCertificate)
