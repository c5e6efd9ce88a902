"""The devices of this account: inviting, approving, removing. Rule A2.

A roster is signed here, by a device that the roster before it gives the right to approve; the server
only stores it. A new device is let in by its own code, compared by a person on both screens.
"""

import re
from dataclasses import dataclass

import msgspec

from miss_client.calls import Calls, Nothing
from miss_client.contacts import Contacts
from miss_client.errors import ClientError, RefusedByServer, ServerError, Trouble
from miss_client.vault import Vault
from miss_protocol.api import LinkInvitation, PendingLinks, RosterProposed
from miss_protocol.errors import Code
from miss_protocol.identity import certificate as certificates
from miss_protocol.identity import link
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.roster import Roster, RosterEntry, succeed
from miss_protocol.ids import DeviceId

TRIES = 3
_INVITATION = re.compile(r"[A-Za-z0-9-]{4,40}")


@dataclass(frozen=True, slots=True)
class Pending:
    """A device that asks to join. Its `code` must be on its own screen, too: compare them."""

    certificate: DeviceCertificate
    name: str
    code: str


class _Invite(msgspec.Struct):
    pass


class Devices:
    """Changes of this account's roster."""

    def __init__(self, vault: Vault, calls: Calls, contacts: Contacts) -> None:
        self._vault = vault
        self._calls = calls
        self._contacts = contacts

    def listing(self) -> tuple[RosterEntry, ...]:
        """This account's devices, as the newest roster known here lists them."""
        return self._contacts.own.entries

    async def invite(self) -> LinkInvitation:
        """A code by which a new device finds this account, and knows it from one that the server
        made up. It lets nobody in by itself.

        Raises:
            ServerError: the server's code is none. It is shown to be typed at a prompt elsewhere.
        """
        made = await self._calls.post("/v1/links/invitations", _Invite(), LinkInvitation)
        if not _INVITATION.fullmatch(made.code):
            raise ServerError("an invitation that is no code")
        code = link.invitation(made.code, self._contacts.own.genesis)
        return LinkInvitation(code, made.expires)

    async def pending(self) -> list[Pending]:
        """The devices that ask to join. Do not show their codes where they could be taken for the
        comparison itself: the user types or scans the code from the new device."""
        answer = await self._calls.get("/v1/links", PendingLinks)
        found = [(certificates.decode(one.certificate), one.name) for one in answer.links]
        return [
            Pending(certificate, name, link.approval_code(certificate))
            for certificate, name in found
            if certificate.account == self._vault.account
        ]

    async def approve(self, code: str, *, approve: bool = True) -> RosterEntry:
        """Let in the device whose screen shows `code`.

        Args:
            approve: whether it may let in and remove devices itself.

        Raises:
            ClientError: no_match, no device with this code asks.
            Malformed: not a code.
        """
        wanted = link.read_code(code)
        for one in await self.pending():
            if link.matches(wanted, one.certificate):
                entry = RosterEntry(one.certificate, one.name, approve)
                await self._change(add=entry)
                return entry
        # Perhaps it was let in already and the answer was lost: the server's roster tells then.
        own = await self._contacts.refresh(self._vault.account)
        for entry in own.entries:
            if link.matches(wanted, entry.certificate):
                return entry
        raise ClientError(Trouble.NO_MATCH)

    async def revoke(self, device: DeviceId) -> Roster:
        """Remove a device for ever: it receives nothing more and cannot come back."""
        return await self._change(revoke=device)

    async def _change(
        self, *, add: RosterEntry | None = None, revoke: DeviceId | None = None
    ) -> Roster:
        for last in (False,) * (TRIES - 1) + (True,):
            own = self._contacts.own
            if revoke is not None and own.find(revoke) is None:
                return own
            if add is not None and own.find(add.device) is not None:
                return own
            following = succeed(
                own,
                self._vault.signing_key,
                self._vault.device,
                add=(add,) if add else (),
                revoke=(revoke,) if revoke else (),
                now_ms=self._vault.clock(),
            )
            blob = following.encode()
            try:
                await self._calls.post("/v1/rosters", RosterProposed(blob), Nothing)
            except RefusedByServer as refused:
                if refused.code is not Code.ROSTER_CONFLICT or last:
                    raise
                await self._contacts.refresh(own.account)  # another device was quicker
                continue
            self._contacts.save(following, [blob])
            return following
        raise AssertionError  # the last try returned or raised
