"""The transport of HTTP calls: uvicorn's, with deadlines for who dribbles, caps, and proxies' word.

uvicorn closes idle connections after an answer only: one that sends nothing, or a byte now and
then, it would keep for ever. Here each step has a deadline that no byte lengthens beyond what the
slowest link needs.
"""

import asyncio
from typing import Any, cast

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from miss_protocol import limits
from miss_protocol.errors import Code
from miss_server.edge.addresses import TELLING
from miss_server.edge.admission import TurnedAway, Visitor
from miss_server.http.bodies import BODY_PATIENCE
from miss_server.http.problems import problem
from miss_server.http.services import Services
from miss_server.http.websocket import WebSocket

HEAD_PATIENCE = 10.0
"""Seconds for a request's headers, from the connection's start or the request's first byte."""
HEAD_MAX = 32_768
"""Bytes of a request's line and headers: the parser below has no limit of its own."""
BODY_GRACE = 2.0
"""Seconds that the call has to answer a slow body itself before the connection is cut."""
CUT_AFTER = 5.0
"""Seconds that a last answer has to get out."""
BY_PROXY, FORWARDED = "miss.by_proxy", "miss.forwarded"
"""In a call's scope: whether a proxy that we trust handed it in; whether anybody claims to have."""


class HttpConnection(HttpToolsProtocol):
    """One connection until it ends or becomes a WebSocket. `app_state` holds the `services`.

    Args:
        visitor: what `Admission` answered, if it was asked before TLS; else it is asked here.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        visitor: Visitor | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._services: Services = app_state["services"]
        self._visitor = visitor
        self._turned_away: TurnedAway | None = None
        self._by_proxy = False
        self._moved = False
        """The transport is another protocol's now, or gone."""
        self._ending = False
        """The last answer is given: what comes is thrown away."""
        self._unfinished = True
        """A request has begun or is waited for, and has not come to its end."""
        self._in_head = True
        self._head_size = 0
        self._body_size = 0
        self._began = 0.0
        self._deadline: asyncio.TimerHandle | None = None

    # --- what the event loop tells ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer, admission = self._peer, self._services.admission
        if self._visitor is None:
            answer = admission.enter(peer, self._cut, self.loop.time())
            if isinstance(answer, Visitor):
                self._visitor = answer
            elif admission.may_be_told():
                self._turned_away = answer
            else:
                self._moved = True
                self.connections.discard(self)
                transport.abort()
                return
        else:
            self._visitor.push_out = self._cut
        self._by_proxy = peer in admission.proxies
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        if not self._moved:
            self._moved = True
            if self._visitor is not None:
                self._services.admission.leave(self._visitor)
            if self._turned_away is not None:
                self._services.admission.told()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._ending:
            return
        if self._in_head:
            self._head_size += len(data)
        super().data_received(data)
        if self._moved or self._ending:
            return
        if self._in_head and self._head_size > HEAD_MAX:
            self._last_words(Code.TOO_LARGE, 431)
        elif not self._unfinished and self.timeout_keep_alive_task is None and self._answered:
            # Bytes that begin nothing (empty lines) have ended uvicorn's own waiting.
            self._unfinished = self._in_head = True
        self._watch()

    # --- what the parser tells --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unfinished = self._in_head = True
        self._unwatch()
        self._body_size = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_size = 0
        headers = self.headers
        if self._by_proxy:
            origin = self._services.admission.proxies.origin(self._peer, headers)
            self.scope["client"] = (origin.address, 0)
            if origin.scheme is not None:
                self.scope["scheme"] = origin.scheme
            if origin.host is not None:
                host = origin.host.encode("latin-1", "replace")
                headers[:] = [(n, host if n == b"host" else v) for n, v in headers]
        claimed = any(name in TELLING for name, _ in headers)
        cast(dict[str, Any], self.scope).update({BY_PROXY: self._by_proxy, FORWARDED: claimed})
        if claimed:
            headers[:] = [header for header in headers if header[0] not in TELLING]
        # For `signatures.signed`: who proves a key is no stranger.
        self.scope["state"]["visitor"] = self._visitor
        self._unwatch()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unfinished = False
        if self._visitor is not None and self._visitor.address is not None:
            self._services.admission.heard(self._visitor)
        super().on_message_complete()

    # --- what uvicorn does ------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._turned_away is not None:
            app = cast(Any, _telling(self._turned_away))
        super()._start_asgi_task(cycle, app)

    def handle_websocket_upgrade(self) -> None:
        self._unwatch()
        visitor, refusal = self._visitor, self._turned_away
        if visitor is not None and self._by_proxy:
            client = self.scope["client"]
            assert client is not None  # noqa: S101  # a proxy has an address
            refusal = self._services.admission.pass_on(visitor, client[0], self.loop.time())
        self._moved = True
        self.connections.discard(self)
        # uvicorn would write the request anew for the other to parse it again.
        websocket = WebSocket(
            self.config, self.server_state, self.app_state, visitor=visitor, turned_away=refusal
        )
        websocket.connection_made(self.transport)
        websocket.upgrade(self.scope["method"], self.url, self.headers)
        self.transport.set_protocol(websocket)

    def send_400_response(self, msg: str) -> None:
        self._last_words(Code.MALFORMED, 400)

    # --- deadlines --------------------------------------------------------------------------------

    @property
    def _peer(self) -> str:
        return self.client[0] if self.client else "unknown"

    @property
    def _answered(self) -> bool:
        cycle = cast(RequestResponseCycle | None, self.cycle)
        return cycle is None or cycle.response_complete

    def _watch(self) -> None:
        """See to it that what has begun also ends."""
        if not self._unfinished or self._moved:
            self._unwatch()
        elif self._deadline is None:
            self._began = self.loop.time()
            patience = HEAD_PATIENCE if self._in_head else BODY_PATIENCE + BODY_GRACE
            self._deadline = self.loop.call_later(patience, self._look)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _look(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._in_head:
            self._last_words(Code.MALFORMED, 408)
            return
        allowed = BODY_PATIENCE + BODY_GRACE + self._body_size / limits.SLOWEST_LINK
        remaining = self._began + allowed - self.loop.time()
        if remaining > 0:
            self._deadline = self.loop.call_later(remaining, self._look)
        else:
            self._cut()

    def _last_words(self, code: Code, status: int) -> None:
        """Answer a request that never became one, and end."""
        if self._turned_away is not None or not self._answered or self.transport.is_closing():
            self._cut()
            return
        answer = problem(Request({"type": "http", "headers": []}), code, status=status)
        lines = [f"HTTP/1.1 {status} {code.wire}".encode(), b"connection: close"]
        lines += [name + b": " + value for name, value in answer.raw_headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        self._ending = True
        self._unwatch()
        if self.transport.can_write_eof():
            # Were it closed while the peer still writes, the reset would take the answer from it.
            self.transport.write_eof()
        else:
            self.transport.close()
        self._deadline = self.loop.call_later(CUT_AFTER, self.transport.abort)

    def _cut(self) -> None:
        self.transport.abort()


def _telling(turned_away: TurnedAway) -> ASGIApp:
    """The application for a connection that is not let in."""

    async def tell(scope: Scope, receive: Receive, send: Send) -> None:
        answer = problem(Request(scope), turned_away.code, retry_after=turned_away.retry_after)
        answer.headers["connection"] = "close"
        await answer(scope, receive, send)

    return tell
