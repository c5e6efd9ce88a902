"""One device's live connection: its session, and what is on its way to the socket.

Nothing here waits for a slow socket: what is due stays in the session, and at most one task a
connection writes it out, within a deadline. The session's window bounds how much that can be.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from miss_protocol.errors import CloseCode
from miss_protocol.ids import AccountAddress, DeviceId
from miss_protocol.server_session import ServerSession
from miss_protocol.states import ServerState
from miss_server.relay.clock import Clock

SendMessage = Callable[[bytes], Awaitable[None]]
CloseSocket = Callable[[int, str], Awaitable[None]]

STATUSES_IN_FLIGHT = 256
"""Statuses written and not acknowledged: about 40 KB on a phone's link."""
WRITE_GRACE = 20.0
"""Seconds beyond the session's patience before a write that does not end is given up."""

log = structlog.get_logger()


class Connection:
    """A socket that speaks the protocol; `device` is set once it has logged in."""

    def __init__(
        self, session: ServerSession, send: SendMessage, close: CloseSocket, clock: Clock
    ) -> None:
        self.session = session
        self.clock = clock
        self.device: DeviceId | None = None
        self.account: AccountAddress | None = None
        self.generation = 0
        self.head_at_login = 0
        self.ticks_acked = 0
        self.ended = asyncio.Event()
        """Set once nothing more will be written; the socket's endpoint then returns."""
        self._send = send
        self._close = close
        self._writing: asyncio.Task[None] | None = None

    @property
    def live(self) -> bool:
        """Whether it is logged in and open."""
        return self.session.state in (ServerState.CATCHING_UP, ServerState.LIVE)

    @property
    def status_room(self) -> int:
        """How many statuses may be written now."""
        return max(0, STATUSES_IN_FLIGHT - (self.session.ticked - self.ticks_acked))

    def flush(self) -> None:
        """See to it that everything that is due is written."""
        if self._writing is None and not self.ended.is_set():
            self._writing = asyncio.create_task(self._write())

    def end(self, code: CloseCode) -> None:
        """Close with `code` once what is due is written."""
        self.session.close(code)
        self.flush()

    async def _write(self) -> None:
        try:
            while messages := self.session.data_to_send():
                for message in messages:
                    async with asyncio.timeout(self.session.patience + WRITE_GRACE):
                        await self._send(message)
            self.session.flushed(self.clock.steady())
            if self.session.close_code is not None:
                code = self.session.close_code
                async with asyncio.timeout(WRITE_GRACE):
                    await self._close(code, code.name.lower())
        except (TimeoutError, OSError, RuntimeError) as error:
            # The peer stopped reading or is gone; the kernel's TCP_USER_TIMEOUT frees the socket.
            log.info("connection lost while writing", error=type(error).__name__)
            self.session.close(CloseCode.ACK_TIMEOUT)
        finally:
            self._writing = None
        if self.session.close_code is not None:
            self.ended.set()
        elif self.session.has_data:
            self.flush()
