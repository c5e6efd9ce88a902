"""The calls of `storage.invitations`, once for every engine."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from miss_protocol.ids import AccountAddress
from miss_protocol.invitations import Invitation
from miss_server.storage.audit import SERVER
from miss_server.storage.invitations import Letter, WishMade
from miss_server.storage.sql import invitations

T = TypeVar("T")


class InvitationCalls(ABC):
    """`Invitations`. Engines say how a function comes to run."""

    @abstractmethod
    async def read_with(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which only reads."""

    @abstractmethod
    async def _write(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work(connection, *args)` in a transaction; what it raises undoes it."""

    async def invite_person(self, account: AccountAddress, person: str, *, now_ms: int) -> None:
        await self._write(invitations.invite, account, person, now_ms)

    async def invitations(
        self, account: AccountAddress, *, before: tuple[int, str] | None, limit: int, now_ms: int
    ) -> tuple[list[Invitation], int]:
        return await self.read_with(
            lambda connection: invitations.page(connection, account, before, limit, now_ms)
        )

    async def wish(self, account: AccountAddress, person: str, *, now_ms: int) -> None:
        await self._write(invitations.wish, account, person, now_ms)

    async def withdraw_wish(self, account: AccountAddress, person: str) -> None:
        await self._write(invitations.withdraw, account, person)

    async def wishes(self, account: AccountAddress, *, now_ms: int) -> list[WishMade]:
        return await self.read_with(
            lambda connection: invitations.made(connection, account, now_ms)
        )

    async def letters(self, *, after: str = "", limit: int = 100) -> list[Letter]:
        return await self.read_with(
            lambda connection: invitations.letters(connection, after, limit)
        )

    async def hand_over(
        self, person: str, *, now_ms: int, actor: str = SERVER
    ) -> list[AccountAddress]:
        return await self._write(invitations.hand_over, person, now_ms, actor)

    async def take_back(
        self,
        person: str,
        accounts: Sequence[AccountAddress],
        *,
        now_ms: int,
        actor: str = SERVER,
    ) -> None:
        await self._write(invitations.take_back, person, accounts, now_ms, actor)

    async def refuse_invitations(self, person: str, *, now_ms: int, actor: str = SERVER) -> int:
        return await self._write(invitations.refuse, person, now_ms, actor)

    async def allow_invitations(self, person: str, *, now_ms: int, actor: str = SERVER) -> bool:
        return await self._write(invitations.allow, person, now_ms, actor)
