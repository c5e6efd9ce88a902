"""The interface of standing: accounts that somebody restricted or suspended, with the reason.

A suspension that follows from leaving the register is no decision of anybody and stands in
`storage.departures`; either keeps an account suspended. Spec: 09-standing §2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from miss_protocol.ids import AccountAddress, DeviceId

REASON_MAX = 280
"""Characters of a reason: some sentences for whoever reads them on a phone."""


class State(Enum):
    """What an account may still do."""

    RESTRICTED = "restricted"
    """Write to those who have answered it, and receive."""
    SUSPENDED = "suspended"
    """Nothing: it can neither log in nor call, and nobody can write to it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A decision that is in force."""

    account: AccountAddress
    state: State
    reason: str
    since_ms: int
    actor: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a decision did. `sessions`: devices whose sessions ended on every node, with the generation
    that a doorbell announces; `still`: the account stays suspended for another cause, as having left the register."""

    changed: bool
    sessions: Sequence[tuple[DeviceId, int]] = ()
    still: bool = False


class Standings(Protocol):
    """Restricts, suspends and reinstates; each is one transaction with its entry in the audit log."""

    async def set_standing(
        self, account: AccountAddress, state: State, *, reason: str, actor: str, now_ms: int
    ) -> Change:
        """Put a decision in force; an earlier one gives way. The same again changes nothing.

        Ring for `Change.sessions` afterwards. Raises `Refused`: unknown_account.
        """
        ...

    async def reinstate(
        self, account: AccountAddress, *, reason: str, actor: str, now_ms: int
    ) -> Change:
        """Take the decision back. Raises `Refused`: unknown_account."""
        ...

    async def standing(self, account: AccountAddress) -> Standing | None:
        """The decision in force, None for an account in good standing."""
        ...

    async def why_suspended(self, account: AccountAddress) -> str:
        """What its owner is told who cannot log in: the reason, or that it left the register."""
        ...

    async def standings(self) -> list[Standing]:
        """Every decision in force, the newest first."""
        ...
