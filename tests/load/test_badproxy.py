"""The bad proxy is as bad as it says, and no worse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from tests.support.badproxy import BadProxy, Weather

PATIENCE = 60.0


@dataclass
class Ends:
    """Both ends of connections through a proxy to a server that echoes."""

    proxy: BadProxy

    async def ask(self, data: bytes) -> bytes:
        """Write on a new connection; returns what comes back until it ends, or is complete."""
        reader, writer = await self.open()
        try:
            writer.write(data)
            return await self.read(reader, len(data))
        finally:
            writer.transport.abort()

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection."""
        url = urlsplit(self.proxy.url)
        return await asyncio.open_connection(url.hostname, url.port)

    async def read(self, reader: asyncio.StreamReader, most: int) -> bytes:
        """What comes."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await reader.readexactly(most)
            except asyncio.IncompleteReadError as end:
                return end.partial
            except ConnectionResetError:
                return b""


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Return every byte."""
    try:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    except ConnectionResetError:
        pass
    finally:
        writer.transport.abort()


@asynccontextmanager
async def through(weather: Weather) -> AsyncIterator[Ends]:
    """A proxy before an echoing server."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = BadProxy(server.sockets[0].getsockname()[1], weather)
    await proxy.start()
    try:
        yield Ends(proxy)
    finally:
        await proxy.stop()
        server.close()


@pytest.mark.parametrize(
    "weather", [Weather(), Weather(piece=1), Weather(delay=0.01), Weather(bytes_per_second=2_000)]
)
async def test_every_byte_arrives_in_order(weather: Weather) -> None:
    data = bytes(range(256))
    async with through(weather) as ends:
        assert await ends.ask(data) == data


async def test_a_slow_link_takes_its_time() -> None:
    async with through(Weather(bytes_per_second=2_000, piece=256)) as ends:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await ends.ask(bytes(1_000))
        assert loop.time() - begun >= 0.5


async def test_a_cut_ends_the_connection_in_the_midst() -> None:
    async with through(Weather(cut_after=1_000)) as ends:
        data = bytes(100_000)
        assert len(await ends.ask(data)) < len(data)
        assert ends.proxy.cuts == 1


async def test_a_silent_connection_stays_silent_and_open() -> None:
    async with through(Weather()) as ends:
        reader, writer = await ends.open()
        writer.write(b"one")
        assert await ends.read(reader, 3) == b"one"
        ends.proxy.weather.silent = True
        writer.write(b"two")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(1)
        ends.proxy.weather.silent = False
        writer.write(b"three")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(1)
        assert not reader.at_eof()
        assert await ends.ask(b"new") == b"new"
        writer.transport.abort()
