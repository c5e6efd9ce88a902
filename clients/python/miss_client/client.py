"""A person's client: what an application calls.

    async with Client.open(store) as client:
        await client.drained()
        id = await client.send([address], "Bonjour")
        await client.wait_for_state(id, "delivered")

Everything that must not be lost is in the store before a call returns. `async with` keeps the device
connected in the background; calls work without it, but nothing arrives then (see `fetch_once`).
"""

import asyncio
import platform as platforms
from collections.abc import AsyncIterator, Sequence
from hashlib import blake2b
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from miss_client import fetching, sign_in
from miss_client.calls import Calls
from miss_client.contacts import Contacts
from miss_client.devices import Devices, Pending
from miss_client.drafts import check_size
from miss_client.errors import ClientError, ServerError, Trouble, Unreachable
from miss_client.events import Connection, ConnectionChanged, Event
from miss_client.hub import Hub
from miss_client.inbox import Inbox
from miss_client.outbox import Outbox
from miss_client.records import Contact, Message, State
from miss_client.sign_in import AskCode, Method, Show
from miss_client.store import Store
from miss_client.transport import Stopped, Timing, Transport
from miss_client.upkeep import Upkeep
from miss_client.vault import Vault
from miss_protocol import content as contents
from miss_protocol import limits
from miss_protocol.api import LinkInvitation
from miss_protocol.content import Content
from miss_protocol.directory import DirectorySources, Entry, SearchPage
from miss_protocol.encoding import pack_all
from miss_protocol.errors import Code, Refused
from miss_protocol.filters import UNFILTERED, Filters
from miss_protocol.frames import App, Urgency
from miss_protocol.identity.roster import RosterEntry
from miss_protocol.ids import AccountAddress, DeviceId, MessageId, parse_address
from miss_protocol.sign_in import ProofHeld

_RANK: dict[State, int] = {"queued": 0, "sent": 1, "delivered": 2, "read": 3, "failed": 9}


def this_app() -> App:
    """How this application names itself to the server."""
    return App("miss", version("miss-messenger"), platforms.system().lower())


class Client:
    """One device of one account. Make it with `enrol` or `join_account` (`new_device`), or `Client.open`."""

    def __init__(self, vault: Vault, *, timing: Timing | None = None) -> None:
        info = vault.info
        if info.over:
            raise ClientError(Trouble[info.over])
        if info.stage != "ready":
            raise ClientError(Trouble.NOT_READY)
        self.vault = vault
        self.hub = Hub()
        self.calls = Calls(info.server, vault)
        self.contacts = Contacts(vault, self.calls, self.hub)
        self.devices = Devices(vault, self.calls, self.contacts)
        self.outbox = Outbox(vault, self.calls, self.contacts, self.hub)
        self.inbox = Inbox(vault, self.contacts, self.outbox, self.hub)
        self.upkeep = Upkeep(vault, self.calls, self.contacts, self.outbox, self.hub)
        self.wishes = self.upkeep.wishes
        self.notices = self.upkeep.notices
        self.transport = Transport(
            info.server,
            this_app(),
            vault,
            self.contacts,
            self.outbox,
            self.inbox,
            self.upkeep,
            self.hub,
            timing or Timing(),
        )
        self.outbox.on_over = self._over
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: asyncio.Future[None] | None = None

    @classmethod
    def open(cls, store: Store, *, timing: Timing | None = None) -> "Client":
        """A client on an open store. The store is closed with the client.

        Raises:
            ClientError: not_ready (finish `enrol` or `join_account` first), device_over,
                rolled_back, store_corrupt.
        """
        return cls(Vault(store), timing=timing)

    # --- who --------------------------------------------------------------------------------------

    @property
    def account(self) -> AccountAddress:
        """This account's address."""
        return self.vault.account

    @property
    def name(self) -> str:
        """The directory's name of this account."""
        return self.vault.info.person_name

    # --- running ----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._ended = asyncio.get_running_loop().create_future()
        self._tasks = [
            asyncio.create_task(self._stay_connected()),
            asyncio.create_task(self._keep_encrypting()),
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnect and close the store. What waits in the outbox leaves next time."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._ended is not None and not self._ended.done():
            self._ended.cancel()
        self.hub.close()
        await self.calls.close()
        self.vault.store.close()

    async def _stay_connected(self) -> None:
        try:
            await self.transport.run()
        except ClientError as error:
            self._over(error.trouble, error)
        except Exception as error:  # noqa: BLE001  # handed to whoever waits
            # Whatever a server made happen here must not look like a quiet connection.
            self._unforeseen(error)

    async def _keep_encrypting(self) -> None:
        """Encrypt drafts as they come; without a server, wait until it is back."""
        wait: float | None = None
        while True:
            try:
                async with asyncio.timeout(wait):
                    await self.outbox.drafted.wait()
            except TimeoutError:
                pass
            try:
                wait = await self.outbox.encrypt()
            except Unreachable:
                wait = 2.0
            except ClientError as error:
                self._over(error.trouble, error)
                return
            except Exception as error:  # noqa: BLE001  # handed to whoever waits
                # What was written must not wait for ever without anybody knowing.
                self._unforeseen(error)
                return

    def _unforeseen(self, error: Exception) -> None:
        told = ServerError(type(error).__name__)
        told.__cause__ = error
        self._over(told.trouble, told)

    def _over(self, trouble: Trouble, error: ClientError | None = None) -> None:
        """This device cannot go on: say so, and remember it if it is for good."""
        if trouble in (Trouble.DEVICE_OVER, Trouble.ROLLED_BACK):
            info = self.vault.info
            info.over = trouble.name
            with self.vault.store.transaction():
                self.vault.put_info(info)
        self.hub.tell(ConnectionChanged(Connection.STOPPED, trouble.value.wire))
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error or Stopped(trouble))
            self._ended.exception()  # looked at by whoever waits, if anybody does

    async def _unless_ended(self, waiting: asyncio.Event) -> None:
        if self._ended is None:
            raise ClientError(Trouble.UNREACHABLE, "use `async with client`")
        wait = asyncio.create_task(waiting.wait())
        either: set[asyncio.Future[Any]] = {wait, self._ended}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._ended.done():
                self._ended.result()
        finally:
            wait.cancel()

    async def connected(self) -> None:
        """Wait until the server let this device in.

        Raises:
            Stopped: it never will; `trouble` says why.
        """
        await self._unless_ended(self.transport.welcomed)

    async def drained(self) -> None:
        """Wait until everything that waited for this device has arrived. Raises as `connected`."""
        await self._unless_ended(self.transport.drained)

    def events(self) -> AsyncIterator[Event]:
        """What happens from now on, for as long as the client is open.

        What an event tells is already saved: a listener that fails loses nothing.
        """
        return self.hub.events()

    async def fetch_once(self) -> int:
        """Without a connection: fetch, acknowledge and send by HTTP what waits, and return.

        For a process that is woken in the background for a few seconds. Returns how many messages
        and gaps came. Raises `Unreachable`: what was done is saved, the rest waits.
        """
        if self._tasks:
            raise ClientError(Trouble.CONNECTED)
        return await fetching.fetch_once(
            self.vault, self.calls, self.contacts, self.outbox, self.inbox, self.upkeep
        )

    # --- people -----------------------------------------------------------------------------------

    async def search(
        self,
        query: str,
        *,
        limit: int = limits.PAGE_DEFAULT,
        cursor: str | None = None,
        filters: Filters = UNFILTERED,
    ) -> SearchPage:
        """Look people and services up in the directory; words in any order, accents ignored, slips
        forgiven: then the page says `repaired`."""
        more = {} if cursor is None else {"cursor": cursor}
        return await self.calls.get(
            "/v1/directory", SearchPage, filters.parameters(), q=query, limit=str(limit), **more
        )

    async def person(self, national_id: str) -> Entry:
        """One entry of the directory."""
        return await self.calls.get(f"/v1/directory/{quote(national_id, safe='')}", Entry)

    async def sources(self) -> DirectorySources:
        """What the directory was made from: show it wherever names of the directory are."""
        return await self.calls.get("/v1/directory/sources", DirectorySources)

    async def safety_number(self, address: AccountAddress) -> str:
        """Sixty digits to compare with the other person, by voice or side by side."""
        return await self.contacts.safety_number(address)

    def mark_verified(self, address: AccountAddress) -> None:
        """The user compared the safety number with the person."""
        self.contacts.mark_verified(address)

    async def accept_identity(self, address: AccountAddress) -> None:
        """The user asked the person and accepts their new identity."""
        await self.contacts.accept_identity(address)

    def contact(self, address: AccountAddress) -> Contact | None:
        """What is known here of an account."""
        return self.contacts.find(address)

    # --- this account's person ----------------------------------------------------------------------

    async def identity(self) -> ProofHeld:
        """Who vouches for this account by the server's word, since when, and until when."""
        return await self.calls.get("/v1/identity", ProofHeld)

    async def prove_identity(
        self, *, show: Show, ask_code: AskCode, method: Method = "code"
    ) -> str:
        """Have the user sign in at the identity provider for this account, anew or for the first time;
        returns who vouches for it from now on, as this client found it.

        Raises:
            RefusedByServer: another_person, sign_in_refused, identity_unproven.
        """
        await sign_in.renew(
            self.vault,
            self.calls,
            self.contacts.providers,
            self.contacts.own.genesis,
            show=show,
            ask_code=ask_code,
            method=method,
        )
        await self.contacts.refresh(self.account)
        found = self.contacts.find(self.account)
        return found.attested if found else "operator"

    # --- messages ---------------------------------------------------------------------------------

    async def send(
        self,
        to: Sequence[AccountAddress],
        text: str,
        *,
        conversation: bytes | None = None,
        ttl: int = limits.TTL_DEFAULT,
        urgency: Urgency = "normal",
        reply_to: MessageId | None = None,
    ) -> MessageId:
        """Send a text; returns once it is durable in this device's outbox.

        It leaves as soon as it can; `events` and `wait_for_state` tell what becomes of it.

        Args:
            to: accounts, without this one.
            conversation: 16 bytes; by default the one of exactly these people.
            ttl: seconds for which it is of use: it is not delivered later.

        Raises:
            Refused: no_recipients, too_many_recipients, too_large.
            ClientError: identity_changed; the user must confirm first.
        """
        content: Content
        if reply_to is None:
            content = contents.Text(text=text)
        else:
            content = contents.Reply(message=reply_to, text=text)
        own = self.account
        accounts = tuple(dict.fromkeys(parse_address(one) for one in to if one != own))
        if not accounts or not text:
            raise Refused(Code.NO_RECIPIENTS if not accounts else Code.MALFORMED)
        if len(accounts) >= limits.RECIPIENT_ACCOUNTS_MAX:
            raise Refused(Code.TOO_MANY_RECIPIENTS)
        if len(text) > contents.TEXT_MAX:
            raise Refused(Code.TOO_LARGE)
        check_size(content)
        if not limits.TTL_MIN <= ttl <= limits.TTL_MAX:
            raise Refused(Code.MALFORMED, "ttl")
        for account in accounts:
            contact = self.contacts.find(account)
            if contact is not None and contact.changed:
                raise ClientError(Trouble.IDENTITY_CHANGED, account)
        return self.outbox.write(
            accounts,
            content,
            text,
            conversation=conversation or conversation_of([own, *accounts]),
            ttl=ttl,
            urgency=urgency,
            reply_to=reply_to or b"",
        )

    async def read(self, message: MessageId) -> None:
        """The user saw a message: tell its sender, with a signed receipt.

        Durable when it returns; it leaves with the next connection at the latest.
        """
        found = self.saved(message)
        if self.inbox.read(found):
            self.transport.receipts.set()
            self.outbox.encrypted.set()

    def messages(
        self, *, conversation: bytes | None = None, newest: int | None = None
    ) -> list[Message]:
        """Messages that were received or written here, oldest first.

        Args:
            newest: look at only so many of the last ones.
        """
        found = self.vault.messages.all(newest=newest)
        return [one for one in found if conversation in (None, one.conversation)]

    def saved(self, message: MessageId) -> Message:
        """One message, as it stands.

        Raises:
            ClientError: no_message.
        """
        found = self.vault.message(message)
        if found is None:
            raise ClientError(Trouble.NO_MESSAGE)
        return found

    async def wait_for_state(self, message: MessageId, state: State) -> Message:
        """Wait until a message of this device is in `state` or beyond.

        Returns it; also if it failed (look at `state` and `reason`). Raises as `connected`.
        """
        with self.hub.listening() as queue:
            while True:
                found = self.saved(message)
                if _RANK[found.state] >= _RANK[state]:
                    return found
                if self._ended is None:
                    raise ClientError(Trouble.UNREACHABLE, "use `async with client`")
                news = asyncio.ensure_future(queue.get())
                either: set[asyncio.Future[Any]] = {news, self._ended}
                try:
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                    if self._ended.done():
                        self._ended.result()
                finally:
                    news.cancel()

    # --- devices ----------------------------------------------------------------------------------

    def own_devices(self) -> tuple[RosterEntry, ...]:
        """This account's devices."""
        return self.devices.listing()

    async def invite_device(self) -> LinkInvitation:
        """A code for `join_account` on a new device."""
        return await self.devices.invite()

    async def pending_devices(self) -> list[Pending]:
        """Devices that ask to join."""
        return await self.devices.pending()

    async def approve_device(self, code: str) -> RosterEntry:
        """Let in the device whose screen shows this code."""
        return await self.devices.approve(code)

    async def revoke_device(self, device: DeviceId) -> None:
        """Remove a device of this account for ever."""
        await self.devices.revoke(device)

    async def sign_charter(self) -> str:
        """Accept the operator's present charter, after showing it."""
        return await self.upkeep.sign_charter()


def conversation_of(accounts: Sequence[str]) -> bytes:
    """The conversation of exactly these accounts: 16 bytes, the same for each of them."""
    return blake2b(
        pack_all(one.encode() for one in sorted(set(accounts))),
        digest_size=16,
        person=b"MiSS1 conv",
    ).digest()
