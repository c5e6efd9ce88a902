"""A TCP proxy as bad as a valley's network: slow, in drips, cut off, or silent."""

import asyncio
import random
from dataclasses import dataclass, field


@dataclass
class Weather:
    """What the proxy does to each connection; may be changed while it runs.

    Attributes:
        delay: seconds that each piece is late.
        bytes_per_second: of each connection and direction; 0 is unlimited.
        piece: most bytes that are passed on at once: 1 lets every frame come in drips.
        cut_after: bytes after which a connection is broken off, each chosen up to twice that; 0
            never.
        silent: take everything, pass nothing on, and close nothing, also afterwards:
            a half-open connection. New ones work as soon as it is false.
    """

    delay: float = 0.0
    bytes_per_second: int = 0
    piece: int = 65_536
    cut_after: int = 0
    silent: bool = False


@dataclass
class BadProxy:
    """Listens on a free port of this machine; `start` before use, `stop` after."""

    target: int
    weather: Weather = field(default_factory=Weather)
    seed: int = 1
    url: str = ""
    cuts: int = 0
    """Connections that it broke off."""
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        """Listen."""
        self._chance = random.Random(self.seed)
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=16_384)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"ws://{host}:{port}"

    async def stop(self) -> None:
        """Break off everything."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._join(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # either end is gone, or the proxy stops
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(
            "127.0.0.1", self.target, limit=16_384
        )
        ways = [
            asyncio.create_task(self._carry(reader, far_writer)),
            asyncio.create_task(self._carry(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            far_writer.transport.abort()  # before any await: `stop` may cancel it
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        weather, carried = self.weather, 0
        end = self._chance.randrange(1, 2 * weather.cut_after) if weather.cut_after else 0
        silent = False
        while data := await reader.read(weather.piece):
            if weather.delay:
                await asyncio.sleep(weather.delay)
            if weather.bytes_per_second:
                await asyncio.sleep(len(data) / weather.bytes_per_second)
            silent = silent or weather.silent  # what it swallowed makes the rest unreadable
            if silent:
                continue
            carried += len(data)
            if end and carried >= end:
                writer.write(data[: max(0, len(data) - (carried - end))])
                self.cuts += 1
                return
            writer.write(data)
            await writer.drain()
