"""What a device does for itself when it is connected: prekeys, its own roster, the charter."""

from miss_client.calls import Calls, Nothing
from miss_client.contacts import Contacts
from miss_client.errors import RefusedByServer
from miss_client.events import CharterChanged, Restored, WasDormant
from miss_client.hub import Hub
from miss_client.notices import Notices
from miss_client.outbox import Outbox
from miss_client.vault import Vault
from miss_client.wishes import Wishes
from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.api import (
    CharterSigned,
    PrekeyCount,
    PrekeysUploaded,
    RosterProposed,
    ServerInfo,
)
from miss_protocol.encoding import read_u64
from miss_protocol.errors import Code, Retry
from miss_protocol.identity import charter as charters

LOOK_EVERY = 3600.0


class Upkeep:
    """Chores of one device."""

    def __init__(
        self, vault: Vault, calls: Calls, contacts: Contacts, outbox: Outbox, hub: Hub
    ) -> None:
        self._vault = vault
        self._calls = calls
        self._contacts = contacts
        self._outbox = outbox
        self._hub = hub
        self.notices = Notices(vault, calls, hub)
        outbox.on_noticeable = self.notices.want
        self.wishes = Wishes(vault, calls, hub)

    def note_epoch(
        self, epoch: bytes, *, restored: int | None, acked: int = 0, digest: bytes = b""
    ) -> None:
        """Save the mailbox epoch that a server told; after a restore, in the same transaction,
        everything that follows from it (rule C6)."""
        cursor = self._vault.cursor
        if restored is None and cursor.epoch == epoch:
            return
        again = 0
        with self._vault.change() as endpoint:
            cursor.epoch = epoch
            if restored is not None:
                cursor.position, cursor.digest = acked, digest
                cursor.settled = cursor.sn  # agreed: a server that counts fewer was restored again
                cursor.last_resort_owed = True
            self._vault.put_cursor(cursor)
            if restored is not None:
                endpoint.void_prekeys()
                self._vault.nacks.clear()  # of positions that mean something else now
                again = self._outbox.submit_again()
        if restored is not None:
            self._hub.tell(Restored(restored, again))

    async def after_welcome(self, welcome: f.Welcome) -> None:
        """The chores that a fresh connection asks for. Raises as any call."""
        if welcome.dormant:
            self._hub.tell(WasDormant())
        charter = (await self._calls.get_open("/v1/server", ServerInfo)).charter
        if charter.version != welcome.charter:
            self._hub.tell(CharterChanged(charter.version))
        await self.agree_roster(welcome.roster)
        await self.refill_prekeys(welcome.prekeys, last_resort=self._vault.cursor.last_resort_owed)
        await self.look_around()
        await self._contacts.check_claims()  # last: it waits for the provider

    async def agree_roster(self, theirs: int) -> None:
        """Make this account's roster the same on both sides: fetch newer ones, or give a restored
        server back what it lost."""
        own = self._contacts.own
        if theirs > own.version:
            await self._contacts.refresh(own.account)
            return
        for version, blob in self._chain():
            if version > theirs:
                try:
                    await self._calls.post("/v1/rosters", RosterProposed(blob), Nothing)
                except RefusedByServer as refused:
                    if refused.code is not Code.ROSTER_CONFLICT:
                        raise
                    # Another device of this account was quicker; look at what is there now.
                    await self._contacts.refresh(own.account)

    async def introduce(self) -> bool:
        """Give this account's rosters to a server that does not know this device: restored to a time
        before, it lacks the one that lists it. Tells whether it took any. Spec: 03-session §6.

        Raises:
            Unreachable, RefusedByServer: not now; `retry_after` may say when.
        """
        certificate, took = self._vault.certificate.encode(), False
        for version, blob in self._chain():
            if version == 1:
                continue  # nobody but the operator opens an account
            try:
                await self._calls.post("/v1/rosters", RosterProposed(blob, certificate), Nothing)
                took = True
            except RefusedByServer as refused:
                if refused.code.retry is Retry.SAME:
                    raise
                if refused.code is not Code.ROSTER_CONFLICT:  # it has that one, or another instead
                    break
        return took

    def _chain(self) -> list[tuple[int, bytes]]:
        return sorted((read_u64(name), blob) for name, blob in self._vault.chain.items())

    async def refill_prekeys(self, left: int, *, last_resort: bool = False) -> None:
        """Upload new one-time prekeys if few are left, with a last resort if one is wanted."""
        wanted = limits.PREKEYS_UPLOADED - left if left < limits.PREKEYS_REFILL_AT else 0
        if not wanted and not last_resort:
            return
        now, epoch = self._vault.clock(), self._vault.cursor.epoch
        with self._vault.change() as endpoint:
            new = endpoint.new_prekeys(wanted, now_ms=now) if wanted else []
            if last_resort:
                new.append(endpoint.new_last_resort(now_ms=now))
        # Saved first: a prekey whose private half is lost would make messages that nobody opens.
        upload = PrekeysUploaded(tuple(one.encode() for one in new), epoch)
        await self._calls.post("/v1/prekeys", upload, PrekeyCount)
        cursor = self._vault.cursor
        if last_resort and cursor.last_resort_owed and cursor.epoch == epoch:
            cursor.last_resort_owed = False
            with self._vault.store.transaction():
                self._vault.put_cursor(cursor)

    async def after_drained(self) -> None:
        """Rotate the last-resort prekey weekly, once nothing that used the old one waits."""
        self._outbox.forget_expired()
        if self._vault.endpoint.last_resort_due(now_ms=self._vault.clock()):
            await self.refill_prekeys(limits.PREKEYS_UPLOADED, last_resort=True)

    async def look_around(self) -> None:
        """While an application follows events: ask what its user is to be told of this account and of whom
        it waits for, as far as it is due; again every `LOOK_EVERY` seconds, since a connection may last
        for weeks. Raises as any call."""
        if not self._hub.is_heard:
            return  # what is told once would be told to nobody
        await self.notices.look_if_due()
        await self.wishes.look_if_due()

    async def sign_charter(self) -> str:
        """Accept the operator's charter in force, after the user read it; returns its version."""
        info = await self._calls.get_open("/v1/server", ServerInfo)
        charter = info.charter
        signed = charters.accept(
            self._vault.signing_key,
            self._vault.certificate,
            version=charter.version,
            text_hash=charters.charter_hash(f"{charter.en}\n{charter.fr}"),
            at_ms=self._vault.clock(),
        )
        await self._calls.post(
            "/v1/charter",
            CharterSigned(signed.version, signed.text_hash, signed.at_ms, signed.signature),
            Nothing,
        )
        device = self._vault.info
        device.charter = signed.version
        with self._vault.store.transaction():
            self._vault.put_info(device)
        return signed.version
