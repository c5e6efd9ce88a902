"""The interface of accounts: enrolment codes, rosters, new devices, charters, prekeys.

Every method is one transaction, durable when it returns. A refusal raises `Refused` with its code
and changes nothing. `tests/contract/test_accounts.py` is the contract suite.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.charter import CharterAcceptance
from miss_protocol.identity.prekeys import SignedPrekey
from miss_protocol.identity.roster import Roster
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.audit import SERVER


@dataclass(frozen=True, slots=True)
class Account:
    """An account as others see it. `enrolled` tells whether it has a genesis."""

    address: AccountAddress
    person: str | None
    name: str
    enrolled: bool
    suspended: bool
    roster_version: int
    devices: int
    seen_ms: int | None
    created_ms: int


@dataclass(frozen=True, slots=True)
class RosterChain:
    """An account's rosters after a version, and what senders need beside them."""

    account: AccountAddress
    name: str
    person: str | None
    rosters: Sequence[bytes]
    dormant: Sequence[DeviceId]


@dataclass(frozen=True, slots=True)
class Enrolment:
    """An account's first device, already checked by the caller."""

    code: str
    roster: Roster
    prekeys: Sequence[SignedPrekey]
    acceptance: CharterAcceptance
    app: str


@dataclass(frozen=True, slots=True)
class RosterChange:
    """What accepting a roster did."""

    added: Sequence[DeviceId]
    revoked: Sequence[DeviceId]
    ring: Sequence[DeviceId]


@dataclass(frozen=True, slots=True)
class CodeOrder:
    """A code to keep for a person of the directory; `address` is for a new account, if there is none."""

    person: str
    name: str
    address: AccountAddress
    code: str
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Link:
    """A new device that waits for approval."""

    certificate: DeviceCertificate
    name: str
    created_ms: int


class Accounts(Protocol):
    """Accounts, their devices and what vouches for them."""

    async def create(
        self, person: str | None, name: str, address: AccountAddress, *, now_ms: int
    ) -> AccountAddress:
        """Open an account for a person of the directory; an existing one's address is returned."""
        ...

    async def find(self, address: AccountAddress) -> Account | None:
        """One account."""
        ...

    async def listing(
        self, *, after: str = "", limit: int = 100, words: Collection[str] = ()
    ) -> list[Account]:
        """Accounts by address, for the operator.

        Args:
            words: folded by `normalise`; each begins a word of the account's name, or of its person's
                identifier.
        """
        ...

    async def add_code(
        self,
        account: AccountAddress,
        code: str,
        *,
        expires_ms: int,
        now_ms: int,
        actor: str = SERVER,
    ) -> None:
        """Keep a hash of an enrolment code; earlier unused codes of the account end. `actor` stands
        in the audit log."""
        ...

    async def issue_codes(
        self, orders: Sequence[CodeOrder], *, now_ms: int, actor: str = SERVER
    ) -> list[AccountAddress | None]:
        """`create` and `add_code` for many people, each named once, in one transaction.

        Returns each one's account; None, and no code, for who has a device already.
        """
        ...

    async def account_of_code(self, code: str, *, now_ms: int) -> Account:
        """Whom a code would enrol. Raises `Refused`: code_unknown, code_used, code_expired."""
        ...

    async def enrol(self, enrolment: Enrolment, *, now_ms: int) -> AccountAddress:
        """Use the code and make the account's first device.

        Repeated with the same genesis it succeeds again (a lost reply must not cost the code);
        with another one it raises `Refused(code_used)` or `already_enrolled`.
        """
        ...

    async def invite(
        self, account: AccountAddress, code: str, *, expires_ms: int, now_ms: int
    ) -> None:
        """Keep a hash of an invitation by which a new device finds this account."""
        ...

    async def account_of_invitation(self, code: str, *, now_ms: int) -> Account:
        """Which account an invitation names. Raises `Refused` as `account_of_code`."""
        ...

    async def ask_link(self, code: str, link: Link, *, now_ms: int) -> None:
        """Attach a new device's certificate to an invitation; a repeat with the same is fine."""
        ...

    async def links(self, account: AccountAddress, *, now_ms: int) -> list[Link]:
        """The devices that wait for approval."""
        ...

    async def rosters(
        self, account: AccountAddress, *, after: int, now_ms: int
    ) -> RosterChain | None:
        """The rosters with a version above `after`, oldest first; None for no such account."""
        ...

    async def change_roster(
        self, roster: Roster, *, confirms: bool = True, now_ms: int
    ) -> RosterChange:
        """Compare-and-swap to version + 1, with devices added and revoked in the same transaction.

        `confirms`: whether the account is confirmed by it after a restore (rule C6). One that a stranger
        brings does not: later ones may be lost as well.

        A revoked device's mailbox and prekeys are deleted; its senders learn `revoked`. Raises
        `Refused(roster_conflict)` if the version is not the next, `Untrusted` if the chain does
        not hold. The very roster that is in force is accepted again and changes nothing.
        """
        ...

    async def sign_charter(self, acceptance: CharterAcceptance, *, now_ms: int) -> None:
        """Keep an accepted charter."""
        ...

    async def add_prekeys(
        self,
        device: DeviceId,
        prekeys: Sequence[SignedPrekey],
        *,
        epoch: bytes = b"",
        now_ms: int,
    ) -> tuple[int, int]:
        """Keep prekeys; returns (one-time ones left, highest id ever).

        Ids only rise, ever, so that a key is never handed out again after a repeated upload
        (invariant I11). Repeating the latest upload is accepted and adds nothing; ids that are
        not above the highest otherwise raise `Refused(prekeys_stale)`. So does any upload that
        does not name the `epoch` in force (none need be named before the first restore): these
        ids may have been handed out in the time that was undone, and nobody here remembers it.
        """
        ...

    async def claim_prekeys(
        self, devices: Sequence[DeviceId], *, now_ms: int
    ) -> dict[DeviceId, bytes]:
        """Take one prekey for each device: a one-time one, which is deleted in the same
        transaction, else the last resort. Devices without any, or revoked, are missing."""
        ...

    async def count_prekeys(self, device: DeviceId) -> tuple[int, int]:
        """(one-time ones left, highest id ever)."""
        ...

    async def use_nonce(self, device: DeviceId, nonce: str, *, expires_ms: int) -> bool:
        """Note a signed request's nonce; False if it was used before (a replay)."""
        ...
