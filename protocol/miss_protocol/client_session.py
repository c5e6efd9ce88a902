"""The client's end of one connection, without the connection. Spec: 03-session.

Feed it what the socket receives, write what `data_to_send` returns, act on the events. It keeps no
state that must survive: the caller's store does, and the order in which the caller saves and sends
is what makes delivery exact (spec 03-session §3):

1. on `Delivered`: decrypt, save plaintext, ratchet, `position` and `digest` in one transaction,
   then `ack`;
2. before `send`: save the ratchet and the outbox entry in one transaction;
3. on `Settled`: save the outcome.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from msgspec import UNSET

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.codec import Codec, FrameError
from miss_protocol.digest import envelope_hash, roll
from miss_protocol.errors import CloseCode, LocalError, Malformed
from miss_protocol.states import ANYWHERE, CLIENT_RECEIVES, CLIENT_SENDS, ClientState


@dataclass(frozen=True, slots=True)
class Challenged:
    """The server asks who speaks: sign it (`identity.login`) and call `hello`."""

    challenge: f.Challenge


@dataclass(frozen=True, slots=True)
class Welcomed:
    """Logged in. Send again every unsettled send, in order, and the acks that are owed."""

    welcome: f.Welcome


@dataclass(frozen=True, slots=True)
class Delivered:
    """The next row. Save it together with its position and the digest, then `ack`."""

    deliver: f.Deliver
    digest: bytes


@dataclass(frozen=True, slots=True)
class GapSeen:
    """Positions that hold nothing any more: save position and digest, tell the user, then `ack`."""

    gap: f.Gap
    digest: bytes


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Everything that waited has been delivered."""

    position: int


@dataclass(frozen=True, slots=True)
class Settled:
    """A send is decided: `Sent` or `Refused`."""

    reply: f.Sent | f.Refused


@dataclass(frozen=True, slots=True)
class RetryWanted:
    """A send's outcome is unknown: repeat the same bytes after `retry_after`."""

    reply: f.RetrySend


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """What became of a message of ours. Save it, then `ack` its tick."""

    status: f.Status


@dataclass(frozen=True, slots=True)
class AckStored:
    """The ack with this `ref` is durable on the server."""

    ref: int


@dataclass(frozen=True, slots=True)
class ErrorTold:
    """The server refused one of our frames."""

    error: f.Error


@dataclass(frozen=True, slots=True)
class Leaving:
    """The server closes in order; come back after `bye.retry_after`, jittered."""

    bye: f.Bye


Event: TypeAlias = (
    Challenged
    | Welcomed
    | Delivered
    | GapSeen
    | CaughtUp
    | Settled
    | RetryWanted
    | StatusChanged
    | AckStored
    | ErrorTold
    | Leaving
)


class ClientSession:
    """One connection of one device.

    Args:
        codec: `codec.client_codec(subprotocol)` of the subprotocol that was agreed.
        position: the last position that the store holds; rows after it are expected.
        digest: the rolling digest there.
    """

    def __init__(self, codec: Codec[f.ServerFrame], *, position: int, digest: bytes) -> None:
        self.codec = codec
        self.state = ClientState.AWAITING_CHALLENGE
        self.position = position
        self.digest = digest
        self.in_flight: set[int] = set()
        self._out: list[f.Frame] = []

    # --- receiving --------------------------------------------------------------------------------

    def receive(self, message: bytes) -> list[Event]:
        """Take one WebSocket message; returns what happened, in order.

        After calling this, write `data_to_send()` (a pong may be due).

        Raises:
            Malformed: the server broke the protocol: a frame out of place, a position that skips
                or repeats. Close with `CloseCode.PROTOCOL` and tell the user: a server that
                miscounts could be hiding a message.
        """
        if self.state is ClientState.CLOSED:
            return []
        events: list[Event] = []
        for raw in self.codec.split(message):
            try:
                frame = self.codec.decode_frame(raw)
            except FrameError as error:
                if error.code.wire == "unsupported":
                    continue  # a newer server's frame: v1 changes are additive
                raise Malformed(f"server frame {error.about}: {error}") from None
            event = self._take(frame)
            if event is not None:
                events.append(event)
        return events

    def _take(self, frame: f.ServerFrame) -> Event | None:
        kind = type(frame)
        if kind not in ANYWHERE:
            following = CLIENT_RECEIVES[self.state].get(kind)
            if following is None:
                raise Malformed(f"{kind.__name__} in {self.state.name}")
            self.state = following
        return self._HANDLERS[kind](self, frame)

    def _on_ping(self, frame: f.Ping) -> None:
        self._out.append(f.Pong(frame.n))

    def _on_pong(self, frame: f.Pong) -> None:
        return None

    def _on_challenge(self, frame: f.Challenge) -> Event:
        return Challenged(frame)

    def _on_welcome(self, frame: f.Welcome) -> Event:
        if frame.restored is not UNSET:
            # The server lost its memory: what it delivers is counted from where it stands.
            if frame.digest is UNSET:
                raise Malformed("a restored epoch without the digest to go on from")
            self.position, self.digest = frame.acked, frame.digest
        return Welcomed(frame)

    def _on_deliver(self, frame: f.Deliver) -> Event:
        self._step(frame.position, frame.position)
        row_hash = envelope_hash(frame.account, frame.device, frame.id, frame.body, frame.wrap)
        self.digest = roll(self.digest, frame.position, row_hash)
        return Delivered(frame, self.digest)

    def _on_gap(self, frame: f.Gap) -> Event:
        if len(frame.hashes) != frame.last - frame.first + 1:
            raise Malformed("a gap whose hashes do not fit its range")
        self._step(frame.first, frame.last)
        for position, row_hash in enumerate(frame.hashes, frame.first):
            self.digest = roll(self.digest, position, row_hash)
        return GapSeen(frame, self.digest)

    def _step(self, first: int, last: int) -> None:
        if first != self.position + 1 or last < first:
            raise Malformed(f"position {first} to {last} after {self.position}")
        self.position = last

    def _on_drained(self, frame: f.Drained) -> Event:
        if frame.position != self.position:
            raise Malformed(f"drained at {frame.position} but {self.position} was reached")
        return CaughtUp(frame.position)

    def _on_settled(self, frame: f.Sent | f.Refused) -> Event:
        self.in_flight.discard(frame.sn)
        return Settled(frame)

    def _on_retry(self, frame: f.RetrySend) -> Event:
        self.in_flight.discard(frame.sn)
        return RetryWanted(frame)

    def _on_status(self, frame: f.Status) -> Event:
        return StatusChanged(frame)

    def _on_acked(self, frame: f.Acked) -> Event:
        return AckStored(frame.ref)

    def _on_error(self, frame: f.Error) -> Event:
        return ErrorTold(frame)

    def _on_bye(self, frame: f.Bye) -> Event:
        return Leaving(frame)

    _HANDLERS: ClassVar[dict[type[f.Frame], Callable[..., Event | None]]] = {
        f.Ping: _on_ping,
        f.Pong: _on_pong,
        f.Challenge: _on_challenge,
        f.Welcome: _on_welcome,
        f.Deliver: _on_deliver,
        f.Gap: _on_gap,
        f.Drained: _on_drained,
        f.Sent: _on_settled,
        f.Refused: _on_settled,
        f.RetrySend: _on_retry,
        f.Status: _on_status,
        f.Acked: _on_acked,
        f.Error: _on_error,
        f.Bye: _on_bye,
    }

    # --- sending ----------------------------------------------------------------------------------

    def hello(self, frame: f.Hello) -> None:
        """Answer the challenge. `frame.acked` and `frame.digest` must be this session's."""
        if frame.acked != self.position or frame.digest != self.digest:
            raise LocalError("hello must tell the position and digest of this session")
        self._put(frame)

    @property
    def may_send(self) -> bool:
        """Whether another `send` may leave now; else wait for a `Settled`."""
        return (
            self.state in (ClientState.CATCHING_UP, ClientState.LIVE)
            and len(self.in_flight) < limits.SENDS_IN_FLIGHT_MAX
        )

    def send(self, frame: f.Send) -> None:
        """Send a message whose ratchet and outbox entry are already saved."""
        if len(self.in_flight) >= limits.SENDS_IN_FLIGHT_MAX:
            raise LocalError("too many sends in flight: check may_send")
        self._put(frame)
        self.in_flight.add(frame.sn)

    def ack(self, frame: f.Ack) -> None:
        """Acknowledge what is saved: positions, statuses, receipts."""
        if frame.position is not UNSET and frame.position > self.position:
            raise LocalError("cannot acknowledge what was not delivered")
        self._put(frame)

    def nack(self, position: int, reason: f.NackReason) -> None:
        """Tell that the envelope at `position` cannot be opened; then `ack` past it."""
        if position > self.position:
            raise LocalError("cannot refuse what was not delivered")
        self._put(f.Nack(position, reason))

    def ping(self, n: int) -> None:
        """Ask whether the server still reads."""
        self._put(f.Ping(n))

    def _put(self, frame: f.Frame) -> None:
        if type(frame) not in ANYWHERE:
            following = CLIENT_SENDS[self.state].get(type(frame))
            if following is None:
                raise LocalError(f"{type(frame).__name__} in {self.state.name}")
            self.state = following
        elif self.state is ClientState.CLOSED:
            raise LocalError("the connection is closed")
        self._out.append(frame)

    def data_to_send(self) -> list[bytes]:
        """WebSocket messages to write now, each below `limits.MESSAGE_MAX`."""
        messages = batches(self.codec, self._out)
        self._out.clear()
        return messages

    def closed(self) -> None:
        """The connection is over, from whichever side."""
        self.state = ClientState.CLOSED
        self._out.clear()


def unsaved(row: Delivered | GapSeen, position: int) -> Delivered | GapSeen | None:
    """What of a row is news to a store that holds everything up to `position`; None if nothing.

    For two processes that share a store: what came on one's connection may have been saved by the
    other, which fetched by HTTP (spec 03 §9). Of a gap that reaches beyond `position` only the rest
    is left, with the digest of the whole. It counts one for each position that is cut off, and at
    least one for each that is left.
    """
    if isinstance(row, Delivered):
        return row if row.deliver.position > position else None
    gap = row.gap
    known = position - gap.first + 1
    if known <= 0:
        return row
    hashes = gap.hashes[known:]
    if not hashes:
        return None
    count = max(gap.count - known, len(hashes))
    return GapSeen(f.Gap(position + 1, gap.last, gap.reason, count, hashes), row.digest)


def batches(codec: Codec[f.ServerFrame] | Codec[f.ClientFrame], out: list[f.Frame]) -> list[bytes]:
    """Pack frames into as few messages as the limits allow."""
    if not out:
        return []
    message = codec.encode(out)
    if len(message) <= limits.MESSAGE_MAX and len(out) <= limits.FRAMES_PER_MESSAGE_MAX:
        return [message]
    if len(out) == 1:
        raise LocalError("one frame is larger than a message may be")
    half = len(out) // 2
    return batches(codec, out[:half]) + batches(codec, out[half:])


def close_reason(code: int) -> tuple[bool, CloseCode | None]:
    """Read a close code: whether to reconnect, and its name if it is one of ours."""
    try:
        known = CloseCode(code)
    except ValueError:
        return not 4500 <= code < 5000, None
    return known.reconnect, known
