"""The calls of a store about how accounts end and begin anew, once for every engine."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.accounts import Account, Enrolment
from miss_server.storage.attestations import Attestation
from miss_server.storage.audit import SERVER
from miss_server.storage.departures import Departure, Found, Swept
from miss_server.storage.recoveries import Recovered, Recovery
from miss_server.storage.sql import attestations, departures, recoveries, vouching

T = TypeVar("T")


class TenureCalls(ABC):
    """`Departures`, `Attestations` and `Recoveries`, over what an engine brings."""

    @abstractmethod
    async def read_with(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which only reads."""

    @abstractmethod
    async def _write(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work(connection, *args)` in a transaction; what it raises undoes it."""

    @abstractmethod
    async def _write_long(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work(connection, *args)` in a transaction that takes milliseconds."""

    # --- Departures -------------------------------------------------------------------------------

    async def find_departures(self, *, now_ms: int) -> Found:
        return await self.read_with(lambda connection: departures.find(connection, now_ms))

    async def note_departures(self, found: Found, *, grace_ms: int, now_ms: int) -> Swept:
        begun: list[AccountAddress] = []
        cancelled: list[AccountAddress] = []
        suspended: list[AccountAddress] = []
        devices: list[DeviceId] = []
        for part in departures.slices(found):
            swept = await self._write_long(departures.note, part, grace_ms, now_ms)
            begun += swept.begun
            cancelled += swept.cancelled
            suspended += swept.suspended
            devices += swept.devices
        return Swept(tuple(begun), tuple(cancelled), tuple(suspended), tuple(devices))

    async def departures(self, account: AccountAddress | None = None) -> list[Departure]:
        return await self.read_with(lambda connection: departures.listing(connection, account))

    # --- Attestations -----------------------------------------------------------------------------

    async def attest(
        self, attester: AccountAddress, person: str, *, most: int, now_ms: int
    ) -> None:
        await self._write(attestations.attest, attester, person, most, now_ms)

    async def withdraw_attestation(
        self, attester: AccountAddress, person: str, *, now_ms: int
    ) -> None:
        await self._write(attestations.withdraw, attester, person, now_ms)

    async def attestations_by(self, attester: AccountAddress) -> list[Attestation]:
        return await self.read_with(lambda connection: attestations.given_by(connection, attester))

    async def lacking(self, people: Sequence[str]) -> set[str]:
        return await self.read_with(lambda connection: vouching.lacking(connection, people))

    async def attestations_of(self, people: Sequence[str]) -> list[Attestation]:
        return await self.read_with(lambda connection: attestations.of_people(connection, people))

    # --- Recoveries -------------------------------------------------------------------------------

    async def add_recovery_code(
        self,
        account: AccountAddress,
        code: str,
        *,
        expires_ms: int,
        now_ms: int,
        actor: str = SERVER,
    ) -> None:
        await self._write(recoveries.add_code, account, code, expires_ms, now_ms, actor)

    async def account_of_recovery_code(self, code: str, *, now_ms: int) -> Account:
        return await self.read_with(
            lambda connection: recoveries.account_of_code(connection, code, now_ms)
        )

    async def begin_recovery(self, enrolment: Enrolment, *, delay_ms: int, now_ms: int) -> Recovery:
        return await self._write(recoveries.begin, enrolment, delay_ms, now_ms)

    async def recovery_of(self, account: AccountAddress) -> Recovery | None:
        return await self.read_with(lambda connection: recoveries.waiting(connection, account))

    async def recoveries(self) -> list[Recovery]:
        return await self.read_with(recoveries.listing)

    async def veto_recovery(
        self,
        account: AccountAddress,
        device: DeviceId | None,
        *,
        now_ms: int,
        actor: str = SERVER,
    ) -> Recovery:
        return await self._write(recoveries.veto, account, device, now_ms, actor)

    async def complete_recoveries(self, *, now_ms: int) -> Sequence[Recovered]:
        done = []
        for account in await self.read_with(lambda connection: recoveries.due(connection, now_ms)):
            completed = await self._write_long(recoveries.complete, account, now_ms)
            done += [completed] if completed is not None else []
        return done
