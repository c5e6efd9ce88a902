"""Puts decisions about accounts in force from within a node: for who is no operator at a terminal.

An establishment's administrator decides about its own people over HTTP; whether somebody may is for
the caller to have checked. `actor` is what the audit log shall say (`storage.audit.administrator`).
Spec: 09-standing §2.
"""

from miss_protocol.ids import AccountAddress
from miss_server.doorbell.interface import Doorbell, News
from miss_server.relay.clock import Clock
from miss_server.relay.sweep import Sweep
from miss_server.storage.standing import Change, Standings, State


class Sanctions:
    """Decides, then ends the sessions here and rings for those elsewhere."""

    def __init__(
        self, standings: Standings, sweep: Sweep, doorbell: Doorbell, clock: Clock
    ) -> None:
        self._standings = standings
        self._sweep = sweep
        self._doorbell = doorbell
        self._clock = clock

    async def restrict(self, account: AccountAddress, *, reason: str, actor: str) -> Change:
        """Let an account write only to those who answered it. Raises `Refused`: unknown_account."""
        return await self._put(account, State.RESTRICTED, reason, actor)

    async def suspend(self, account: AccountAddress, *, reason: str, actor: str) -> Change:
        """Suspend an account, on every node at once. Raises `Refused`: unknown_account."""
        return await self._put(account, State.SUSPENDED, reason, actor)

    async def reinstate(self, account: AccountAddress, *, reason: str, actor: str) -> Change:
        """Take either back. Raises `Refused`: unknown_account."""
        return await self._standings.reinstate(
            account, reason=reason, actor=actor, now_ms=self._clock.now_ms()
        )

    async def _put(self, account: AccountAddress, state: State, reason: str, actor: str) -> Change:
        change = await self._standings.set_standing(
            account, state, reason=reason, actor=actor, now_ms=self._clock.now_ms()
        )
        self._sweep.hear(News(sessions=tuple(change.sessions)))
        for device, generation in change.sessions:
            self._doorbell.began(device, generation)
        return change
