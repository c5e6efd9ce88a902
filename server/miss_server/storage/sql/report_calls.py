"""The calls of `storage.reports`, once for every engine."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.reports import Evidence, Filed, Filing, Outcome, Signer
from miss_server.storage.sql import reports

T = TypeVar("T")


class ReportCalls(ABC):
    """`Reports`. Engines say how a function comes to run."""

    @abstractmethod
    async def read_with(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which only reads."""

    @abstractmethod
    async def _write(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work(connection, *args)` in a transaction; what it raises undoes it."""

    async def signer(self, account: AccountAddress, device: DeviceId) -> Signer | None:
        return await self.read_with(lambda connection: reports.signer(connection, account, device))

    async def file_report(self, filing: Filing, *, now_ms: int) -> Filed:
        return await self._write(reports.file, filing, now_ms)

    async def reports_by(
        self, reporter: AccountAddress, *, before: tuple[int, str] | None, limit: int
    ) -> list[Filed]:
        return await self.read_with(
            lambda connection: reports.page(connection, reporter, before, limit)
        )

    async def reports(self, *, closed: bool = False, limit: int = 100) -> list[Filed]:
        return await self.read_with(lambda connection: reports.listing(connection, closed, limit))

    async def report_ids(self, beginning: str, *, limit: int = 2) -> Sequence[str]:
        return await self.read_with(lambda connection: reports.ids(connection, beginning, limit))

    async def show_report(self, id: str, *, actor: str, now_ms: int) -> Evidence:
        return await self._write(reports.show, id, actor, now_ms)

    async def export_report(
        self, id: str, *, actor: str, now_ms: int
    ) -> tuple[Evidence, Sequence[bytes]]:
        return await self._write(reports.export, id, actor, now_ms)

    async def close_report(
        self, id: str, outcome: Outcome, *, delete_ms: int, actor: str, now_ms: int
    ) -> Filed:
        return await self._write(reports.close, id, outcome, delete_ms, actor, now_ms)
