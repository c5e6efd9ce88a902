"""The WebSocket around a `ClientSession`: connect, log in, keep reading, come back by itself.

Spec: 02-wire, 03-session. Each connection starts from what the store holds; nothing that matters
lives in it. Sends leave in the order of their serial numbers; what a connection leaves unanswered
the next one repeats, byte for byte.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from msgspec import UNSET
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from miss_client.contacts import Contacts
from miss_client.errors import ClientError, ServerError, Trouble, Unreachable
from miss_client.events import Connection, ConnectionChanged
from miss_client.hub import Hub
from miss_client.inbox import Inbox, Row
from miss_client.outbox import Outbox
from miss_client.upkeep import LOOK_EVERY, Upkeep
from miss_client.vault import Vault
from miss_protocol import client_session as s
from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.client_session import ClientSession, close_reason
from miss_protocol.codec import client_codec
from miss_protocol.errors import CloseCode, Code, Malformed, Refused, Retry, code_of
from miss_protocol.identity.login import sign_login
from miss_protocol.identity.receipts import Receipt

BACKOFF_MIN = 0.5
BACKOFF_MAX = 60.0
SEEN_KEPT_MS = 2 * limits.TTL_MAX * 1000
"""No server, however restored, delivers an envelope later than this."""
PONG_TIMEOUT = 10.0
"""A server answers a ping within this, or the path to it is dead."""

_STOPS = {
    CloseCode.AUTH: Trouble.NOT_ADMITTED,
    CloseCode.REPLACED: Trouble.REPLACED,
    CloseCode.REVOKED: Trouble.DEVICE_OVER,
    CloseCode.ROLLED_BACK: Trouble.ROLLED_BACK,
}


class Stopped(ClientError):
    """The connection ended for good; a new attempt would end the same way. `refusal` is the
    server's code, if it told one, and `reason` what was written for this account's owner."""

    def __init__(
        self, trouble: Trouble, detail: str = "", refusal: Code | None = None, reason: str = ""
    ) -> None:
        super().__init__(trouble, detail)
        self.refusal = refusal
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Timing:
    """What tests shorten."""

    ping_every: float = limits.CLIENT_PING_EVERY
    pong_timeout: float = PONG_TIMEOUT
    backoff_min: float = BACKOFF_MIN
    backoff_max: float = BACKOFF_MAX
    look_every: float = LOOK_EVERY


class Transport:
    """Keeps one device connected while `run` runs."""

    def __init__(
        self,
        server: str,
        app: f.App,
        vault: Vault,
        contacts: Contacts,
        outbox: Outbox,
        inbox: Inbox,
        upkeep: Upkeep,
        hub: Hub,
        timing: Timing,
    ) -> None:
        self._url = "ws" + server.removeprefix("http").rstrip("/") + "/v1/ws"
        self._app = app
        self._vault = vault
        self._contacts = contacts
        self._outbox = outbox
        self._inbox = inbox
        self._upkeep = upkeep
        self._hub = hub
        self._timing = timing
        self.welcomed = asyncio.Event()
        self.drained = asyncio.Event()
        self.receipts = asyncio.Event()
        """Receipts were added that no `ack` carried yet."""

    async def run(self) -> NoReturn:
        """Stay connected until cancelled.

        Raises:
            Stopped: the server ended this device's connection for good; `trouble` says why.
            ClientError: the store failed.
        """
        attempt = 0
        introduced = False
        # An attempt ended after its `hello` and was not answered: the server may still admit it.
        given_up = False
        while True:
            attempt += 1
            self._hub.tell(ConnectionChanged(Connection.CONNECTING))
            wait, reason = None, ""
            once = _Once(self)
            try:
                try:
                    await once.run()
                except Stopped as stopped:
                    if introduced or stopped.refusal is not Code.AUTH_FAILED:
                        raise
                    await self._introduce(stopped)
                    introduced = True
                    raise _Lost("introduced") from None
            except _Lost as lost:
                if once.welcomed:
                    attempt, introduced = 1, False
                wait, reason = lost.retry_after, lost.reason
            except Stopped as stopped:
                if stopped.trouble is not Trouble.REPLACED or not given_up:
                    raise
                given_up, reason = False, "replaced"  # by that attempt (spec 03-session §10)
            finally:
                self.welcomed.clear()
                self.drained.clear()
            given_up = given_up or (once.greeted and not once.welcomed)
            if wait is None:
                ceiling = min(
                    self._timing.backoff_max, self._timing.backoff_min * 2 ** min(attempt, 16)
                )
                wait = ceiling / 2
            # All phones of a hospital lose the same server at once: they must not return at once.
            wait *= 1 + random.random()  # noqa: S311 - no secret, only spread
            self._hub.tell(ConnectionChanged(Connection.WAITING, reason, wait))
            await asyncio.sleep(wait)

    async def _introduce(self, stopped: Stopped) -> None:
        """Let a server learn of this device that does not know it, perhaps since it was restored. Raises
        `stopped` if it does not."""
        try:
            if await self._upkeep.introduce():
                return
        except Unreachable as error:
            raise _Lost(str(error)) from None
        except Refused as refused:
            raise _Lost(refused.code.wire, retry_after=refused.retry_after) from None
        raise stopped


class _Lost(Exception):
    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class _Once:
    """One connection."""

    def __init__(self, owner: Transport) -> None:
        self.o = owner
        cursor = owner._vault.cursor
        self.session = ClientSession(
            client_codec(f.MSGPACK), position=cursor.position, digest=cursor.digest
        )
        self.greeted = False
        self.greeted_sn = 0
        self.bye: f.Bye | None = None
        self.refusal: Code | None = None
        self.reason = ""
        self.held_until = 0.0
        """Nothing more is sent before: the server asked to repeat a send later."""
        self.on_their_way: dict[int, tuple[Sequence[Receipt], Sequence[f.Nack]]] = {}
        self.next_ref = 1
        self.one_by_one = False
        self.welcomed = False
        self.alive = asyncio.Event()
        self.looking: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Connect and serve the connection until it ends; raises `_Lost` or `Stopped`."""
        try:
            async with connect(
                self.o._url,
                subprotocols=[Subprotocol(f.MSGPACK)],
                compression=None,  # ciphertext does not compress
                max_size=limits.TRANSPORT_MAX,
                ping_interval=None,  # the protocol has pings of its own
                close_timeout=2,
                user_agent_header=None,
            ) as socket:
                if socket.subprotocol != f.MSGPACK:
                    raise ServerError("the subprotocol was not agreed")
                await self._serve(socket)
        except ConnectionClosed as closed:
            self._ended(closed)
        except InvalidURI as error:
            raise Stopped(Trouble.UNREACHABLE, str(error)) from None
        except (OSError, TimeoutError, InvalidHandshake) as error:
            raise _Lost(type(error).__name__) from None
        except Unreachable as error:
            raise _Lost(str(error)) from None
        finally:
            self.session.closed()

    async def _serve(self, socket: ClientConnection) -> None:
        tasks = [
            asyncio.create_task(self._read(socket)),
            asyncio.create_task(self._write(socket)),
            asyncio.create_task(self._ping(socket)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            # Each task is at an await, never inside a transaction: those have none.
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    def _ended(self, closed: ConnectionClosed) -> None:
        code = closed.rcvd.code if closed.rcvd else 1006
        again, known = close_reason(code)
        reason = known.name.lower() if known else str(code)
        if again:
            after = self.bye.retry_after if self.bye else None
            raise _Lost(reason, retry_after=after) from None
        trouble = _STOPS.get(known, Trouble.SERVER) if known else Trouble.SERVER
        raise Stopped(trouble, reason, self.refusal, self.reason) from None

    # --- reading ----------------------------------------------------------------------------------

    async def _read(self, socket: ClientConnection) -> None:
        chores: set[asyncio.Task[None]] = set()
        try:
            while True:
                message = await socket.recv()
                self.alive.set()
                data = message.encode() if isinstance(message, str) else message
                try:
                    events = self.session.receive(data)
                except Malformed as error:
                    # A server that miscounts could be hiding a message: tell, do not go on.
                    await socket.close(CloseCode.PROTOCOL)
                    raise Stopped(Trouble.SERVER, str(error)) from None
                await self._act(events, chores)
                await self._flush(socket)
        finally:
            for chore in chores:
                chore.cancel()
            await asyncio.gather(*chores, return_exceptions=True)

    async def _act(self, events: list[s.Event], chores: set[asyncio.Task[None]]) -> None:
        rows: list[Row] = []
        for event in events:
            if isinstance(event, s.Delivered | s.GapSeen):
                rows.append(event)
                continue
            await self._save(rows)
            rows = []
            match event:
                case s.Challenged():
                    self._greet(event.challenge)
                case s.Welcomed():
                    self._welcome(event.welcome)
                    chores.add(asyncio.create_task(self._settle_in(event.welcome)))
                case s.CaughtUp():
                    self.o._hub.tell(ConnectionChanged(Connection.LIVE))
                    self.o.drained.set()
                    chores.add(asyncio.create_task(self._chore(self._tidy)))
                case s.Settled():
                    self.o._outbox.settle(event.reply)
                    self.o._outbox.encrypted.set()
                    self._look(chores)
                case s.RetryWanted():
                    self._hold(event.reply)
                case s.StatusChanged():
                    self.o._outbox.status(event.status)
                    self.session.ack(f.Ack(tick=event.status.tick))
                case s.AckStored():
                    self.o._inbox.paid(*self.on_their_way.pop(event.ref, ((), ())))
                case s.ErrorTold():
                    self._told(event.error)
                case s.Leaving():
                    self.bye = event.bye
        await self._save(rows)
        if self.o._inbox.behind:
            chore = asyncio.create_task(self._catch_up())
            chores.add(chore)
            chore.add_done_callback(chores.discard)

    def _look(self, chores: set[asyncio.Task[None]]) -> None:
        """Have the notices asked for that explain a refusal: once for all that came with it."""
        if not self.o._upkeep.notices.wanted or (self.looking and not self.looking.done()):
            return
        self.looking = asyncio.create_task(self._chore(self.o._upkeep.look_around))
        chores.add(self.looking)
        self.looking.add_done_callback(chores.discard)

    async def _catch_up(self) -> None:
        with suppress(Unreachable):  # the next message asks again
            await self.o._inbox.catch_up()

    async def _save(self, rows: Sequence[Row]) -> None:
        async for saved in self.o._inbox.take(rows):
            self._ack(saved.position)

    def _greet(self, challenge: f.Challenge) -> None:
        vault, cursor = self.o._vault, self.o._vault.cursor
        self.greeted, self.greeted_sn = True, cursor.sn
        # The domain that this account is of, never the one that a server claims: a login for one
        # server is worth nothing at another.
        domain = vault.account.partition("@")[2]
        self.session.hello(
            f.Hello(
                device=vault.device,
                signature=sign_login(
                    vault.signing_key,
                    domain=domain,
                    nonce=challenge.nonce,
                    device=vault.device,
                    subprotocol=f.MSGPACK,
                ),
                app=self.o._app,
                acked=cursor.position,
                digest=cursor.digest,
                sn=cursor.sn,
                epoch=cursor.epoch,
                roster=self.o._contacts.own.version,
                settled=cursor.settled,
            )
        )

    def _welcome(self, welcome: f.Welcome) -> None:
        if welcome.account != self.o._vault.account:
            raise Stopped(Trouble.SERVER, "another account")
        if welcome.sn > self.o._vault.cursor.sn:
            raise Stopped(Trouble.ROLLED_BACK, "the server counts more sends")
        restored = None if welcome.restored is UNSET else welcome.restored
        if restored is not None and self.o._vault.cursor.sn != self.greeted_sn:
            # Something was numbered since `hello`: the server would wait for that number for ever.
            raise _Lost("the count moved on")
        self.o._upkeep.note_epoch(
            welcome.epoch,
            restored=restored,
            acked=welcome.acked,
            digest=b"" if welcome.digest is UNSET else welcome.digest,
        )
        self.welcomed = True
        self.o.welcomed.set()
        self.o._hub.tell(ConnectionChanged(Connection.CATCHING_UP))
        # What is saved, with what is owed from before. The session may be ahead of the store: rows
        # that came in the same message are not saved yet.
        self._ack(self.o._vault.cursor.position)
        self.o._outbox.encrypted.set()
        self.o._outbox.drafted.set()

    async def _settle_in(self, welcome: f.Welcome) -> None:
        await self._chore(lambda: self.o._upkeep.after_welcome(welcome))
        while True:
            await asyncio.sleep(self.o._timing.look_every)
            await self._chore(self.o._upkeep.look_around)

    async def _tidy(self) -> None:
        await self.o._upkeep.after_drained()
        self.o._inbox.forget_seen(before_ms=self.o._vault.clock() - SEEN_KEPT_MS)

    async def _chore(self, work: Callable[[], Awaitable[None]]) -> None:
        with suppress(Unreachable):  # the next connection does it
            try:
                await work()
            except Refused as refused:
                if refused.code.retry is Retry.NEVER:
                    self.o._hub.tell(ConnectionChanged(Connection.LIVE, refused.code.wire))

    def _told(self, error: f.Error) -> None:
        if not self.welcomed or error.code == Code.SUSPENDED.wire:
            self.refusal = code_of(error.code)
            self.reason = "" if error.reason is UNSET else error.reason
        if error.ref is not UNSET:
            receipts, _ = self.on_their_way.pop(error.ref, ((), ()))
            if error.code == Code.RECEIPT_UNKNOWN.wire and len(receipts) > 1:
                self.one_by_one = True  # find the one that a restored server does not know
                self._ack(None)
            elif error.code == Code.RECEIPT_UNKNOWN.wire:
                self.o._inbox.paid(receipts)

    # --- writing ----------------------------------------------------------------------------------

    def _ack(self, position: int | None) -> None:
        """Acknowledge a saved position with all that is owed and not on its way: nacks before
        the position that covers them, receipts in the same frame or before."""
        away = {r.signature for receipts, _ in self.on_their_way.values() for r in receipts}
        away_nacks = {n.position for _, nacks in self.on_their_way.values() for n in nacks}
        owed = [r for r in self.o._inbox.owed() if r.signature not in away]
        nacks = [n for n in self.o._inbox.owed_nacks() if n.position not in away_nacks]
        for nack in nacks:
            self.session.nack(nack.position, nack.reason)
        size = 1 if self.one_by_one else limits.RECEIPTS_PER_ACK_MAX
        while True:
            some, owed = owed[:size], owed[size:]
            ack = f.Ack(receipts=tuple(some))
            if not owed and position is not None:
                ack.position = position
            if some or nacks:
                ack.ref = self.next_ref
                self.on_their_way[self.next_ref] = (some, nacks if not owed else ())
                self.next_ref += 1
            if some or nacks or position is not None:
                self.session.ack(ack)
            if not owed:
                return

    def _hold(self, reply: f.RetrySend) -> None:
        loop = asyncio.get_running_loop()
        self.held_until = max(self.held_until, loop.time() + reply.retry_after)
        loop.call_later(reply.retry_after, self.o._outbox.encrypted.set)

    async def _write(self, socket: ClientConnection) -> None:
        """Send what is encrypted and not answered, oldest first, and receipts that are owed."""
        await self.o.welcomed.wait()
        wake = self.o._outbox.encrypted
        while True:
            wake.clear()
            if self.o.receipts.is_set():
                self.o.receipts.clear()
                self._ack(None)
            if asyncio.get_running_loop().time() >= self.held_until:
                for send in self.o._outbox.unsettled():
                    if not self.session.may_send:
                        break
                    if send.sn not in self.session.in_flight:
                        self.session.send(send)
            await self._flush(socket)
            await wake.wait()

    async def _flush(self, socket: ClientConnection) -> None:
        for data in self.session.data_to_send():
            await socket.send(data)

    async def _ping(self, socket: ClientConnection) -> None:
        """Notice a dead path: a phone that changed networks is told nothing by TCP."""
        await self.o.welcomed.wait()
        n = 0
        while True:
            await asyncio.sleep(self.o._timing.ping_every)
            n += 1
            self.alive.clear()
            self.session.ping(n)
            await self._flush(socket)
            try:
                async with asyncio.timeout(self.o._timing.pong_timeout):
                    await self.alive.wait()
            except TimeoutError:
                raise _Lost("no answer to a ping") from None
