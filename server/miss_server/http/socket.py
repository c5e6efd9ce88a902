"""The WebSocket at `/v1/ws`: plain ASGI around `ServerSession`, because it is the hot path.

One coroutine reads; answers are written by the connection's own task. What comes in one message is
handed to the store in order, without waiting for each outcome: group commit settles them together.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

import structlog
from msgspec import UNSET

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.codec import server_codec
from miss_protocol.errors import CloseCode, Code, Refused
from miss_protocol.ids import DeviceId
from miss_protocol.server_session import (
    AckCame,
    Event,
    HelloCame,
    NackCame,
    SendCame,
    ServerSession,
)
from miss_server.http.services import Services
from miss_server.observe import short
from miss_server.relay.connection import Connection
from miss_server.relay.login import Turned
from miss_server.storage.messages import Acknowledged, NotDurable, SessionStart

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JOBS_MAX = 256
"""Frames of one connection that the store has not settled yet; until some are, nothing more is
read, so that a device that floods acknowledgements fills its own socket and not our memory."""

log = structlog.get_logger()


class SocketEndpoint:
    """The ASGI application of the socket route."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        services: Services = scope["app"].state.services
        await receive()  # websocket.connect
        subprotocol = _choose(scope.get("subprotocols", []))
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        if subprotocol is None:
            # Accepted first, so that a browser sees the code and not a bare failure.
            await send(
                {"type": "websocket.close", "code": CloseCode.PROTOCOL, "reason": "subprotocol"}
            )
            return
        if services.hub.draining:
            await send({"type": "websocket.close", "code": CloseCode.DRAINING})
            return
        await _Socket(services, subprotocol, receive, send).run()


def _choose(offered: list[str]) -> f.Subprotocol | None:
    for name in offered:
        if name == f.MSGPACK:
            return f.MSGPACK
        if name == f.JSON:
            return f.JSON
    return None


class _Socket:
    def __init__(
        self, services: Services, subprotocol: f.Subprotocol, receive: Receive, send: Send
    ) -> None:
        self.services = services
        self.subprotocol = subprotocol
        self._receive = receive
        self._send = send
        self._text = subprotocol == f.JSON
        self._nonce = os.urandom(limits.NONCE_BYTES)
        session = ServerSession(server_codec(subprotocol), now=services.clock.steady())
        self.session = session
        self.connection = Connection(session, self._write, self._close, services.clock)
        self._jobs: set[asyncio.Task[None]] = set()
        self._nacking = asyncio.Lock()

    async def run(self) -> None:
        hub, clock = self.services.hub, self.services.clock
        hub.strangers.add(self.connection)
        self.session.challenge(
            f.Challenge(self._nonce, self.services.settings.domain, clock.now_ms())
        )
        self.connection.flush()
        ended = asyncio.create_task(self.connection.ended.wait())
        try:
            while not ended.done():
                reading = asyncio.ensure_future(self._receive())
                await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    break
                message = reading.result()
                if message["type"] == "websocket.disconnect":
                    break
                self._take(message)
                while len(self._jobs) >= JOBS_MAX and not ended.done():
                    await asyncio.wait({*self._jobs, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            self.session.close(CloseCode.TRY_LATER)
            hub.leave(self.connection)
            self.connection.ended.set()
            await self._say_goodbye()

    def _take(self, message: Message) -> None:
        if self.session.close_code is not None:
            return  # it came while the close was on its way (rule 3 of `states`)
        data = message.get("text") if self._text else message.get("bytes")
        if data is None:
            self.session.error(Code.MALFORMED)
            self.connection.end(CloseCode.PROTOCOL)
            return
        raw = data.encode() if isinstance(data, str) else data
        # Nacks go into one transaction with the ack that comes behind them: were only the ack
        # stored, the row would be gone and its sender never hear that it was not read.
        nacks: list[f.Nack] = []
        for event in self.session.receive(raw, self.services.clock.steady()):
            if isinstance(event, NackCame):
                nacks.append(event.nack)
            elif isinstance(event, AckCame):
                self._act_on_ack(event.ack, nacks)
                nacks = []
            else:
                self._act(event)
        if nacks:
            self._spawn(self._acknowledge_in_order(None, nacks))
        self.connection.flush()

    def _act(self, event: Event) -> None:
        match event:
            case HelloCame(hello):
                self._spawn(self._login(hello))
            case SendCame(send):
                self._spawn(self._settle(send))

    def _act_on_ack(self, ack: f.Ack, nacks: list[f.Nack]) -> None:
        if ack.tick is not UNSET:
            self.connection.ticks_acked = max(self.connection.ticks_acked, ack.tick)
        self._spawn(self._acknowledge_in_order(ack, nacks))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            # Nothing was answered, so nothing was promised: the device connects and asks again.
            log.exception("frame failed", device=short(self.connection.device or b""))
            self.connection.end(CloseCode.TRY_LATER)

    # --- what events ask for ----------------------------------------------------------------------

    async def _login(self, hello: f.Hello) -> None:
        it, connection = self.services, self.connection
        start = await it.login.check(hello, nonce=self._nonce, subprotocol=self.subprotocol)
        if isinstance(start, SessionStart) and start.epoch_changed:
            # Before anything else, also if this device hung up meanwhile: nobody else would tell.
            log.warning(
                "the database is older than a device: new epoch", device=short(hello.device)
            )
            it.hub.end_all(CloseCode.TRY_LATER)
        if self.session.close_code is not None:
            return
        if isinstance(start, Turned):
            self.session.error(start.code, about="hello")
            connection.end(start.close)
            return
        connection.device = DeviceId(hello.device)
        connection.account = start.account
        connection.generation = start.generation
        connection.ticks_acked = start.ticks_after
        self.session.welcome(
            it.login.welcome(start),
            resume_after=start.resume_after,
            ticks_after=start.ticks_after,
            window=start.window,
        )
        it.hub.join(connection)
        connection.flush()
        log.info("connected", device=short(connection.device), position=start.resume_after)

    async def _settle(self, send: f.Send) -> None:
        connection = self.connection
        assert connection.device is not None  # noqa: S101  # the session let a send through
        settled = await self.services.delivery.accept(
            connection.device, connection.generation, send
        )
        if settled.reply is None:
            self._end_as_old()
        elif connection.live:
            self.session.answer(settled.reply)
            connection.flush()

    async def _acknowledge_in_order(self, ack: f.Ack | None, nacks: list[f.Nack]) -> None:
        # An ack that is stored although the nack before it was not deletes the row all the same.
        # Receipts need no order: a late one still replaces the server's own word.
        if not nacks and not self._nacking.locked():
            await self._acknowledge(ack, nacks)
            return
        async with self._nacking:
            if self.connection.live:
                await self._acknowledge(ack, nacks)

    async def _acknowledge(self, ack: f.Ack | None, nacks: list[f.Nack]) -> None:
        connection = self.connection
        assert connection.device is not None  # noqa: S101  # the session let an ack through
        problems: list[Code] = []
        stored = Acknowledged()
        try:
            stored = await self.services.delivery.acknowledge(
                connection.device, connection.generation, ack, nacks
            )
            problems.extend(stored.problems)
        except Refused as refused:
            problems.append(refused.code)
            if nacks:
                self._spawn(self._acknowledge(None, nacks))
        except NotDurable:
            # Nothing is lost: the rows stay, and the device acknowledges again at its next login.
            connection.end(CloseCode.TRY_LATER)
            return
        if stored.stale:
            # Nothing was stored, so nothing may be called durable: the receipts would be lost.
            self._end_as_old()
        if not connection.live:
            return
        ref = ack.ref if ack is not None and ack.ref is not UNSET else None
        for code in dict.fromkeys(problems):
            self.session.error(code, about="ack", ref=ref)
        if ref is not None and not problems:
            self.session.acked(ref)
        self.services.hub.ring([connection.device])
        connection.flush()

    def _end_as_old(self) -> None:
        """A newer session of this device has begun. Only if it lives on a connection does this
        client stop: else (the newer one broke off at once) it must come back."""
        replaced = self.services.hub.replaced(self.connection)
        self.connection.end(CloseCode.REPLACED if replaced else CloseCode.TRY_LATER)

    # --- the socket -------------------------------------------------------------------------------

    async def _write(self, message: bytes) -> None:
        if self._text:
            await self._send({"type": "websocket.send", "text": message.decode()})
        else:
            await self._send({"type": "websocket.send", "bytes": message})

    async def _close(self, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def _say_goodbye(self) -> None:
        if self.connection.device is None:
            return
        try:
            await self.services.messages.end_session(
                self.connection.device,
                self.connection.generation,
                window=self.session.window,
                now_ms=self.services.clock.now_ms(),
            )
        except NotDurable as error:
            log.error("end of a session not noted", error=str(error))
