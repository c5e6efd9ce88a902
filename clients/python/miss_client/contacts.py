"""Who is who, as this device verified it: pins, roster chains, safety numbers. Rules A1-A4.

The first roster of an account that is seen here is pinned (trust on first use; the operator
attests it until the two people compare their safety number). From then on only rosters that follow
from it are used: the server cannot add a device. Another genesis is never used unless the user
accepts it.
"""

from collections.abc import Iterable, Sequence
from urllib.parse import quote

from msgspec import UNSET

from miss_client.calls import Calls
from miss_client.errors import ClientError, RefusedByServer, ServerError, Trouble, Unreachable
from miss_client.events import DeviceChanged, Distrusted, IdentityChanged
from miss_client.hub import Hub
from miss_client.providers import Providers
from miss_client.records import Contact, Vouched
from miss_client.vault import Vault
from miss_protocol.api import Rosters
from miss_protocol.encoding import u64
from miss_protocol.errors import Malformed, Retry, Unproven, Untrusted
from miss_protocol.identity import certificate as certificates
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.roster import Roster, decode, verify_chain
from miss_protocol.identity.safety import safety_number
from miss_protocol.ids import AccountAddress, DeviceId, parse_address
from miss_protocol.vouching import ProofShown


class Contacts:
    """The accounts that this device knows, its own among them."""

    def __init__(
        self, vault: Vault, calls: Calls, hub: Hub, providers: Providers | None = None
    ) -> None:
        self._vault = vault
        self._calls = calls
        self.providers = providers or Providers()
        self._hub = hub
        self._rosters: dict[str, Roster] = {}

    def find(self, address: str) -> Contact | None:
        """What is known of an account, without asking the server."""
        return self._vault.contacts.get(address.encode())

    def all(self) -> list[Contact]:
        """Every known account but this one's own."""
        return [one for one in self._vault.contacts.all() if one.address != self._vault.account]

    def roster(self, address: str) -> Roster | None:
        """The newest verified roster that is known here."""
        known = self._rosters.get(address)
        contact = self.find(address) if known is None else None
        if contact is not None:
            known = self._rosters[address] = decode(contact.roster)
        return known

    @property
    def own(self) -> Roster:
        """This account's newest verified roster."""
        roster = self.roster(self._vault.account)
        if roster is None:
            raise ClientError(Trouble.NOT_READY)
        return roster

    async def learn(self, address: str) -> Roster:
        """An account's roster: the known one, or at first contact the server's, which is pinned.

        Raises:
            ClientError: identity_changed, server_error (rosters that do not hold).
            Unreachable, RefusedByServer: as any call.
        """
        contact = self.find(address)
        if contact is not None and contact.changed:
            raise ClientError(Trouble.IDENTITY_CHANGED, address)
        return self.roster(address) or await self.refresh(address)

    async def refresh(self, address: str) -> Roster:
        """Ask for an account's newer rosters, verify and save them. Raises as `learn`."""
        account = parse_address(address)
        known = self.roster(account)
        after = known.version if known else 0
        answer = await self._calls.get(
            f"/v1/accounts/{quote(account)}/rosters", Rosters, after=str(after)
        )
        newest = self.take(account, answer)
        await self.check_claim(account)
        return newest

    async def check_claim(self, address: str) -> bool:
        """Check a provider's token that the server showed for an account, if one waits for it.

        What holds is kept with the key by which it does; what does not is told as `Distrusted`. If the
        provider cannot be asked now, it waits on, and this returns False. Spec: 10 §4.
        """
        contact = self.find(address)
        if contact is None or contact.claimed is None:
            return True
        pinned = self._vault.info.provider_clients.get(contact.claimed.issuer)
        try:
            found = await self.providers.vouched(
                contact.claimed,
                genesis=contact.genesis,
                person=contact.person,
                client=pinned,
                now_ms=self._vault.clock(),
            )
        except Unreachable:
            return False
        except Unproven as unproven:
            self._settle(address, None)
            if unproven.reason != "key":  # the provider may have changed its keys since
                self._hub.tell(Distrusted(address, "proof"))
        else:
            self._settle(address, found)
        return True

    async def check_claims(self) -> None:
        """Check every token that waits for it: at a fresh connection, the network being there."""
        for contact in self._vault.contacts.all():
            if not await self.check_claim(contact.address):
                return

    def _settle(self, address: str, found: Vouched | None) -> None:
        contact, info = self.find(address), self._vault.info
        if contact is None:
            return
        contact.claimed = None
        if found is not None:
            contact.vouched, contact.attested = found, "provider"
            info.provider_clients.setdefault(found.issuer, found.client)
        with self._vault.store.transaction():
            self._vault.contacts.put(address.encode(), contact)
            self._vault.put_info(info)

    def _note_claim(self, contact: Contact, about: Rosters) -> bool:
        """Note what the server says of who vouches; tells whether it claims what it does not show.

        A token that was verified is kept as long as the person is the same: a server that shows none
        later takes nothing back from the genesis that it named.
        """
        kept, shown = contact.vouched, about.proof
        lying = False
        if kept is not None and about.person not in kept.persons:
            contact.vouched, lying = None, True
        elif isinstance(shown, ProofShown):
            if not self.providers.trusts(shown.issuer):
                contact.claimed = None  # not a lie: this application does not know that provider
            elif kept is None or kept.token != shown.token:
                contact.claimed = shown
        elif about.attested == "provider" and kept is None:
            lying = True
        contact.attested = "operator" if contact.vouched is None else "provider"
        return lying

    def take(self, account: AccountAddress, answer: Rosters) -> Roster:
        """Verify rosters that the server told, and save them with what else it says.

        Raises:
            ClientError: identity_changed, server_error.
        """
        known = self.roster(account)
        try:
            newest = verify_chain(answer.rosters, account=account, known=known)
        except (Untrusted, Malformed) as error:
            if known is not None and self._other_genesis(account, answer.rosters, known):
                raise ClientError(Trouble.IDENTITY_CHANGED, account) from None
            self._hub.tell(Distrusted(account, "roster"))
            raise ClientError(Trouble.SERVER, str(error)) from None
        self.save(newest, answer.rosters, about=answer)
        return newest

    def save(self, newest: Roster, blobs: Sequence[bytes], *, about: Rosters | None = None) -> None:
        """Save a roster that was verified, in a transaction of its own. Its genesis is pinned, and
        devices that it revokes are forgotten."""
        account = newest.account
        before = self.roster(account)
        contact = self.find(account) or Contact(
            address=account,
            name="",
            profession="",
            person="",
            attested="operator",
            genesis=newest.genesis,
            roster=b"",
        )
        changed = before is None or before.version != newest.version
        renamed = lying = False
        if about is not None:
            # The mark says that this person holds this genesis: of another person it says nothing.
            renamed = (
                contact.verified
                and account != self._vault.account
                and ((about.name, about.person) != (contact.name, contact.person))
            )
            contact.verified = contact.verified and not renamed
            contact.name, contact.profession = about.name, about.profession
            contact.person = about.person
            lying = self._note_claim(contact, about)
            contact.dormant, contact.attested_by = about.dormant, about.attested_by
            contact.recovering = 0 if about.recovering is UNSET else about.recovering
            contact.enrolled_by = "" if about.enrolled_by is UNSET else about.enrolled_by
        contact.roster = newest.encode()
        gone = (
            [entry for entry in before.entries if not newest.find(entry.device)] if before else []
        )
        contact.former |= {entry.device: entry.certificate.encode() for entry in gone}
        with self._vault.change() as endpoint:
            self._vault.contacts.put(account.encode(), contact)
            if account == self._vault.account:
                for blob in blobs:
                    self._vault.chain.put(u64(decode(blob).version), blob)
            for entry in gone:
                endpoint.forget_device(entry.device)
        self._rosters[account] = newest
        if renamed:
            self._hub.tell(Distrusted(account, "name"))
        if lying:
            self._hub.tell(Distrusted(account, "proof"))
        if changed:
            self._hub.tell(DeviceChanged(account, newest.version, account == self._vault.account))

    def _other_genesis(
        self, account: AccountAddress, blobs: Sequence[bytes], known: Roster
    ) -> bool:
        """Whether the server shows a sound chain from another genesis; it is kept for the user to
        decide, and nothing is sent to the account meanwhile."""
        try:
            first = verify_chain(blobs, account=account, known=None)
        except (Untrusted, Malformed):
            return False
        if first.genesis == known.genesis:
            return False
        contact = self.find(account)
        if contact is not None and not contact.changed:
            contact.changed = first.encode()
            with self._vault.store.transaction():
                self._vault.contacts.put(account.encode(), contact)
            self._hub.tell(IdentityChanged(account, contact.name))
        return True

    async def accept_identity(self, address: str) -> None:
        """The user confirmed, by asking the person, that they enrolled anew: pin the new genesis.

        The verification mark is taken back. Raises as `learn`.
        """
        account = parse_address(address)
        contact, old = self.find(account), self.roster(account)
        if contact is None or not contact.changed:
            await self.refresh(account)  # nothing was shown yet that could be accepted
            return
        if account == self._vault.account:
            # Whose devices are mine is decided by them, never by what the server shows.
            raise ClientError(Trouble.IDENTITY_CHANGED, account)
        answer = await self._calls.get(f"/v1/accounts/{quote(account)}/rosters", Rosters, after="0")
        try:
            newest = verify_chain(answer.rosters, account=account, known=None)
        except (Untrusted, Malformed) as error:
            raise ServerError(str(error)) from None
        if newest.genesis == contact.genesis:
            # The pinned one again: nothing to accept, and no way to go back in its history either.
            contact.changed = b""
            with self._vault.store.transaction():
                self._vault.contacts.put(account.encode(), contact)
            self.take(account, answer)
            return
        if newest.genesis != decode(contact.changed).genesis:
            contact.changed = newest.encode()
            with self._vault.store.transaction():
                self._vault.contacts.put(account.encode(), contact)
            self._hub.tell(IdentityChanged(account, contact.name))
            raise ClientError(Trouble.IDENTITY_CHANGED, account)
        with self._vault.change() as endpoint:
            self._vault.contacts.delete(account.encode())
            for entry in old.entries if old else ():
                endpoint.forget_device(entry.device)
        self._rosters.pop(account, None)
        self.save(newest, answer.rosters, about=answer)
        await self.check_claim(account)

    # --- devices ----------------------------------------------------------------------------------

    def devices_of(self, addresses: Iterable[str]) -> list[DeviceCertificate]:
        """The devices to encrypt to for these accounts, by the rosters known here: all but this
        device and those that the server calls dormant."""
        found: list[DeviceCertificate] = []
        for address in addresses:
            roster, contact = self.roster(address), self.find(address)
            dormant = contact.dormant if contact else ()
            found += [
                entry.certificate
                for entry in (roster.entries if roster else ())
                if entry.device != self._vault.device and entry.device not in dormant
            ]
        return found

    async def sender(self, address: str, device: bytes) -> DeviceCertificate | None:
        """The certificate of a device that sent something, from its account's verified roster.

        A roster that does not list it yet is asked for anew. None if it is not listed then: a
        removed device, or one that the server made up.

        Raises:
            Unreachable: not decided; nothing may be refused for it.
        """
        try:
            entry = (await self.learn(address)).find(device)
            if entry is None:
                entry = (await self.refresh(address)).find(device)
        except ClientError as error:
            if error.trouble in (Trouble.IDENTITY_CHANGED, Trouble.SERVER):
                return None
            raise
        except RefusedByServer as error:
            if error.code.retry is Retry.NEVER:
                return None
            raise Unreachable(error.code.wire) from None
        except Malformed:
            return None  # what the server calls the sender is no account
        return entry.certificate if entry else None

    def certificate(self, address: str, device: bytes) -> DeviceCertificate | None:
        """The certificate of a device that is, or once was, in a verified roster: for receipts."""
        roster, contact = self.roster(address), self.find(address)
        entry = roster.find(device) if roster else None
        if entry is not None:
            return entry.certificate
        former = contact.former.get(device) if contact else None
        return certificates.decode(former) if former is not None else None

    # --- verifying --------------------------------------------------------------------------------

    async def safety_number(self, address: str) -> str:
        """What the two people compare: sixty digits, the same on both sides."""
        return safety_number(self.own.genesis, (await self.learn(address)).genesis)

    def mark_verified(self, address: str) -> None:
        """The user compared the safety number with the person themselves."""
        contact = self.find(address)
        if contact is None:
            raise ClientError(Trouble.NO_MESSAGE, "unknown contact")
        contact.verified = True
        with self._vault.store.transaction():
            self._vault.contacts.put(address.encode(), contact)

    def meet(self, address: str) -> bool:
        """Note, inside a transaction, that messages go to or came from somebody; tells whether it was
        the first one."""
        contact = self.find(address)
        if contact is None or contact.met:
            return False
        contact.met = True
        self._vault.contacts.put(address.encode(), contact)
        return True

    def name(self, address: str) -> str:
        """The directory's name of an account, or its address."""
        contact = self.find(address)
        return contact.name if contact and contact.name else address

    def device_name(self, address: str, device: DeviceId) -> str:
        """What its owner calls a device."""
        roster = self.roster(address)
        entry = roster.find(device) if roster else None
        return entry.name if entry else ""
