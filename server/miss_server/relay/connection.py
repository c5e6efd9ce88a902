"""One device's live connection: its session, and what is on its way to the socket.

Nothing here waits: what is due stays in the session, and is written in one go at the end of the
event loop's pass, unless the socket is full; then when it has room again, or never, after a
deadline. The session's window bounds how much that can be.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from miss_protocol.errors import CloseCode
from miss_protocol.ids import AccountAddress, DeviceId
from miss_protocol.server_session import ServerSession
from miss_protocol.states import ServerState
from miss_server.relay.clock import Clock

STATUSES_IN_FLIGHT = 256
"""Statuses written and not acknowledged: about 40 KB on a phone's link."""
WRITE_GRACE = 20.0
"""Seconds beyond the session's patience before a socket that stays full is given up."""

log = structlog.get_logger()


class Wire(Protocol):
    """The socket below a connection. Nothing of it waits or raises."""

    @property
    def full(self) -> bool:
        """Whether it asks not to be written to; `Connection.resumed` is called when that ends."""
        ...

    def write(self, message: bytes) -> None:
        """Send one WebSocket message."""
        ...

    def close(self, code: CloseCode, reason: str) -> None:
        """Send the close frame behind what was written; the last call but `abort`."""
        ...

    def abort(self) -> None:
        """Let go of the peer at once."""
        ...


class Connection:
    """A socket that speaks the protocol; `device` is set once it has logged in."""

    __slots__ = (
        "_ended", "_full_since", "_on_end", "_over", "_scheduled", "_wire", "account", "clock",
        "device", "epoch", "generation", "head", "name", "reading", "session", "status_head",
        "ticks_acked", "watched", "watched_since",
    )  # fmt: skip

    def __init__(
        self,
        session: ServerSession,
        wire: Wire,
        clock: Clock,
        on_end: Callable[[], None],
        name: str = "",
    ) -> None:
        self.session = session
        self.clock = clock
        self.name = name
        """Tells it from others in the log."""
        self.device: DeviceId | None = None
        self.account: AccountAddress | None = None
        self.generation = 0
        self.epoch = b""
        """The epoch that it began in; another one in force ends it."""
        self.ticks_acked = 0
        self.head = 0
        """The last position that is known to wait: behind it nothing need be read."""
        self.status_head = 0
        """The same for status ticks."""
        self.watched = 0
        """A position that was written when it was new, to see how long its device takes; or 0."""
        self.watched_since = 0.0
        self.reading = False
        """The hub is reading for it: what comes meanwhile must wait for that."""
        self._wire = wire
        self._on_end = on_end
        self._scheduled = False
        self._full_since: float | None = None
        self._over = False
        self._ended: asyncio.Event | None = None

    @property
    def live(self) -> bool:
        """Whether it is logged in and open."""
        return self.session.state in (ServerState.CATCHING_UP, ServerState.LIVE)

    @property
    def status_room(self) -> int:
        """How many statuses may be written now."""
        return max(0, STATUSES_IN_FLIGHT - (self.session.ticked - self.ticks_acked))

    @property
    def behind(self) -> bool:
        """Whether something is known to wait that there is room for now."""
        session = self.session
        return (session.delivered < self.head and session.room > 0) or (
            session.ticked < self.status_head and self.status_room > 0
        )

    @property
    def ended(self) -> asyncio.Event:
        """Set once nothing more will be written. Made when somebody waits: most never need it."""
        if self._ended is None:
            self._ended = asyncio.Event()
            if self._over:
                self._ended.set()
        return self._ended

    def flush(self) -> None:
        """See to it that everything that is due is written."""
        if not self._scheduled and not self._over:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._write)

    def flush_now(self) -> None:
        """Write at once: for what nothing that this pass still brings could go with."""
        if not self._over:
            self._write()

    def end(self, code: CloseCode) -> None:
        """Close with `code` once what is due is written."""
        self.session.close(code)
        self.flush()

    def resumed(self) -> None:
        """The socket has taken what was written and has room again."""
        self._full_since = None
        self.session.flushed(self.clock.steady())
        if self.session.has_data or self.session.close_code is not None:
            self.flush()

    def check(self, now: float) -> None:
        """Look at the time (seconds, `Clock.steady`); to be called every second or so."""
        if self._full_since is not None:
            if now > self._full_since + self.session.patience + WRITE_GRACE:
                # The peer stopped reading; a close frame would not get through either.
                log.info("connection given up: its socket stays full", connection=self.name)
                self.session.close(CloseCode.ACK_TIMEOUT)
                self._wire.abort()
                self.over()
            return
        self.session.tick(now)
        if self.session.has_data or self.session.close_code is not None:
            self.flush()

    def over(self) -> None:
        """Nothing more can be written. Calls `on_end` the first time."""
        if self._over:
            return
        self._over = True
        self.session.close(CloseCode.TRY_LATER)
        if self._ended is not None:
            self._ended.set()
        on_end, self._on_end = self._on_end, _nothing  # it holds the one that holds this
        on_end()

    def _write(self) -> None:
        self._scheduled = False
        if self._over:
            return
        if self._wire.full:
            # Pongs below us may have filled it: also then somebody has to give it up in the end.
            self._full_since = self._full_since or self.clock.steady()
            return
        session = self.session
        for message in session.data_to_send():
            self._wire.write(message)
        if session.close_code is not None:
            self._wire.close(session.close_code, session.close_code.name.lower())
            self.over()
        elif self._wire.full:
            self._full_since = self.clock.steady()
        else:
            session.flushed(self.clock.steady())


def _nothing() -> None:
    pass
