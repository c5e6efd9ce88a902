"""Puts the parts together: the only place that picks implementations."""

import asyncio
import gc
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import FrameType

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from miss_protocol.errors import RemoteError
from miss_server.charter import load_charter
from miss_server.config import Settings
from miss_server.doorbell.memory import MemoryDoorbell
from miss_server.http.problems import (
    on_fault,
    on_gone,
    on_no_route,
    on_not_durable,
    on_remote_error,
)
from miss_server.http.routes import routes
from miss_server.http.services import Services
from miss_server.http.throttle import Throttle
from miss_server.http.websocket import WebSocket
from miss_server.relay.clock import Clock, SystemClock
from miss_server.relay.delivery import Delivery
from miss_server.relay.hub import Hub
from miss_server.relay.keeper import Keeper
from miss_server.relay.login import Login
from miss_server.relay.sweep import Sweep
from miss_server.storage.messages import NotDurable
from miss_server.storage.sqlite.store import ServeLock, SqliteStore, prepare

TCP_USER_TIMEOUT_MS = 20_000
"""The kernel gives up a peer that acknowledges nothing for so long; uvicorn's pings do not."""

log = structlog.get_logger()


class ListenError(Exception):
    """The address cannot be listened on; the text is the system's."""


def build(settings: Settings, store: SqliteStore, clock: Clock) -> Starlette:
    """The application over an open store."""
    hub, doorbell = Hub(store), MemoryDoorbell(clock.now_ms)
    sweep = Sweep(store, hub)
    doorbell.listen(sweep.hear)
    keeper = Keeper(store, hub, doorbell, sweep, clock, sweep_every=settings.sweep_every)
    services = Services(
        settings=settings,
        charter=load_charter(settings),
        messages=store,
        accounts=store,
        directory=store,
        doorbell=doorbell,
        hub=hub,
        sweep=sweep,
        delivery=Delivery(store, hub, doorbell, clock),
        login=Login(store, clock, domain=settings.domain, minimum_app=settings.minimum_app),
        throttle=Throttle(enrolment_tries_per_hour=settings.enrolment_tries_per_hour),
        clock=clock,
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Services]]:
        await doorbell.start()
        await keeper.begin()
        rounds = asyncio.create_task(keeper.run())
        yield {"services": services}
        rounds.cancel()
        with suppress(asyncio.CancelledError):
            await rounds
        await doorbell.stop()
        await store.close()

    app = Starlette(
        routes=routes(),
        lifespan=lifespan,
        exception_handlers={
            RemoteError: on_remote_error,
            NotDurable: on_not_durable,
            HTTPException: on_no_route,
            ClientDisconnect: on_gone,
            Exception: on_fault,
        },
    )
    app.state.services = services
    return app


class Server(uvicorn.Server):
    """uvicorn, but connections end in order before it closes their sockets (rule B6)."""

    def __init__(self, config: uvicorn.Config, settings: Settings, hub: Hub) -> None:
        super().__init__(config)
        self._settings = settings
        self._hub = hub

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers:
            for listening in server.sockets:
                host, port = listening.getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                log.info("listening", url=f"http://{shown}:{port}", domain=self._settings.domain)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        log.info("draining", connections=len(self._hub))
        # Clients spread their return over the time that a restart takes (jittered by them).
        await self._hub.drain(self._settings.drain_seconds, retry_after=2.0)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As uvicorn's, but the signal is not raised again after an orderly end: its status is 0,
        and the lock and the database are closed first."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def server_of(app: Starlette, settings: Settings) -> Server:
    """The server of an application from `build`; `run(sockets=[...])` it."""
    config = uvicorn.Config(
        app,
        ws=WebSocket,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=int(settings.drain_seconds) + 1,
        lifespan="on",
    )
    return Server(config, settings, app.state.services.hub)


def serve(settings: Settings) -> None:
    """Run the server until SIGINT or SIGTERM.

    Raises:
        DatabaseError: the database cannot be used; the text says what to do.
        ListenError: the address cannot be listened on.
        OSError: a file that the settings name cannot be used.
    """
    clock = SystemClock()
    load_charter(settings)
    settings.database.parent.mkdir(parents=True, exist_ok=True)
    lock = ServeLock(settings.database)
    lock.take()
    try:
        prepare(settings.database, domain=settings.domain, now_ms=clock.now_ms())
        listening = listen(settings)
        store = SqliteStore(settings.database)
        store.begin_life(now_ms=clock.now_ms())
        store.open()
        # What is loaded stays, and a message makes a hundred objects that reference counting frees:
        # looking for cycles at every 700 of them costs more than it finds.
        gc.set_threshold(20_000, 20, 100)
        gc.freeze()
        server_of(build(settings, store, clock), settings).run(sockets=[listening])
    finally:
        lock.release()


def listen(settings: Settings) -> socket.socket:
    """The listening socket.

    Raises:
        ListenError: the address is taken, not this machine's, or none.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise ListenError(f"{settings.host} {settings.port}: {error}") from error
    listening.listen(2048)
    listening.set_inheritable(False)
    return listening
