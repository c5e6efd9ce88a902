"""The quiet calls of a store, once for every engine: each is one transaction or one look."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from miss_protocol.directory import Entry, SearchPage, Source
from miss_protocol.filters import Filters
from miss_protocol.identity.charter import CharterAcceptance
from miss_protocol.identity.prekeys import SignedPrekey
from miss_protocol.identity.roster import Roster
from miss_protocol.ids import AccountAddress, DeviceId
from miss_protocol.meeting import Act, ReachRules
from miss_server.storage.accounts import (
    Account,
    CodeOrder,
    Enrolment,
    Link,
    RosterChain,
    RosterChange,
)
from miss_server.storage.audit import SERVER
from miss_server.storage.meeting import Relation
from miss_server.storage.messages import DeviceRecord
from miss_server.storage.sql import (
    accounts,
    codes,
    devices,
    endings,
    epochs,
    prekeys,
    relations,
    rosters,
    settings,
)
from miss_server.storage.sql.directory import SqlDirectory
from miss_server.storage.sql.invitation_calls import InvitationCalls
from miss_server.storage.sql.organisation_calls import OrganisationCalls
from miss_server.storage.sql.proof_calls import ProofCalls
from miss_server.storage.sql.report_calls import ReportCalls
from miss_server.storage.sql.standing_calls import StandingCalls
from miss_server.storage.sql.tenure_calls import TenureCalls

T = TypeVar("T")


class QuietCalls(
    StandingCalls, TenureCalls, OrganisationCalls, InvitationCalls, ProofCalls, ReportCalls
):
    """`Accounts`, `Departures`, `DirectoryReader`, `Invitations`, `Organisations`, `Proofs`, `Reports`, and
    what of `Messages` is quiet.

    Engines say how a function comes to run, and bring their words for searches.
    """

    _directory: SqlDirectory

    @abstractmethod
    async def read_with(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which only reads."""

    async def _read_long(self, work: Callable[[Connection], T]) -> T:
        """As `read_with`, for what takes milliseconds."""
        return await self.read_with(work)

    @abstractmethod
    async def _write(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work(connection, *args)` in a transaction; what it raises undoes it."""

    async def _write_long(self, work: Callable[..., T], *args: Any) -> T:
        """As `_write`, for what takes milliseconds."""
        return await self._write(work, *args)

    # --- Messages ---------------------------------------------------------------------------------

    async def device(self, device: DeviceId) -> DeviceRecord | None:
        return await self.read_with(lambda connection: devices.find(connection, device))

    async def note_seen(self, devices_: Sequence[DeviceId], *, now_ms: int) -> None:
        for at in range(0, len(devices_), devices.SEEN_AT_ONCE):
            some = devices_[at : at + devices.SEEN_AT_ONCE]
            await self._write_long(devices.note_seen, some, now_ms)

    async def expire(self, *, protected: Mapping[DeviceId, int], now_ms: int) -> Sequence[DeviceId]:
        return await self._write_long(endings.expire, protected, now_ms)

    async def clean(self, *, now_ms: int) -> int:
        return await self._write_long(endings.clean, now_ms)

    async def epoch(self) -> bytes:
        return (await self.read_with(epochs.current))[0]

    async def prove_durable(self, *, now_ms: int) -> None:
        await self._write(settings.put, "proved", now_ms.to_bytes(8, "big"))

    # --- Accounts ---------------------------------------------------------------------------------

    async def create(
        self, person: str | None, name: str, address: AccountAddress, *, now_ms: int
    ) -> AccountAddress:
        return await self._write(accounts.create, person, name, address, now_ms)

    async def find(self, address: AccountAddress) -> Account | None:
        return await self.read_with(lambda connection: accounts.find(connection, address))

    async def listing(
        self, *, after: str = "", limit: int = 100, words: Collection[str] = ()
    ) -> list[Account]:
        return await self.read_with(
            lambda connection: accounts.listing(connection, after, limit, words)
        )

    async def add_code(
        self,
        account: AccountAddress,
        code: str,
        *,
        expires_ms: int,
        now_ms: int,
        actor: str = SERVER,
    ) -> None:
        await self._write(accounts.add_code, account, code, expires_ms, now_ms, actor)

    async def issue_codes(
        self, orders: Sequence[CodeOrder], *, now_ms: int, actor: str = SERVER
    ) -> list[AccountAddress | None]:
        return await self._write_long(codes.issue, orders, now_ms, actor)

    async def account_of_code(self, code: str, *, now_ms: int) -> Account:
        return await self.read_with(
            lambda connection: accounts.account_of_code(connection, code, now_ms)
        )

    async def enrol(self, enrolment: Enrolment, *, now_ms: int) -> AccountAddress:
        return await self._write(accounts.enrol, enrolment, now_ms)

    async def invite(
        self, account: AccountAddress, code: str, *, expires_ms: int, now_ms: int
    ) -> None:
        await self._write(rosters.invite, account, code, expires_ms, now_ms)

    async def account_of_invitation(self, code: str, *, now_ms: int) -> Account:
        return await self.read_with(
            lambda connection: rosters.account_of_invitation(connection, code, now_ms)
        )

    async def ask_link(self, code: str, link: Link, *, now_ms: int) -> None:
        await self._write(rosters.ask_link, code, link, now_ms)

    async def links(self, account: AccountAddress, *, now_ms: int) -> list[Link]:
        return await self.read_with(lambda connection: rosters.links(connection, account, now_ms))

    async def rosters(
        self, account: AccountAddress, *, after: int, now_ms: int
    ) -> RosterChain | None:
        return await self.read_with(
            lambda connection: rosters.chain(connection, account, after, now_ms)
        )

    async def change_roster(
        self, roster: Roster, *, confirms: bool = True, now_ms: int
    ) -> RosterChange:
        return await self._write(rosters.change, roster, now_ms, confirms)

    async def sign_charter(self, acceptance: CharterAcceptance, *, now_ms: int) -> None:
        await self._write(accounts.sign_charter, acceptance, now_ms)

    async def add_prekeys(
        self,
        device: DeviceId,
        prekeys_: Sequence[SignedPrekey],
        *,
        epoch: bytes = b"",
        now_ms: int,
    ) -> tuple[int, int]:
        return await self._write(prekeys.add, device, prekeys_, epoch)

    async def claim_prekeys(
        self, devices: Sequence[DeviceId], *, now_ms: int
    ) -> dict[DeviceId, bytes]:
        return await self._write(prekeys.claim, devices)

    async def count_prekeys(self, device: DeviceId) -> tuple[int, int]:
        return await self.read_with(lambda connection: prekeys.count(connection, device))

    async def use_nonce(self, device: DeviceId, nonce: str, *, expires_ms: int) -> bool:
        return await self._write(accounts.use_nonce, device, nonce, expires_ms)

    # --- Meeting ----------------------------------------------------------------------------------

    async def relations(
        self, account: AccountAddress, *, after: str = "", limit: int = 100
    ) -> Sequence[Relation]:
        return await self.read_with(
            lambda connection: relations.listing(connection, account, after, limit)
        )

    async def relation(self, account: AccountAddress, peer: AccountAddress) -> Relation:
        return await self.read_with(lambda connection: relations.one(connection, account, peer))

    async def act(
        self, account: AccountAddress, peer: AccountAddress, act: Act, *, now_ms: int
    ) -> Relation:
        return await self._write(relations.act, account, peer, act, now_ms)

    async def reach_rules(self, account: AccountAddress) -> ReachRules:
        return await self.read_with(lambda connection: relations.rules(connection, account))

    async def set_reach_rules(
        self, account: AccountAddress, rules: ReachRules, *, now_ms: int
    ) -> None:
        await self._write(relations.set_rules, account, rules, now_ms)

    async def set_budget(
        self,
        account: AccountAddress,
        budget: tuple[int, int] | None,
        *,
        now_ms: int,
        actor: str = SERVER,
    ) -> None:
        await self._write(relations.set_budget, account, budget, now_ms, actor)

    async def budget(self, account: AccountAddress) -> tuple[int, int] | None:
        return await self.read_with(lambda connection: relations.budget(connection, account))

    # --- DirectoryReader --------------------------------------------------------------------------

    async def search(
        self,
        query: str,
        *,
        limit: int,
        cursor: str | None,
        filters: Filters,
        account: AccountAddress,
        now_ms: int,
    ) -> SearchPage:
        return await self._read_long(
            lambda connection: self._directory.search(
                connection,
                query,
                now_ms=now_ms,
                cursor=cursor,
                limit=limit,
                filters=filters,
                account=account,
            )
        )

    async def entry(
        self, person: str, *, account: AccountAddress | None = None, now_ms: int
    ) -> Entry | None:
        return await self.read_with(
            lambda connection: self._directory.entry(
                connection, person, now_ms=now_ms, account=account
            )
        )

    async def entries(
        self, persons: Sequence[str], *, now_ms: int, account: AccountAddress | None = None
    ) -> dict[str, Entry]:
        return await self.read_with(
            lambda connection: self._directory.entries(
                connection, persons, now_ms=now_ms, account=account
            )
        )

    async def sources(self) -> tuple[Source, ...]:
        return await self.read_with(self._directory.sources)
