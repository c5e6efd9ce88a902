"""Who dribbles, floods or comes in crowds: each step has a deadline, each cap an answer."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from miss_protocol import api, limits
from miss_protocol import client_session as events
from miss_protocol import frames as f
from miss_protocol.codec import client_codec
from miss_server.edge import tls_listener
from miss_server.http import connection
from tests.support.badproxy import BadProxy, Weather
from tests.support.certificates import Files
from tests.support.hosted import Hosted, hosted
from tests.support.waiting import until
from tests.support.wire import PATIENCE, Device, code_of, enrolled, open_call

LIVE = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
ELSEWHERE = "127.0.0.2"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines that a test can wait for."""
    monkeypatch.setattr(connection, "HEAD_PATIENCE", 0.5)
    monkeypatch.setattr(connection, "BODY_PATIENCE", 0.3)
    monkeypatch.setattr(connection, "BODY_GRACE", 0.2)
    monkeypatch.setattr(tls_listener, "HANDSHAKE_TIMEOUT", 0.5)


@asynccontextmanager
async def raw(
    server: Hosted, weather: Weather | None = None, source: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection, if wanted through a bad proxy."""
    port = urlsplit(server.url).port
    assert port is not None
    proxy = BadProxy(port, weather or Weather())
    if weather is not None:
        await proxy.start()
        port = urlsplit(proxy.url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        yield reader, writer
    finally:
        writer.close()
        if weather is not None:
            await proxy.stop()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Everything until the server ends the connection."""
    async with asyncio.timeout(PATIENCE):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b"(reset)"


def told(answer: bytes) -> tuple[int, str]:
    """Status and code of an answer's bytes."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head, answer
    assert b"connection: close" in head
    problem = msgspec.json.decode(body, type=api.Problem)
    status = int(head.split()[1])
    assert problem.status == status
    return status, problem.code


async def drip(writer: asyncio.StreamWriter, said: bytes, piece: int = 1) -> None:
    """Say it bit by bit, as long as anybody listens."""
    with suppress(ConnectionError):
        for start in range(0, len(said), piece):
            writer.write(said[start : start + piece])
            await writer.drain()
            await asyncio.sleep(0.02)


async def answer_to_drips(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: bytes, piece: int = 1
) -> bytes:
    """Everything that the server says while it is dripped on."""
    dripping = asyncio.create_task(drip(writer, said, piece))
    try:
        return await rest(reader)
    finally:
        dripping.cancel()


@pytest.mark.parametrize("upgrade", [b"", b"connection: upgrade\r\nupgrade: websocket\r\n"])
async def test_headers_in_drips(tmp_path: Path, short: None, upgrade: bytes) -> None:
    async with hosted(tmp_path) as server, raw(server) as (reader, writer):
        said = b"GET /v1/ws HTTP/1.1\r\n" + upgrade + b"x-long: " + b"y" * 9000
        assert told(await answer_to_drips(reader, writer, said)) == (408, "malformed")


async def test_nothing_at_all(tmp_path: Path, short: None) -> None:
    async with hosted(tmp_path) as server, raw(server) as (reader, _):
        assert told(await rest(reader)) == (408, "malformed")
        await until(lambda: server.services.admission.connections == 0)


async def test_empty_lines_after_an_answer_hold_nothing_open(tmp_path: Path, short: None) -> None:
    async with hosted(tmp_path) as server, raw(server) as (reader, writer):
        writer.write(LIVE)
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        said = await answer_to_drips(reader, writer, b"\r\n" * 9000, 2)
        assert told(said) == (408, "malformed")


async def test_headers_without_end(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server, raw(server) as (reader, writer):
        line = b"x-more: " + b"y" * 1000 + b"\r\n"
        writer.write(b"GET /v1/server HTTP/1.1\r\n" + line * 32 + line[:600])
        assert told(await rest(reader)) == (431, "too_large")


async def test_no_http(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server, raw(server) as (reader, writer):
        writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n")
        assert told(await rest(reader)) == (400, "malformed")


async def test_a_body_in_drips_to_a_call_that_reads_none(tmp_path: Path, short: None) -> None:
    async with hosted(tmp_path) as server, raw(server) as (reader, writer):
        writer.write(LIVE.replace(b"\r\n\r\n", b"\r\ncontent-length: 99999\r\n\r\n"))
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        assert await answer_to_drips(reader, writer, b"z" * 90_000) in (b"", b"(reset)")


async def test_a_slow_body_that_goes_on_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BODY_PATIENCE", 0.2)
    monkeypatch.setattr(connection, "BODY_GRACE", 0.2)
    async with hosted(tmp_path) as server, raw(server, Weather(piece=2000, delay=0.05)) as pair:
        reader, writer = pair
        body = b" " * 40_000 + b'{"code": "ABCD"}'
        head = "POST /v1/enrolment/preview HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        assert b"code_unknown" in await rest(reader)


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(99)])
async def test_a_tls_handshake_that_does_not_go_on(
    tmp_path: Path, short: None, said: bytes
) -> None:
    files = Files(tmp_path)
    files.write()
    async with hosted(tmp_path, tls_cert=files.certificate, tls_key=files.key) as server:
        async with raw(server) as (reader, writer):
            assert await answer_to_drips(reader, writer, said) in (b"", b"(reset)")
        await until(lambda: server.services.admission.connections == 0)


async def test_silent_handshakes_make_room(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.write()
    tls: dict[str, Any] = {"tls_cert": files.certificate, "tls_key": files.key}
    async with hosted(tmp_path, max_strangers=2, **tls) as server:
        async with raw(server) as (first, _), raw(server) as (second, _):
            await until(lambda: server.services.admission.strangers == 2)
            assert (await open_call(server, "GET", "/health/live")).status_code == 200
            assert await rest(first) in (b"", b"(reset)")
            assert not second.at_eof()
        await until(lambda: server.services.admission.connections == 0)
    assert server.services.admission.pushed_out == 1


async def bye(line_of: Device) -> tuple[f.Bye, int]:
    """What a device is told that is not let in: the frame and the close code."""
    async with connect(
        line_of.server.socket_url, subprotocols=[Subprotocol(f.MSGPACK)], compression=None
    ) as socket:
        message = await socket.recv()
        assert isinstance(message, bytes)
        codec = client_codec()
        [frame] = [codec.decode_frame(part) for part in codec.split(message)]
        assert isinstance(frame, f.Bye)
        await socket.wait_closed()
        assert socket.close_code is not None
        return frame, socket.close_code


async def test_a_full_server_says_so(tmp_path: Path) -> None:
    async with hosted(tmp_path, max_connections=2) as server:
        one, two = await enrolled(server), await enrolled(server)
        await until(lambda: server.services.admission.connections == 0)
        async with one.online() as line, two.online():
            frame, code = await bye(two)
            assert (frame.code, frame.retry_after, code) == ("busy", 5.0, 4032)
            answer = await open_call(server, "GET", "/v1/server")
            assert (answer.status_code, code_of(answer)) == (503, "busy")
            assert answer.headers["retry-after"] == "5"
            await line.settle(one.send(two.person))
        await until(lambda: server.services.admission.connections == 0)
        async with one.online() as line:
            await line.ping()


async def test_strangers_make_room_for_who_logs_in(tmp_path: Path) -> None:
    async with hosted(tmp_path, max_strangers=2) as server:
        one, two = await enrolled(server), await enrolled(server)
        await until(lambda: server.services.admission.connections == 0)
        async with one.online() as line, two.line() as silent, two.line():
            await until(lambda: server.services.admission.strangers == 2)
            async with two.online() as other:
                await line.settle(one.send(two.person))
                await other.deliveries(1)
            leaving = await silent.next(events.Leaving)
            assert (leaving.bye.code, leaving.bye.retry_after) == ("busy", 5.0)
            assert await silent.closed() == 4032
            await line.ping()


async def test_a_stranger_cannot_fill_the_memory(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        device = await enrolled(server)
        async with device.line() as line:
            await line.raw(bytes(limits.FRAME_MAX + 1))
            assert await line.closed() == 1009
        async with device.online() as line:
            await line.raw(bytes(limits.FRAME_MAX + 1))
            assert (await line.error()).code == "malformed"


async def test_logins_do_not_use_up_the_rate_of_an_address(tmp_path: Path) -> None:
    async with hosted(tmp_path, address_rate=0.01, address_burst=12) as server:
        device = await enrolled(server)
        for _ in range(30):
            async with device.online():
                pass
            assert (await device.call("GET", "/v1/prekeys")).status_code == 200
        statuses = []
        for _ in range(13):
            async with raw(server, source=ELSEWHERE) as (reader, writer):
                writer.write(LIVE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
                answer = await rest(reader)
                statuses.append(int(answer.split()[1]))
        assert statuses == [200] * 12 + [429]
        assert told(answer) == (429, "rate_limited")
        assert b"retry-after: 100" in answer
        async with device.online() as line:
            await line.ping()


async def test_a_socket_behind_a_proxy_counts_against_its_client(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"trusted_proxies": "127.0.0.1", "connections_per_address": 1}
    async with hosted(tmp_path, **settings) as server:

        def come(address: str) -> connect:
            return connect(
                server.socket_url,
                subprotocols=[Subprotocol(f.JSON)],
                additional_headers={"x-forwarded-for": f"1.2.3.4, {address}"},
            )

        async with come("192.0.2.1"), come("192.0.2.2") as second:
            async with come("192.0.2.1") as third:
                assert '"bye"' in str(await third.recv())
                await third.wait_closed()
                assert third.close_code == 4032
            assert '"challenge"' in str(await second.recv())
        await until(lambda: server.services.admission.connections == 0)


async def test_a_signature_holds_behind_a_proxy_that_ends_tls(tmp_path: Path) -> None:
    async with hosted(tmp_path, trusted_proxies="127.0.0.1/32") as server:
        device = await enrolled(server)
        port = urlsplit(server.url).port

        async def behind(source: str, **headers: str) -> int:
            own = device.server.url
            server.url = "https://miss.example"
            request = device.request("GET", "/v1/prekeys")
            server.url = own
            told = {n: v for n, v in request.headers.items() if n != "host"} | headers
            transport = httpx2.AsyncHTTPTransport(local_address=source, verify=_NOBODY)
            async with httpx2.AsyncClient(transport=transport) as client:
                answer = await client.get(
                    f"http://127.0.0.1:{port}/v1/prekeys",
                    headers={n.replace("_", "-"): v for n, v in told.items()},
                )
            return answer.status_code

        assert await behind("127.0.0.1", host="miss.example") == 200
        # The default port is left out of what is signed: of which scheme, the proxy tells.
        named = {"host": "miss.example:443", "x_forwarded_proto": "https"}
        assert await behind("127.0.0.1", **named) == 200
        assert await behind(ELSEWHERE, **named) == 401
        assert await behind("127.0.0.1", host="other.example") == 401


async def test_a_proxy_that_names_the_host_by_forwarded(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"trusted_proxies": "127.0.0.1", "proxy_headers": "forwarded"}
    async with hosted(tmp_path, **settings) as server:
        device = await enrolled(server)
        own, server.url = server.url, "https://miss.example"
        request = device.request("GET", "/v1/prekeys")
        server.url = own
        headers = dict(request.headers) | {
            "host": "inner.local",
            "forwarded": "for=192.0.2.9;proto=https;host=miss.example",
        }
        async with httpx2.AsyncClient(verify=_NOBODY) as client:
            answer = await client.get(f"{own}/v1/prekeys", headers=headers)
        assert answer.status_code == 200


async def test_who_is_no_proxy_cannot_choose_an_address(tmp_path: Path) -> None:
    async with hosted(tmp_path, trusted_proxies=ELSEWHERE) as server:
        for number in range(21):
            answer = await open_call(
                server,
                "POST",
                "/v1/enrolment/preview",
                api.CodeGiven(os.urandom(6).hex()),
                headers={
                    "x-forwarded-for": f"192.0.2.{number}",
                    "forwarded": f"for=192.0.2.{number}",
                    "x-real-ip": f"192.0.2.{number}",
                },
            )
        assert code_of(answer) == "rate_limited"


_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
