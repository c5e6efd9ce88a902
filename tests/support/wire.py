"""A small raw client for tests of the server: it speaks the protocol and nothing more.

Bodies and wraps are opaque random bytes in the right form, because the server cannot tell them from
real ones; keys, certificates, rosters and signatures are real. What is sent can be wrong in any way:
`Line.put` writes frames past the session's checks, `Line.raw` writes anything.
"""

import asyncio
import base64
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import httpx2
import msgspec
from nacl.signing import SigningKey
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from miss_protocol import api
from miss_protocol import client_session as events
from miss_protocol import frames as f
from miss_protocol.codec import client_codec
from miss_protocol.digest import EMPTY
from miss_protocol.identity import charter
from miss_protocol.identity.login import sign_login
from miss_protocol.identity.receipts import Receipt, ReceiptState, sign_receipt
from miss_protocol.ids import AccountAddress, DeviceId, MessageId, new_address
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.sqlite.store import SqliteStore
from tests.support.devices import Person
from tests.support.mailing import opaque_body, opaque_wrap
from tests.support.signing import Signing, sign

PATIENCE = 60.0
"""Seconds after which a test stops waiting for an event: never reached by a passing one."""
APP = f.App("test", "1.0", "linux")

AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Whose certificates are believed: none, until a test of TLS adds its own authority. Reading the
machine's would take longer than most tests."""

E = TypeVar("E")


class Server(Protocol):
    """What a test must know of a running server."""

    url: str
    domain: str
    database: Path

    @property
    def socket_url(self) -> str:
        """The URL of the WebSocket."""
        ...


def now_ms() -> int:
    """The clock of the devices: this machine's, as the server's is."""
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def beside(server: Server) -> AsyncIterator[SqliteStore | PostgresStore]:
    """The server's database, opened beside it as an admin command does."""
    dsn = getattr(server, "dsn", "")
    store = PostgresStore(Options(dsn)) if dsn else SqliteStore(server.database)
    store.open()
    try:
        yield store
    finally:
        await store.close()


async def new_account(
    server: Server, *, person: str | None = None, ttl_ms: int = 600_000
) -> tuple[AccountAddress, str]:
    """Open an account and make an enrolment code for it."""
    code = base64.b32encode(os.urandom(10)).decode()
    async with beside(server) as store:
        account = await store.create(
            person, "Dr Fictif", new_address(os.urandom(16), server.domain), now_ms=now_ms()
        )
        await store.add_code(account, code, expires_ms=now_ms() + ttl_ms, now_ms=now_ms())
    return account, code


def json_problem(answer: httpx2.Response) -> api.Problem:
    """The problem document of a refused call."""
    assert answer.headers["content-type"] == "application/problem+json", answer.content
    return msgspec.json.decode(answer.content, type=api.Problem)


def code_of(answer: httpx2.Response) -> str:
    """The code of a refused call; its HTTP status must be the document's."""
    problem = json_problem(answer)
    assert problem.status == answer.status_code
    return problem.code


@dataclass
class Device:
    """A device of a person: its keys, and what it would keep in its store."""

    server: Server
    person: Person
    index: int = 0
    position: int = 0
    digest: bytes = EMPTY
    epoch: bytes = b""
    sn: int = 0
    app: f.App = APP

    @property
    def id(self) -> DeviceId:
        """The device's id."""
        return self.person.devices[self.index].certificate.device

    @property
    def key(self) -> SigningKey:
        """The device's signing key."""
        return self.person.devices[self.index].signing_key

    # --- HTTP -------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        signing: Signing | None = Signing(),  # noqa: B008  # never changed
        headers: dict[str, str] | None = None,
    ) -> httpx2.Request:
        """A signed request, not sent yet; bytes as `body` are taken as they are."""
        content = body if isinstance(body, bytes) else b"" if body is None else encode(body)
        request = httpx2.Request(
            method, self.server.url + path, content=content or None, headers=headers
        )
        if signing is not None:
            sign(request, content, self.id, self.key, signing)
        return request

    async def call(
        self, method: str, path: str, body: object = None, **how: Any
    ) -> httpx2.Response:
        """Make one call."""
        return await exchange(self.request(method, path, body, **how))

    async def result(self, method: str, path: str, body: object, kind: type[E]) -> E:
        """Make a call that must succeed; returns its answer as a `kind`."""
        answer = await self.call(method, path, body)
        assert answer.is_success, answer.content
        return msgspec.json.decode(answer.content, type=kind)

    # --- frames -----------------------------------------------------------------------------------

    def hello(self, challenge: f.Challenge, subprotocol: str = f.MSGPACK, **fields: Any) -> f.Hello:
        """The hello that answers a challenge."""
        values: dict[str, Any] = {
            "device": self.id,
            "signature": sign_login(
                self.key,
                domain=self.server.domain,
                nonce=challenge.nonce,
                device=self.id,
                subprotocol=subprotocol,
            ),
            "app": self.app,
            "acked": self.position,
            "digest": self.digest,
            "sn": self.sn,
            "epoch": self.epoch,
            "roster": self.person.roster.version,
        }
        return f.Hello(**(values | fields))

    def send(self, *people: Person, sn: int | None = None, **fields: Any) -> f.Send:
        """A send to every device of `people` and to the sender's other devices."""
        if sn is None:
            self.sn += 1
            sn = self.sn
        accounts = [self.person, *people]
        values: dict[str, Any] = {
            "sn": sn,
            "id": os.urandom(16),
            "at": now_ms(),
            "body": opaque_body(),
            "wraps": tuple(
                f.DeviceWrap(entry.device, opaque_wrap())
                for person in accounts
                for entry in person.roster.entries
                if entry.device != self.id
            ),
            "rosters": tuple(f.RosterUsed(p.account, p.roster.version) for p in accounts),
        }
        return f.Send(**(values | fields))

    def receipt(
        self, row: f.Deliver, state: ReceiptState = ReceiptState.DELIVERED, **fields: Any
    ) -> Receipt:
        """This device's signed word on a row."""
        values: dict[str, Any] = {
            "message": MessageId(row.id),
            "sender_device": DeviceId(row.device),
            "recipient_device": self.id,
            "state": state,
            "at_ms": now_ms(),
        }
        return sign_receipt(self.key, **(values | fields))

    # --- socket -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def line(
        self, subprotocol: f.Subprotocol = f.MSGPACK, *, narrow: bool = False
    ) -> AsyncIterator["Line"]:
        """A connection that has not said hello; `challenge` is already there."""
        line = await Line.open(self, subprotocol, narrow=narrow)
        try:
            yield line
        finally:
            await line.ws.close()

    @asynccontextmanager
    async def online(
        self, subprotocol: f.Subprotocol = f.MSGPACK, *, narrow: bool = False
    ) -> AsyncIterator["Line"]:
        """A connection that is logged in."""
        async with self.line(subprotocol, narrow=narrow) as line:
            await line.log_in()
            yield line


@dataclass
class Line:
    """One WebSocket connection of a device."""

    device: Device
    ws: ClientConnection
    session: events.ClientSession
    challenge: f.Challenge
    seen: list[events.Event] = field(default_factory=list)
    """Events that came and that nobody has asked for yet, in order."""
    pongs: list[int] = field(default_factory=list)

    @classmethod
    async def open(
        cls, device: Device, subprotocol: f.Subprotocol = f.MSGPACK, *, narrow: bool = False
    ) -> "Line":
        """Connect and wait for the challenge. `narrow`: keep hardly anything that nobody reads."""
        url = urlsplit(device.server.url)
        raw = socket.socket()
        if narrow:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(raw, (url.hostname, url.port))
        except OSError:
            raw.close()
            raise
        ws = await connect(
            device.server.socket_url,
            sock=raw,
            ssl=AUTHORITIES if url.scheme == "https" else None,
            subprotocols=[Subprotocol(subprotocol)],
            compression=None,
            ping_interval=None,
            max_size=None,
            max_queue=1 if narrow else 1024,
        )
        state = events.ClientSession(
            client_codec(subprotocol), position=device.position, digest=device.digest
        )
        line = cls(device, ws, state, f.Challenge(bytes(32), "", 0))
        line.challenge = (await line.next(events.Challenged)).challenge
        return line

    async def log_in(self, **fields: Any) -> f.Welcome:
        """Say hello and wait for the welcome."""
        await self.greet(**fields)
        welcome = (await self.next(events.Welcomed)).welcome
        self.device.epoch = welcome.epoch
        return welcome

    async def greet(self, **fields: Any) -> None:
        """Say hello."""
        subprotocol = self.session.codec.subprotocol
        self.session.hello(self.device.hello(self.challenge, subprotocol, **fields))
        await self.flush()

    # --- writing ----------------------------------------------------------------------------------

    async def raw(self, message: bytes | str) -> None:
        """Write any WebSocket message."""
        await self.ws.send(message)

    async def put(self, *frames: f.Frame) -> None:
        """Write frames as one message, past the session's checks."""
        data = self.session.codec.encode(list(frames))
        await self.ws.send(data.decode() if self.session.codec.text else data)

    async def flush(self) -> None:
        """Write what the session has to say."""
        for message in self.session.data_to_send():
            await self.ws.send(message.decode() if self.session.codec.text else message)

    async def ack(self, *, receipts: Sequence[Receipt] = (), **fields: Any) -> None:
        """Acknowledge everything that was read, and wait until that is durable."""
        ref = int.from_bytes(os.urandom(4), "big")
        await self.put(
            f.Ack(
                **({"position": self.session.position} | fields), receipts=tuple(receipts), ref=ref
            )
        )
        assert (await self.next(events.AckStored)).ref == ref
        self.device.position, self.device.digest = self.session.position, self.session.digest

    async def settle(self, send: f.Send) -> f.Sent | f.Refused | f.RetrySend:
        """Send and wait for this send's answer."""
        await self.put(send)
        return await self.answer(send.sn)

    async def answer(self, sn: int) -> f.Sent | f.Refused | f.RetrySend:
        """Wait for a send's answer; answers come in the order of the sends."""
        event: events.Settled | events.RetryWanted = await self.next(
            events.Settled, events.RetryWanted
        )
        assert event.reply.sn == sn
        return event.reply

    # --- reading ----------------------------------------------------------------------------------

    async def next(self, *kinds: type[E], answer_pings: bool = True) -> E:
        """The next event of one of these kinds; others wait in `seen`."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for place, event in enumerate(self.seen):
                    if isinstance(event, kinds):
                        del self.seen[place]
                        return event
                await self.read(answer_pings=answer_pings)

    async def read(self, *, answer_pings: bool = True) -> None:
        """Take one message."""
        message = await self.ws.recv()
        data = message.encode() if isinstance(message, str) else message
        for raw in self.session.codec.split(data):
            frame = self.session.codec.decode_frame(raw)
            if isinstance(frame, f.Pong):
                self.pongs.append(frame.n)
        self.seen += self.session.receive(data)
        if answer_pings:
            await self.flush()
        else:
            self.session.data_to_send()

    async def deliveries(self, count: int) -> list[f.Deliver]:
        """The next `count` messages."""
        return [(await self.next(events.Delivered)).deliver for _ in range(count)]

    async def error(self) -> f.Error:
        """The next refusal of a frame."""
        return (await self.next(events.ErrorTold)).error

    async def caught_up(self) -> int:
        """Wait for the end of the catch-up; returns its position."""
        return (await self.next(events.CaughtUp)).position

    async def ping(self, n: int = 7) -> None:
        """Show that the connection goes on: a ping and its pong."""
        await self.put(f.Ping(n))
        async with asyncio.timeout(PATIENCE):
            while n not in self.pongs:
                await self.read()
        self.pongs.remove(n)

    async def closed(self) -> int:
        """Wait until the server closes; returns the close code."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    await self.read(answer_pings=False)
        except ConnectionClosed as end:
            if end.rcvd is None:
                raise AssertionError("the connection broke off without a close") from end
            return end.rcvd.code


# --- calls without a device ------------------------------------------------------------------------


def encode(body: object) -> bytes:
    """A JSON body."""
    return msgspec.json.encode(body)


async def exchange(request: httpx2.Request) -> httpx2.Response:
    """Send a request as it is."""
    async with httpx2.AsyncClient(timeout=PATIENCE, verify=AUTHORITIES) as client:
        return await client.send(request)


async def open_call(
    server: Server,
    method: str,
    path: str,
    body: object = None,
    headers: dict[str, str] | None = None,
) -> httpx2.Response:
    """Make an unsigned call."""
    content = body if isinstance(body, bytes) else None if body is None else encode(body)
    return await exchange(
        httpx2.Request(method, server.url + path, content=content, headers=headers)
    )


async def server_info(server: Server) -> api.ServerInfo:
    """What the server says of itself."""
    answer = await open_call(server, "GET", "/v1/server")
    return msgspec.json.decode(answer.content, type=api.ServerInfo)


def charter_signed(person: Person, shown: api.Charter, index: int = 0) -> api.CharterSigned:
    """The charter's acceptance by a device."""
    endpoint = person.devices[index]
    text_hash = charter.charter_hash(shown.en + "\n" + shown.fr)
    accepted = charter.accept(
        endpoint.signing_key,
        endpoint.certificate,
        version=shown.version,
        text_hash=text_hash,
        at_ms=now_ms(),
    )
    return api.CharterSigned(shown.version, text_hash, accepted.at_ms, accepted.signature)


async def enrol_body(server: Server, person: Person, code: str, prekeys: int = 3) -> api.Enrol:
    """What a person's first device sends to be enrolled."""
    first, now = person.device, now_ms()
    keys = [*first.new_prekeys(prekeys, now_ms=now), first.new_last_resort(now_ms=now)]
    return api.Enrol(
        code,
        person.roster.encode(),
        tuple(key.encode() for key in keys),
        charter_signed(person, (await server_info(server)).charter),
        APP,
    )


async def enrolled(server: Server, *, prekeys: int = 3, person: str | None = None) -> Device:
    """A new account with one device."""
    account, code = await new_account(server, person=person)
    someone = Person(account)
    answer = await open_call(
        server, "POST", "/v1/enrolment", await enrol_body(server, someone, code, prekeys)
    )
    assert answer.is_success, answer.content
    return Device(server, someone)


async def further(device: Device, *, approve: bool = False) -> Device:
    """A further device of the same person, approved by the first."""
    device.person.add_device(approve=approve)
    await publish(device)
    return Device(device.server, device.person, len(device.person.devices) - 1)


async def publish(device: Device) -> None:
    """Propose the person's roster."""
    answer = await device.call(
        "POST", "/v1/rosters", api.RosterProposed(device.person.roster.encode())
    )
    assert answer.is_success, answer.content
