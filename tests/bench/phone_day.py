"""What a day costs a phone in bytes: `python -m tests.bench.phone_day`.

The reference client speaks to a real server through a proxy that counts. Bytes are those of the
TCP streams, WebSocket and HTTP included; TLS and TCP/IP come on top.
"""

import argparse
import asyncio
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from miss_client import Client, Store, new_device
from miss_client.transport import Timing
from miss_protocol.ids import new_address
from miss_protocol.limits import CLIENT_PING_EVERY
from miss_server.storage.sql import accounts
from miss_server.storage.sqlite.engine import open_engine, writing
from miss_server.storage.sqlite.store import prepare
from tests.bench.figures import Figure, save, say
from tests.bench.machine import now_ms
from tests.support.server import DOMAIN, ServerProcess

MESSAGES = 40
"""Half of them sent and half received, each read by its recipient."""
PINGS = round(24 * 3600 / CLIENT_PING_EVERY)
TEXT = "x" * 160
QUICK_PINGS = Timing(ping_every=0.01)


@dataclass
class Meter:
    """A TCP proxy in front of a server, which counts what passes."""

    port_behind: int
    port: int = 0
    up: int = 0
    down: int = 0
    writes_up: int = 0
    _server: asyncio.Server | None = None
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more."""
        assert self._server is not None
        self._server.close()

    async def quiet(self) -> tuple[int, int]:
        """Wait until nothing passed for half a second; returns the bytes up and down."""
        before = (-1, -1)
        while (now := (self.up, self.down)) != before:
            before = now
            await asyncio.sleep(0.5)
        return now

    async def more_writes(self, count: int) -> None:
        """Wait until the client wrote `count` times more."""
        wanted = self.writes_up + count
        while self.writes_up < wanted:
            self._moved.clear()
            await self._moved.wait()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_connection("127.0.0.1", self.port_behind)
        await asyncio.gather(
            self._pump(reader, behind[1], up=True), self._pump(behind[0], writer, up=False)
        )

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool
    ) -> None:
        try:
            while data := await reader.read(1 << 16):
                if up:
                    self.up += len(data)
                    self.writes_up += 1
                    self._moved.set()
                else:
                    self.down += len(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # one side left; the other is told below
        finally:
            writer.close()


async def _measure(folder: Path, messages: int, pings: int) -> list[Figure]:
    database = folder / "miss.sqlite"
    codes = _codes(database)
    server = ServerProcess(database, folder / "log")
    await server.start()
    meter = Meter(server.port)
    await meter.start()
    try:
        phone = await _enrol(f"http://127.0.0.1:{meter.port}", codes[0], folder / "phone")
        other = await _enrol(server.url, codes[1], folder / "other")
        async with other:
            async with phone:
                await _talk(phone, other)  # from here on their sessions exist
                await _talk(other, phone)
                await meter.quiet()
            await phone.close()
            parts = await _day(folder / "phone", other, meter, messages, pings)
        await other.close()
    finally:
        await meter.stop()
        await server.stop()
    return parts


async def _day(store: Path, other: Client, meter: Meter, messages: int, pings: int) -> list[Figure]:
    found: list[Figure] = []
    begun = at = await meter.quiet()

    async def note(name: str, count: int) -> None:
        nonlocal at
        before, at = at, await meter.quiet()
        found.append(Figure(f"{name}: up", (at[0] - before[0]) / count, "bytes"))
        found.append(Figure(f"{name}: down", (at[1] - before[1]) / count, "bytes"))

    phone = Client.open(Store.open(store))
    async with phone:
        await phone.drained()
        await note("phone, connect", 1)
        for _ in range(messages // 2):
            await _talk(phone, other)
        await note("phone, message sent and read", messages // 2)
        for _ in range(messages // 2):
            await _talk(other, phone)
        await note("phone, message received and read", messages // 2)
    await phone.close()
    talked = at = await meter.quiet()
    # Again with quick pings. Connecting was counted; a ping and its pong are a write each.
    phone = Client.open(Store.open(store), timing=QUICK_PINGS)
    async with phone:
        await phone.drained()
        await meter.more_writes(5)
        pinging = (meter.up, meter.down)
        await meter.more_writes(pings)
        pinged = (meter.up, meter.down)
    await phone.close()
    ping = sum(pinged) - sum(pinging)
    found.append(Figure("phone, ping and pong", ping / pings, "bytes"))
    day = sum(talked) - sum(begun) + ping / pings * PINGS
    found.append(Figure(f"phone, a day of {messages} messages and {PINGS} pings", day, "bytes"))
    return found


async def _talk(sender: Client, receiver: Client) -> None:
    """One message, until its sender knows that it was read."""
    id = await sender.send([receiver.account], TEXT)
    await sender.wait_for_state(id, "delivered")
    await receiver.read(id)
    await sender.wait_for_state(id, "read")


def _codes(database: Path) -> list[str]:
    prepare(database, domain=DOMAIN, now_ms=now_ms())
    engine = open_engine(database)
    codes = ["BENCHPHONE", "BENCHOTHER"]
    with engine.connect() as connection, writing(connection):
        for code in codes:
            account = accounts.create(
                connection, None, "Dr Fictif", new_address(os.urandom(16), DOMAIN), now_ms()
            )
            accounts.add_code(connection, account, code, now_ms() + 3_600_000, now_ms())
    engine.dispose()
    return codes


async def _enrol(url: str, code: str, path: Path) -> Client:
    return await new_device.enrol(
        url, code, Store.create(path), device_name="phone", accept_charter=True
    )


def figures(*, messages: int = MESSAGES, pings: int = PINGS) -> list[Figure]:
    """Bytes of each part of a day, and of the day; one run, since bytes do not vary."""
    with tempfile.TemporaryDirectory(prefix="miss-bench-") as folder:
        return asyncio.run(_measure(Path(folder), messages, pings))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    chosen = parser.parse_args()
    found = figures(messages=chosen.messages)
    say(found)
    save(found, Path("bench.json"))


if __name__ == "__main__":
    main()
