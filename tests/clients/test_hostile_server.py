"""Servers that break the protocol, lie or go away: a real WebSocket server, driven frame by frame."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from miss_client import Client, ClientError, Trouble
from miss_client.errors import RefusedByServer, Unreachable
from miss_client.events import (
    Connection,
    ConnectionChanged,
    GapSeen,
    Unopened,
)
from miss_client.transport import Timing
from miss_protocol import client_session as s
from miss_protocol import frames as f
from miss_protocol.codec import server_codec
from miss_protocol.errors import CloseCode, Code
from miss_protocol.ids import DeviceId
from tests.clients.conftest import QUICK, World, until

pytestmark = pytest.mark.timeout(60)
CODEC = server_codec(f.MSGPACK)
Script = Callable[[ServerConnection, f.Hello], Awaitable[None]]


async def put(socket: ServerConnection, *frames: f.Frame) -> None:
    await socket.send(CODEC.encode(list(frames)))


async def take(socket: ServerConnection) -> list[f.ClientFrame]:
    message = await socket.recv(decode=False)
    return [CODEC.decode_frame(raw) for raw in CODEC.split(message)]


def welcome(client: Client, *, sn: int = 0, account: str | None = None) -> f.Welcome:
    return f.Welcome(
        account=account or client.account,
        epoch=b"e" * 16,
        position=0,
        acked=0,
        sn=sn,
        time=0,
        prekeys=50,
        roster=1,
    )


@asynccontextmanager
async def hostile(
    client: Client, script: Script, *, subprotocols: list[str] | None = None
) -> AsyncIterator[None]:
    """Let the client meet `script` after an ordinary challenge and hello."""

    async def meet(socket: ServerConnection) -> None:
        await put(socket, f.Challenge(b"n" * 32, "miss.example", 0))
        [hello] = await take(socket)
        assert isinstance(hello, f.Hello)
        await script(socket, hello)

    agreed = [Subprotocol(name) for name in subprotocols or [f.MSGPACK]]
    async with serve(meet, "127.0.0.1", 0, subprotocols=agreed, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        client.transport._url = f"ws://127.0.0.1:{port}/v1/ws"
        async with client:
            yield


def acks_of(frames: list[f.ClientFrame]) -> list[f.Ack]:
    return [one for one in frames if isinstance(one, f.Ack)]


async def trouble_with(client: Client, script: Script) -> Trouble:
    async with hostile(client, script):
        with pytest.raises(ClientError) as told:
            await client._unless_ended(asyncio.Event())
        return told.value.trouble


@pytest.mark.parametrize(
    "frame",
    [
        f.Deliver(5, "x" * 28, b"d" * 16, b"m" * 16, b"", b"", 0),
        f.Drained(7),
        f.Challenge(b"n" * 32, "again", 0),
        f.Gap(1, 2, "expired", 2, (b"h" * 32,)),
    ],
)
async def test_a_server_that_miscounts_is_left(world: World, frame: f.Frame) -> None:
    client = await world.enrol("gp")

    async def script(socket: ServerConnection, hello: f.Hello) -> None:
        await put(socket, welcome(client), frame)
        await socket.wait_closed()

    assert await trouble_with(client, script) is Trouble.SERVER


async def test_another_account_or_a_higher_count_is_not_believed(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")

    async def other(socket: ServerConnection, hello: f.Hello) -> None:
        await put(socket, welcome(gp, account=nurse.account))
        await socket.wait_closed()

    async def ahead(socket: ServerConnection, hello: f.Hello) -> None:
        await put(socket, welcome(nurse, sn=9))
        await socket.wait_closed()

    assert await trouble_with(gp, other) is Trouble.SERVER
    assert await trouble_with(nurse, ahead) is Trouble.ROLLED_BACK


@pytest.mark.parametrize(
    ("close", "code", "expected"),
    [
        (CloseCode.AUTH, Code.SUSPENDED, Trouble.NOT_ADMITTED),
        (CloseCode.REVOKED, Code.REVOKED, Trouble.DEVICE_OVER),
        (CloseCode.PROTOCOL, Code.UPGRADE_REQUIRED, Trouble.SERVER),
        (4999, Code.INTERNAL, Trouble.SERVER),
    ],
)
async def test_final_close_codes_stop_with_the_servers_reason(
    world: World, close: int, code: Code, expected: Trouble
) -> None:
    client = await world.enrol("gp")

    async def script(socket: ServerConnection, hello: f.Hello) -> None:
        await put(socket, f.Error(code.wire, ""))
        await socket.close(close)

    async with hostile(client, script):
        with pytest.raises(ClientError) as told:
            await client.drained()
        assert told.value.trouble is expected
        assert getattr(told.value, "refusal", None) is code


async def test_who_is_not_known_introduces_itself_and_tries_once_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = await world.enrol("gp")
    tablet = await world.second(phone)  # whose roster the real server behind it takes again
    came: list[DeviceId] = []

    async def script(socket: ServerConnection, hello: f.Hello) -> None:
        came.append(DeviceId(hello.device))
        await put(socket, f.Error(Code.AUTH_FAILED.wire, "", about="hello"))
        await socket.close(CloseCode.AUTH)

    for client, tries in ((phone, 2), (tablet, 2)):
        assert await trouble_with(client, script) is Trouble.NOT_ADMITTED
        assert came.count(client.vault.device) == tries

    refusals = [RefusedByServer(Code.RATE_LIMITED, retry_after=0.05), Unreachable()]

    async def introduce() -> bool:
        if refusals:
            raise refusals.pop(0)
        return False

    tablet = world.reopen(tablet)
    monkeypatch.setattr(tablet.upkeep, "introduce", introduce)
    assert await trouble_with(tablet, script) is Trouble.NOT_ADMITTED
    assert came.count(tablet.vault.device) == 2 + 3  # "later" and "away" are no refusal


async def test_who_is_replaced_by_an_own_attempt_that_was_admitted_late_comes_back_once(
    world: World,
) -> None:
    client = await world.enrol("gp")
    met = 0

    async def script(socket: ServerConnection, hello: f.Hello) -> None:
        nonlocal met
        met += 1
        if met == 1:
            socket.transport.abort()  # it took the hello, and the line broke
            return
        await put(socket, welcome(client), f.Drained(0))
        await socket.close(CloseCode.REPLACED)

    assert await trouble_with(client, script) is Trouble.REPLACED
    assert met == 3


async def test_a_server_that_leaves_in_order_is_met_again_when_it_says(world: World) -> None:
    client = await world.enrol("gp")
    met: list[f.Hello] = []

    async def script(socket: ServerConnection, hello: f.Hello) -> None:
        met.append(hello)
        if len(met) == 1:
            await put(socket, welcome(client), f.Bye(Code.BUSY.wire, 0.2))
            await socket.close(CloseCode.DRAINING)
        else:
            await put(socket, welcome(client), f.Drained(0))
            await socket.wait_closed()

    events = client.events()
    async with hostile(client, script):
        waiting = await until(events, ConnectionChanged)
        while waiting.state is not Connection.WAITING:
            waiting = await until(events, ConnectionChanged)
        assert 0.2 <= waiting.retry_in <= 0.4
        assert waiting.reason == "draining"
        await client.drained()
    assert len(met) == 2


async def test_a_dead_path_is_noticed_by_a_ping(world: World) -> None:
    client = await world.enrol("gp", timing=Timing(0.1, 0.1, 0.05, 0.1))
    met = 0

    async def script(socket: ServerConnection, hello: f.Hello) -> None:
        nonlocal met
        met += 1
        await put(socket, welcome(client), f.Drained(0))
        while True:
            for frame in await take(socket):
                if isinstance(frame, f.Ping) and met > 1:
                    await put(socket, f.Pong(frame.n))

    events = client.events()
    async with hostile(client, script):
        while (await until(events, ConnectionChanged)).reason != "no answer to a ping":
            pass
        await client.drained()


async def test_of_rows_that_the_store_holds_already_only_the_rest_is_told(world: World) -> None:
    client = await world.enrol("gp")
    hashes = (b"h" * 32, b"i" * 32)

    async def saved(*rows: s.GapSeen) -> list[int]:
        return [one.position async for one in client.inbox.take(rows)]

    events = client.events()
    assert await saved(s.GapSeen(f.Gap(1, 2, "expired", 2, hashes), b"2" * 32)) == [2]
    assert await until(events, GapSeen) == GapSeen(2, "expired")
    assert await saved(s.GapSeen(f.Gap(1, 2, "expired", 2, hashes), b"2" * 32)) == []
    assert client.vault.cursor.position == 2
    assert await saved(s.GapSeen(f.Gap(2, 3, "expired", 2, hashes), b"3" * 32)) == [3]
    assert await until(events, GapSeen) == GapSeen(1, "expired")
    assert (client.vault.cursor.position, client.vault.cursor.digest) == (3, b"3" * 32)


async def test_a_gap_is_told_and_a_made_up_sender_is_refused(world: World) -> None:
    client, nurse = await world.enrol("gp"), await world.enrol("nurse")
    got: list[f.ClientFrame] = []
    done = asyncio.Event()

    async def script(socket: ServerConnection, hello: f.Hello) -> None:
        await put(
            socket,
            welcome(client),
            f.Gap(1, 2, "expired", 2, (b"h" * 32, b"i" * 32)),
            f.Deliver(3, nurse.account, b"d" * 16, b"m" * 16, b"body", b"wrap", 0),
            f.Drained(3),
        )
        while not any(isinstance(one, f.Ack) and one.position == 3 for one in got):
            got.extend(await take(socket))
        acks = [one for one in got if isinstance(one, f.Ack)]
        await put(socket, f.Acked(acks[-1].ref if isinstance(acks[-1].ref, int) else 0))
        await put(socket, f.Ping(7))
        while not isinstance(got[-1], f.Pong):
            got.extend(await take(socket))
        done.set()

    events = client.events()
    async with hostile(client, script):
        assert await until(events, GapSeen) == GapSeen(2, "expired")
        assert await until(events, Unopened) == Unopened(nurse.account, "untrusted")
        await done.wait()
        # Nothing is acknowledged before it is saved, not even if it rode with the welcome.
        assert acks_of(got)[0].position == 0
        order = [type(one) for one in got if isinstance(one, f.Nack) or one.__class__ is f.Ack]
        assert order.index(f.Nack) < len(order) - 1  # before the ack that covers it
        assert client.inbox.owed_nacks() == []
        assert client.vault.cursor.position == 3


async def test_a_send_whose_outcome_is_unknown_is_repeated_byte_for_byte(world: World) -> None:
    client, nurse = await world.enrol("gp"), await world.enrol("nurse")
    sends: list[f.Send] = []

    async def script(socket: ServerConnection, hello: f.Hello) -> None:
        await put(socket, welcome(client), f.Drained(0))
        while True:
            for frame in await take(socket):
                if isinstance(frame, f.Send):
                    sends.append(frame)
                    if len(sends) == 1:
                        await put(socket, f.RetrySend(frame.sn, Code.NOT_DURABLE.wire, 0.05))
                    else:
                        await put(socket, f.Sent(frame.sn, frame.id, 1))

    async with hostile(client, script):
        id = await client.send([nurse.account], "x")
        assert (await client.wait_for_state(id, "sent")).state == "sent"
    assert len(sends) == 2
    assert sends[0] == sends[1]


async def test_refusals_of_a_send_end_where_their_rule_says(world: World) -> None:
    client, nurse = await world.enrol("gp"), await world.enrol("nurse")
    answers: list[Callable[[f.Send], f.Refused | f.Sent]] = [
        lambda s: f.Refused(s.sn, Code.UNCONFIRMED.wire, (nurse.account,), 0.05),
        lambda s: f.Refused(s.sn, Code.STALE_ROSTER.wire, (nurse.account,)),
        lambda s: f.Refused(s.sn, Code.MAILBOX_FULL.wire, (nurse.account,)),
        lambda s: f.Refused(s.sn, "a code of tomorrow"),
        lambda s: f.Refused(s.sn, Code.SN_REUSED.wire),
    ]
    seen: list[int] = []

    async def script(socket: ServerConnection, hello: f.Hello) -> None:
        await put(socket, welcome(client), f.Drained(0))
        while True:
            for frame in await take(socket):
                if isinstance(frame, f.Send) and answers:
                    seen.append(frame.sn)
                    answer = answers.pop(0)(frame)
                    if getattr(answer, "code", "") == "a code of tomorrow":
                        answers.insert(0, lambda s: f.Sent(s.sn, s.id, 1))
                    await put(socket, answer)

    async with hostile(client, script):
        full = await client.wait_for_state(await client.send([nurse.account], "x"), "sent")
        # Held for an unconfirmed account it stays the envelope that it was: encrypted anew once.
        assert (full.state, full.reason, full.again) == ("failed", "mailbox_full", 1)
        new = await client.wait_for_state(await client.send([nurse.account], "y"), "sent")
        assert (new.state, new.again) == ("sent", 1)
        await client.send([nurse.account], "z")
        with pytest.raises(ClientError) as told:
            await client._unless_ended(asyncio.Event())
        assert told.value.trouble is Trouble.ROLLED_BACK
    assert seen == [1, 2, 3, 4, 5, 6]


async def test_a_server_without_our_subprotocol_or_a_bad_address_ends_the_attempt(
    world: World,
) -> None:
    client = await world.enrol("gp")
    client.transport._url = "http://nowhere"
    async with client:
        with pytest.raises(ClientError) as told:
            await client.connected()
        assert told.value.trouble is Trouble.UNREACHABLE
    assert QUICK.backoff_min < QUICK.backoff_max
