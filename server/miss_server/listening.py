"""The socket that is listened on, TLS on it, and the life of uvicorn around it."""

import asyncio
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from random import SystemRandom
from types import FrameType
from typing import cast

import structlog
import uvicorn
from starlette.applications import Starlette

from miss_server.config import Settings
from miss_server.edge.admission import Visitor
from miss_server.edge.certificate import SOON_DAYS, Certificate, covers
from miss_server.edge.tls_listener import TlsListener
from miss_server.http.connection import HttpConnection
from miss_server.http.services import Services
from miss_server.http.websocket import WebSocket
from miss_server.refusals import Refusal
from miss_server.words import Both

TCP_USER_TIMEOUT_MS = 20_000
"""The kernel gives up a peer that acknowledges nothing for so long; uvicorn's pings do not."""
BACKLOG = 2048
LOOK_EVERY = 5.0
"""Seconds between looks whether the certificate's files changed."""
BACK_WITHIN = 1.0, 3.0
"""Seconds after which those who are told to leave come back, spread over what a restart takes: else all
would be at the other nodes at once."""
_CHANCE = SystemRandom()
STARTUP_FAILURE = 3
_ELSEWHERE = Both(
    "Choose another --host or --port.", "Choisissez une autre adresse (--host, --port)."
)
_METRICS_ELSEWHERE = Both(
    "Choose another MISS_METRICS_HOST or MISS_METRICS_PORT.",
    "Choisissez une autre adresse (MISS_METRICS_HOST, MISS_METRICS_PORT).",
)

log = structlog.get_logger()


class ListenError(Refusal):
    """The address cannot be listened on; the text is the system's."""


class Server(uvicorn.Server):
    """uvicorn, but with TLS that is read anew, and connections that end in order before it closes
    their sockets (rule B6)."""

    def __init__(
        self,
        config: uvicorn.Config,
        services: Services,
        first: Callable[[], Awaitable[None]] | None = None,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._first, self._ready = first, ready
        self._services = services
        self._looking: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; that one can set no deadline for a handshake, and no other certificate."""
        settings = self._services.settings
        metrics = listen_for_metrics(settings) if settings.metrics_ports else None
        if self._first is not None:
            await self._first()
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        loop, certificate = asyncio.get_running_loop(), self._services.certificate
        self.servers = []
        for listening in sockets or ():
            if certificate is None:
                self.servers.append(
                    await loop.create_server(self._connection, sock=listening, backlog=BACKLOG)
                )
            else:
                admission = self._services.admission
                listener = TlsListener(listening, certificate, admission, self._connection)
                self.servers.append(cast(asyncio.Server, listener))
            host, port = listening.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            scheme = "http" if certificate is None else "https"
            domain = self._services.settings.domain
            log.info("listening", url=f"{scheme}://{shown}:{port}", domain=domain)
        if metrics is not None:
            self.servers.append(await loop.create_server(self._connection, sock=metrics))
            log.info("metrics", at=metrics.getsockname())
        if certificate is None:
            loop.add_signal_handler(signal.SIGHUP, log.info, "SIGHUP: no certificate to read anew")
        else:
            self._say_what_to_look_at(certificate)
            loop.add_signal_handler(signal.SIGHUP, self._look, certificate, True)
            self._looking = loop.create_task(self._look_often(certificate))
        self.started = True
        self._ready()

    def _connection(self, visitor: Visitor | None = None) -> asyncio.Protocol:
        return HttpConnection(self.config, self.server_state, self.lifespan.state, visitor=visitor)

    # --- the certificate --------------------------------------------------------------------------

    def _say_what_to_look_at(self, certificate: Certificate) -> None:
        loaded, domain = certificate.loaded, self._services.settings.domain
        log.info("certificate", names=loaded.names, ends=loaded.ends.isoformat())
        if not covers(loaded.names, domain):
            # Clients may reach the server under another name than that of the addresses.
            log.warning("the certificate does not name the domain", domain=domain)
        if certificate.days_left(self._services.clock.now_ms()) < SOON_DAYS:
            log.warning("the certificate ends soon: renew it", ends=loaded.ends.isoformat())

    async def _look_often(self, certificate: Certificate) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self._look(certificate)

    def _look(self, certificate: Certificate, force: bool = False) -> None:
        certificate.look(self._services.clock.now_ms(), force=force)

    # --- the end ----------------------------------------------------------------------------------

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._looking is not None:
            self._looking.cancel()
        for server in self.servers:
            server.close()
        hub, seconds = self._services.hub, self._services.settings.drain_seconds
        log.info("draining", connections=len(hub))
        await hub.drain(seconds, lambda: _CHANCE.uniform(*BACK_WITHIN))
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As uvicorn's, but the signal is not raised again after an orderly end: its status is 0,
        and the lock and the database are closed first."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def server_of(
    app: Starlette,
    settings: Settings,
    first: Callable[[], Awaitable[None]] | None = None,
    ready: Callable[[], None] = lambda: None,
) -> Server:
    """The server of an application from `build`; `run(sockets=[...])` it.

    Args:
        first: what must be done before anything else in the server's event loop; what it raises,
            `run` raises.
        ready: called once it serves.
    """
    config = uvicorn.Config(
        app,
        ws=WebSocket,
        loop="uvloop",
        http=HttpConnection,
        # Ours tells whom a request comes from, for the socket too, and trusts nobody by itself.
        proxy_headers=False,
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=int(settings.drain_seconds) + 1,
        lifespan="on",
    )
    return Server(config, app.state.services, first, ready)


def listen(settings: Settings, *, shared: bool = False) -> socket.socket:
    """The listening socket.

    Args:
        shared: other processes of ours listen there, too.

    Raises:
        ListenError: the address is taken, not this machine's, or none.
    """
    listening = bind(settings, shared=shared)
    listening.listen(BACKLOG)
    listening.set_inheritable(False)
    return listening


def bind(settings: Settings, *, shared: bool) -> socket.socket:
    """As `listen`, but only keeps the address: nobody is connected to this socket."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        bound.bind((settings.host, settings.port))
    except OSError as error:
        bound.close()
        raise ListenError(f"{settings.host} {settings.port}: {error}", _ELSEWHERE) from error
    return bound


def listen_for_metrics(settings: Settings) -> socket.socket:
    """A socket for this process's own metrics: the first port of the settings' that is free.

    Workers share the common port, where a scrape would meet another one each time.

    Raises:
        ListenError: none is.
    """
    family = socket.AF_INET6 if ":" in settings.metrics_host else socket.AF_INET
    why = ""
    for port in settings.metrics_ports:
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((settings.metrics_host, port))
            listening.listen()  # two workers may bind at once, and one of them may listen
        except OSError as error:
            listening.close()
            why = str(error)
        else:
            listening.set_inheritable(False)
            return listening
    where = f"{settings.metrics_host} {settings.metrics_port}"
    raise ListenError(f"metrics: {where}: {why}", _METRICS_ELSEWHERE)
