"""The interface of who knows whom and who may reach or find whom.

Deciding about sends is not here but in `settlement.meeting`, in the transaction of the send.
The contract suite is `tests/contract/test_meeting.py`. Spec: 08-meeting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from miss_protocol.ids import AccountAddress
from miss_protocol.meeting import Act, ReachRules
from miss_server.storage.audit import SERVER


@dataclass(frozen=True, slots=True)
class Relation:
    """What is between an account and a peer, as the account sees it.

    `wrote_ms` is when the peer first wrote to the account, `written_ms` the other way round; the
    other times are the account's own acts that are in force. None: never.
    """

    peer: AccountAddress
    name: str
    person: str | None
    wrote_ms: int | None = None
    written_ms: int | None = None
    accepted_ms: int | None = None
    declined_ms: int | None = None
    blocked_ms: int | None = None


class Meeting(Protocol):
    """Relations, reach rules and budgets. On a database of the first schema, which has no tables for
    them, every call raises `Refused(busy)`."""

    async def relations(
        self, account: AccountAddress, *, after: str = "", limit: int = 100
    ) -> Sequence[Relation]:
        """Whom the account wrote to, who wrote to it, and about whom it said something, by address."""
        ...

    async def relation(self, account: AccountAddress, peer: AccountAddress) -> Relation:
        """One of them; all None for strangers. Raises `Refused(unknown_account)`."""
        ...

    async def act(
        self, account: AccountAddress, peer: AccountAddress, act: Act, *, now_ms: int
    ) -> Relation:
        """Accept, decline, block or unblock a peer; repeating it changes nothing.

        Returns what is between them now. Raises `Refused(unknown_account)`; `Refused(malformed)` for
        an account about itself.
        """
        ...

    async def reach_rules(self, account: AccountAddress) -> ReachRules:
        """Who may reach and find the account."""
        ...

    async def set_reach_rules(
        self, account: AccountAddress, rules: ReachRules, *, now_ms: int
    ) -> None:
        """Replace them."""
        ...

    async def set_budget(
        self,
        account: AccountAddress,
        budget: tuple[int, int] | None,
        *,
        now_ms: int,
        actor: str = SERVER,
    ) -> None:
        """Give an account its own budget of new recipients (an hour, a day); None: everybody's. `actor`
        stands in the audit log.

        Raises `Refused(unknown_account)`.
        """
        ...

    async def budget(self, account: AccountAddress) -> tuple[int, int] | None:
        """Its own budget, if it has one."""
        ...
