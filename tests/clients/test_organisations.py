"""A code is asked for again under the same request, when the reply is lost."""

import asyncio

import msgspec
import pytest

from miss_client import organisations
from miss_client.calls import Calls
from miss_client.errors import Unreachable
from miss_protocol.organisations import CodeIssued, CodeWanted
from tests.clients.conftest import World

MADE = CodeIssued("local.members.s-12", "Anne Quesnimont", "ABCD-EFGH-JKMN", 1)


async def test_a_lost_reply_makes_no_second_request(world: World) -> None:
    gp = await world.enrol("gp")
    heard: list[CodeWanted] = []
    lost = organisations.TRIES - 1

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        [size] = [
            line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        ]
        body = await reader.readexactly(int(size.split(b":")[1]))
        heard.append(msgspec.json.decode(body, type=CodeWanted))
        if len(heard) > lost:
            reply = msgspec.json.encode(MADE)
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % len(reply) + reply)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        calls = Calls(f"http://127.0.0.1:{port}", gp.vault)
        assert await organisations.issue(calls, "1599900018", MADE.person) == MADE
        assert len(heard) == organisations.TRIES
        assert len({one.request for one in heard}) == 1
        lost = 100
        with pytest.raises(Unreachable):
            await organisations.issue(calls, "1599900018", MADE.person)
        assert len(heard) == 2 * organisations.TRIES
        assert len({one.request for one in heard}) == 2
        await calls.close()
