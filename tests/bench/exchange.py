"""Many connections that send to each other as fast as they are answered (a closed loop).

The whole path of a message: send, `sent`, delivery, ack with a signed receipt, status to the
sender, ack of the status. A `control` send ends with its delivery, and one for absent devices with
`sent`.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from miss_protocol import frames as f
from tests.bench.link import Answer, Link
from tests.bench.script import Script

SETTLE_SECONDS = 60.0


@dataclass
class _Line:
    link: Link
    sends: list[msgspec.Raw]
    sent: int = 0
    ref: int = 0

    def next(self) -> list[msgspec.Raw]:
        """The next send, in a list, if there is one."""
        if self.sent >= len(self.sends):
            return []
        self.sent += 1
        return [self.sends[self.sent - 1]]


class Exchange:
    """The script's sends over the links, `depth` unanswered ones on each."""

    def __init__(
        self, links: Sequence[Link], script: Script, *, depth: int, ends_with_sent: bool = False
    ) -> None:
        self.completed = 0
        self.exhausted = asyncio.Event()
        """A sender has nothing more to send: what follows would not be the full load."""
        self._receipts = script.receipts
        self._depth = depth
        self._ends_with_sent = ends_with_sent
        self._stopped = False
        self._settled = asyncio.Event()
        self._lines = [_Line(link, sends) for link, sends in zip(links, script.sends, strict=True)]
        for line in self._lines:
            line.link.taken = self._answerer(line)

    def start(self) -> None:
        """Send the first of all lines."""
        for line in self._lines:
            line.link.say([send for _ in range(self._depth) for send in line.next()])

    async def finish(self) -> None:
        """Send nothing new, and see that everything that was sent comes to its end.

        Raises:
            TimeoutError: a message was lost, or the server is far behind.
        """
        self._stopped = True
        async with asyncio.timeout(SETTLE_SECONDS):
            while self.completed < sum(line.sent for line in self._lines):
                self._settled.clear()
                await self._settled.wait()

    def failed(self) -> asyncio.Future[Any]:
        """Done when a connection breaks, with the reason."""
        return asyncio.gather(*(line.link.over for line in self._lines))

    def _next(self, line: _Line) -> list[msgspec.Raw]:
        if self._stopped:
            return []
        more = line.next()
        if not more:
            self.exhausted.set()
        return more

    def _answerer(self, line: _Line) -> Callable[[Link, list[f.ServerFrame]], list[Any]]:
        receipts = self._receipts

        def answer(_: Link, frames: list[f.ServerFrame]) -> list[Any]:
            due, out = Answer(), list[msgspec.Raw]()
            for frame in frames:
                match frame:
                    case f.Sent():
                        out += self._next(line)
                        self.completed += self._ends_with_sent
                    case f.Deliver():
                        due.position = frame.position
                        receipt = receipts.get(frame.id)
                        if receipt is None:
                            self.completed += 1
                        else:
                            due.receipts.append(receipt)
                    case f.Status():
                        due.tick = frame.tick
                        _expect_receipt(frame)
                        self.completed += 1
                    case f.Acked() | f.Pong():
                        pass
                    case _:
                        raise ValueError(f"unexpected {frame}")
            line.ref += 1
            if self._stopped:
                self._settled.set()
            return due.ack(line.ref) + out

        return answer


def _expect_receipt(status: f.Status) -> None:
    (device,) = status.devices
    if device.state != "delivered" or len(device.signature) != 64:
        raise ValueError(f"a status without a receipt: {status}")
