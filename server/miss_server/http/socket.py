"""A device's socket: its frames, what they ask of the store, and the answers.

What comes in one message is handed to the store in order, without waiting for each outcome: group
commit settles them together. Nothing here is a coroutine but the login, which happens once.
"""

import asyncio
import os
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import structlog
from msgspec import UNSET

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.codec import server_codec
from miss_protocol.errors import CloseCode, Code, Refused
from miss_protocol.ids import DeviceId
from miss_protocol.server_session import (
    AckCame,
    HelloCame,
    NackCame,
    SendCame,
    ServerSession,
)
from miss_server.http.services import Services
from miss_server.observe import short
from miss_server.relay import connection as relay
from miss_server.relay.login import Turned
from miss_server.storage.messages import (
    AckLine,
    Acknowledged,
    NotDurable,
    SessionStart,
    Settled,
)

JOBS_MAX = 256
"""Frames of one connection that the store has not settled yet; until some are, nothing more is
read, so that a device that floods acknowledgements fills its own socket and not our memory."""
RECEIPTS_MAX = 512
"""The same for receipts, of which one frame brings hundreds: an acknowledgement makes room for rows
when it comes, so a device that takes them faster than they are deleted would pile them up here."""

_CODECS = {f.MSGPACK: server_codec(f.MSGPACK), f.JSON: server_codec(f.JSON)}

log = structlog.get_logger()


class Wire(relay.Wire, Protocol):
    """The transport, as a socket uses it."""

    def heard(self) -> None:
        """The peer's hello came; it is being checked."""
        ...

    def logged_in(self) -> None:
        """The peer is who it says it is."""
        ...

    def pause_reading(self) -> None:
        """Read nothing more for now."""
        ...

    def resume_reading(self) -> None:
        """Go on reading."""
        ...


class Socket:
    """One WebSocket with a subprotocol of ours. Call `open`, then `take` and at last `lost`."""

    __slots__ = (
        "_ack_line", "_gone", "_login", "_nonce", "_paused", "_receipts", "_services", "_subprotocol", "_unsettled", "_wire",
        "connection", "session",
    )  # fmt: skip

    def __init__(self, services: Services, subprotocol: f.Subprotocol, wire: Wire) -> None:
        self._services = services
        self._subprotocol = subprotocol
        self._wire = wire
        self._nonce = os.urandom(limits.NONCE_BYTES)
        self.session = ServerSession(_CODECS[subprotocol], now=services.clock.steady())
        self.connection = relay.Connection(
            self.session, wire, services.clock, self._left, self._nonce[:4].hex()
        )
        self._gone = False
        """The peer ended it, not we."""
        self._unsettled = 0
        self._receipts = 0
        """Of the acknowledgements among the unsettled frames."""
        self._paused = False
        self._ack_line = AckLine()
        self._login: asyncio.Task[None] | None = None

    # --- what the transport tells -----------------------------------------------------------------

    def open(self) -> None:
        """The handshake is done."""
        it = self._services
        it.hub.strangers.add(self.connection)
        self.session.challenge(f.Challenge(self._nonce, it.settings.domain, it.clock.now_ms()))
        self.connection.flush_now()  # it goes out with the answer to the upgrade

    def take(self, message: bytes, *, text: bool) -> None:
        """A WebSocket message came."""
        try:
            self._take(message, text=text)
        except Exception:
            log.exception("message failed", device=short(self.connection.device or b""))
            self._give_up()

    def lost(self) -> None:
        """The transport is gone."""
        self._gone = self.session.close_code is None
        self.connection.over()

    # --- frames -----------------------------------------------------------------------------------

    def _take(self, message: bytes, *, text: bool) -> None:
        if self.session.close_code is not None:
            return  # it came while the close was on its way (rule 3 of `states`)
        if text is not (self._subprotocol == f.JSON):
            self.session.error(Code.MALFORMED)
            self.connection.end(CloseCode.PROTOCOL)
            return
        # Nacks go into one transaction with the ack that comes behind them: were only the ack
        # stored, the row would be gone and its sender never hear that it was not read.
        nacks: list[f.Nack] = []
        for event in self.session.receive(message, self._services.clock.steady()):
            match event:
                case SendCame(send):
                    self._send(send)
                case AckCame(ack):
                    if ack.tick is not UNSET:
                        self.connection.ticks_acked = max(self.connection.ticks_acked, ack.tick)
                    self._acknowledge(ack, nacks)
                    nacks = []
                case NackCame(nack):
                    nacks.append(nack)
                case HelloCame(hello):
                    self._wire.heard()
                    self._login = asyncio.get_running_loop().create_task(self._greet(hello))
        if nacks:
            self._acknowledge(None, nacks)
        if self.session.has_data or self.session.close_code is not None:
            self.connection.flush()

    def _begun(self, ack: f.Ack | None = None) -> None:
        self._unsettled += 1
        self._receipts += _receipts_of(ack)
        if self._full and not self._paused:
            self._paused = True
            self._wire.pause_reading()

    def _done(self, ack: f.Ack | None = None) -> None:
        self._unsettled -= 1
        self._receipts -= _receipts_of(ack)
        if self._paused and not self._full:
            self._paused = False
            # Not from within: it takes what had come at once, in the middle of an answer.
            asyncio.get_running_loop().call_soon(self._read_on)

    @property
    def _full(self) -> bool:
        return self._unsettled >= JOBS_MAX or self._receipts >= RECEIPTS_MAX

    def _read_on(self) -> None:
        if not self._paused:
            self._wire.resume_reading()

    def _give_up(self) -> None:
        # Nothing was answered, so nothing was promised: the device connects and asks again.
        self.connection.end(CloseCode.TRY_LATER)

    # --- login ------------------------------------------------------------------------------------

    async def _greet(self, hello: f.Hello) -> None:
        # Of this task alone: whatever it says can be followed by it.
        structlog.contextvars.bind_contextvars(connection=self.connection.name)
        try:
            await self._let_in(hello)
        except NotDurable as error:
            log.error("login not possible now", device=short(hello.device), error=str(error))
            self._give_up()
        except Exception:
            log.exception("login failed", device=short(hello.device))
            self._give_up()
        finally:
            self._login = None

    async def _let_in(self, hello: f.Hello) -> None:
        it, connection = self._services, self.connection
        start = await it.login.check(hello, nonce=self._nonce, subprotocol=self._subprotocol)
        it.tally.logins[start.code.wire if isinstance(start, Turned) else "ok"] += 1
        if isinstance(start, SessionStart) and start.epoch_changed:
            # Before anything else, also if this device hung up meanwhile: nobody else would tell.
            log.warning(
                "the database is older than a device: new epoch", device=short(hello.device)
            )
            it.hub.end_all(CloseCode.TRY_LATER)
            it.doorbell.restored()
        if self.session.close_code is not None:
            return
        if isinstance(start, Turned):
            self.session.error(start.code, about="hello", reason=start.reason)
            connection.end(start.close)
            return
        connection.device = DeviceId(hello.device)
        connection.account = start.account
        connection.generation = start.generation
        connection.epoch = start.epoch
        connection.ticks_acked = start.ticks_after
        self.session.welcome(
            it.login.welcome(start),
            resume_after=start.resume_after,
            ticks_after=start.ticks_after,
            window=start.window,
        )
        self._wire.logged_in()
        it.hub.join(connection)
        it.doorbell.began(connection.device, start.generation)
        connection.flush()
        log.info(
            "connected",
            connection=connection.name,
            device=short(connection.device),
            position=start.resume_after,
        )

    def _left(self) -> None:
        """The connection has ended: note it, so that a later one is known to be newer."""
        it, connection = self._services, self.connection
        it.hub.leave(connection)
        code = self.session.close_code
        why = "gone" if self._gone or code is None else code.name.lower()
        it.hub.tally.closes[why] += 1
        if connection.device is None:
            return
        log.info("left", connection=connection.name, device=short(connection.device), why=why)
        try:
            noting = it.messages.end_session(
                connection.device,
                connection.generation,
                window=self.session.window,
                now_ms=it.clock.now_ms(),
            )
        except NotDurable as error:
            log.error("end of a session not noted", error=str(error))
            return
        noting.add_done_callback(_noted)

    # --- sends ------------------------------------------------------------------------------------

    def _send(self, send: f.Send) -> None:
        device = self.connection.device
        assert device is not None  # noqa: S101  # the session let a send through
        self._begun()
        self._services.delivery.accept(device, self.connection.generation, send, self._settled)

    def _settled(self, settled: Settled) -> None:
        self._done()
        if settled.reply is None:
            self._end_as_old()
        elif self.connection.live:
            self.session.answer(settled.reply)
            self.connection.flush()

    # --- acknowledgements -------------------------------------------------------------------------

    def _acknowledge(self, ack: f.Ack | None, nacks: list[f.Nack]) -> None:
        device, generation = self.connection.device, self.connection.generation
        assert device is not None  # noqa: S101  # the session let an ack through
        try:
            storing = self._services.delivery.acknowledge(
                device, generation, ack, nacks, line=self._ack_line
            )
        except Refused as refused:
            self._answer_ack(ack, (refused.code,))
            if nacks:
                self._acknowledge(None, nacks)  # they go on without it
        except NotDurable:
            self.connection.end(CloseCode.TRY_LATER)
        else:
            self._begun(ack)
            storing.add_done_callback(partial(self._stored, ack))

    def _stored(self, ack: f.Ack | None, storing: asyncio.Future[Acknowledged]) -> None:
        error = storing.exception()
        if error is None:
            stored = storing.result()
            if stored.stale:
                # Nothing was stored, so nothing may be called durable: the receipts would be lost.
                self._end_as_old()
            self._answer_ack(ack, stored.problems)
        elif isinstance(error, NotDurable):
            # Nothing is lost: the rows stay, and the device acknowledges again at its next login.
            self.connection.end(CloseCode.TRY_LATER)
        else:
            log.error("ack failed", device=short(self.connection.device or b""), exc_info=error)
            self._give_up()
        self._done(ack)

    def _answer_ack(self, ack: f.Ack | None, problems: Sequence[Code]) -> None:
        connection = self.connection
        if not connection.live:
            return
        ref = ack.ref if ack is not None and ack.ref is not UNSET else None
        for code in dict.fromkeys(problems):
            self.session.error(code, about="ack", ref=ref)
        if ref is not None and not problems:
            self.session.acked(ref)
        self._services.hub.acknowledged(connection)
        connection.flush()

    def _end_as_old(self) -> None:
        """A newer session of this device has begun. Only if it lives on a connection does this
        client stop: else (the newer one broke off at once) it must come back."""
        replaced = self._services.hub.replaced(self.connection)
        self.connection.end(CloseCode.REPLACED if replaced else CloseCode.TRY_LATER)


def _receipts_of(ack: f.Ack | None) -> int:
    return 0 if ack is None else len(ack.receipts)


def _noted(noting: asyncio.Future[None]) -> None:
    error = noting.exception()
    if error is not None:
        log.error("end of a session not noted", error=str(error))
