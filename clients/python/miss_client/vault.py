"""A device's whole state: its store, its endpoint, and the order in which they are saved.

The rule of this file: what changes the ratchet changes the store in the same transaction, and
nothing leaves or is acknowledged before that transaction is durable. If it fails, the endpoint in
memory is ahead of the disk and is thrown away.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from nacl.signing import SigningKey

from miss_client.clock import Clock, Random
from miss_client.clock import now_ms as system_clock
from miss_client.clock import random as system_random
from miss_client.errors import ClientError, Trouble
from miss_client.records import (
    Contact,
    Cursor,
    DeviceInfo,
    Draft,
    Message,
    OutboxEntry,
    Seen,
    Waiting,
    Wire,
)
from miss_client.store import Shelf, Store
from miss_protocol.crypto.endpoint import Endpoint
from miss_protocol.encoding import u64
from miss_protocol.errors import LocalError
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.receipts import Receipt
from miss_protocol.ids import AccountAddress, DeviceId

_ONE = b"-"
"""The name of the only row of a shelf."""


class Vault:
    """An open store with its shelves, and the endpoint loaded from it."""

    def __init__(
        self, store: Store, *, clock: Clock = system_clock, random: Random = system_random
    ) -> None:
        self.store = store
        self.clock = clock
        self.random = random
        self._info = Shelf(store, "device", DeviceInfo)
        self._cursor = Shelf(store, "cursor", Cursor)
        self._endpoint_rows = Shelf(store, "endpoint", bytes)
        self.chain = Shelf(store, "chain", bytes)
        """This account's own rosters by version: a restored server may need them again."""
        self.contacts = Shelf(store, "contacts", Contact)
        self.drafts = Shelf(store, "drafts", Draft)
        self.outbox = Shelf(store, "outbox", OutboxEntry)
        self.messages = Shelf(store, "messages", Message)
        self.ids = Shelf(store, "ids", bytes)
        """Which device's message an id names: the first that came with it."""
        self.wires = Shelf(store, "wires", Wire)
        self.seen = Shelf(store, "seen", Seen)
        self.owed = Shelf(store, "owed", Receipt)
        self.nacks = Shelf(store, "nacks", str)
        """Reasons, by position: owed like receipts, or a crash would make a message vanish."""
        self._waiting = Shelf(store, "wishes", Waiting)
        self._endpoint: Endpoint | None = None

    # --- this device ------------------------------------------------------------------------------

    @property
    def endpoint(self) -> Endpoint:
        """The cryptographic state, for reading. Change it inside `change()` only."""
        if self._endpoint is None:
            items = {name.decode(): data for name, data in self._endpoint_rows.items()}
            try:
                self._endpoint = Endpoint.load(items, random=self.random)
            except LocalError:
                raise ClientError(Trouble.STORE_CORRUPT, "endpoint") from None
        return self._endpoint

    @contextmanager
    def change(self) -> Iterator[Endpoint]:
        """One transaction over the endpoint and the shelves.

        Raises:
            ClientError: the store failed. Nothing happened then, in memory neither.
        """
        try:
            with self.store.transaction():
                endpoint = self.endpoint
                yield endpoint
                self._save(endpoint)
        except BaseException:
            # Memory may be ahead of the disk: a key that was used here must not count as used.
            self._endpoint = None
            raise

    def found(self, endpoint: Endpoint, info: DeviceInfo) -> None:
        """Save a new device, before anybody hears of it."""
        with self.store.transaction():
            self._info.put(_ONE, info)
            self._cursor.put(_ONE, Cursor())
            self._save(endpoint)
        self._endpoint = endpoint

    def _save(self, endpoint: Endpoint) -> None:
        for name, data in endpoint.take_changes().items():
            if data is None:
                self._endpoint_rows.delete(name.encode())
            else:
                self._endpoint_rows.put(name.encode(), data)

    @property
    def info(self) -> DeviceInfo:
        """Whose device this is, and how far its enrolment went.

        Raises:
            ClientError: store_missing, nothing was enrolled here.
        """
        info = self._info.get(_ONE)
        if info is None:
            raise ClientError(Trouble.STORE_MISSING)
        return info

    @property
    def is_empty(self) -> bool:
        """Whether no enrolment was begun here."""
        return self._info.get(_ONE) is None

    def put_info(self, info: DeviceInfo) -> None:
        """Save it, inside a transaction."""
        self._info.put(_ONE, info)

    @property
    def cursor(self) -> Cursor:
        """How far this device is."""
        return self._cursor.get(_ONE) or Cursor()

    def put_cursor(self, cursor: Cursor) -> None:
        """Save it, inside a transaction."""
        self._cursor.put(_ONE, cursor)

    @property
    def waiting(self) -> Waiting:
        """Whom this account waits for, as far as this device knows."""
        return self._waiting.get(_ONE) or Waiting()

    def put_waiting(self, waiting: Waiting) -> None:
        """Save it, in a transaction of its own."""
        with self.store.transaction():
            self._waiting.put(_ONE, waiting)

    # --- names ------------------------------------------------------------------------------------

    @property
    def account(self) -> AccountAddress:
        """This account."""
        return self.certificate.account

    @property
    def device(self) -> DeviceId:
        """This device's id."""
        return self.certificate.device

    @property
    def certificate(self) -> DeviceCertificate:
        """This device's certificate."""
        return self.endpoint.certificate

    @property
    def signing_key(self) -> SigningKey:
        """This device's key for logins, requests, receipts and rosters."""
        return self.endpoint.signing_key

    # --- messages ---------------------------------------------------------------------------------

    def message(self, id: bytes) -> Message | None:
        """A message by its id."""
        device = self.ids.get(id)
        return None if device is None else self.messages.get(device + id)

    def put_message(self, message: Message) -> None:
        """Save a message, inside a transaction."""
        if self.ids.get(message.id) is None:
            self.ids.put(message.id, message.device)
        self.messages.put(message.device + message.id, message)

    def next_order(self) -> int:
        """A place among what the user sent, inside a transaction."""
        cursor = self.cursor
        cursor.order += 1
        self.put_cursor(cursor)
        return cursor.order

    def next_sn(self) -> int:
        """The serial number of the next send, inside a transaction."""
        cursor = self.cursor
        cursor.sn += 1
        self.put_cursor(cursor)
        return cursor.sn

    def note_settled(self, sn: int) -> None:
        """Note that a send was answered, inside the transaction that saves the answer."""
        cursor = self.cursor
        if sn > cursor.settled:
            cursor.settled = sn
            self.put_cursor(cursor)

    def put_draft(self, draft: Draft) -> None:
        """Queue something for encryption, inside a transaction. One of each message and device."""
        self.drafts.put(draft_name(draft), draft)

    def drop_draft(self, draft: Draft) -> None:
        """Take it from the queue, inside a transaction."""
        self.drafts.delete(draft_name(draft))

    def put_entry(self, entry: OutboxEntry) -> None:
        """Save a send, inside a transaction."""
        self.outbox.put(u64(entry.sn), entry)

    def drop_entry(self, entry: OutboxEntry) -> None:
        """Forget a send that is over, inside a transaction."""
        self.outbox.delete(u64(entry.sn))

    def entries(self) -> list[OutboxEntry]:
        """Sends that are not over, by serial number."""
        return sorted(self.outbox.all(), key=lambda entry: entry.sn)


def draft_name(draft: Draft) -> bytes:
    """The name of a draft's row."""
    return draft.message + b"".join(draft.devices)
