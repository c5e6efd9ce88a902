"""A national record month, replayed flat out: `python -m tests.bench.month --share 0.02`.

What is written, and by whom, is in `calendar_month`. One node in its default settings; the whole path of
each message, and each checked: delivered once, in its place, with the status to its sender at the end.
The time counts while people log in and write; frames are encoded and receipts signed between two days.
A share replays so much of the month among so many of its people, while all 57,000 are in the database.
"""

import argparse
import asyncio
import gc
import os
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import uvloop

from miss_protocol import frames as f
from miss_protocol.digest import EMPTY, envelope_hash, roll
from tests.bench import readme
from tests.bench.calendar_month import ACCOUNTS, MESSAGES, REGIONS, Letter, Month
from tests.bench.figures import Bar, Figure, save, say
from tests.bench.link import Answer, Link, close_all, log_in
from tests.bench.machine import allow_open_files, now_ms
from tests.bench.population import Peer, acquaint, populate
from tests.bench.postgres import cluster_with
from tests.bench.script import WRAP_BYTES, encode_receipt, encode_send
from tests.bench.service import Service, service
from tests.support.mailing import opaque_body, opaque_wrap
from tests.support.server import ServerProcess

IN_FLIGHT = 1_600
"""Messages on their way, of all people together: as many as in `throughput`."""
UNANSWERED_MAX = 48
"""Of one device; the protocol allows 64."""
PING_EVERY = 240.0
"""Seconds: a device of which nothing comes for 15 minutes is taken to be gone."""
SETTLE_SECONDS = 120.0
WALL = Bar(15, at_most=True)

Engine = Literal["postgres", "sqlite"]


@dataclass(slots=True)
class Phone:
    """A device, and what it keeps from one connection to the next."""

    peer: Peer
    sn: int = 0
    position: int = 0
    digest: bytes = EMPTY
    epoch: bytes = b""
    link: Link | None = None
    unanswered: int = 0
    held: deque[msgspec.Raw] = field(default_factory=deque)
    """Sends that wait because too many are unanswered."""
    ref: int = 0


@dataclass(slots=True)
class Day:
    """Encoded sends with their senders, in order, and the receipts that recipients owe."""

    sends: list[tuple[Phone, bytes, msgspec.Raw, bool]] = field(default_factory=list)
    receipts: dict[bytes, msgspec.Raw] = field(default_factory=dict)


class Replay:
    """Lets phones say what is written in days, and checks what comes of it."""

    def __init__(self, phones: Sequence[Phone]) -> None:
        self._phones = phones
        self._by_device = {bytes(phone.peer.device): phone for phone in phones}
        self._body, self._wrap = opaque_body(), opaque_wrap(WRAP_BYTES)
        self._open: dict[bytes, bool] = {}
        """Messages whose sender does not know yet that they were delivered, and whether the
        recipient is not there: these are off the hands once they are durable."""
        self._receipts: dict[bytes, msgspec.Raw] = {}
        self._next: Iterator[tuple[Phone, bytes, msgspec.Raw, bool]] = iter(())
        self._flying = self._owed = self._moved = 0
        self._failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        """Done when a connection breaks, with the reason."""
        self._settled = asyncio.Event()
        self.completed = 0
        self.seconds = 0.0
        """In which people logged in or wrote."""
        self.login_seconds = 0.0
        self.logins = 0

    def some(self, numbers: Iterable[int]) -> list[Phone]:
        """The phones of these people."""
        return [self._phones[number] for number in numbers]

    @property
    def unfinished(self) -> int:
        """Messages that were sent and whose senders do not know of the delivery."""
        return len(self._open)

    def prepare(self, letters: Iterable[Letter]) -> Day:
        """Encode and sign what a day's letters need."""
        day, at = Day(), now_ms()
        for letter in letters:
            sender, recipient = self._phones[letter.sender], self._phones[letter.recipient]
            sender.sn += 1
            message = os.urandom(16)
            send = encode_send(
                sender.sn, message, at, self._body, self._wrap, sender.peer, recipient.peer
            )
            day.sends.append((sender, message, send, letter.elsewhere))
            if not letter.elsewhere:
                day.receipts[message] = encode_receipt(sender.peer, recipient.peer, message, at)
        return day

    async def come(self, url: str, phones: Sequence[Phone]) -> None:
        """Connect; what waits is taken and acknowledged."""
        begun = time.perf_counter()
        loop = asyncio.get_running_loop()
        for phone in phones:
            link = phone.link = Link(phone.peer, loop)
            link.position, link.digest, link.epoch = phone.position, phone.digest, phone.epoch
            link.sn = phone.sn
            link.taken = self._answerer(phone)
        links = [phone.link for phone in phones if phone.link is not None]
        self._failed = asyncio.gather(*(link.over for link in links))
        await log_in(url, links)
        await self._settle()
        self.login_seconds += time.perf_counter() - begun
        self.seconds += time.perf_counter() - begun
        self.logins += len(phones)

    async def play(self, day: Day) -> None:
        """Say everything of a day, and see that it comes to its end."""
        self._receipts, self._next = day.receipts, iter(day.sends)
        begun = time.perf_counter()
        self._pump()
        await self._settle()
        self.seconds += time.perf_counter() - begun
        if self._receipts:
            raise ValueError(f"{len(self._receipts)} messages were not delivered")

    async def leave(self, phones: Sequence[Phone]) -> None:
        """Disconnect in order."""
        links = [phone.link for phone in phones if phone.link is not None]
        for phone, link in zip(phones, links, strict=True):
            phone.epoch, phone.link, link.taken = link.epoch, None, None
        await close_all(links)
        await self._failed

    def ping(self, phones: Sequence[Phone]) -> None:
        """Show that they are still there."""
        for phone in phones:
            if phone.link is not None:
                phone.link.say([f.Ping(1)])

    async def _settle(self) -> None:
        """Until nothing is on its way and every receipt is known to be durable; what waits for the
        absent waits on."""
        while self._flying or self._owed:
            self._settled.clear()
            settled, before = asyncio.ensure_future(self._settled.wait()), self._moved
            done, _ = await asyncio.wait(
                [settled, self._failed],
                timeout=SETTLE_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            settled.cancel()
            if self._failed in done:
                self._failed.result()
            if not done and self._moved == before:
                raise TimeoutError(f"{self._flying} messages are stuck")

    def _pump(self) -> None:
        while self._flying < IN_FLIGHT:
            following = next(self._next, None)
            if following is None:
                return
            phone, message, send, elsewhere = following
            self._flying += 1
            self._open[message] = elsewhere
            if phone.unanswered >= UNANSWERED_MAX:
                phone.held.append(send)
            else:
                phone.unanswered += 1
                assert phone.link is not None
                phone.link.say([send])

    def _answerer(self, phone: Phone) -> Callable[[Link, list[f.ServerFrame]], list[Any]]:
        def answer(_: Link, frames: list[f.ServerFrame]) -> list[Any]:
            due, out = Answer(), list[msgspec.Raw]()
            for frame in frames:
                match frame:
                    case f.Sent():
                        phone.unanswered -= 1
                        self._flying -= self._open.get(frame.id, False)
                        if phone.held:
                            phone.unanswered += 1
                            out.append(phone.held.popleft())
                    case f.Deliver():
                        due.position = frame.position
                        due.receipts.append(self._take(phone, frame))
                    case f.Status():
                        due.tick = frame.tick
                        self._told(frame)
                    case f.Acked():
                        self._owed -= 1
                    case f.Pong():
                        pass
                    case _:
                        raise ValueError(f"unexpected {frame}")
            self._moved += 1
            if due.receipts:
                phone.ref += 1
                self._owed += 1
            self._pump()
            if not (self._flying or self._owed):
                self._settled.set()
            return due.ack(phone.ref) + out

        return answer

    def _take(self, phone: Phone, row: f.Deliver) -> msgspec.Raw:
        if row.position != phone.position + 1:
            raise ValueError(f"position {row.position} after {phone.position}")
        hashed = envelope_hash(row.account, row.device, row.id, row.body, row.wrap)
        phone.position, phone.digest = row.position, roll(phone.digest, row.position, hashed)
        if self._open[row.id]:
            sender = self._by_device[bytes(row.device)].peer
            return encode_receipt(sender, phone.peer, row.id, now_ms())
        return self._receipts.pop(row.id)  # a KeyError is a message that came twice

    def _told(self, status: f.Status) -> None:
        (device,) = status.devices
        if device.state != "delivered" or len(device.signature) != 64:
            raise ValueError(f"a status without a receipt: {status}")
        self._flying -= not self._open.pop(status.id)
        self.completed += 1


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds so far: of the node, of PostgreSQL, of this generator."""

    node: float
    postgres: float
    own: float

    def __sub__(self, other: "Used") -> "Used":
        return Used(self.node - other.node, self.postgres - other.postgres, self.own - other.own)

    def __add__(self, other: "Used") -> "Used":
        return Used(self.node + other.node, self.postgres + other.postgres, self.own + other.own)


@dataclass(frozen=True)
class Ground:
    """A running node, and how its CPU time is read."""

    url: str
    used: Callable[[], Used]


@asynccontextmanager
async def ground(folder: Path, engine: Engine) -> AsyncIterator[Ground]:
    """A node on the template's people, until the block ends."""
    template = folder / "template.sqlite"
    async with AsyncExitStack() as stack:
        if engine == "postgres":
            cluster = await stack.enter_async_context(cluster_with(template))
            it = await stack.enter_async_context(service(folder, cluster))
            theirs: Callable[[], float] = cluster.cpu_seconds
        else:
            shutil.copy(template, folder / "miss.sqlite")
            os.sync()
            server = ServerProcess(folder / "miss.sqlite", folder / "log", budgets=True)
            await server.start()
            stack.push_async_callback(server.stop)
            it, theirs = Service([server]), float
        yield Ground(it.urls[0], lambda: Used(it.cpu_seconds(), theirs(), time.process_time()))


async def _replay(
    folder: Path, engine: Engine, month: Month, peers: Sequence[Peer]
) -> tuple[Replay, Used]:
    used = Used(0, 0, 0)
    async with ground(folder, engine) as it:
        replay = Replay([Phone(peer) for peer in peers])
        for region in range(REGIONS):
            here = replay.some(month.region(region))
            used += await _visit(it, replay, here, month.days(region))
        for region in range(REGIONS):  # for what the others wrote since
            used += await _visit(it, replay, replay.some(month.region(region)), ())
    if replay.unfinished:
        raise ValueError(f"{replay.unfinished} messages did not come to their end")
    return replay, used


async def _visit(
    it: Ground, replay: Replay, here: Sequence[Phone], days: Iterable[list[Letter]]
) -> Used:
    before = it.used()
    await replay.come(it.url, here)
    used, pinged = it.used() - before, time.monotonic()
    for letters in days:
        day = replay.prepare(letters)
        if time.monotonic() - pinged > PING_EVERY:
            replay.ping(here)
            pinged = time.monotonic()
        before = it.used()
        await replay.play(day)
        used += it.used() - before
    await replay.leave(here)
    sys.stdout.write(f"{replay.completed:,} messages in {replay.seconds:,.1f} s\n")
    sys.stdout.flush()
    return used


def figures(
    *,
    share: float = 1.0,
    engine: Engine = "postgres",
    accounts: int = ACCOUNTS,
    messages: int = MESSAGES,
) -> list[Figure]:
    """One replay.

    Args:
        share: of the people and of their messages; the database has all of `accounts`.
    """
    people, written = max(REGIONS * 3, round(accounts * share)), round(messages * share)
    allow_open_files(people // REGIONS + 1_000)
    with tempfile.TemporaryDirectory(prefix="miss-bench-") as name:
        folder = Path(name)
        peers = populate(folder / "template.sqlite", people)
        populate(folder / "template.sqlite", accounts - people, keys=False)
        month = Month(people, written)
        pairs = ((peers[one], peers[other]) for one, other in month.acquaintances())
        acquaint(folder / "template.sqlite", pairs)
        gc.collect()
        gc.disable()  # what a day needs goes with the day, and there are no circles in it
        try:
            replay, used = uvloop.run(_replay(folder, engine, month, peers))
        finally:
            gc.enable()
    return _figures(replay, used, share, engine)


def _figures(replay: Replay, used: Used, share: float, engine: Engine) -> list[Figure]:
    count, wall = replay.completed, replay.seconds
    name = f"{'postgres, ' if engine == 'postgres' else ''}a record month"
    if share < 1:
        name += f", {share:g} of it"
    whole = wall / share / 60
    return [
        Figure(f"{name}: wall", wall / 60, "min", WALL if share == 1 else None),
        *([Figure(f"{name}: all of it at this pace", whole, "min", WALL)] if share < 1 else []),
        Figure(f"{name}: messages", count, "msg"),
        Figure(f"{name}: rate", count / wall, "msg/s"),
        Figure(f"{name}: of it logins with what waited", replay.login_seconds / wall * 100, "%"),
        Figure(f"{name}: server CPU", used.node / count * 1e6, "us/msg"),
        *(
            [Figure(f"{name}: PostgreSQL CPU", used.postgres / count * 1e6, "us/msg")]
            if engine == "postgres"
            else []
        ),
        Figure(f"{name}: generator CPU used", used.own / wall, "cores"),
    ]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="A national record month, flat out.")
    parser.add_argument("--share", type=float, default=1.0, help="of people and messages: 0.02")
    parser.add_argument("--engine", choices=("postgres", "sqlite"), default="postgres")
    parser.add_argument("--write", action="store_true", help="also into the README of the bench")
    chosen = parser.parse_args()
    found = figures(share=chosen.share, engine=chosen.engine)
    say(found)
    save(found, Path("bench.json"))
    if chosen.write:
        readme.write(Path("bench.json"))


if __name__ == "__main__":
    main()
