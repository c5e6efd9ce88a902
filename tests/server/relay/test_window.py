"""What a connection may hold: bounded for who never reads or never acknowledges; long catch-ups."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from miss_protocol import client_session as events
from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.codec import server_codec
from miss_protocol.errors import CloseCode
from miss_protocol.server_session import ServerSession
from miss_server.relay import connection as connections
from miss_server.relay.connection import Connection
from miss_server.relay.delivery import fingerprint
from miss_server.storage.messages import ROW_OVERHEAD, Fetched, Submission, Wanted
from miss_server.storage.sqlite.store import SqliteStore
from tests.support.hosted import TurnedClock, hosted
from tests.support.mailing import opaque_body
from tests.support.server import ServerProcess
from tests.support.wire import Device, Line, beside, enrolled, now_ms


def size_of(row: f.Deliver) -> int:
    """Bytes of a row that count against the window."""
    return len(row.body) + len(row.wrap) + ROW_OVERHEAD


async def fill(writer: Device, reader: Device, count: int, body: int = 1024) -> list[bytes]:
    """Send messages; returns their ids."""
    sends = [writer.send(reader.person, body=opaque_body(body)) for _ in range(count)]
    async with writer.online() as line:
        for at in range(0, count, limits.SENDS_IN_FLIGHT_MAX):
            batch = sends[at : at + limits.SENDS_IN_FLIGHT_MAX]
            for send in batch:
                await line.put(send)
            for send in batch:
                assert isinstance(await line.answer(send.sn), f.Sent)
    return [send.id for send in sends]


async def everything(line: Line) -> list[f.Deliver]:
    """Read, without a word, until the server closes; returns what was delivered."""
    assert await line.closed() == CloseCode.ACK_TIMEOUT
    return [e.deliver for e in line.seen if isinstance(e, events.Delivered)]


@pytest.mark.parametrize("narrow", [False, True], ids=["reads", "never-reads"])
async def test_who_never_acknowledges_gets_one_window_and_then_4008(
    tmp_path: Path, narrow: bool
) -> None:
    async with hosted(tmp_path) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        ids = await fill(gp, nurse, 120)
        async with nurse.online(narrow=narrow) as line:
            held = server.services.hub.connections()[0]
            ended = asyncio.create_task(held.ended.wait())
            while not ended.done():  # first the ping that asks whether it still reads
                server.clock.ahead += held.session.patience
                await asyncio.wait({ended}, timeout=0.2)
            rows = await everything(line)
            assert 0 < sum(size_of(row) for row in rows) <= limits.WINDOW_START + size_of(rows[0])
            assert held.session.delivered == len(rows) < 20
            assert not held.session.has_data
        assert not server.services.hub.connections()
        # A dead link halves the window of the next connection, and nothing was lost.
        async with nurse.online() as line:
            assert server.services.hub.connections()[0].session.window == limits.WINDOW_START // 2
            for message in ids:
                [row] = await line.deliveries(1)
                assert row.id == message
                await line.put(f.Ack(position=row.position))


async def test_who_answers_pings_lives_although_it_acknowledges_late(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        await fill(gp, nurse, 3)
        async with nurse.online() as line:
            rows = await line.deliveries(3)
            for _ in range(3):
                server.clock.ahead += limits.ACK_TIMEOUT * 0.8
                await line.read()  # the server's ping; the session answers it
                await line.ping()
            await line.ack(receipts=[nurse.receipt(row) for row in rows])


async def test_a_large_backlog_is_caught_up_in_order(standing: ServerProcess) -> None:
    gp, nurse = await enrolled(standing), await enrolled(standing)
    ids = await fill(gp, nurse, 2_000, body=256)
    async with nurse.online() as line:
        for place, message in enumerate(ids, 1):
            [row] = await line.deliveries(1)
            assert (row.position, row.id) == (place, message)
            if place % 10 == 0:
                await line.put(f.Ack(position=place))
        assert await line.caught_up() == 2_000
        await line.ack()
    async with nurse.online() as line:
        assert await line.caught_up() == 2_000
        assert not line.seen


async def test_a_window_that_grew_is_there_on_the_next_connection(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        await fill(gp, nurse, 40)
        async with nurse.online() as line:
            for _ in range(40):
                [row] = await line.deliveries(1)
                await line.put(f.Ack(position=row.position))
            await line.ack()
            grown = server.services.hub.connections()[0].session.window
        assert grown > 3 * limits.WINDOW_START
        async with nurse.online() as line:
            await line.caught_up()
            assert server.services.hub.connections()[0].session.window == grown


class Stumbling(SqliteStore):
    """Its first reads of mailboxes fail."""

    stumbles = 0

    async def fetch(self, wanted: Sequence[Wanted]) -> list[Fetched]:
        if self.stumbles:
            self.stumbles -= 1
            raise OSError("no mailbox today")
        return await super().fetch(wanted)


async def test_the_sweep_finds_what_a_failed_read_left_behind(tmp_path: Path) -> None:
    async with hosted(tmp_path, Stumbling, sweep_every=0.1) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        store = server.store
        assert isinstance(store, Stumbling)
        store.stumbles = 1
        async with gp.online() as line:
            await line.caught_up()  # nothing waited, but that must be told too
        [message] = await fill(gp, nurse, 1)
        store.stumbles = 1
        async with nurse.online() as line:
            [row] = await line.deliveries(1)
            assert row.id == message
            await line.caught_up()


async def test_the_sweep_finds_what_nobody_rang_for(server: ServerProcess) -> None:
    await server.stop()
    server.settings = {"MISS_SWEEP_EVERY": "0.1"}
    await server.start()
    gp, nurse = await enrolled(server), await enrolled(server)
    async with nurse.online() as line:
        await line.caught_up()
        send = gp.send(nurse.person)
        async with beside(server) as store:  # as another node would, whose ring was lost
            await store.submit(Submission(gp.id, None, send, fingerprint(send)), now_ms=now_ms())
        [row] = await line.deliveries(1)
        assert row.id == send.id


class Slow:
    """A socket that is full after each message."""

    def __init__(self) -> None:
        self.full = False
        self.written: list[bytes] = []
        self.closed: list[int] = []
        self.aborted = False

    def write(self, message: bytes) -> None:
        self.written.append(message)
        self.full = True

    def close(self, code: CloseCode, reason: str) -> None:
        self.closed.append(code)

    def abort(self) -> None:
        self.aborted = True


async def test_a_socket_that_takes_nothing_is_given_up() -> None:
    session = ServerSession(server_codec(f.MSGPACK), now=0.0)
    wire, clock, ends = Slow(), TurnedClock(), list[bool]()
    stuck = Connection(session, wire, clock, lambda: ends.append(True))
    session.challenge(f.Challenge(bytes(32), "miss.example", 0))
    stuck.flush()
    await asyncio.sleep(0)
    stuck.end(CloseCode.DRAINING)  # that must wait for the socket as well
    await asyncio.sleep(0)
    stuck.check(clock.steady())
    assert (wire.closed, wire.aborted, ends) == ([], False, [])
    clock.ahead = session.patience + connections.WRITE_GRACE + 1
    stuck.check(clock.steady())
    await asyncio.wait_for(stuck.ended.wait(), 10)
    assert wire.aborted
    assert wire.closed == []  # a close would block as well
    stuck.over()
    assert ends == [True]


async def test_what_becomes_due_while_a_write_waits_is_written_after_it() -> None:
    session = ServerSession(server_codec(f.MSGPACK), now=0.0)
    wire = Slow()
    slow = Connection(session, wire, TurnedClock(), lambda: None)
    session.challenge(f.Challenge(bytes(32), "miss.example", 0))
    slow.flush()
    await asyncio.sleep(0)
    session.receive(session.codec.encode([f.Ping(3)]), 1.0)
    slow.flush()
    await asyncio.sleep(0)
    assert len(wire.written) == 1
    wire.full = False
    slow.resumed()
    await asyncio.sleep(0)
    assert len(wire.written) == 2
    assert not session.has_data
    assert session.close_code is None


async def test_who_pings_without_end_and_never_reads_is_given_up(tmp_path: Path) -> None:
    """Each ping is a pong that waits: without a bound it would be the server's memory."""
    async with hosted(tmp_path) as server:
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(
            b"GET /v1/ws HTTP/1.1\r\nHost: miss.example\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Protocol: miss.v1.msgpack\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        ping = b"\x89\xfd" + bytes(4) + bytes(125)
        stuck = False
        for _ in range(2_000):  # 260 MB, if somebody takes it
            writer.write(ping * 1_000)
            try:
                await asyncio.wait_for(writer.drain(), 1)
            except TimeoutError:
                stuck = True
                break
        assert stuck, "the server read on without being read"
        [stranger] = server.services.hub.strangers
        server.clock.ahead += limits.HELLO_TIMEOUT + stranger.session.patience
        server.clock.ahead += connections.WRITE_GRACE
        await asyncio.wait_for(stranger.ended.wait(), 10)
        assert not server.services.hub.strangers
        writer.transport.abort()
