"""What asks for a WebSocket, as bytes: what is let in, and what is refused."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from miss_protocol import frames as f
from tests.support.hosted import Hosted, hosted
from tests.support.wire import PATIENCE

ASKING = (
    b"host: x\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"sec-websocket-protocol: miss.v1.msgpack\r\n"
)
LINE = b"GET /v1/ws?x=1 HTTP/1.1\r\n"


@asynccontextmanager
async def asked(
    server: Hosted, request: bytes
) -> AsyncIterator[tuple[asyncio.StreamReader, bytes]]:
    """Send a request; the reader behind the head of its answer, and that head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(server.url).port)
    try:
        writer.write(request)
        async with asyncio.timeout(PATIENCE):
            yield reader, await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_the_challenge_follows_the_answer(tmp_path: Path) -> None:
    assert f.MSGPACK.encode() in ASKING
    request = LINE + ASKING + b"content-length: 0\r\n\r\n"
    async with hosted(tmp_path) as server, asked(server, request) as (reader, head):
        assert head.startswith(b"HTTP/1.1 101 ")
        # The key's answer of RFC 6455 §1.3.
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
        kind, size = struct.unpack("!BB", await reader.readexactly(2))
        payload = await reader.readexactly(size)
        assert kind == 0x82
        [challenge] = msgspec.msgpack.decode(payload, type=list[f.ServerFrame])
        assert isinstance(challenge, f.Challenge)


@pytest.mark.parametrize(
    ("line", "more", "status"),
    [
        (b"GET /v1/elsewhere HTTP/1.1\r\n", b"", 404),
        (b"POST /v1/ws HTTP/1.1\r\n", b"", 405),
        (LINE, b"content-length: 2\r\n", 400),
        (LINE, b"transfer-encoding: chunked\r\n", 400),
        (LINE, b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", 400),
        (b"GET /v1/ws\xc3\xa9 HTTP/1.1\r\n", b"", 400),
    ],
)
async def test_what_is_no_upgrade_is_refused_and_ended(
    tmp_path: Path, line: bytes, more: bytes, status: int
) -> None:
    body = {b"c": b"hi", b"t": b"0\r\n\r\n"}.get(more[:1], b"")
    request = line + ASKING + more + b"\r\n" + body
    async with hosted(tmp_path) as server, asked(server, request) as (reader, head):
        assert head.startswith(f"HTTP/1.1 {status} ".encode())
        await reader.read()  # it ends
