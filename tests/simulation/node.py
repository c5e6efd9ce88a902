"""One server process of the simulation: the relay's real parts over the stepped store.

Sockets are queues. What a frame says is looked at by the ledger when the server writes it, because
from then on its word is given.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, MutableMapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from miss_protocol import frames as f
from miss_protocol.api import Charter
from miss_protocol.codec import client_codec
from miss_protocol.errors import CloseCode, Code, Refused, RemoteError
from miss_protocol.ids import DeviceId
from miss_server.config import Settings
from miss_server.doorbell.interface import Listener
from miss_server.http.services import Services
from miss_server.http.signatures import Caller
from miss_server.http.socket import SocketEndpoint
from miss_server.http.throttle import Throttle
from miss_server.relay.delivery import Delivery
from miss_server.relay.hub import Hub
from miss_server.relay.keeper import Keeper
from miss_server.relay.login import Login
from miss_server.storage.messages import NotDurable
from tests.simulation.cast import DOMAIN, NOW
from tests.simulation.loop import VirtualLoop
from tests.simulation.storage import SteppedStore


class VirtualClock:
    """The server's clocks; `ahead_ms` is how wrong its wall clock is."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return NOW + round(self._loop.time() * 1000) + self.ahead_ms

    def steady(self) -> float:
        return self._loop.time()


class Doorbell:
    """Keeps each ring until the simulation lets it sound, or loses it."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.rings: deque[Collection[DeviceId]] = deque()
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def ring(self, devices: Collection[DeviceId]) -> None:
        if devices:
            self.rings.append(devices)

    def sound(self) -> None:
        """Let the oldest ring be heard."""
        devices = self.rings.popleft()
        for listener in self._listeners:
            self._loop.call_soon(listener, devices)


class Socket:
    """One connection: what is on its way each way, and what each end knows of its end."""

    def __init__(self, device: DeviceId) -> None:
        self.device = device
        self.up: deque[bytes] = deque()
        self.down: deque[bytes | CloseCode] = deque()
        self.client_gone = False
        self.server_gone = False
        self.dead = False
        """The server's process is gone, and this end with it."""
        self.on_word: Callable[[DeviceId, f.ServerFrame], None] = lambda device, frame: None
        self._inbound: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._inbound.put_nowait({"type": "websocket.connect"})
        self._codec = client_codec()

    async def receive(self) -> MutableMapping[str, Any]:
        """ASGI: the next thing that the server hears."""
        return await self._inbound.get()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """ASGI: what the server says."""
        if self.dead:
            return
        if message["type"] == "websocket.send":
            for raw in self._codec.split(message["bytes"]):
                self.on_word(self.device, self._codec.decode_frame(raw))
            if not self.client_gone:
                self.down.append(message["bytes"])
        elif message["type"] == "websocket.close":
            self.server_gone = True
            if not self.client_gone:
                self.down.append(CloseCode(message["code"]))

    def hear(self) -> None:
        """Let the server read the next message, or find that there will be none."""
        if self.up:
            self._inbound.put_nowait({"type": "websocket.receive", "bytes": self.up.popleft()})
        elif self.client_gone and not self.server_gone:
            self.server_gone = True
            self._inbound.put_nowait({"type": "websocket.disconnect"})


class Call:
    """A signed HTTP call on its way; the signature is taken as checked."""

    def __init__(self, device: DeviceId, task: asyncio.Task[Any]) -> None:
        self.device = device
        self._task = task

    @property
    def done(self) -> bool:
        """Whether the server has answered."""
        return self._task.done()

    def answer(self) -> bytes | RemoteError | None:
        """The reply's body, a refusal, or None if the server could not say."""
        if self._task.cancelled():
            return None
        error = self._task.exception()
        if error is None:
            return bytes(self._task.result().body)
        if isinstance(error, RemoteError):
            return error
        if isinstance(error, NotDurable):
            return None
        raise error


async def signed(request: Any) -> Caller:
    """Stands in for the check of the HTTP signature, which has tests of its own."""
    record = await request.app.state.services.messages.device(request.device)
    if record is None:
        raise Refused(Code.AUTH_FAILED)
    if record.revoked:
        raise Refused(Code.REVOKED)
    return Caller(record, request.body)


class Node:
    """A running process."""

    def __init__(self, path: Path, loop: VirtualLoop, clock: VirtualClock) -> None:
        self._loop = loop
        self.store = SteppedStore(path, loop)
        self.store.begin_life(now_ms=clock.now_ms())
        self.doorbell = Doorbell(loop)
        self.hub = Hub(self.store)
        self.doorbell.listen(self.hub.ring)
        self.keeper = Keeper(self.store, self.hub, self.doorbell, clock, sweep_every=5)
        services = Services(
            settings=Settings.model_validate({"domain": DOMAIN, "database": path}),
            charter=Charter("1", bytes(32), "", ""),
            messages=self.store,
            accounts=self.store,
            directory=self.store,
            doorbell=self.doorbell,
            hub=self.hub,
            delivery=Delivery(self.store, self.doorbell, clock),
            login=Login(self.store, clock, domain=DOMAIN, minimum_app={}),
            throttle=Throttle(enrolment_tries_per_hour=20),
            clock=clock,
        )
        self._app = SimpleNamespace(state=SimpleNamespace(services=services))
        self._endpoint = SocketEndpoint()
        self._tasks: list[asyncio.Task[Any]] = []

    def open(self, socket: Socket) -> None:
        """A client connects."""
        scope = {"app": self._app, "subprotocols": [f.MSGPACK]}
        self._run(self._endpoint(scope, socket.receive, socket.send))

    def call(
        self, handler: Callable[[Any], Any], device: DeviceId, body: bytes = b"", **more: Any
    ) -> Call:
        """A signed call begins."""
        request = SimpleNamespace(app=self._app, device=device, body=body, **more)
        return Call(device, self._run(handler(request)))

    def round(self, name: str) -> None:
        """One of the keeper's rounds begins."""
        self._run(self._quietly(getattr(self.keeper, name)))

    @staticmethod
    async def _quietly(work: Callable[[], Any]) -> None:
        with suppress(NotDurable):  # the keeper logs it and tries again
            await work()

    def _run(self, work: Any) -> asyncio.Task[Any]:
        self._tasks = [task for task in self._tasks if not task.done()]
        task: asyncio.Task[Any] = self._loop.start(work)
        self._tasks.append(task)
        return task

    def die(self) -> None:
        """End at once: nothing more is written, answered or told."""
        self.store.writer.dead = True
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.settle()
        for task in tasks:
            if not task.cancelled():
                task.exception()
        self.store.end()
