"""The interface of organisations: their administrators, and what these do about their own people.

Every method is one transaction. Whoever acts is looked at within it, so that a role that was taken
away a moment ago is of no use. `tests/contract/test_administrators.py`, `test_own_people.py` and
`test_issued_codes.py` are the contract suite. Spec: 11-accounts §6.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from miss_protocol.ids import AccountAddress, DeviceId
from miss_protocol.organisations import PersonState


@dataclass(frozen=True, slots=True)
class Administrator:
    """A role, also one that is over. `acts`: its account may use it at present."""

    organisation: str
    account: AccountAddress
    name: str
    given_ms: int
    removed_ms: int | None
    acts: bool


@dataclass(frozen=True, slots=True)
class OwnPerson:
    """Somebody of an organisation, as its administrators see them.

    `account` of those only for whom it vouches; `expires_ms` of a code that can still be used.
    """

    person: str
    state: PersonState
    account: AccountAddress | None = None
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """A code that an administrator asks for. `request` is 16 random bytes of the caller's: the same
    again gives the same code. `address` is for a new account, if there is none."""

    administrator: AccountAddress
    organisation: str
    person: str
    request: bytes
    address: AccountAddress


@dataclass(frozen=True, slots=True)
class CodeMade:
    """A code to be handed over, as it is kept (without hyphens)."""

    person: str
    name: str
    code: str
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Ended:
    """What the end of an attestation did: the sessions that are over, with the generation that a
    doorbell announces."""

    sessions: Sequence[tuple[DeviceId, int]] = ()


@dataclass(frozen=True, slots=True)
class DevicesEnded:
    """Devices that are over, and those of their senders that have news of it."""

    revoked: Sequence[DeviceId] = ()
    ring: Sequence[DeviceId] = ()


class Organisations(Protocol):
    """Administrators and their organisations' people.

    Whatever an administrator asks for raises `Refused`: not_allowed, without the role, or while its
    account is suspended, restricted or leaving; not_found, for an organisation that is not in the
    directory any more, and for nobody of its people.
    """

    # --- The operator -----------------------------------------------------------------------------

    async def add_administrator(
        self, organisation: str, account: AccountAddress, *, actor: str, now_ms: int
    ) -> bool:
        """Name an administrator; tells whether it was none before.

        Raises:
            Refused: not_found, no such organisation in the directory; unknown_account, none that has
                a device.
        """
        ...

    async def remove_administrator(
        self, organisation: str, account: AccountAddress, *, actor: str, now_ms: int
    ) -> bool:
        """Take the role away, by the operator or by who had it; tells whether there was one."""
        ...

    async def administrators(self, organisation: str | None = None) -> list[Administrator]:
        """Every role of an organisation, or of all, by organisation and time; past ones, too."""
        ...

    # --- Administrators ---------------------------------------------------------------------------

    async def administered(
        self, account: AccountAddress, *, most: int, now_ms: int
    ) -> list[tuple[str, int]]:
        """For which organisations an account acts, and how many more codes each may issue today."""
        ...

    async def own_people(
        self,
        administrator: AccountAddress,
        organisation: str,
        *,
        after: str,
        limit: int,
        now_ms: int,
    ) -> list[OwnPerson]:
        """People for whom the organisation vouches or did, and who got a code of its, by identifier."""
        ...

    async def attest_own(
        self, administrator: AccountAddress, organisation: str, person: str, *, now_ms: int
    ) -> None:
        """Vouch (again) for somebody without a national number; an end that was is taken back.

        Raises:
            Refused: not_allowed, too, for an administrator of the organisation.
        """
        ...

    async def end_own(
        self, administrator: AccountAddress, organisation: str, person: str, *, now_ms: int
    ) -> Ended:
        """Have nothing to do with somebody any more: unused codes end. Who has no national number
        and for whom nobody else vouches is suspended at once; ring for `Ended.sessions`.

        Raises:
            Refused: not_allowed, too, for an administrator of the organisation.
        """
        ...

    async def issue_code(
        self, wanted: CodeRequest, *, ttl_ms: int, most: int, now_ms: int
    ) -> CodeMade:
        """Make an enrolment code for one of the organisation's people; a repetition gives the same.

        Raises:
            Refused: already_enrolled; rate_limited, `most` a day, with the time to wait; out_of_place,
                a request id of another request; code_used, code_expired, a repetition too late.
        """
        ...

    async def end_codes(
        self, administrator: AccountAddress, organisation: str, person: str, *, now_ms: int
    ) -> None:
        """End what was issued by the organisation and not used yet."""
        ...

    async def end_devices(
        self,
        administrator: AccountAddress,
        organisation: str,
        person: str,
        devices: Sequence[DeviceId],
        *,
        now_ms: int,
    ) -> DevicesEnded:
        """End devices of somebody for whom the organisation alone vouches; those that are over already
        are passed over.

        Raises:
            Refused: not_allowed, too, for who has a national number, for whom somebody else vouches,
                or who is an administrator; not_found, a device of another account.
        """
        ...

    # --- What others are told ---------------------------------------------------------------------

    async def ended_devices(self, account: AccountAddress) -> list[DeviceId]:
        """Devices that `end_devices` ended and that the account's roster still lists."""
        ...

    async def enrolled_by(self, account: AccountAddress) -> str:
        """Which organisation issued the code that founded an account's genesis; empty if none did."""
        ...

    async def unvouched(self, people: Sequence[str]) -> set[tuple[str, str]]:
        """Pairs of organisation and person of which the former vouches no more for the latter."""
        ...
