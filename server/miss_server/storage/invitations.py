"""The interface of invitations and wishes. `tests/contract/test_invitations.py` is the contract suite.

Every method is one transaction, durable when it returns. On a database that `db upgrade` has not reached
yet each raises `Refused(busy)`: the tables come with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from miss_protocol.ids import AccountAddress
from miss_protocol.invitations import Invitation
from miss_server.storage.audit import SERVER


@dataclass(frozen=True, slots=True)
class WishMade:
    """An account wants to know when a person of the directory joins."""

    person: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Inviter:
    """An account that invites. `name` is the account's; `person` its entry's identifier, if any."""

    account: AccountAddress
    person: str | None
    name: str


@dataclass(frozen=True, slots=True)
class Letter:
    """What waits to be sent to one person: however many invite them, it is one letter."""

    person: str
    inviters: Sequence[Inviter]
    since_ms: int


class Invitations(Protocol):
    """Who invites whom, and who waits for whom."""

    # --- accounts ---------------------------------------------------------------------------------

    async def invite_person(self, account: AccountAddress, person: str, *, now_ms: int) -> None:
        """Invite a person once; a repetition changes nothing and costs nothing.

        Raises:
            Refused: `rate_limited` beyond `limits.INVITATIONS_PER_DAY`, with the time to wait;
                `not_to_be_invited` for who refused, or had `limits.INVITATIONS_PER_PERSON`.
        """
        ...

    async def invitations(
        self, account: AccountAddress, *, before: tuple[int, str] | None, limit: int, now_ms: int
    ) -> tuple[list[Invitation], int]:
        """An account's invitations, the newest first, and how many more it may make today.

        Args:
            before: (time, person) of the last one that was shown.
        """
        ...

    async def wish(self, account: AccountAddress, person: str, *, now_ms: int) -> None:
        """Wait for a person; a repetition makes the wish last from now.

        Raises:
            Refused: `too_many_wishes`.
        """
        ...

    async def withdraw_wish(self, account: AccountAddress, person: str) -> None:
        """Wait no longer; that nobody waited is no error."""
        ...

    async def wishes(self, account: AccountAddress, *, now_ms: int) -> list[WishMade]:
        """Whom an account waits for, the oldest wish first."""
        ...

    # --- the operator: `actor` stands in the audit log ----------------------------------------------

    async def letters(self, *, after: str = "", limit: int = 100) -> list[Letter]:
        """What waits to be sent, by person; to nobody who has joined, from nobody suspended."""
        ...

    async def hand_over(
        self, person: str, *, now_ms: int, actor: str = SERVER
    ) -> list[AccountAddress]:
        """Note that the letter to a person is sent; returns whose invitations it was.

        Of two who hand over at once one gets nobody, so that no letter is sent twice.
        """
        ...

    async def take_back(
        self,
        person: str,
        accounts: Sequence[AccountAddress],
        *,
        now_ms: int,
        actor: str = SERVER,
    ) -> None:
        """Note that these invitations of a person were not sent after all."""
        ...

    async def refuse_invitations(self, person: str, *, now_ms: int, actor: str = SERVER) -> int:
        """Never invite a person again; returns how many invitations that waited are dropped."""
        ...

    async def allow_invitations(self, person: str, *, now_ms: int, actor: str = SERVER) -> bool:
        """Take a refusal back; tells whether there was one."""
        ...
