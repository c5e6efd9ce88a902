"""Durable messages a second through a real server process, over real sockets.

The generator runs beside the server on the same cores. Envelopes are opaque (300 bytes and the
body's smallest bucket), everything else is real: logins, acks, signed receipts, statuses.
"""

import asyncio
import os
import random
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import websockets
from nacl.signing import SigningKey

from miss_protocol import frames as f
from miss_protocol.client_session import (
    CaughtUp,
    Challenged,
    ClientSession,
    Delivered,
    Settled,
    StatusChanged,
)
from miss_protocol.codec import client_codec
from miss_protocol.digest import EMPTY
from miss_protocol.identity import certificate, charter, roster
from miss_protocol.identity.login import sign_login
from miss_protocol.identity.receipts import ReceiptState, sign_receipt
from miss_protocol.ids import DeviceId, MessageId, new_address
from miss_protocol.limits import TRANSPORT_MAX
from miss_server.storage.accounts import Enrolment
from miss_server.storage.sqlite.store import SqliteStore, prepare
from tests.bench.machine import cpu_seconds, memory_kib
from tests.support.mailing import opaque_body, opaque_wrap
from tests.support.server import DOMAIN, ServerProcess

WRAP_BYTES = 300
MEASURE_SECONDS = 120.0


def _now() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class _Peer:
    key: SigningKey
    account: str
    device: DeviceId
    sn: int = 0
    waiting: dict[bytes, float] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    session: ClientSession | None = None
    socket: websockets.ClientConnection | None = None

    async def login(self, url: str) -> None:
        self.socket = await websockets.connect(
            url, subprotocols=[websockets.Subprotocol(f.MSGPACK)], compression=None,
            max_size=TRANSPORT_MAX, ping_interval=None,
        )  # fmt: skip
        self.session = ClientSession(client_codec(), position=0, digest=EMPTY)
        ready = False
        while not ready:
            for event in self.session.receive(await self._read()):
                if isinstance(event, Challenged):
                    self.session.hello(self._hello(event.challenge))
                    await self.flush()
                ready = ready or isinstance(event, CaughtUp)

    def _hello(self, challenge: f.Challenge) -> f.Hello:
        signature = sign_login(
            self.key, domain=challenge.domain, nonce=challenge.nonce, device=self.device,
            subprotocol=f.MSGPACK,
        )  # fmt: skip
        app = f.App("bench", "1", "bench")
        return f.Hello(self.device, signature, app, 0, EMPTY, self.sn, b"", 1)

    async def _read(self) -> bytes:
        assert self.socket is not None
        data = await self.socket.recv()
        assert isinstance(data, bytes)
        return data

    async def flush(self) -> None:
        assert self.session is not None
        assert self.socket is not None
        for message in self.session.data_to_send():
            await self.socket.send(message)

    def somebody(self, choose: list["_Peer"]) -> "_Peer":
        """Anybody else."""
        while (other := random.choice(choose)) is self:
            pass
        return other

    def send(self, other: "_Peer") -> None:
        assert self.session is not None
        self.sn += 1
        id = os.urandom(16)
        other.waiting[id] = time.perf_counter()
        self.session.send(
            f.Send(
                self.sn, id, _now(), _BODY, (f.DeviceWrap(other.device, opaque_wrap(WRAP_BYTES)),),
                (f.RosterUsed(self.account, 1), f.RosterUsed(other.account, 1)),
            )
        )  # fmt: skip

    async def run(self, done: "_Count", choose: list["_Peer"]) -> None:
        """Keep one send in flight; acknowledge what comes, with receipts."""
        assert self.session is not None
        self.send(self.somebody(choose))
        await self.flush()
        while True:
            receipts, position, tick = [], None, None
            for event in self.session.receive(await self._read()):
                match event:
                    case Settled(reply):
                        assert isinstance(reply, f.Sent)
                        if done.started():
                            self.send(self.somebody(choose))
                    case Delivered(row, _):
                        self.latencies.append(time.perf_counter() - self.waiting.pop(row.id))
                        position = row.position
                        receipts.append(
                            sign_receipt(
                                self.key,
                                message=MessageId(row.id),
                                sender_device=DeviceId(row.device),
                                recipient_device=self.device,
                                state=ReceiptState.DELIVERED,
                                at_ms=_now(),
                            )
                        )
                        done.delivered()
                    case StatusChanged(status):
                        tick = status.tick
                    case _:
                        pass
            if position is not None:
                self.session.ack(f.Ack(position=position, receipts=tuple(receipts)))
            if tick is not None:
                self.session.ack(f.Ack(tick=tick))
            await self.flush()


class _Count:
    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.begun = 0
        self.arrived = 0
        self.all = asyncio.Event()

    def started(self) -> bool:
        self.begun += 1
        return self.begun <= self.wanted

    def delivered(self) -> None:
        self.arrived += 1
        if self.arrived >= self.wanted:
            self.all.set()


async def _population(path: Path, count: int) -> list[_Peer]:
    """Enrol devices straight into the database, before the server runs."""
    prepare(path, domain=DOMAIN, now_ms=_now())
    store = SqliteStore(path)
    store.open()

    async def one(number: int) -> _Peer:
        key = SigningKey.generate()
        account = new_address(os.urandom(16), DOMAIN)
        device = DeviceId(os.urandom(16))
        own = certificate.issue(key, account, device, _OLM, _now())
        entry = roster.RosterEntry(own, "bench", approve=True)
        genesis = roster.found(SigningKey.generate(), account, entry, now_ms=_now())
        accepted = charter.accept(key, own, version="1", text_hash=bytes(32), at_ms=_now())
        code = f"BENCH{number}"
        await store.create(None, f"Bench {number}", account, now_ms=_now())
        await store.add_code(account, code, expires_ms=_now() + 60_000, now_ms=_now())
        await store.enrol(Enrolment(code, genesis, [], accepted, "bench"), now_ms=_now())
        return _Peer(key, account, device)

    peers = list(await asyncio.gather(*(one(number) for number in range(count))))
    await store.close()
    return peers


async def _measure(connections: int, messages: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="miss-bench-") as folder:
        database = Path(folder) / "miss.sqlite"
        peers = await _population(database, connections)
        server = ServerProcess(database, Path(folder) / "log")
        await server.start()
        assert server.process is not None
        pid = server.process.pid
        empty = memory_kib(pid)
        begun = time.perf_counter()
        for start in range(0, connections, 50):
            await asyncio.gather(
                *(peer.login(server.socket_url) for peer in peers[start : start + 50])
            )
        logins = connections / (time.perf_counter() - begun)
        idle = (memory_kib(pid) - empty) / connections
        count = _Count(messages)
        cpu, begun = cpu_seconds(pid), time.perf_counter()
        tasks = [asyncio.create_task(peer.run(count, peers)) for peer in peers]
        await _all_or_first_failure(count.all, tasks)
        wall, cpu = time.perf_counter() - begun, cpu_seconds(pid) - cpu
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        latencies = sorted(value for peer in peers for value in peer.latencies)
        for peer in peers:
            assert peer.socket is not None
            await peer.socket.close()
        await server.stop()
    return {
        "durable messages a second, wall": count.arrived / wall,
        "durable messages a server CPU-second": count.arrived / cpu,
        "one way p50": statistics.median(latencies) * 1000,
        "one way p99": latencies[int(len(latencies) * 0.99)] * 1000,
        "logins a second": logins,
        "server memory an idle connection": idle,
    }


async def _all_or_first_failure(done: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    waiting = asyncio.create_task(done.wait())
    await asyncio.wait(
        [waiting, *tasks], return_when=asyncio.FIRST_COMPLETED, timeout=MEASURE_SECONDS
    )
    for task in tasks:
        if task.done():
            task.result()
    if not waiting.done():
        raise TimeoutError("the messages did not arrive")


_UNITS = {
    "durable messages a second, wall": "1/s",
    "durable messages a server CPU-second": "1/s",
    "one way p50": "ms",
    "one way p99": "ms",
    "logins a second": "1/s",
    "server memory an idle connection": "KiB",
}
_BODY = opaque_body()
_OLM = bytes(SigningKey.generate().to_curve25519_private_key().public_key)


def figures(
    *, runs: int = 3, connections: int = 200, messages: int = 10_000
) -> list[tuple[str, float, str]]:
    """Medians over `runs`: (name, value, unit)."""
    results = [asyncio.run(_measure(connections, messages)) for _ in range(runs)]
    return [
        (name, statistics.median(result[name] for result in results), unit)
        for name, unit in _UNITS.items()
    ]
