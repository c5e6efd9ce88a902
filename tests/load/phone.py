"""One device of the crowd: it speaks the protocol as the specification asks, over a real socket.

Opaque envelopes, real signatures. What a phone's store would hold is in attributes and outlives
every connection: position, digest, epoch, `sn`, the outbox and the receipts that are owed.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from msgspec import UNSET
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from miss_protocol import client_session as events
from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.codec import client_codec
from miss_protocol.digest import envelope_hash
from miss_protocol.errors import CloseCode, Malformed, Untrusted
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.receipts import Receipt, ReceiptState, verify_receipt
from miss_protocol.ids import DeviceId, MessageId
from tests.load.history import History, Letter
from tests.support.wire import Device

BACK_OFF_FIRST = 0.1
BACK_OFF_MAX = 1.0
"""A tenth and a sixtieth of the specification's: the shape counts, a run should not wait."""
ENCRYPTED_ANEW = frozenset({"unconfirmed", "stale_roster"})
"""Refusals after which a client encrypts the message anew, under the next number."""
READ_SHARE = 0.25
"""Of the messages, how many are answered with a `read` receipt, a moment after they were shown."""
READ_AFTER_MAX = 1.0


@dataclass(frozen=True)
class Manners:
    """How a phone uses its connection."""

    ping_every: float = 5.0
    """Seconds of silence before it asks whether the server is there (the specification: 300)."""
    patience: float = 10.0
    """Seconds that it waits for the pong, or for a write to leave."""
    narrow: bool = False
    """It takes next to nothing from the socket that nobody reads."""


@dataclass(slots=True)
class _Entry:
    """A place in the outbox, kept until the recipient's last state (spec 03-session §6)."""

    send: f.Send
    recipient: DeviceCertificate
    settled: bool = False
    over: bool = False
    """Its end came before the answer: its number must be used all the same, or none after it is."""


_Owed = tuple[bytes, ReceiptState]
"""A receipt's place: the message and what is said of it."""


class Phone:
    """A device; `run` keeps it connected until it is cancelled.

    Args:
        url: asked at each connection: the WebSocket's address, or a bad proxy's.
    """

    def __init__(
        self,
        number: int,
        device: Device,
        history: History,
        url: Callable[[], str],
        seed: int,
        manners: Manners,
    ) -> None:
        self.number = number
        self.device = device
        self.history = history
        self.url = url
        self.manners = manners
        self.certificate = device.person.device.certificate
        self.timed = True
        self.welcomed = False
        self.stopped_by: int | None = None
        self.reading = asyncio.Event()
        """Cleared, the phone stops reading its socket."""
        self.reading.set()
        self._chance = random.Random(seed)
        self._known: set[bytes] = set()
        self._outbox: dict[int, _Entry] = {}
        self._number_of: dict[bytes, int] = {}
        self._drafts: deque[_Entry] = deque()
        self._queue: list[int] = []
        self._hold_until = 0.0
        self._settled = 0
        self._recipient_of: dict[bytes, DeviceCertificate] = {}
        self._read_ones: set[bytes] = set()
        self._just_read: list[Receipt] = []
        self._owed: dict[_Owed, Receipt] = {}
        self._refs: dict[int, list[_Owed]] = {}
        self._last_ref = 0
        self._wake = asyncio.Event()
        self._come_back_after = 0.0
        self._session: events.ClientSession | None = None
        self._moving = asyncio.Event()
        self._hasty = False
        self._gave_up = False
        """An attempt was given up between `hello` and `welcome`."""
        self._left: list[ClientConnection] = []

    # --- its user -----------------------------------------------------------------------------------

    def write(self, other: "Phone", due: float) -> None:
        """Send a message: numbered and handed in as soon as the connection allows."""
        send = self.device.send(other.device.person, sn=1)
        self.history.wrote(send.id, Letter(self.number, other.number, due, other.timed))
        self._recipient_of[send.id] = other.certificate
        self._drafts.append(_Entry(send, other.certificate))
        self._wake.set()

    def move(self, *, hastily: bool) -> bool:
        """Leave the connection as it is, open and unread, and go on over another one at once.

        Args:
            hastily: leave that one, too, as soon as it asked to be let in: two sessions begin at once.

        Returns:
            Whether there was a connection to leave.
        """
        if not self.welcomed:
            return False
        self._hasty = hastily
        self._moving.set()
        return True

    # --- its connection -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Connect, and again after each end, doubling the wait (spec 03-session §10)."""
        try:
            await self._come_and_go()
        finally:
            for socket in self._left:
                socket.transport.abort()

    async def _come_and_go(self) -> None:
        wait = BACK_OFF_FIRST
        while self.stopped_by is None:
            self._moving.clear()
            self._come_back_after = 0.0
            logins = self.history.logins
            try:
                await self._connect()
            except ConnectionClosed as end:
                self._closed(end.rcvd.code if end.rcvd is not None else None)
            except (OSError, EOFError, TimeoutError, WebSocketException):
                pass  # the line broke: that is what these runs are about
            finally:
                self.welcomed = False
                self._session = None
            if self._moving.is_set():
                continue
            wait = BACK_OFF_FIRST if self.history.logins > logins else min(2 * wait, BACK_OFF_MAX)
            longest = self._come_back_after + wait
            await asyncio.sleep(self._chance.uniform(self._come_back_after, longest))

    def _closed(self, code: int | None) -> None:
        if code == CloseCode.TRY_LATER:
            self.history.repeat()
        if code == CloseCode.REPLACED and self._gave_up:
            self._gave_up = False  # by its own earlier attempt (spec 03-session §10)
            return
        if code is None or events.close_reason(code)[0]:
            return
        self.stopped_by = code
        self.history.broken.append(f"a device was turned away with {code}")
        self.history.note()

    async def _connect(self) -> None:
        socket = await connect(
            self.url(),
            subprotocols=[Subprotocol(f.MSGPACK)],
            compression=None,
            ping_interval=None,
            proxy=None,
            open_timeout=self.manners.patience,
            close_timeout=0.5,
            max_size=limits.TRANSPORT_MAX,
            max_queue=1 if self.manners.narrow else 64,
        )
        try:
            await self._converse(socket)
        finally:
            if self._moving.is_set():
                self._left.append(socket)
            else:
                await socket.close()

    async def _converse(self, socket: ClientConnection) -> None:
        self._session = events.ClientSession(
            client_codec(), position=self.device.position, digest=self.device.digest
        )
        self._refs.clear()
        tasks = [
            asyncio.create_task(self._read(socket, self._session)),
            asyncio.create_task(self._write(socket, self._session)),
        ]
        moving = asyncio.create_task(self._moving.wait())
        try:
            await asyncio.wait([*tasks, moving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, moving):
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        faults = [one for one in results if isinstance(one, Exception)]
        # A write that fails says less than the close code that the reader found.
        faults.sort(key=lambda one: not isinstance(one, ConnectionClosed))
        if faults:
            raise faults[0]

    async def _read(self, socket: ClientConnection, session: events.ClientSession) -> None:
        asked = 0
        while True:
            await self.reading.wait()
            wait = self.manners.patience if asked else self.manners.ping_every
            try:
                async with asyncio.timeout(wait):
                    data = await socket.recv()
            except TimeoutError:
                if asked:
                    raise
                asked = 1
                session.ping(asked)
                self._wake.set()
                continue
            asked = 0
            assert isinstance(data, bytes)
            try:
                happened = session.receive(data)
            except Malformed as error:
                self.history.broken.append(f"skipped: {error}")
                await socket.close(CloseCode.PROTOCOL)
                raise ConnectionError("the server does not count as it should") from error
            self._take(happened, session)
            self._wake.set()

    async def _write(self, socket: ClientConnection, session: events.ClientSession) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self.welcomed:
                self._hand_in(session)
                self._tell_what_was_read(session)
            for message in session.data_to_send():
                async with asyncio.timeout(self.manners.patience):
                    await socket.send(message)
                if self._hasty and not self.welcomed:
                    self._hasty = False
                    self._gave_up = True
                    self._moving.set()

    # --- sending ------------------------------------------------------------------------------------

    def _hand_in(self, session: events.ClientSession) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._hold_until:
            return
        while session.may_send and self._queue:
            entry = self._outbox.get(heapq.heappop(self._queue))
            if entry is not None:  # else it was answered meanwhile
                session.send(entry.send)
        while session.may_send and self._drafts:
            session.send(self._number(self._drafts.popleft()).send)

    def _number(self, entry: _Entry) -> _Entry:
        self.device.sn += 1
        entry.send = msgspec.structs.replace(entry.send, sn=self.device.sn)
        self._outbox[self.device.sn] = entry
        self._number_of[entry.send.id] = self.device.sn
        return entry

    def _hold(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._hold_until = max(self._hold_until, loop.time() + seconds)
        loop.call_later(self._hold_until - loop.time() + 0.001, self._wake.set)

    def _answered(self, reply: f.Sent | f.Refused) -> None:
        self._settled = max(self._settled, reply.sn)
        entry = self._outbox.get(reply.sn)
        if entry is None or entry.settled:
            return
        if entry.over:
            del self._outbox[reply.sn]
            return
        if isinstance(reply, f.Sent):
            entry.settled = True
            self.history.acknowledged(entry.send.id, asyncio.get_running_loop().time())
            return
        del self._outbox[reply.sn]
        del self._number_of[entry.send.id]
        if reply.code in ENCRYPTED_ANEW:
            self._drafts.append(entry)
            self._hold(min(reply.retry_after if reply.retry_after is not UNSET else 0.1, 1.0))
        else:
            self.history.ended(entry.send.id, reply.code)

    def _stands(self, status: f.Status) -> None:
        recipient = self._recipient_of.get(status.id)
        if recipient is None:
            return
        for state in status.devices:
            if state.device != recipient.device or state.state == "waiting":
                continue
            signed = state.state in ("delivered", "read")
            if signed and not self._proven(status.id, recipient, state):
                self.history.broken.append(f"{state.state} without its receipt")
            if state.state == "read":
                self.history.told_read(status.id)
            number = self._number_of.pop(status.id, None)
            if number is not None:
                if self._outbox[number].settled:
                    del self._outbox[number]
                else:
                    self._outbox[number].over = True
                self.history.ended(status.id, "delivered" if signed else state.state)

    def _proven(self, id: bytes, recipient: DeviceCertificate, state: f.DeviceState) -> bool:
        receipt = Receipt(
            MessageId(id),
            self.device.id,
            DeviceId(state.device),
            ReceiptState(state.state),
            state.at,
            state.signature,
        )
        try:
            verify_receipt(receipt, recipient)
        except Untrusted:
            return False
        return True

    # --- receiving ----------------------------------------------------------------------------------

    def _take(self, happened: list[events.Event], session: events.ClientSession) -> None:
        position: int | None = None
        tick: int | None = None
        receipts: list[Receipt] = []
        for event in happened:
            match event:
                case events.Challenged(challenge):
                    self._greet(challenge, session)
                case events.Welcomed(welcome):
                    self._welcome(welcome, session)
                case events.Delivered(row, digest):
                    position = row.position
                    receipts += self._keep(row, digest)
                case events.GapSeen(gap, digest):
                    position = gap.last
                    self.device.position, self.device.digest = gap.last, digest
                    self.history.missed += gap.count
                case events.Settled(reply):
                    self._answered(reply)
                case events.RetryWanted(reply):
                    self.history.repeat()
                    heapq.heappush(self._queue, reply.sn)
                    self._hold(reply.retry_after)
                case events.StatusChanged(status):
                    tick = status.tick
                    self._stands(status)
                case events.AckStored(ref):
                    for place in self._refs.pop(ref, []):
                        self._owed.pop(place, None)
                case events.ErrorTold(error):
                    self._refused(error, session)
                case events.Leaving(bye):
                    self._come_back_after = bye.retry_after
                case events.CaughtUp():
                    pass
        if position is not None or tick is not None:
            self._acknowledge(session, position, tick, receipts)

    def _greet(self, challenge: f.Challenge, session: events.ClientSession) -> None:
        session.hello(self.device.hello(challenge, settled=self._settled))

    def _welcome(self, welcome: f.Welcome, session: events.ClientSession) -> None:
        device = self.device
        device.epoch = welcome.epoch
        if welcome.restored is not UNSET:
            self.history.restored()
            device.position, device.digest = session.position, session.digest
            entries = [entry for _, entry in sorted(self._outbox.items()) if not entry.over]
            self._outbox.clear()
            for entry in entries:
                entry.settled = False
                self._number(entry)
        elif welcome.sn > device.sn:
            self.history.broken.append("the server counts more sends than there were")
        self._queue = sorted(sn for sn, entry in self._outbox.items() if not entry.settled)
        self._hold_until = 0.0
        self.welcomed = True
        self._just_read.clear()  # what is owed goes with the first ack
        self.history.logins += 1
        self.history.note()
        self._acknowledge(session, device.position, None, list(self._owed.values()))

    def _keep(self, row: f.Deliver, digest: bytes) -> list[Receipt]:
        """Save a row and show it; returns the receipts that are owed for it."""
        self.device.position, self.device.digest = row.position, digest
        row_hash = envelope_hash(row.account, row.device, row.id, row.body, row.wrap)
        if row_hash not in self._known:
            self._known.add(row_hash)
            loop = asyncio.get_running_loop()
            self.history.shown(row.id, self.number, loop.time())
            if self._chance.random() < READ_SHARE:
                self.history.wants_to_tell(row.id)
                loop.call_later(self._chance.uniform(0.0, READ_AFTER_MAX), self._was_read, row)
        receipts = [self._owe(row, ReceiptState.DELIVERED)]
        if row.id in self._read_ones:  # it came again after a restore, and is receipted again
            receipts.append(self._owe(row, ReceiptState.READ))
        return receipts

    def _owe(self, row: f.Deliver, state: ReceiptState) -> Receipt:
        receipt = self._owed[row.id, state] = self.device.receipt(row, state)
        return receipt

    def _was_read(self, row: f.Deliver) -> None:
        self._read_ones.add(row.id)
        self.history.gave_read(row.id)
        self._just_read.append(self._owe(row, ReceiptState.READ))
        self._wake.set()

    def _tell_what_was_read(self, session: events.ClientSession) -> None:
        receipts, self._just_read = self._just_read, []
        if receipts:
            self._acknowledge(session, None, None, receipts)

    def _acknowledge(
        self,
        session: events.ClientSession,
        position: int | None,
        tick: int | None,
        receipts: list[Receipt],
    ) -> None:
        # No receipt may come behind the ack that covers its row (spec 03-session §7).
        most = limits.RECEIPTS_PER_ACK_MAX
        chunks = [receipts[start : start + most] for start in range(0, len(receipts), most)]
        for last, some in [(some is chunks[-1], some) for some in chunks] or [(True, [])]:
            ack = f.Ack(receipts=tuple(some))
            if last:
                ack.position = UNSET if position is None else position
                ack.tick = UNSET if tick is None else tick
            if some:
                self._last_ref += 1
                self._refs[self._last_ref] = [(one.message, one.state) for one in some]
                ack.ref = self._last_ref
            session.ack(ack)

    def _refused(self, error: f.Error, session: events.ClientSession) -> None:
        if error.code == "receipt_unknown" and error.ref is not UNSET:
            # A restored server does not know what it delivered: one by one, the others count.
            places = self._refs.pop(error.ref, [])
            if len(places) == 1:
                self._owed.pop(places[0], None)
            else:
                for place in places:
                    self._acknowledge(session, None, None, [self._owed[place]])
        elif error.code != "busy":
            self.history.broken.append(f"error {error.code} about {error.about}")
