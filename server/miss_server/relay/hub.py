"""All live connections of this node, and the delivery of what waits for their devices.

What was just committed is handed over: a connection that has everything before it writes it at
once. For all else a ring marks the connection; a round then asks the store for everything that the
marked connections have room for, in one read. A few rounds may be under way, each for other
connections: what has just been rung for need not wait until others are served. A connection that is
marked or being read for takes nothing that is handed over, so rows go out in position order.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from itertools import islice

import structlog

from miss_protocol import frames as f
from miss_protocol.errors import CloseCode, Code, LocalError
from miss_protocol.ids import DeviceId
from miss_protocol.states import ServerState
from miss_server.observe import short
from miss_server.relay.connection import Connection
from miss_server.relay.rows import deliver_of, frames_of
from miss_server.storage.messages import Fetched, Messages, NotDurable, Row, Wanted
from miss_server.tallies import RelayTally

ROUND_MAX = 64
"""Connections that are read for at a time, each up to its window: bounds memory when everybody comes
back."""
ROUNDS = 2
"""Reads at a time, which share these connections."""
log = structlog.get_logger()


class Hub:
    """The connections of this node by device."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._connections: dict[DeviceId, Connection] = {}
        self._marked: dict[DeviceId, Connection] = {}
        self._rounds: set[asyncio.Task[None]] = set()
        self._beginning = False
        """A round that has not yet taken anybody: it waits for what else this pass marks."""
        self._reading = 0
        """For how many connections."""
        self._rung: float | None = None
        """When the first of the marked ones was."""
        self.tally = RelayTally()
        self.strangers: set[Connection] = set()
        """Open sockets that have not logged in yet."""
        self.draining = False

    def __len__(self) -> int:
        return len(self._connections)

    def connections(self) -> list[Connection]:
        """All logged-in connections of this moment."""
        return list(self._connections.values())

    def devices(self) -> list[DeviceId]:
        """The devices that are connected here."""
        return list(self._connections)

    async def note_seen(self, now_ms: int) -> None:
        """Note in the store that these devices are here: it learns else of logins only."""
        await self._messages.note_seen(self.devices(), now_ms=now_ms)

    def delivered(self) -> dict[DeviceId, int]:
        """For each device, the position up to which rows were written to it."""
        return {d: c.session.delivered for d, c in self._connections.items()}

    # --- who is here ------------------------------------------------------------------------------

    def join(self, connection: Connection) -> None:
        """Take a logged-in connection; an older one of the same device ends (the newer wins)."""
        assert connection.device is not None  # noqa: S101  # the login set it
        older = self._connections.get(connection.device)
        if older is not None:
            older.end(CloseCode.REPLACED)
        self._connections[connection.device] = connection
        self.strangers.discard(connection)
        self.ring([connection.device])

    def find(self, device: DeviceId) -> Connection | None:
        """The connection of a device, if it is here."""
        return self._connections.get(device)

    def told(self, connection: Connection) -> bool:
        """Whether a read for this connection is on its way."""
        return connection.reading or connection.device in self._marked

    def leave(self, connection: Connection) -> None:
        """Forget a connection that ended."""
        self.strangers.discard(connection)
        if connection.device is not None:
            if self._connections.get(connection.device) is connection:
                del self._connections[connection.device]
            if self._marked.get(connection.device) is connection:
                del self._marked[connection.device]

    def replaced(self, connection: Connection) -> bool:
        """Whether a newer connection of the same device is here."""
        present = self._connections.get(connection.device) if connection.device else None
        return present is not None and present is not connection

    def end(self, devices: Collection[DeviceId], code: CloseCode) -> None:
        """End the connections of these devices, if they are here."""
        for device in devices:
            connection = self._connections.get(device)
            if connection is not None:
                connection.end(code)

    def end_all(self, code: CloseCode) -> None:
        """End every connection: after an epoch change each device must agree anew."""
        for connection in self.connections():
            connection.end(code)

    async def drain(self, seconds: float, retry_after: Callable[[], float]) -> None:
        """Tell every client to come back later, and wait until they are gone.

        Args:
            retry_after: draws when one of them is to come back, in seconds.
        """
        self.draining = True
        leaving = [*self.connections(), *self.strangers]
        for connection in leaving:
            if connection.session.close_code is None:
                connection.session.bye(Code.BUSY, retry_after())
                connection.end(CloseCode.DRAINING)
        if leaving:
            waits = [asyncio.create_task(connection.ended.wait()) for connection in leaving]
            _, late = await asyncio.wait(waits, timeout=seconds)
            for wait in late:
                wait.cancel()

    # --- delivery ---------------------------------------------------------------------------------

    def hand_over(self, rows: Sequence[tuple[DeviceId, Row]]) -> list[DeviceId]:
        """Write rows that were just committed; returns the devices that must be rung for theirs."""
        left: list[DeviceId] = []
        for device, row in rows:
            connection = self._connections.get(device)
            if connection is None or not self._free(connection):
                left.append(device)
                continue
            session = connection.session
            connection.head = max(connection.head, row.position)
            if row.position == session.delivered + 1 and session.room > 0:
                now = connection.clock.steady()
                session.deliver(deliver_of(row), row.size, now)
                if not connection.watched:
                    connection.watched, connection.watched_since = row.position, now
                connection.flush()
            elif connection.behind:
                left.append(device)
        return left

    def hand_over_statuses(self, statuses: Sequence[tuple[DeviceId, f.Status]]) -> list[DeviceId]:
        """The same for statuses."""
        left: list[DeviceId] = []
        for device, status in statuses:
            connection = self._connections.get(device)
            if connection is None or not self._free(connection):
                left.append(device)
                continue
            connection.status_head = max(connection.status_head, status.tick)
            if status.tick == connection.session.ticked + 1 and connection.status_room:
                connection.session.status(status)
                connection.flush()
            elif connection.behind:
                left.append(device)
        return left

    def _free(self, connection: Connection) -> bool:
        # Before it has caught up, only a read tells what `drained` may be said after.
        return (
            connection.session.state is ServerState.LIVE
            and not connection.reading
            and connection.device not in self._marked
        )

    def more_room(self, connection: Connection) -> None:
        """Its device acknowledged: see whether something waited for room."""
        if connection.device is not None and connection.behind:
            self.ring([connection.device])

    def acknowledged(self, connection: Connection) -> None:
        """An acknowledgement of its device is durable."""
        self.tally.acknowledged += 1
        if 0 < connection.watched <= connection.session.acknowledged:
            self.tally.delivery.note(connection.clock.steady() - connection.watched_since)
            connection.watched = 0
        self.more_room(connection)

    def ring(self, devices: Collection[DeviceId]) -> None:
        """Look into these devices' mailboxes soon."""
        for device in devices:
            connection = self._connections.get(device)
            if connection is not None and connection.live:
                if not self._marked:
                    self._rung = connection.clock.steady()
                self._marked[device] = connection
        self._begin_round()

    def _begin_round(self) -> None:
        if (
            not self._beginning
            and len(self._rounds) < ROUNDS
            and self._reading < ROUND_MAX
            and any(not connection.reading for connection in self._marked.values())
        ):
            self._beginning = True
            task = asyncio.create_task(self._deliver())
            self._rounds.add(task)
            task.add_done_callback(self._round_ended)

    def _round_ended(self, task: asyncio.Task[None]) -> None:
        self._rounds.discard(task)
        if not task.cancelled():  # else the loop ends, and would leave what begins now unfinished
            self._begin_round()

    def _take_marked(self) -> list[Connection]:
        """Whom to read for next. Those for whom another round reads are left to it."""
        free = (d for d, connection in self._marked.items() if not connection.reading)
        marked = [self._marked.pop(d) for d in list(islice(free, ROUND_MAX - self._reading))]
        for connection in marked:
            connection.reading = True
        self._reading += len(marked)
        return marked

    async def _deliver(self) -> None:
        self._beginning = False
        while marked := self._take_marked():
            rung = self._rung
            wanted = [self._wanted(c) for c in marked]
            try:
                fetched = await self._messages.fetch(wanted)
            except NotDurable as error:
                # What was marked is found again by the sweep.
                log.error("storage trouble", round="fetch", error=str(error))
                return
            except Exception:
                log.exception("fetch failed", connections=len(marked))
                return
            finally:
                for connection in marked:
                    connection.reading = False
                self._reading -= len(marked)
            for connection, asked, found in zip(marked, wanted, fetched, strict=True):
                if connection.live:
                    self._write_or_end(connection, asked, found)
            if rung is not None:
                self.tally.ring.note(marked[0].clock.steady() - rung)

    @staticmethod
    def _wanted(connection: Connection) -> Wanted:
        assert connection.device is not None  # noqa: S101  # only logged-in ones are marked
        session = connection.session
        return Wanted(
            connection.device,
            session.delivered,
            max(0, session.room),
            session.ticked,
            connection.status_room,
        )

    def _write_or_end(self, connection: Connection, asked: Wanted, found: Fetched) -> None:
        try:
            if asked.max_bytes and asked.after < found.head and not found.rows:
                raise LocalError(f"no rows after {asked.after} of {found.head}")
            self._write(connection, asked, found)
        except LocalError as error:
            # The device acknowledged by HTTP what this socket had not been written yet. It must
            # count anew, and its neighbours of this round must not wait for that.
            log.info("counts differ", device=short(connection.device or b""), error=str(error))
            connection.end(CloseCode.TRY_LATER)

    def _write(self, connection: Connection, asked: Wanted, found: Fetched) -> None:
        session, now = connection.session, connection.clock.steady()
        for frame, size in frames_of(found.rows):
            session.deliver(frame, size, now)
        for status in found.statuses:
            session.status(status)
        if session.state is ServerState.CATCHING_UP and session.delivered >= found.head:
            session.drained()
            log.info("caught up", device=short(connection.device or b""), position=found.head)
        connection.flush()
        connection.head = max(connection.head, found.head)
        # As many statuses as were asked for: whether there are more, only another read will tell.
        more = len(found.statuses) >= asked.max_statuses
        connection.status_head = session.ticked + more
        self.more_room(connection)
