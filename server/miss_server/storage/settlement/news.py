"""News of what became of messages: the states it changes, and the statuses that tell the senders.

A changed send gets a new tick, which is its place among the pending statuses of its sender device:
coalesced, one a message (rule D5).
"""

from collections.abc import Iterable, Sequence

import msgspec

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.ids import DeviceId
from miss_server.storage.states import (
    RecipientState,
    State,
    decode_states,
    encode_states,
    for_wire,
    still_open,
)


class News(msgspec.Struct, frozen=True, gc=False):
    """What to tell the sender of a message about one recipient device."""

    sender: bytes
    message: bytes
    recipient: bytes
    state: State
    at_ms: int
    signature: bytes = b""


class _Send(msgspec.Struct):
    rowid: int
    sender: bytes
    sn: int
    message: bytes
    kind: str
    states: list[RecipientState]
    changed: bool = False
    changed_by: int = 0
    """The first piece of news that changed it: ticks are given in that order."""

    def advance(self, news: News, index: int) -> bool:
        """Take the news; False if that device was never sent this message."""
        for state in self.states:
            if state.device == news.recipient:
                if news.state == "delivered" and not news.signature and state.state != "waiting":
                    return True  # an ack without a receipt does not undo a nack that came with it
                told = state.advance(news.state, news.at_ms, news.signature)
                if told and not self.changed and self.kind == "message" and state.worth_telling:
                    self.changed, self.changed_by = True, index
                return True
        return False


class Telling:
    """Applies news to the sends it is about: `apply`, then `number`.

    What is to be written comes as tuples, key first, in `ticks` and `sends`.
    """

    def __init__(self, news: Sequence[News], now_ms: int) -> None:
        self._news = news
        self._now_ms = now_ms
        self._changed: list[_Send] = []
        self.wanted = sorted({(item.sender, item.message) for item in news})
        """(sender device, message id) of the sends to load for `apply`."""
        self.senders: list[bytes] = []
        """Device ids whose last ticks to load for `number`, sorted."""
        self.unknown: list[int] = []
        """Indices of news about sends that are not, or no longer, known."""
        self.told: list[tuple[int, DeviceId, f.Status]] = []
        """The new statuses, each with the index of the news that made it and its sender device."""
        self.ticks: list[tuple[bytes, int]] = []
        """The senders' last ticks: device, tick."""
        self.sends: list[tuple[int, bytes, int, int, int | None]] = []
        """The changed sends: rowid, states, tick, open, kept_until_ms."""

    def apply(self, sends: Iterable[tuple[int, bytes, int, bytes, str, bytes]]) -> None:
        """Change the states; afterwards `senders` and `unknown` are known.

        Args:
            sends: (rowid, sender device, sn, message, kind, states), in any order.
        """
        found: dict[tuple[bytes, bytes], list[_Send]] = {key: [] for key in self.wanted}
        for rowid, sender, sn, message, kind, states in sends:
            found[sender, message].append(
                _Send(rowid, sender, sn, message, kind, decode_states(states))
            )
        for copies in found.values():
            copies.sort(key=lambda send: -send.rowid)
        for index, item in enumerate(self._news):
            # A message that was submitted again to a restored server, or encrypted anew for one
            # device, stands in several sends under one id. The news ends it in each, or it would
            # wait for ever.
            taken = [send.advance(item, index) for send in found[item.sender, item.message]]
            if not any(taken):
                self.unknown.append(index)
        self._changed = sorted(
            (send for copies in found.values() for send in copies if send.changed),
            key=lambda send: (send.sender, send.changed_by, send.rowid),
        )
        self.senders = sorted({send.sender for send in self._changed})

    def number(self, ticks: Iterable[tuple[bytes, int]]) -> None:
        """Give every changed send its tick; afterwards `told` and the changes are known.

        Args:
            ticks: (device, tick), locked before they were read.
        """
        last = dict(ticks)
        for send in self._changed:
            last[send.sender] += 1
            tick = last[send.sender]
            waiting = still_open(send.states)
            kept_until = None if waiting else self._now_ms + limits.RESULT_KEPT * 1000
            self.sends.append((send.rowid, encode_states(send.states), tick, waiting, kept_until))
            status = f.Status(tick, send.message, send.sn, for_wire(send.states))
            self.told.append((send.changed_by, DeviceId(send.sender), status))
        self.ticks = sorted(last.items())
