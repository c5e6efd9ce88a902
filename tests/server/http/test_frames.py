"""Frames that are wrong: each gets a code, and the connection goes on unless the spec closes it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from miss_protocol import client_session as events
from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.errors import CloseCode, Code
from tests.support.hosted import hosted
from tests.support.server import ServerProcess
from tests.support.wire import PATIENCE, Device, Line, enrolled

BOTH = pytest.mark.parametrize("subprotocol", [f.MSGPACK, f.JSON])


def nested(depth: int) -> Any:
    """Lists in lists."""
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


WRONG: list[tuple[Any, str, str]] = [
    ({"op": "teleport", "to": 3}, "unsupported", "teleport"),
    ({"op": "x" * 500}, "unsupported", "x" * 64),
    ({"n": 3}, "malformed", ""),
    ({"op": 7}, "malformed", ""),
    (42, "malformed", ""),
    (None, "malformed", ""),
    ("hello", "malformed", ""),
    (["ping", 3], "malformed", ""),
    ({"op": "ping"}, "malformed", "ping"),
    ({"op": "ping", "n": "three"}, "malformed", "ping"),
    ({"op": "ping", "n": -1}, "malformed", "ping"),
    ({"op": "ping", "n": 2**53}, "malformed", "ping"),
    ({"op": "ping", "n": 1.5}, "malformed", "ping"),
    ({"op": "nack", "position": 0, "reason": "boring"}, "malformed", "nack"),
    ({"op": "welcome", "account": "a"}, "malformed", "welcome"),
    ({"op": "ack", "position": 0, "receipts": [{"id": "short"}]}, "malformed", "ack"),
    ({"op": "send", "sn": 0}, "malformed", "send"),
    ({"op": "ping", "n": 1, "more": "x" * limits.FRAME_MAX}, "too_large", "ping"),
    ({"op": "ping", "n": 1, "more": "x" * limits.SEND_FRAME_MAX}, "too_large", ""),
]


async def put_raw(line: Line, *frames: Any) -> None:
    """Write an array of anything."""
    if line.session.codec.text:
        await line.raw(json.dumps(list(frames)))
    else:
        await line.raw(msgspec.msgpack.encode(list(frames)))


@pytest.fixture
async def device(standing: ServerProcess) -> Device:
    """A device of the standing server."""
    return await enrolled(standing)


@BOTH
async def test_each_wrong_frame_is_refused_alone(
    device: Device, subprotocol: f.Subprotocol
) -> None:
    async with device.online(subprotocol) as line:
        for number, (wrong, code, about) in enumerate(WRONG):
            await put_raw(line, wrong)
            error = await line.error()
            assert (error.code, error.about) == (code, about), wrong
            assert error.text == next(c for c in Code if c.wire == code).text("en")
            await line.ping(number)


@BOTH
async def test_a_bad_frame_among_good_ones_is_refused_alone(
    device: Device, subprotocol: f.Subprotocol
) -> None:
    cardiologist = await enrolled(device.server)
    send = device.send(cardiologist.person)
    async with device.online(subprotocol) as line:
        encoded = msgspec.json.encode if line.session.codec.text else msgspec.msgpack.encode
        decoded = msgspec.json.decode if line.session.codec.text else msgspec.msgpack.decode
        await put_raw(line, {"op": "ping", "n": 1}, {"op": "oops"}, decoded(encoded(send)))
        assert (await line.error()).code == "unsupported"
        settled = (await line.next(events.Settled)).reply
        assert isinstance(settled, f.Sent)
        assert line.pongs == [1]
    async with cardiologist.online(subprotocol) as other:
        [row] = await other.deliveries(1)
        assert (row.id, row.body) == (send.id, send.body)


@BOTH
async def test_unknown_fields_and_an_empty_array_are_ignored(
    device: Device, subprotocol: f.Subprotocol
) -> None:
    async with device.online(subprotocol) as line:
        await put_raw(line)
        await put_raw(line, {"op": "ping", "n": 5, "future": {"field": [1, 2]}})
        await line.next(events.CaughtUp)
        await line.ping(6)
        assert line.pongs == [5]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1",
        b"\x93\x81",  # an array cut short
        b"\x81\xa2op\xa4ping",  # a frame without its array
        msgspec.msgpack.encode([{"op": "ping", "n": 1}])[:-1],
        msgspec.msgpack.encode([{"op": "ping", "n": 1}]) + b"\x00",  # something behind it
        b"\xdd\xff\xff\xff\xff",  # four thousand million frames, it says
        b"\x91" * 20_000,
        msgspec.msgpack.encode(["x" * limits.MESSAGE_MAX]),
        msgspec.msgpack.encode([{"op": "ping", "n": 1}] * (limits.FRAMES_PER_MESSAGE_MAX + 1)),
    ],
)
async def test_what_is_no_array_of_frames_ends_the_connection(
    device: Device, message: bytes
) -> None:
    async with device.online() as line:
        await line.raw(message)
        assert (await line.error()).code == "malformed"
        assert await line.closed() == CloseCode.PROTOCOL


@pytest.mark.parametrize(
    "message",
    ["", "hello", "{}", "[", '[{"op":"ping","n":1}', "[" * 20_000, '["\\ud800"]'],
    ids=len,
)
async def test_what_is_no_json_array_ends_the_connection(device: Device, message: str) -> None:
    async with device.online(f.JSON) as line:
        await line.raw(message)
        assert (await line.error()).code == "malformed"
        assert await line.closed() == CloseCode.PROTOCOL


async def test_bad_utf8_and_nesting_inside_a_frame_are_refused_alone(device: Device) -> None:
    async with device.online() as line:
        await line.raw(b"\x91\x82\xa2op\xa4ping\xa1n\xa2\xff\xfe")
        assert (await line.error()).code == "malformed"
        await line.raw(b"\x91\x81\xa2op\xa4\xff\xfe\xfd\xfc")
        assert (await line.error()).code == "malformed"
        await line.ping()
    async with device.online(f.JSON) as line:
        await line.raw('[{"op":"ping","n":"\\u0000"}]')
        assert (await line.error()).code == "malformed"
        await line.ping()


@BOTH
async def test_deep_nesting_is_malformed_and_no_crash(
    device: Device, subprotocol: f.Subprotocol
) -> None:
    async with device.online(subprotocol) as line:
        depth = 30_000  # newer Pythons let C code go ten thousand levels deep
        frame = b'{"op":"ping","n":1,"x":' + b"[" * depth + b"]" * depth + b"}"
        if subprotocol == f.MSGPACK:
            frame = b"\x83\xa2op\xa4ping\xa1n\x01\xa1x" + b"\x91" * depth + b"\xc0"
            await line.raw(b"\x91" + frame)
        else:
            await line.raw("[" + frame.decode() + "]")
        assert (await line.error()).code == "malformed"
        assert await line.closed() == CloseCode.PROTOCOL


async def test_text_that_is_not_utf8_is_closed_by_the_transport(device: Device) -> None:
    async with device.online(f.JSON) as line:
        await line.ws.send(b"\xff\xfe[]", text=True)
        assert await line.closed() == 1007


@pytest.mark.parametrize(
    ("subprotocol", "message"),
    [(f.MSGPACK, '[{"op":"ping","n":1}]'), (f.JSON, b"\x91\x82\xa2op\xa4ping\xa1n\x01")],
)
async def test_text_on_the_binary_subprotocol_and_the_reverse(
    device: Device, subprotocol: f.Subprotocol, message: bytes | str
) -> None:
    async with device.online(subprotocol) as line:
        await line.raw(message)
        assert (await line.error()).code == "malformed"
        assert await line.closed() == CloseCode.PROTOCOL


async def test_what_comes_after_the_closing_message_is_dropped(server: ServerProcess) -> None:
    device = await enrolled(server)
    async with device.online() as line:
        # In one go, so that the later ones are there before the close has been written.
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(line.raw("text") for _ in range(20)))
        assert await line.closed() == CloseCode.PROTOCOL
    await server.stop()
    assert "Traceback" not in server.log_text()


@pytest.mark.parametrize("offered", [[], ["miss.v2.msgpack"], ["chat", "mqtt"]])
async def test_no_subprotocol_of_ours_is_told_by_a_close_code(
    standing: ServerProcess, offered: list[str]
) -> None:
    named = [Subprotocol(name) for name in offered] or None
    async with connect(standing.socket_url, subprotocols=named) as ws:
        with pytest.raises(ConnectionClosed) as end:
            await asyncio.wait_for(ws.recv(), PATIENCE)
    assert end.value.rcvd is not None
    assert end.value.rcvd.code == CloseCode.PROTOCOL
    assert end.value.rcvd.reason == "subprotocol"


async def test_the_first_known_subprotocol_is_taken(standing: ServerProcess) -> None:
    named = [Subprotocol(name) for name in ("miss.v9.cbor", f.JSON, f.MSGPACK)]
    async with connect(standing.socket_url, subprotocols=named) as ws:
        assert ws.subprotocol == f.JSON
        assert isinstance(await ws.recv(), str)


@BOTH
async def test_a_message_above_what_the_transport_takes_is_1009(
    device: Device, subprotocol: f.Subprotocol
) -> None:
    async with device.online(subprotocol) as line:
        size = limits.TRANSPORT_MAX + 1
        await line.raw("x" * size if subprotocol == f.JSON else bytes(size))
        assert await line.closed() == 1009
    async with device.online(subprotocol) as line:
        await line.ping()


async def test_a_fragmented_message_is_one_message(device: Device) -> None:
    whole = msgspec.msgpack.encode([{"op": "ping", "n": 3}])
    async with device.online() as line:
        await line.ws.send([whole[:4], whole[4:9], whole[9:]])
        await line.next(events.CaughtUp)
        await line.ping(4)
        assert line.pongs == [3]


async def test_who_writes_without_end_and_never_reads_is_ended(tmp_path: Path) -> None:
    flood = msgspec.msgpack.encode(
        [{"op": "ping", "n": 2**50}] * limits.FRAMES_PER_MESSAGE_MAX,
    )
    async with hosted(tmp_path) as server:
        device = await enrolled(server)
        async with device.online(narrow=True) as line:
            [held] = server.services.hub.connections()
            while held.session.close_code is None:
                await line.raw(flood)
            await line.raw("text, while the close still waits for room: dropped unread")
            assert await line.closed() == CloseCode.RATE
        async with device.online() as line:
            await line.ping()
