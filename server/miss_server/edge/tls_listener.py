"""Accepts TLS connections: counted before their handshake, with a deadline for it.

The loop's own servers know a connection only after its handshake, and hold the certificate that they
began with. Here who opens sockets and says nothing is counted from the first packet on, and each new
connection gets the certificate of that moment.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import structlog

from miss_server.edge.admission import Admission, TurnedAway, Visitor
from miss_server.edge.certificate import Certificate

HANDSHAKE_TIMEOUT = 10.0
"""Seconds from a connection's start to the end of its TLS handshake."""
ACCEPTED_AT_ONCE = 64
"""Connections of one pass of the event loop: a handshake costs as much as some messages."""
OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
OUT_OF_FILES_WAIT = 0.5

log = structlog.get_logger()


class TlsListener:
    """Listens until `close`; stands where an `asyncio.Server` would.

    Args:
        connection: makes the protocol of a connection, which calls `Admission.leave` at its end.
    """

    def __init__(
        self,
        listening: socket.socket,
        certificate: Certificate,
        admission: Admission,
        connection: Callable[[Visitor], asyncio.Protocol],
    ) -> None:
        listening.setblocking(False)
        self.sockets = (listening,)
        self._listening = listening
        self._certificate = certificate
        self._admission = admission
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._shaking: dict[asyncio.Task[None], socket.socket] = {}
        self._pause: asyncio.TimerHandle | None = None
        self._open = True
        self._resume()

    def close(self) -> None:
        """Accept nothing more, and end handshakes that are not done."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._listening)
        if self._pause is not None:
            self._pause.cancel()
        for pending in self._shaking.values():
            _hang_up(pending)

    async def wait_closed(self) -> None:
        """Wait until no handshake is left."""
        if self._shaking:
            await asyncio.wait(self._shaking)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in OUT_OF_FILES:
                    raise
                # The waiting connection would wake us again at once: let others end first.
                log.error("connection not accepted", error=str(error))
                self._loop.remove_reader(self._listening)
                self._pause = self._loop.call_later(OUT_OF_FILES_WAIT, self._resume)
                return
            self._take(accepted, address[0])

    def _take(self, accepted: socket.socket, peer: str) -> None:
        accepted.setblocking(False)
        visitor = self._admission.enter(peer, partial(_hang_up, accepted), self._loop.time())
        if isinstance(visitor, TurnedAway):
            accepted.close()  # to tell why would cost the handshake that is to be saved
            return
        task = self._loop.create_task(self._shake_hands(accepted, visitor))
        self._shaking[task] = accepted
        task.add_done_callback(self._shaking.pop)

    async def _shake_hands(self, accepted: socket.socket, visitor: Visitor) -> None:
        try:
            await self._loop.connect_accepted_socket(
                partial(self._connection, visitor),
                accepted,
                ssl=self._certificate.context,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
            )
        except OSError:
            # Scanners, plain HTTP, old protocols, people in tunnels: no news. The loop closes the
            # socket (closed here too, its number could be another connection's by then); but the
            # connection's protocol has not begun, so nobody else knows of the end.
            self._admission.leave(visitor)


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # it is over already
        connection.shutdown(socket.SHUT_RDWR)
