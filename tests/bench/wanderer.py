"""A device that comes and goes, and keeps across connections what a client's store keeps."""

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.digest import EMPTY, envelope_hash, roll
from tests.bench.link import Answer, Link, connect
from tests.bench.machine import now_ms
from tests.bench.population import Peer
from tests.bench.script import WRAP_BYTES, encode_receipt
from tests.support.mailing import opaque_body, opaque_wrap

STAYS = (2.0, 30.0)
"""Seconds of a connection."""
IS_AWAY = (0.2, 10.0)
"""Seconds between two connections."""


@dataclass
class Wanderer:
    """One device. `changed` is called when something came to its end."""

    peer: Peer
    by_device: dict[bytes, Peer]
    changed: Callable[[], None]
    chance: random.Random
    sn: int = 0
    position: int = 0
    digest: bytes = EMPTY
    epoch: bytes = b""
    unsettled: dict[int, f.Send] = field(default_factory=dict)
    owed: dict[int, list[msgspec.Raw]] = field(default_factory=dict)
    """Receipts that are not known to be durable, by the `ref` of their ack."""
    open: set[bytes] = field(default_factory=set)
    """Messages whose receipt did not come back yet."""
    ref: int = 0
    connections: int = 0
    link: Link | None = None

    @property
    def may_send(self) -> bool:
        """Whether it is there and the protocol lets it send."""
        return self.link is not None and len(self.unsettled) < limits.SENDS_IN_FLIGHT_MAX

    @property
    def at_rest(self) -> bool:
        """Whether nothing of its is on the way."""
        return not (self.unsettled or self.owed or self.open)

    def send(self, other: Peer) -> None:
        """Write to somebody; only if `may_send`."""
        assert self.link is not None
        self.sn += 1
        message = os.urandom(16)
        send = f.Send(
            self.sn, message, now_ms(), _BODY, (f.DeviceWrap(other.device, _WRAP),),
            (f.RosterUsed(self.peer.account, 1), f.RosterUsed(other.account, 1)),
        )  # fmt: skip
        self.unsettled[self.sn] = send
        self.open.add(message)
        self.link.say([send])

    async def wander(self, url: str, ending: asyncio.Event) -> None:
        """Come and go until `ending`; then come, and stay connected."""
        while True:
            link = self.link = await self._come(url)
            await _first_of(link.over, ending, self.chance.uniform(*STAYS))
            if link.over.done():
                raise ConnectionError("the server ended a connection")
            if ending.is_set():
                return
            self.link = link.taken = None
            await (link.close() if self.chance.random() < 0.5 else link.break_off())
            await _first_of(None, ending, self.chance.uniform(*IS_AWAY))

    async def _come(self, url: str) -> Link:
        link = Link(self.peer, asyncio.get_running_loop())
        link.position, link.digest, link.sn = self.position, self.digest, self.sn
        link.epoch = self.epoch
        link.taken = self._answer
        # What the last connection may not have brought through, receipts first: an ack of later
        # rows without them would tell their senders an unsigned word.
        self.owed = {self.ref + n: r for n, r in enumerate(self.owed.values(), 1)}
        self.ref += len(self.owed)
        acks = [
            f.Ack(UNSET, UNSET, tuple(receipts), ref)  # type: ignore[arg-type]  # encoded ones
            for ref, receipts in self.owed.items()
        ]
        link.first = [*acks, f.Ack(self.position), *self.unsettled.values()]
        await connect(url, link)
        self.connections += 1
        self.epoch = link.epoch
        return link

    def _answer(self, _: Link, frames: list[f.ServerFrame]) -> list[Any]:
        answer = Answer()
        for frame in frames:
            match frame:
                case f.Sent():
                    del self.unsettled[frame.sn]
                case f.Deliver():
                    self._keep(frame)
                    answer.position = frame.position
                    sender = self.by_device[frame.device]
                    answer.receipts.append(encode_receipt(sender, self.peer, frame.id, now_ms()))
                case f.Status():
                    self._told(frame)
                    answer.tick = frame.tick
                case f.Acked():
                    del self.owed[frame.ref]
                case _:
                    raise ValueError(f"unexpected {frame}")
        if answer.receipts:
            self.ref += 1
            self.owed[self.ref] = answer.receipts
        if self.at_rest:
            self.changed()
        return answer.ack(self.ref)

    def _keep(self, row: f.Deliver) -> None:
        if row.position != self.position + 1:
            raise ValueError(f"position {row.position} after {self.position}")
        row_hash = envelope_hash(row.account, row.device, row.id, row.body, row.wrap)
        self.position, self.digest = row.position, roll(self.digest, row.position, row_hash)

    def _told(self, status: f.Status) -> None:
        (device,) = status.devices
        if device.state != "delivered" or len(device.signature) != 64:
            raise ValueError(f"a status without a receipt: {status}")
        self.open.discard(status.id)


async def _first_of(
    over: "asyncio.Future[Any] | None", ending: asyncio.Event, seconds: float
) -> None:
    told = asyncio.create_task(ending.wait())
    waited: set[asyncio.Future[Any]] = {told} if over is None else {told, over}
    await asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()


_BODY, _WRAP = opaque_body(), opaque_wrap(WRAP_BYTES)
