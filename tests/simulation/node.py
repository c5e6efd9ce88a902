"""One server process of the simulation: the relay's real parts over the stepped store.

Sockets are queues. What a frame says is looked at by the ledger when the server writes it, because
from then on its word is given.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

from miss_protocol import frames as f
from miss_protocol.api import Charter
from miss_protocol.codec import client_codec
from miss_protocol.errors import CloseCode, Code, Refused, RemoteError
from miss_protocol.identity import certificate as certificates
from miss_protocol.ids import DeviceId
from miss_server.app import admission_of
from miss_server.config import Settings
from miss_server.doorbell.interface import News
from miss_server.doorbell.memory import MemoryDoorbell
from miss_server.http.beginnings import Beginnings
from miss_server.http.counting import NodeCounts
from miss_server.http.services import Services
from miss_server.http.signatures import Caller
from miss_server.http.socket import Socket
from miss_server.http.throttle import Throttle
from miss_server.relay.delivery import Delivery
from miss_server.relay.hub import Hub
from miss_server.relay.keeper import Keeper
from miss_server.relay.login import Login
from miss_server.relay.sweep import Sweep
from miss_server.storage.messages import DeviceRecord, NotDurable, Row
from tests.simulation.cast import DOMAIN, NOW
from tests.simulation.loop import VirtualLoop


class VirtualClock:
    """The server's clocks; `ahead_ms` is how wrong its wall clock is."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return NOW + round(self._loop.time() * 1000) + self.ahead_ms

    def steady(self) -> float:
        return self._loop.time()


class Doorbell(MemoryDoorbell):
    """Keeps each ring until the simulation lets it sound, or loses it."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__(lambda: NOW)
        self._loop = loop
        self.rings: deque[Collection[DeviceId]] = deque()

    def ring(self, devices: Collection[DeviceId]) -> None:
        if devices:
            self.rings.append(devices)

    def sound(self) -> None:
        """Let the oldest ring be heard."""
        news = News(tuple(self.rings.popleft()))
        for listener in self._listeners:
            self._loop.call_soon(listener, news)


class Wire:
    """One connection: what is on its way each way, and what each end knows of its end."""

    full = False

    def __init__(self, device: DeviceId) -> None:
        self.device = device
        self.up: deque[bytes] = deque()
        self.down: deque[bytes | CloseCode] = deque()
        self.client_gone = False
        self.server_gone = False
        self.dead = False
        """The server's process is gone, and this end with it."""
        self.on_word: Callable[[DeviceId, f.ServerFrame], None] = lambda device, frame: None
        self.server: Socket | None = None
        self.loop: VirtualLoop
        self._reads = True
        self._codec = client_codec()

    # --- what the server's socket asks ------------------------------------------------------------

    def write(self, message: bytes) -> None:
        """What the server says."""
        if self.dead:
            return
        for raw in self._codec.split(message):
            self.on_word(self.device, self._codec.decode_frame(raw))
        if not self.client_gone:
            self.down.append(message)

    def close(self, code: CloseCode, reason: str) -> None:
        """The server says that it ends."""
        if self.dead:
            return
        self.server_gone = True
        if not self.client_gone:
            self.down.append(code)

    def abort(self) -> None:
        """The server lets go."""
        self.server_gone = True

    def heard(self) -> None:
        """The server got the hello."""

    def logged_in(self) -> None:
        """The server knows who this is."""

    def pause_reading(self) -> None:
        """The server reads nothing more for now."""
        self._reads = False

    def resume_reading(self) -> None:
        """It goes on."""
        self._reads = True

    # --- what the world does ----------------------------------------------------------------------

    def hear(self) -> None:
        """Let the server read the next message, or find that there will be none."""
        assert self.server is not None
        if self.up and self._reads:
            self.loop.call_soon(partial(self.server.take, self.up.popleft(), text=False))
        elif self.client_gone and not self.server_gone:
            self.server_gone = True
            self.loop.call_soon(self.server.lost)


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


async def signed(request: Any, *, introduced: Callable[[bytes], bytes] | None = None) -> Caller:
    """Stands in for the check of the HTTP signature, which has tests of its own."""
    record = await request.app.state.services.messages.device(request.device)
    if record is None:
        blob = introduced(request.body) if introduced else b""
        if not blob:
            raise Refused(Code.AUTH_FAILED)
        one = certificates.decode(blob)
        stranger = DeviceRecord(one.device, one.account, one.signing_key, False, False, 0)
        return Caller(stranger, request.body, known=False)
    if record.revoked:
        raise Refused(Code.REVOKED)
    return Caller(record, request.body)


class Elsewhere(Hub):
    """Stands for a node without the connections: it can only ring."""

    def hand_over(self, rows: Sequence[tuple[DeviceId, Row]]) -> list[DeviceId]:
        return [device for device, _ in rows]

    def hand_over_statuses(self, statuses: Sequence[tuple[DeviceId, f.Status]]) -> list[DeviceId]:
        return [device for device, _ in statuses]


class Node:
    """A running process."""

    def __init__(
        self, store: Any, loop: VirtualLoop, clock: VirtualClock, *, hands_over: bool
    ) -> None:
        self._loop = loop
        self.store = store
        self.doorbell = Doorbell(loop)
        self.hub = Hub(self.store)
        sweep = Sweep(self.store, self.hub)
        self.doorbell.listen(sweep.hear)
        self.keeper = Keeper(self.store, self.hub, self.doorbell, sweep, clock, sweep_every=5)
        settings = Settings.model_validate({"domain": DOMAIN, "database": "unused.sqlite"})
        throttle = Throttle(NodeCounts(), enrolment_tries_per_hour=20, rings_per_hour=20)
        services = Services(
            settings=settings,
            charter=Charter("1", bytes(32), "", ""),
            messages=self.store,
            accounts=self.store,
            directory=self.store,
            meeting=self.store,
            invitations=self.store,
            departures=self.store,
            standings=self.store,
            reports=self.store,
            attestations=self.store,
            organisations=self.store,
            recoveries=self.store,
            doorbell=self.doorbell,
            hub=self.hub,
            sweep=sweep,
            delivery=Delivery(
                self.store,
                self.hub if hands_over else Elsewhere(self.store),
                self.doorbell,
                clock,
            ),
            login=Login(
                self.store, clock, domain=DOMAIN, minimum_app={}, may_log_in=throttle.may_log_in
            ),
            throttle=throttle,
            clock=clock,
            admission=admission_of(settings),
            certificate=None,
            proofs=self.store,
            beginnings=Beginnings(self.store, clock),
        )
        self._services = services
        self._app = SimpleNamespace(state=SimpleNamespace(services=services))
        self._tasks: list[asyncio.Task[Any]] = []

    def open(self, wire: Wire) -> None:
        """A client connects."""
        wire.loop = self._loop
        wire.server = Socket(self._services, f.MSGPACK, wire)
        self._loop.call_soon(wire.server.open)

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
        begun = asyncio.all_tasks(self._loop)
        assert not begun, f"work began while the process ended: {begun}"
        self.store.end()
