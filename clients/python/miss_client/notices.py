"""What its user is to know of this account: that it will end, and why; that the operator restricted it;
that an organisation ended a device of it; that its proof of identity falls due. Spec: 09 §2, 10 §2.4, 11 §3, §6.3.

Nothing is saved: with every start of the application its user is told anew, for as long as it is so.
"""

from msgspec import UNSET

from miss_client import own_account
from miss_client.calls import Calls
from miss_client.events import AccountEnding, AccountRestricted, DevicesEnded, ProofDue
from miss_client.hub import Hub
from miss_client.vault import Vault

DAY_MS = 24 * 3600 * 1000

Notice = AccountEnding | AccountRestricted | DevicesEnded | ProofDue


class Notices:
    """Asks for them, and tells them as events."""

    def __init__(self, vault: Vault, calls: Calls, hub: Hub) -> None:
        self._vault = vault
        self._calls = calls
        self._hub = hub
        self.asked_ms: int | None = None
        """When this last asked; None makes it ask at the next occasion."""
        self.wanted = False
        """Something was refused that they explain: ask at once."""

    def want(self) -> None:
        """Let them be asked for at once, or else at the next occasion."""
        self.wanted, self.asked_ms = True, None

    async def look(self) -> list[Notice]:
        """Ask, tell and return them; none if all is well, or by an older server. Raises as any call."""
        self.wanted = False  # first: what is refused meanwhile may have come after their answer
        told = await own_account.told(self._calls)
        self.asked_ms = self._vault.clock()
        found: list[Notice] = []
        if told is not None and told.standing is not UNSET:
            found.append(AccountRestricted(told.standing.since, told.standing.reason))
        if told is not None:
            found += [AccountEnding(one.kind, one.since, one.due) for one in told.notices]
            found += [DevicesEnded(told.ended)] if told.ended else []
        held = await own_account.proof_due(self._calls)
        if held is not None and held.renew_by is not UNSET and held.ends is not UNSET:
            found.append(ProofDue(held.renew_by, held.ends))
        for one in found:
            self._hub.tell(one)
        return found

    async def look_if_due(self) -> None:
        """Ask, if this has not been since the start or for a day. Raises as any call."""
        if self.asked_ms is None or self._vault.clock() - self.asked_ms >= DAY_MS:
            await self.look()
