"""The calls of a store about the audit log and about standing, once for every engine."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection

from miss_protocol.audit import AuditEntry, Head
from miss_protocol.ids import AccountAddress
from miss_server.storage.audit import Deed
from miss_server.storage.sql import audit, standing
from miss_server.storage.standing import Change, Standing, State

T = TypeVar("T")


class StandingCalls(ABC):
    """`AuditLog` and `Standings`, over what an engine brings."""

    @abstractmethod
    async def read_with(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which only reads."""

    @abstractmethod
    async def _write(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work(connection, *args)` in a transaction; what it raises undoes it."""

    # --- AuditLog ---------------------------------------------------------------------------------

    async def record(self, deed: Deed, *, now_ms: int) -> Head:
        return await self._write(audit.append, deed, now_ms)

    async def audit_head(self) -> Head:
        return await self.read_with(audit.head)

    async def audit_entries(
        self,
        *,
        after: int | None = None,
        limit: int = 1_000,
        subject: str | None = None,
        since_ms: int | None = None,
    ) -> list[AuditEntry]:
        return await self.read_with(
            lambda connection: audit.entries(connection, after, limit, subject, since_ms)
        )

    # --- Standings --------------------------------------------------------------------------------

    async def set_standing(
        self, account: AccountAddress, state: State, *, reason: str, actor: str, now_ms: int
    ) -> Change:
        return await self._write(standing.decide, account, state, reason, actor, now_ms)

    async def reinstate(
        self, account: AccountAddress, *, reason: str, actor: str, now_ms: int
    ) -> Change:
        return await self._write(standing.reinstate, account, reason, actor, now_ms)

    async def standing(self, account: AccountAddress) -> Standing | None:
        return await self.read_with(lambda connection: standing.find(connection, account))

    async def why_suspended(self, account: AccountAddress) -> str:
        return await self.read_with(lambda connection: standing.why_suspended(connection, account))

    async def standings(self) -> list[Standing]:
        return await self.read_with(standing.listing)
