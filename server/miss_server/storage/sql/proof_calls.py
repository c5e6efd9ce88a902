"""`Proofs`, once for every engine: each call is one transaction or one look."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from miss_protocol.errors import Refused
from miss_protocol.ids import AccountAddress
from miss_server.storage.accounts import Enrolment
from miss_server.storage.proofs import Begun, Lapsed, Proof, Shown, SignIn
from miss_server.storage.sql import proofs, sign_ins

T = TypeVar("T")


class ProofCalls(ABC):
    """See `Proofs`. Engines say how a function comes to run."""

    @abstractmethod
    async def read_with(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which only reads."""

    @abstractmethod
    async def _write(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work(connection, *args)` in a transaction; what it raises undoes it."""

    async def new_sign_in(self, account: AccountAddress, *, expires_ms: int) -> str:
        return await self.read_with(
            lambda connection: sign_ins.new_secret(connection, account, expires_ms)
        )

    async def open_renewal(
        self, secret: str, account: AccountAddress, *, expires_ms: int, now_ms: int
    ) -> None:
        await self._write(sign_ins.open_renewal, secret, account, expires_ms, now_ms)

    async def sign_in(self, secret: str, *, now_ms: int) -> SignIn:
        return await self.read_with(lambda connection: sign_ins.find(connection, secret, now_ms))

    async def begin_sign_ins(
        self, some: Sequence[tuple[str, Begun]], *, now_ms: int
    ) -> list[Refused | None]:
        return await self._write(sign_ins.begin, some, now_ms)

    async def take_state(self, state: str, *, now_ms: int) -> SignIn:
        return await self._write(sign_ins.take_state, state, now_ms)

    async def may_poll(self, sign_in: SignIn, *, now_ms: int) -> bool:
        return await self._write(sign_ins.may_poll, sign_in, now_ms)

    async def poll_slower(self, sign_in: SignIn, seconds: int) -> None:
        await self._write(sign_ins.slower, sign_in, seconds)

    async def note_shown(self, sign_in: SignIn, shown: Shown, *, confirmation: str) -> bool:
        return await self._write(sign_ins.note_shown, sign_in, shown, confirmation)

    async def note_failed(self, sign_in: SignIn, code: str, reason: str) -> None:
        await self._write(sign_ins.note_failed, sign_in, code, reason)

    async def confirm(self, secret: str, confirmation: str, *, now_ms: int) -> bool:
        return await self._write(sign_ins.confirm, secret, confirmation, now_ms)

    async def finish(
        self, secret: str, enrolment: Enrolment | None, *, now_ms: int
    ) -> AccountAddress:
        return await self._write(proofs.finish, secret, enrolment, now_ms)

    async def proof(self, account: AccountAddress) -> Proof | None:
        return await self.read_with(lambda connection: proofs.find(connection, account))

    async def lapse(self, *, before_ms: int, now_ms: int) -> list[Lapsed]:
        return await self._write(proofs.lapse, before_ms, now_ms)
