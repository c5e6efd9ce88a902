"""The transport of a WebSocket: the sans-I/O core of `websockets` on an asyncio transport.

`HttpConnection` hands a connection over when its request asks for an upgrade, and the request with it
as uvicorn's parser has read it. No ASGI stands between the bytes and `Socket`: a queue, a task and two coroutines for each message, and the
frames of nine more for each idle connection, cost more than everything else that is done here.
Rules: RFC 6455; close codes of spec 02 §4.
"""

import asyncio
import logging
from collections.abc import Generator, Sequence
from typing import Any, cast

from uvicorn import Config
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Event, Protocol
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.codec import server_codec
from miss_protocol.errors import CloseCode, Code
from miss_server.edge.admission import BUSY_RETRY, TurnedAway, Visitor
from miss_server.http.services import Services
from miss_server.http.socket import Socket

PATH = "/v1/ws"
CLOSE_TIMEOUT = 10.0
"""Seconds that a peer has to answer a close frame before its socket is closed under it."""
PUSH_OUT_TIMEOUT = 1.0
"""Seconds that a peer has to read why it was pushed out."""

_quiet = logging.getLogger("miss_server.websocket")
_quiet.setLevel(logging.ERROR)


class _Protocol(ServerProtocol):
    def parse(self) -> Generator[None]:
        # From the first frame on: a request that was parsed already costs as much once more.
        yield from Protocol.parse(self)

    def select_subprotocol(self, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
        for name in subprotocols:
            if name in (f.MSGPACK, f.JSON):
                return name
        return None


class WebSocket(asyncio.Protocol):
    """One connection, from its upgrade request on: `connection_made`, then `upgrade`, before anything
    else. `app_state` holds the `services`.

    Args:
        visitor: what counts this connection; it is told when that ends.
        turned_away: it is not let in, and only told so.
    """

    __slots__ = (
        "_begun", "_closing", "_socket", "_state", "_text", "_transport", "_turned_away", "_visitor",
        "_waiting", "_websocket", "full", "services",
    )  # fmt: skip

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        visitor: Visitor | None = None,
        turned_away: TurnedAway | None = None,
    ) -> None:
        self._visitor = visitor
        self._turned_away = turned_away
        if visitor is not None:
            visitor.push_out = self._push_out
        self.services: Services = app_state["services"]
        self.full = False
        """The transport holds more than it wants to."""
        self._state = server_state
        self._websocket = _Protocol(max_size=limits.FRAME_MAX, logger=_quiet)
        self._transport: asyncio.Transport
        self._socket: Socket | None = None
        self._begun: bytearray | None = None
        """A message whose last fragment has not come."""
        self._text = False
        self._waiting: list[Event] | None = None
        """Read, but not to be taken before `resume_reading`; None while nothing holds it up."""
        self._closing: asyncio.TimerHandle | None = None

    # --- what the event loop tells ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # uvicorn's parser and its protocol hold each other, and nobody tells them that it is over.
        before = self._transport.get_protocol()
        asyncio.get_running_loop().call_soon(setattr, before, "parser", None)
        # What uvicorn wrote before the upgrade may fill it already, and nobody would tell us again.
        _, high = self._transport.get_write_buffer_limits()
        self.full = self._transport.get_write_buffer_size() > high
        self._state.connections.add(cast(Any, self))

    def data_received(self, data: bytes) -> None:
        self._websocket.receive_data(data)
        self._work(self._websocket.events_received())
        self._write_out()

    def upgrade(self, method: str, path: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Answer the request that asks for the upgrade."""
        try:
            given = Headers([(n.decode("ascii"), v.decode("latin-1")) for n, v in headers])
            request = Request(path.decode("ascii"), given, method)
        except ValueError:
            self._refuse(400, "not a valid request")
        else:
            self._greet(request)
        self._write_out()

    def pause_writing(self) -> None:
        # Who does not read is not read from: each ping of its would be a pong in our memory.
        self.full = True
        self._transport.pause_reading()
        if self._socket is not None:
            self._socket.connection.flush()  # its deadline counts from now

    def resume_writing(self) -> None:
        self.full = False
        if self._waiting is None and not self._transport.is_closing():
            self._transport.resume_reading()
        if self._socket is not None:
            self._socket.connection.resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(cast(Any, self))
        if self._closing is not None:
            self._closing.cancel()
        if self._visitor is not None:
            self.services.admission.leave(self._visitor)
        else:
            self.services.admission.told()
        if self._socket is not None:
            self._socket.lost()
        # What holds itself by a cycle waits for the collector, for hours: with each connection that
        # comes and goes the process would grow.
        self._socket = None
        self._websocket.parser.close()

    # --- what uvicorn asks ------------------------------------------------------------------------

    def shutdown(self) -> None:
        """The server ends. Who was told to leave may still read what was written to it."""
        if self._socket is not None:
            self._socket.connection.over()
        if self._closing is None:
            self._transport.abort()
        else:
            self._transport.close()

    # --- what the socket asks ---------------------------------------------------------------------

    def write(self, message: bytes) -> None:
        """Send one message, in the kind that the subprotocol speaks."""
        if self._transport.is_closing():
            return
        if self._websocket.subprotocol == f.JSON:
            self._websocket.send_text(message)
        else:
            self._websocket.send_binary(message)
        self._write_out()

    def close(self, code: CloseCode, reason: str) -> None:
        """Send a close frame, and let go of who does not answer it."""
        if self._transport.is_closing():
            return
        self._websocket.send_close(code, reason)
        self._write_out()
        self._bound_the_end()

    def abort(self) -> None:
        """Let go of the peer at once."""
        self._transport.abort()

    def heard(self) -> None:
        """The hello has come."""
        if self._visitor is not None:
            self.services.admission.heard(self._visitor)

    def logged_in(self) -> None:
        """The hello was right; only now may messages be large, and cost memory."""
        self._websocket.max_message_size = limits.TRANSPORT_MAX
        if self._visitor is not None:
            self.services.admission.logged_in(self._visitor)

    def pause_reading(self) -> None:
        """Take nothing more for now, also of what was read already."""
        if self._waiting is None:  # else it was not resumed yet, and holds what must not be lost
            self._waiting = []
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on, first with what was read already."""
        waiting, self._waiting = self._waiting, None
        if self._work(waiting or []) and not self.full and not self._transport.is_closing():
            self._transport.resume_reading()
        self._write_out()

    # --- frames -----------------------------------------------------------------------------------

    def _work(self, events: Sequence[Event]) -> bool:
        """Take events; False if some must wait."""
        for place, event in enumerate(events):
            if self._waiting is not None:
                self._waiting.extend(events[place:])
                return False
            if isinstance(event, Frame):
                self._take(event)
        return self._waiting is None

    def _greet(self, request: Request) -> None:
        headers = request.headers
        if request.path.partition("?")[0] != PATH:
            self._refuse(404, "no such path")
            return
        if "Transfer-Encoding" in headers or not {"0"}.issuperset(
            headers.get_all("Content-Length")
        ):
            self._refuse(400, "no body is expected")  # it would be taken for frames
            return
        response = self._websocket.accept(request)
        self._websocket.send_response(response)
        if response.status_code != 101:
            return
        subprotocol = self._websocket.subprotocol
        if subprotocol is None:
            # Accepted first, so that a browser sees the code and not a bare failure.
            self.close(CloseCode.PROTOCOL, "subprotocol")
        elif self._turned_away is not None:
            self._tell_and_close(subprotocol, self._turned_away)
        elif self.services.hub.draining:
            self.close(CloseCode.DRAINING, "draining")
        else:
            self._socket = Socket(self.services, cast(f.Subprotocol, subprotocol), self)
            self._socket.open()

    def _refuse(self, status: int, why: str) -> None:
        self._websocket.send_response(self._websocket.reject(status, f"{why}\n"))

    def _tell_and_close(self, subprotocol: str, why: TurnedAway) -> None:
        codec = server_codec(cast(f.Subprotocol, subprotocol))
        self.write(codec.encode([f.Bye(why.code.wire, why.retry_after)]))
        rate = why.code is Code.RATE_LIMITED
        self.close(CloseCode.RATE if rate else CloseCode.TRY_LATER, why.code.wire)

    def _push_out(self) -> None:
        """Make room for others: this peer has said nothing for the longest time."""
        if self._socket is not None:
            self._socket.connection.session.bye(Code.BUSY, BUSY_RETRY)
            self._socket.connection.end(CloseCode.TRY_LATER)
        asyncio.get_running_loop().call_later(PUSH_OUT_TIMEOUT, self._transport.abort)

    def _take(self, frame: Frame) -> None:
        if self._socket is None or frame.opcode not in _DATA:
            return  # pings and closes are answered by the protocol below
        if frame.opcode is not Opcode.CONT:
            self._text = frame.opcode is Opcode.TEXT
        message = bytes(frame.data)
        if not frame.fin or self._begun is not None:
            self._begun = self._begun or bytearray()
            self._begun += message
            if not frame.fin:
                return
            message, self._begun = bytes(self._begun), None
        if self._text and not _is_utf8(message):
            self._websocket.fail(1007, "not UTF-8")
            self._socket.lost()
            return
        self._socket.take(message, text=self._text)

    def _write_out(self) -> None:
        parts = self._websocket.data_to_send()
        if not parts or self._transport.is_closing():
            return
        self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))
        if not parts[-1]:  # SEND_EOF: the closing handshake is done, or the peer broke the rules
            self._transport.close()
            self._bound_the_end()

    def _bound_the_end(self) -> None:
        if self._closing is None:
            loop = asyncio.get_running_loop()
            self._closing = loop.call_later(CLOSE_TIMEOUT, self._transport.abort)


_DATA = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})


def _is_utf8(message: bytes) -> bool:
    try:
        message.decode()
    except UnicodeDecodeError:
        return False
    return True
