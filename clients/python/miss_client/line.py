"""A line between a client and its server that can be made bad, for the demo and the sandbox.

It forwards bytes between a port of its own and the server, and fails on command: slow, offline, or
swallowing the server's next answer and hanging up, so that a client never learns what became of
what it sent. It sees ciphertext only, like any network.
"""

import asyncio
from contextlib import suppress
from typing import Self

CHUNK = 16 * 1024
SLOW_BYTES_PER_SECOND = 2_000


class Line:
    """Forwards to `host:port`. Use as an async context manager; `url` is where clients connect."""

    def __init__(
        self, host: str, port: int, *, listen_host: str = "127.0.0.1", listen_port: int = 0
    ) -> None:
        self.host = host
        self.port = port
        self.slow = False
        self.offline = False
        self.dropped = 0
        """How many answers were swallowed."""
        self._listen_host = listen_host
        self._listen_port = listen_port
        self._drop_next = False
        self._armed = False
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._forward, self._listen_host, self._listen_port
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None  # noqa: S101  # entered before
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Where clients connect."""
        assert self._server is not None  # noqa: S101  # entered before
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    def drop_next_reply(self) -> None:
        """Let the next thing a client says through, and swallow the answer."""
        self._armed = True

    def cut(self) -> None:
        """End every connection at once, as a tunnel does."""
        for writer in list(self._writers):
            writer.transport.abort()

    def go_offline(self) -> None:
        """Cut, and refuse new connections until `go_online`."""
        self.offline = True
        self.cut()

    def go_online(self) -> None:
        """Accept connections again."""
        self.offline = False

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.offline:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, up_writer}
        try:
            up = asyncio.create_task(self._pump(reader, up_writer, from_client=True))
            down = asyncio.create_task(self._pump(up_reader, writer, from_client=False))
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            for task in (up, down):
                task.cancel()
                with suppress(asyncio.CancelledError, OSError):
                    await task
        finally:
            self._writers -= {writer, up_writer}
            writer.transport.abort()
            up_writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_client: bool
    ) -> None:
        while data := await reader.read(CHUNK):
            if from_client and self._armed:
                self._armed, self._drop_next = False, True
            elif not from_client and self._drop_next:
                self._drop_next = False
                self.dropped += 1
                return
            if self.slow:
                await asyncio.sleep(len(data) / SLOW_BYTES_PER_SECOND)
            writer.write(data)
            await writer.drain()
