"""People who are not on MiSS: inviting them, and telling once when they have joined. Spec: 12.

Whoever was told of is saved before it is told, by person and by when the wish was made: one that is made
anew is told anew.
"""

from miss_client.calls import Calls
from miss_client.errors import RefusedByServer
from miss_client.events import Joined
from miss_client.hub import Hub
from miss_client.records import Waiting
from miss_client.vault import Vault
from miss_protocol.errors import Code
from miss_protocol.invitations import InvitationPage, PersonNamed, Wish
from miss_protocol.invitations import Wishes as WishList

HOUR_MS = 3600 * 1000


class Wishes:
    """Whom this account invites and waits for."""

    def __init__(self, vault: Vault, calls: Calls, hub: Hub) -> None:
        self._vault = vault
        self._calls = calls
        self._hub = hub

    async def invite(self, person: str) -> InvitationPage:
        """Have a person of the directory invited; the letter is the operator's, without a word more.

        Raises:
            RefusedByServer: on_miss, not_to_be_invited, not_found, rate_limited.
        """
        return await self._calls.post("/v1/invitations", PersonNamed(person), InvitationPage)

    async def wish(self, person: str) -> WishList:
        """Be told when a person of the directory joins.

        Raises:
            RefusedByServer: on_miss, not_found, too_many_wishes.
        """
        return self._take(await self._calls.post("/v1/wishes", PersonNamed(person), WishList))

    async def withdraw(self, person: str) -> WishList:
        """Wait for a person no longer."""
        left = await self._calls.post("/v1/wishes/withdraw", PersonNamed(person), WishList)
        return self._take(left)

    async def all(self) -> WishList:
        """Whom this account waits for, and who has joined."""
        return self._take(await self._calls.get("/v1/wishes", WishList))

    async def look_if_due(self) -> None:
        """Ask at a login, if it is `due`. Raises as any call."""
        if not due(self._vault.waiting, now_ms=self._vault.clock()):
            return
        try:
            await self.all()
        except RefusedByServer as refused:
            # An older server has no wishes, one that is being upgraded not yet.
            if refused.code not in (Code.NOT_FOUND, Code.BUSY):
                raise

    def _take(self, found: WishList) -> WishList:
        waiting, news = noted(self._vault.waiting, found, now_ms=self._vault.clock())
        self._vault.put_waiting(waiting)
        for one in news:
            self._hub.tell(Joined(one.person, one.name, one.account or ""))
        return found


def due(kept: Waiting, *, now_ms: int) -> bool:
    """Whether a device should ask: not within an hour, nor within a day while it knows of nobody who has
    not joined; another device of the account may have begun to wait."""
    return now_ms - kept.asked_ms >= HOUR_MS * (1 if kept.open else 24)


def noted(kept: Waiting, found: WishList, *, now_ms: int) -> tuple[Waiting, list[Wish]]:
    """What a device knows after an answer of its server, and who in it is to be told of now."""
    joined = [one for one in found.wishes if one.account is not None]
    # Who cannot be written to for a while and then can again was told of already.
    told = {one.person: one.at for one in found.wishes if kept.told.get(one.person) == one.at}
    news = [one for one in joined if one.person not in told]
    told |= {one.person: one.at for one in news}
    return Waiting(now_ms, len(found.wishes) - len(joined), told), news
