"""The calls of `storage.organisations`, once for every engine."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.organisations import (
    Administrator,
    CodeMade,
    CodeRequest,
    DevicesEnded,
    Ended,
    OwnPerson,
)
from miss_server.storage.sql import administrators, issued, issuing, own_people, rosters

T = TypeVar("T")


class OrganisationCalls(ABC):
    """`Organisations`. Engines say how a function comes to run."""

    @abstractmethod
    async def read_with(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which only reads."""

    @abstractmethod
    async def _write(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work(connection, *args)` in a transaction; what it raises undoes it."""

    @abstractmethod
    async def _write_long(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work(connection, *args)` in a transaction that takes milliseconds."""

    async def add_administrator(
        self, organisation: str, account: AccountAddress, *, actor: str, now_ms: int
    ) -> bool:
        return await self._write(administrators.add, organisation, account, actor, now_ms)

    async def remove_administrator(
        self, organisation: str, account: AccountAddress, *, actor: str, now_ms: int
    ) -> bool:
        return await self._write(administrators.remove, organisation, account, actor, now_ms)

    async def administrators(self, organisation: str | None = None) -> list[Administrator]:
        return await self.read_with(
            lambda connection: administrators.listing(connection, organisation)
        )

    async def administered(
        self, account: AccountAddress, *, most: int, now_ms: int
    ) -> list[tuple[str, int]]:
        return await self.read_with(
            lambda connection: issuing.left_today(connection, account, most, now_ms)
        )

    async def own_people(
        self,
        administrator: AccountAddress,
        organisation: str,
        *,
        after: str,
        limit: int,
        now_ms: int,
    ) -> list[OwnPerson]:
        return await self.read_with(
            lambda connection: own_people.page(
                connection, administrator, organisation, after, limit, now_ms
            )
        )

    async def attest_own(
        self, administrator: AccountAddress, organisation: str, person: str, *, now_ms: int
    ) -> None:
        await self._write(own_people.attest, administrator, organisation, person, now_ms)

    async def end_own(
        self, administrator: AccountAddress, organisation: str, person: str, *, now_ms: int
    ) -> Ended:
        return await self._write(own_people.end, administrator, organisation, person, now_ms)

    async def issue_code(
        self, wanted: CodeRequest, *, ttl_ms: int, most: int, now_ms: int
    ) -> CodeMade:
        return await self._write(issuing.issue, wanted, ttl_ms, most, now_ms)

    async def end_codes(
        self, administrator: AccountAddress, organisation: str, person: str, *, now_ms: int
    ) -> None:
        await self._write(own_people.end_codes, administrator, organisation, person, now_ms)

    async def end_devices(
        self,
        administrator: AccountAddress,
        organisation: str,
        person: str,
        devices: Sequence[DeviceId],
        *,
        now_ms: int,
    ) -> DevicesEnded:
        return await self._write_long(
            own_people.end_devices, administrator, organisation, person, devices, now_ms
        )

    async def ended_devices(self, account: AccountAddress) -> list[DeviceId]:
        return await self.read_with(lambda connection: rosters.ended(connection, account))

    async def enrolled_by(self, account: AccountAddress) -> str:
        return await self.read_with(lambda connection: issued.founded_by(connection, account))

    async def unvouched(self, people: Sequence[str]) -> set[tuple[str, str]]:
        return await self.read_with(lambda connection: own_people.unvouched(connection, people))
