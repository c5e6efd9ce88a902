"""A device that keeps its word: what the spec asks of a client, over the raw client of the tests.

It saves a row before it acknowledges it, repeats the very send until it is answered, and owes
receipts and nacks until the server has them (spec 03-session §3). What it has kept survives the
server's end, as a phone's store does.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from msgspec import UNSET
from websockets.exceptions import ConnectionClosed

from miss_protocol import client_session as events
from miss_protocol import frames as f
from miss_protocol.identity.receipts import Receipt, ReceiptState
from tests.support.devices import Person
from tests.support.wire import Device, Line


@dataclass
class Party(Device):
    """One device and what it has kept."""

    subprotocol: f.Subprotocol = f.MSGPACK
    outbox: dict[int, f.Send] = field(default_factory=dict)
    """Sends that were not answered, by serial number."""
    answers: dict[int, f.Sent | f.Refused] = field(default_factory=dict)
    kept: list[bytes] = field(default_factory=list)
    """Ids of the messages that came, in order."""
    gaps: list[f.Gap] = field(default_factory=list)
    statuses: dict[bytes, dict[bytes, str]] = field(default_factory=dict)
    """For each message, the last state of each device."""
    receipts: list[Receipt] = field(default_factory=list)
    """Owed: the server has not confirmed that it has them."""
    nacks: list[f.Nack] = field(default_factory=list)
    unreadable: set[bytes] = field(default_factory=set)
    """Messages that this device cannot open."""
    rows: dict[bytes, f.Deliver] = field(default_factory=dict)
    _away: dict[int, tuple[list[Receipt], list[f.Nack]]] = field(default_factory=dict)
    _caught_up: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _listening: asyncio.Task[None] | None = None
    _line: Line | None = None

    # --- what a play asks for ---------------------------------------------------------------------

    def write(self, *people: Person, **fields: object) -> f.Send:
        """Number a message and save it; it leaves now, or with the next connection."""
        send = self.send(*people, **fields)  # type: ignore[arg-type]  # a frame's fields
        self.outbox[send.sn] = send
        return send

    async def flush(self) -> None:
        """Send what has not been answered."""
        if self._line is not None and self.outbox:
            await self._line.put(*(self.outbox[sn] for sn in sorted(self.outbox)))

    def read_receipt(self, message: bytes) -> Receipt:
        """The word that the user saw a message."""
        return self.receipt(self.rows[message], ReceiptState.READ)

    @asynccontextmanager
    async def live(self) -> AsyncIterator["Party"]:
        """Connected and caught up, with everything said again that was not answered."""
        async with self.line(self.subprotocol) as line:
            welcome = await line.log_in()
            assert welcome.restored is UNSET, "a crash was taken for a restore"
            self._line, self._caught_up = line, False
            self._away.clear()
            self._listening = asyncio.create_task(self._listen(line))
            try:
                if self.position:
                    await self._ack(line)
                await self.flush()
                await self.until(lambda: self._caught_up)
                yield self
            finally:
                self._line = None
                self._listening.cancel()
                await asyncio.gather(self._listening, return_exceptions=True)

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait for something to be true; raises as soon as the connection ends."""
        assert self._listening is not None
        while not done():
            self._changed.clear()
            change = asyncio.create_task(self._changed.wait())
            try:
                await asyncio.wait({change, self._listening}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                change.cancel()
            if self._listening.done() and not done():
                self._listening.result()

    async def settled(self) -> None:
        """Wait until every send is answered and nothing is owed."""
        await self.until(lambda: not (self.outbox or self.receipts or self.nacks))

    async def ended(self) -> None:
        """Wait until the server closes the connection in order."""
        assert self._listening is not None
        try:
            await self._listening
        except ConnectionClosed as closed:
            if closed.rcvd is None:
                raise

    def states(self, send: f.Send) -> list[str]:
        """The last states that were told of a message, sorted."""
        return sorted(self.statuses.get(send.id, {}).values())

    # --- what a client does -----------------------------------------------------------------------

    async def _listen(self, line: Line) -> None:
        while True:
            await self._take(line, await line.next(object))
            self._changed.set()

    async def _take(self, line: Line, event: object) -> None:
        match event:
            case events.Delivered(row, digest):
                assert row.id not in self.kept, "a message came twice"
                self.rows[row.id] = row
                if row.id in self.unreadable:
                    self.nacks.append(f.Nack(row.position, "undecryptable"))
                else:
                    self.kept.append(row.id)
                    self.receipts.append(self.receipt(row))
                self.position, self.digest = row.position, digest
                await self._ack(line)
            case events.GapSeen(gap, digest):
                self.gaps.append(gap)
                self.position, self.digest = gap.last, digest
                await self._ack(line)
            case events.Settled(reply):
                known = self.answers.setdefault(reply.sn, reply)
                assert known == reply, "a send was answered in two ways"
                self.outbox.pop(reply.sn, None)
            case events.StatusChanged(status):
                for one in status.devices:
                    signed = one.state in ("delivered", "read")
                    assert bool(one.signature) == signed, "a receipt came without its signature"
                states = self.statuses.setdefault(status.id, {})
                states |= {one.device: one.state for one in status.devices}
                await line.put(f.Ack(tick=status.tick))
            case events.AckStored(ref):
                receipts, nacks = self._away.pop(ref)
                self.receipts = [one for one in self.receipts if one not in receipts]
                self.nacks = [one for one in self.nacks if one not in nacks]
            case events.CaughtUp():
                self._caught_up = True

    async def _ack(self, line: Line) -> None:
        """Acknowledge what is saved, with all that is owed; nacks go before it."""
        ref = max(self._away, default=0) + 1
        self._away[ref] = list(self.receipts), list(self.nacks)
        receipts = tuple(self.receipts)
        await line.put(*self.nacks, f.Ack(position=self.position, receipts=receipts, ref=ref))
