"""The interface of recoveries: an account whose devices are all lost begins anew (rule A3).

A new proof of identity, a new genesis, a delay in which any old device may object. Who was pinned to
the old genesis must accept the new one by hand: nothing here can do that for them.
`tests/contract/test_recoveries.py` is the contract suite.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.accounts import Account, Enrolment, RosterChange
from miss_server.storage.audit import SERVER

State = Literal["waiting", "vetoed", "cancelled", "done"]


@dataclass(frozen=True, slots=True)
class Recovery:
    """One of an account. `device` is the first of the new genesis."""

    account: AccountAddress
    device: DeviceId
    begun_ms: int
    due_ms: int
    state: State


@dataclass(frozen=True, slots=True)
class Recovered:
    """An account that has its new genesis, and what came and went with it."""

    account: AccountAddress
    change: RosterChange


class Recoveries(Protocol):
    """Recoveries of accounts."""

    async def add_recovery_code(
        self,
        account: AccountAddress,
        code: str,
        *,
        expires_ms: int,
        now_ms: int,
        actor: str = SERVER,
    ) -> None:
        """Keep a hash of a code; earlier unused ones of the account end. `actor` stands in the audit log.

        Raises:
            Refused: unknown_account, without a genesis that could be replaced.
        """
        ...

    async def account_of_recovery_code(self, code: str, *, now_ms: int) -> Account:
        """Whose account a code recovers. Raises `Refused`: code_unknown, code_used, code_expired."""
        ...

    async def begin_recovery(self, enrolment: Enrolment, *, delay_ms: int, now_ms: int) -> Recovery:
        """Use the code and let the new genesis wait for its time.

        Repeated with the same genesis it answers how that stands by now.

        Raises:
            Refused: code_unknown, code_used, code_expired; recovering, another one waits; suspended;
                untrusted, a genesis for another account or with a device id that is in use.
        """
        ...

    async def recovery_of(self, account: AccountAddress) -> Recovery | None:
        """The one that waits."""
        ...

    async def recoveries(self) -> list[Recovery]:
        """All that wait, the next to be done first."""
        ...

    async def veto_recovery(
        self,
        account: AccountAddress,
        device: DeviceId | None,
        *,
        now_ms: int,
        actor: str = SERVER,
    ) -> Recovery:
        """End the one that waits, and return it: by a device of the account, or (None) by an operator,
        who stands in the audit log as `actor`.

        Raises:
            Refused: not_found, none waits (any more); revoked, not a device of the account (any more).
        """
        ...

    async def complete_recoveries(self, *, now_ms: int) -> Sequence[Recovered]:
        """Put every new genesis whose time has come in the place of the old one.

        Old devices are revoked with all that follows; their senders learn `revoked`. A suspended
        account waits until it is not.
        """
        ...
