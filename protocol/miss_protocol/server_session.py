"""The server's end of one connection, without the connection. Spec: 03-session.

The shell feeds `receive`, acts on the events, calls the methods that answer, and writes
`data_to_send`. The clock is passed in as seconds that only go forward; `deadline` says when `tick`
wants to be called. Bad frames are answered here, one by one; the connection goes on unless
`close_code` is set.
"""

from typing import TypeAlias

import msgspec
from msgspec import UNSET

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.client_session import batches
from miss_protocol.codec import Codec, FrameError
from miss_protocol.errors import CloseCode, Code, LocalError, Malformed
from miss_protocol.states import ANYWHERE, SERVER_RECEIVES, SERVER_SENDS, ServerState


class HelloCame(msgspec.Struct, frozen=True, gc=False):
    """Check the signature, the device and its count; then `welcome` or `close`."""

    hello: f.Hello


class SendCame(msgspec.Struct, frozen=True, gc=False):
    """Store it; then `answer` with Sent, Refused or RetrySend."""

    send: f.Send


class AckCame(msgspec.Struct, frozen=True, gc=False):
    """Within what was delivered. Store it; then `acked`."""

    ack: f.Ack


class NackCame(msgspec.Struct, frozen=True, gc=False):
    """Of a delivered, not yet acknowledged position. Store it."""

    nack: f.Nack


Event: TypeAlias = HelloCame | SendCame | AckCame | NackCame


class ServerSession:
    """One connection.

    Args:
        codec: `codec.server_codec(subprotocol)` of the subprotocol that was agreed.
        now: seconds on the clock that every other `now` comes from.
    """

    def __init__(self, codec: Codec[f.ClientFrame], *, now: float) -> None:
        self.codec = codec
        self.state = ServerState.AWAITING_HELLO
        self.delivered = 0
        """The last position written to this connection (or that the client already had)."""
        self.acknowledged = 0
        """The last position that the client acknowledged on this connection."""
        self.ticked = 0
        """The last status tick written to this connection."""
        self.window = limits.WINDOW_START
        self.close_code: CloseCode | None = None
        self._out: list[f.Frame] = []
        self._unread = 0  # frames of `_out` but rows and statuses, which have windows of their own
        self._sizes: list[tuple[int, int]] = []  # (position, bytes) written and not acknowledged
        self._unacked = 0
        self._in_flight = 0
        self._opened = now
        self._heard = now
        self._waiting_since = now
        self._ping_n = 0
        self._pinged = False

    # --- receiving --------------------------------------------------------------------------------

    def receive(self, message: bytes, now: float) -> list[Event]:
        """Take one WebSocket message; returns what asks for an act, in order.

        Frames that are wrong by themselves are answered with `error`. After calling this, act on
        the events, then write `data_to_send()` and look at `close_code`.
        """
        if self.state is ServerState.CLOSED:
            return []
        self._heard = now
        self._waiting_since = now
        self._pinged = False
        try:
            raws = self.codec.split(message)
        except Malformed:
            self.error(Code.MALFORMED)
            self.close(CloseCode.PROTOCOL)
            return []
        events: list[Event] = []
        for raw in raws:
            try:
                event = self._take(self.codec.decode_frame(raw))
            except FrameError as error:
                self.error(error.code, about=error.about)
            else:
                if event is not None:
                    events.append(event)
            if self._unread > limits.ANSWERS_UNREAD_MAX:
                # It writes and does not read: each byte of its would cost us twenty of memory.
                self.error(Code.RATE_LIMITED)
                self.close(CloseCode.RATE)
                break
        return events

    def _take(self, frame: f.ClientFrame) -> Event | None:
        kind = type(frame)
        if kind not in ANYWHERE:
            following = SERVER_RECEIVES[self.state].get(kind)
            if following is None:
                raise FrameError(Code.OUT_OF_PLACE, self.state.name, kind.__name__.lower())
            self.state = following
        match frame:
            case f.Hello():
                return HelloCame(frame)
            case f.Send():
                if self._in_flight >= limits.SENDS_IN_FLIGHT_MAX:
                    self._put(f.RetrySend(frame.sn, Code.RATE_LIMITED.wire, 1.0))
                    return None
                self._in_flight += 1
                return SendCame(frame)
            case f.Ack():
                return self._ack(frame)
            case f.Nack():
                if not self.acknowledged < frame.position <= self.delivered:
                    raise FrameError(Code.NACK_UNKNOWN, str(frame.position), "nack")
                return NackCame(frame)
            case f.Ping():
                self._put(f.Pong(frame.n))
            case _:
                pass  # a pong: that it came is all it says, and `receive` has noted that
        return None

    def _ack(self, frame: f.Ack) -> Event:
        if len(frame.receipts) > limits.RECEIPTS_PER_ACK_MAX:
            raise FrameError(Code.TOO_LARGE, "receipts", "ack")
        if frame.position is not UNSET:
            # A cumulative ack past a row that was never written here would delete it unseen.
            if frame.position > self.delivered:
                raise FrameError(Code.ACK_BEYOND, str(frame.position), "ack")
            if frame.position < self.acknowledged:
                raise FrameError(Code.ACK_BACKWARDS, str(frame.position), "ack")
        if frame.tick is not UNSET and frame.tick > self.ticked:
            raise FrameError(Code.ACK_BEYOND, str(frame.tick), "ack")
        if frame.position is not UNSET:
            self.acknowledged = frame.position
            freed = 0
            while self._sizes and self._sizes[0][0] <= frame.position:
                freed += self._sizes.pop(0)[1]
            self._unacked -= freed
            self.window = min(self.window + freed, limits.WINDOW_MAX)
        return AckCame(frame)

    # --- answering --------------------------------------------------------------------------------

    def challenge(self, frame: f.Challenge) -> None:
        """Open the connection: the first thing to call."""
        self._put(frame)

    def welcome(
        self, frame: f.Welcome, *, resume_after: int, ticks_after: int, window: int
    ) -> None:
        """Let the device in.

        Args:
            resume_after: the position after which rows are delivered: what the client stored.
            ticks_after: the status tick after which statuses are written.
            window: bytes to begin with, from the device's last connection; 0 for the default.
        """
        self._put(frame)
        self.delivered = resume_after
        self.acknowledged = frame.acked
        self.ticked = ticks_after
        if window:
            self.window = max(limits.WINDOW_MIN, min(window, limits.WINDOW_MAX))

    @property
    def room(self) -> int:
        """Bytes of rows that may be written now; one row may always go when nothing waits."""
        if self.state not in (ServerState.CATCHING_UP, ServerState.LIVE):
            return 0
        return self.window - self._unacked if self._sizes else max(self.window, 1)

    def deliver(self, frame: f.Deliver | f.Gap, size: int, now: float) -> None:
        """Write the next row, `size` bytes of it counting against the window.

        Raises:
            LocalError: not the next position: a hole here would be a silent loss.
        """
        first, last = (
            (frame.first, frame.last) if isinstance(frame, f.Gap) else (frame.position,) * 2
        )
        if first != self.delivered + 1:
            raise LocalError(f"position {first} after {self.delivered}")
        self._put(frame)
        if not self._sizes:
            self._waiting_since = now
        self.delivered = last
        self._sizes.append((last, size))
        self._unacked += size

    def drained(self) -> None:
        """Everything that waited at login is written."""
        self._put(f.Drained(self.delivered))

    def status(self, frame: f.Status) -> None:
        """Write a status; ticks only rise."""
        if frame.tick <= self.ticked:
            raise LocalError(f"tick {frame.tick} after {self.ticked}")
        self._put(frame)
        self.ticked = frame.tick

    def answer(self, frame: f.Sent | f.Refused | f.RetrySend) -> None:
        """Settle a `SendCame`, or ask for it again."""
        self._in_flight -= 1
        self._put(frame)

    def acked(self, ref: int) -> None:
        """Tell that the ack with this `ref` is durable."""
        self._put(f.Acked(ref))

    def error(
        self,
        code: Code,
        *,
        about: str = "",
        ref: int | None = None,
        retry_after: float | None = None,
        reason: str = "",
    ) -> None:
        """Refuse one frame; the connection goes on. `reason`: a decision's, written for the user."""
        self._put(
            f.Error(
                code.wire,
                code.text("en"),
                about,
                UNSET if ref is None else ref,
                UNSET if retry_after is None else retry_after,
                reason or UNSET,
            )
        )

    def bye(self, code: Code, retry_after: float) -> None:
        """Announce an orderly end; `close` follows."""
        self._put(f.Bye(code.wire, retry_after))

    def close(self, code: CloseCode) -> None:
        """End the connection: write `data_to_send()`, then close the socket with `close_code`."""
        if self.close_code is None:
            self.close_code = code
        self.state = ServerState.CLOSED

    def _put(self, frame: f.Frame) -> None:
        if self.state is ServerState.CLOSED:
            raise LocalError("the connection is closed")
        if type(frame) not in ANYWHERE:
            following = SERVER_SENDS[self.state].get(type(frame))
            if following is None:
                raise LocalError(f"{type(frame).__name__} in {self.state.name}")
            self.state = following
        self._out.append(frame)
        self._unread += not isinstance(frame, f.Deliver | f.Gap | f.Status)

    @property
    def has_data(self) -> bool:
        """Whether `data_to_send` would return anything."""
        return bool(self._out)

    def data_to_send(self) -> list[bytes]:
        """WebSocket messages to write now."""
        messages = batches(self.codec, self._out)
        self._out.clear()
        self._unread = 0
        return messages

    # --- time -------------------------------------------------------------------------------------

    @property
    def patience(self) -> float:
        """Seconds that unacknowledged rows may need: a link of 2 KB/s must live (rule D1)."""
        return limits.ACK_TIMEOUT + self._unacked / limits.SLOWEST_LINK

    def flushed(self, now: float) -> None:
        """The transport took everything: patience counts from here (rule D1)."""
        self._waiting_since = max(self._waiting_since, now)

    @property
    def deadline(self) -> float:
        """When `tick` wants to be called."""
        if self.state in (ServerState.AWAITING_HELLO, ServerState.CHECKING):
            return self._opened + limits.HELLO_TIMEOUT
        if self._sizes:
            return self._waiting_since + self.patience / (1 if self._pinged else 2)
        return self._heard + limits.IDLE_TIMEOUT

    def tick(self, now: float) -> None:
        """Look at the time: ping a silent peer, end a dead connection (rule D1)."""
        if self.state is ServerState.CLOSED or now < self.deadline:
            return
        if self.state in (ServerState.AWAITING_HELLO, ServerState.CHECKING):
            self.close(CloseCode.TRY_LATER)
        elif self._sizes and not self._pinged:
            self._pinged = True
            self._ping_n += 1
            self._put(f.Ping(self._ping_n))
        elif self._sizes:
            self.window = max(limits.WINDOW_MIN, self.window // 2)
            self.close(CloseCode.ACK_TIMEOUT)
        else:
            self.close(CloseCode.ACK_TIMEOUT)
