"""One device's connection in the generator: cheap enough for one core to fill the server.

It answers each WebSocket message with one, as the client library does: what came is acknowledged
together. Everything is checked that costs nothing: a frame out of place fails the run.
"""

import asyncio
import random
import ssl
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any, cast

import msgspec
from msgspec import UNSET
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from miss_protocol import frames as f
from miss_protocol.close_codes import CloseCode
from miss_protocol.digest import EMPTY
from miss_protocol.identity.login import sign_login
from miss_protocol.limits import TRANSPORT_MAX
from tests.bench.population import Peer
from tests.support.server import DOMAIN

LOGINS_AT_ONCE = 50
LINKS_PER_ADDRESS = 1_000
TRIES_MAX = 10
"""How often one device comes again that is sent away; a server that never lets it in fails the run."""
WAIT = 1.0
"""Seconds, spread, until it does, if the server named none."""

_decode = msgspec.msgpack.Decoder(list[f.ServerFrame]).decode
_encode = msgspec.msgpack.Encoder().encode
_APP = f.App("bench", "1", "bench")


class Link(WSListener):
    """A connection; `taken` is called with each message's frames and returns the answer's."""

    def __init__(self, peer: Peer, loop: asyncio.AbstractEventLoop) -> None:
        self.peer = peer
        self._loop = loop
        self.begin()
        self.position, self.digest, self.sn, self.epoch = 0, EMPTY, 0, b""
        self.transport: WSTransport | None = None
        self.taken: Callable[[Link, list[f.ServerFrame]], list[Any]] | None = None
        self.first: list[Any] = []
        """Frames that are said right after the welcome, before anything is acknowledged."""
        self.closing = False

    def begin(self) -> None:
        """Be ready for a connection; what the device knows of its mailbox stays."""
        self.live: asyncio.Future[None] = self._loop.create_future()
        """Done once the mailbox is drained; carries the exception if the connection failed."""
        self.over: asyncio.Future[None] = self._loop.create_future()
        self.come_again: float | None = None
        """Seconds after which the server that sent it away wants it to come again."""

    # --- picows -----------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            code = cast(
                "int | None", frame.get_close_code()
            )  # its stub knows the standard ones only
            if code == CloseCode.TRY_LATER:
                self.come_again = self.come_again or WAIT
            self._fail(f"closed with {code}")
            transport.disconnect()
            return
        try:
            self._take(_decode(frame.get_payload_as_bytes()))
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")
            raise

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._fail("disconnected")
        if not self.over.done():
            self.over.set_result(None)

    def _fail(self, why: str) -> None:
        if not self.closing and not self.over.done():
            self.over.set_exception(ConnectionError(why))
        if not self.live.done():
            self.live.set_exception(ConnectionError(why))

    # --- frames -----------------------------------------------------------------------------------

    def _take(self, frames: list[f.ServerFrame]) -> None:
        pongs = [f.Pong(frame.n) for frame in frames if type(frame) is f.Ping]
        if pongs:
            self.say(pongs)
            frames = [frame for frame in frames if type(frame) is not f.Ping]
        if self.live.done():
            if self.taken is not None:
                self.say(self.taken(self, frames))
            return
        rest: list[f.ServerFrame] = []
        for frame in frames:
            match frame:
                case f.Challenge():
                    self.say([self._hello(frame)])
                case f.Welcome():
                    self.epoch = frame.epoch
                    self.say(self.first)
                case f.Drained():
                    self.live.set_result(None)
                case f.Bye():
                    self.come_again = frame.retry_after
                case _:
                    rest.append(frame)
        if rest:
            if self.taken is None:
                raise ValueError(f"{type(rest[0]).__name__} that nobody expects")
            self.say(self.taken(self, rest))

    def _hello(self, challenge: f.Challenge) -> f.Hello:
        signature = sign_login(
            self.peer.signing_key, domain=DOMAIN, nonce=challenge.nonce, device=self.peer.device,
            subprotocol=f.MSGPACK,
        )  # fmt: skip
        return f.Hello(
            self.peer.device, signature, _APP, self.position, self.digest, self.sn, self.epoch, 1
        )

    def say(self, frames: list[Any]) -> None:
        """Write frames, encoded ones (`msgspec.Raw`) too, as one message."""
        if frames:
            assert self.transport is not None
            self.transport.send(WSMsgType.BINARY, _encode(frames))

    async def close(self) -> None:
        """Leave as a client does."""
        self.closing = True
        assert self.transport is not None
        self.transport.send_close(WSCloseCode.OK)
        await asyncio.wait([self.over])

    async def break_off(self) -> None:
        """Vanish, as a phone that loses its network (but the server is told by a reset)."""
        self.closing = True
        assert self.transport is not None
        self.transport.disconnect(False)
        await asyncio.wait([self.over])


async def connect(
    url: str, link: Link, *, source: str | None = None, tls: ssl.SSLContext | None = None
) -> Link:
    """Connect, from the address `source`, and log in; returns once the mailbox is drained."""
    where: dict[str, Any] = {} if source is None else {"local_addr": (source, 0)}
    await ws_connect(
        lambda: link, url, extra_headers={"Sec-WebSocket-Protocol": f.MSGPACK},
        max_frame_size=TRANSPORT_MAX, websocket_handshake_timeout=30, ssl_context=tls, **where,
    )  # fmt: skip
    await link.live
    return link


async def connect_all(url: str, peers: Sequence[Peer], *more: str) -> list[Link]:
    """Log everybody in, `LOGINS_AT_ONCE` at a time; with `more` URLs, at each in turn."""
    loop = asyncio.get_running_loop()
    links = [Link(peer, loop) for peer in peers]
    waiting = zip(links, cycle((url, *more)), strict=False)

    async def some() -> None:
        for link, place in waiting:
            await connect(place, link)

    await asyncio.gather(*(some() for _ in range(LOGINS_AT_ONCE)))
    return links


async def log_in(
    url: str,
    links: Sequence[Link],
    *,
    first: int = 0,
    at_once: int = LOGINS_AT_ONCE,
    tls: ssl.SSLContext | None = None,
) -> int:
    """Log devices in from as many addresses as a crowd of this size has: an address has ports for
    28,000 connections, and a server its caps. `first` is the number of the first link.

    Whom the server sends away for a moment comes again, as a client does; returns how often that was.
    """
    waiting = enumerate(links, first)
    away = 0

    async def some() -> None:
        nonlocal away
        for number, link in waiting:
            address = number // LINKS_PER_ADDRESS
            source = f"127.0.{1 + address // 250}.{1 + address % 250}"
            away += await _until_let_in(url, link, source, tls)

    await asyncio.gather(*(some() for _ in range(at_once)))
    return away


async def _until_let_in(url: str, link: Link, source: str, tls: ssl.SSLContext | None) -> int:
    """Connect, and again whenever the server says so; returns how often it did."""
    for away in range(TRIES_MAX):
        try:
            await connect(url, link, source=source, tls=tls)
        except ConnectionError:
            if link.come_again is None:
                raise
            await asyncio.wait([link.over])
            link.over.exception()  # the reason is known, and need not be told of again
            await asyncio.sleep(link.come_again * random.uniform(0.5, 1.5))
            link.begin()
        else:
            return away
    raise ConnectionError(f"sent away {TRIES_MAX} times")


async def close_all(links: Sequence[Link]) -> None:
    """Close every connection in order."""
    rest = iter(links)
    while some := list(islice(rest, LOGINS_AT_ONCE)):
        await asyncio.gather(*(link.close() for link in some))


class Answer:
    """Gathers what one received message asks to be acknowledged."""

    __slots__ = ("position", "receipts", "tick")

    def __init__(self) -> None:
        self.position: int | None = None
        self.tick: int | None = None
        self.receipts: list[msgspec.Raw] = []

    def ack(self, ref: int) -> list[Any]:
        """The `ack` frame that is due, if any; `ref` asks for an answer if receipts ride along."""
        if self.position is None and self.tick is None:
            return []
        return [
            f.Ack(
                UNSET if self.position is None else self.position,
                UNSET if self.tick is None else self.tick,
                tuple(self.receipts),  # type: ignore[arg-type]  # encoded ones
                ref if self.receipts else UNSET,
            )
        ]
