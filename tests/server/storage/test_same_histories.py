"""The same seeds give the same histories on SQLite and on PostgreSQL: every answer, row and status.

One model of the devices drives both stores with the very same calls. What an engine draws by itself
(the random part of an epoch) is left out of the comparison.
"""

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.digest import EMPTY
from miss_protocol.identity.receipts import ReceiptState
from miss_protocol.ids import DeviceId
from miss_server.storage.messages import Acknowledgement, Row, SessionStart, Wanted
from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.sqlite.store import SqliteStore, prepare
from tests.support.devices import DOMAIN, NOW, Person
from tests.support.mailing import Phone, enrol, opaque_body, revoke
from tests.support.meeting import LIFTED
from tests.support.postgres import PostgresProcess
from tests.support.stores import prepared

SEEDS = range(6)
STEPS = 120
Call = Callable[[Any], Awaitable[Any]]


@dataclass
class Hand:
    """A device of the model: what it sent, and what it read and has not acknowledged."""

    phone: Phone
    sent: list[f.Send] = field(default_factory=list)
    read: list[Row] = field(default_factory=list)
    told: int = 0
    known: tuple[int, bytes] = (0, EMPTY)


class Twins:
    """Both stores; `both` makes a call on each and compares what came of it."""

    def __init__(self, sqlite: SqliteStore, postgres: PostgresStore, seed: int) -> None:
        self.stores: tuple[Any, Any] = (sqlite, postgres)
        self.chance = random.Random(seed)
        self.hands: list[Hand] = []
        self.people: list[Person] = []
        self.now = NOW
        self.seen: set[str] = set()

    async def both(self, call: Call) -> Any:
        """What the call answers, which must be the same on both."""
        first, second = [await call(store) for store in self.stores]
        assert shown(first) == shown(second)
        self.seen.update(kinds(first))
        return first

    async def start(self) -> None:
        """People with one device or two."""
        for _ in range(4):
            person = Person()
            for store in self.stores:
                await enrol(store, person)
            self.people.append(person)
            self.hands.append(Hand(Phone(self.stores[0], person.device.certificate, person)))
        for person in self.people[:2]:
            await self.add_device(person)
        for hand in self.hands:
            await self.connect(hand)

    async def add_device(self, person: Person) -> None:
        person.add_device()
        await self.both(lambda store: store.change_roster(person.roster, now_ms=self.now))
        certificate = person.devices[-1].certificate
        self.hands.append(Hand(Phone(self.stores[0], certificate, person)))

    async def connect(self, hand: Hand) -> None:
        greeting = hand.phone.greeting()
        position, digest = hand.known
        greeting = dataclasses.replace(greeting, position=position, digest=digest, epoch=b"")
        if self.chance.random() < 0.05:
            greeting = dataclasses.replace(greeting, digest=bytes([1]) * 32)
        start = await self.both(lambda store: store.begin_session(greeting, now_ms=self.now))
        if isinstance(start, SessionStart):
            hand.phone.generation, hand.phone.sn = start.generation, max(start.sn, hand.phone.sn)
            if start.digest is not None:
                hand.known, hand.read = (start.acked, start.digest), []

    # --- steps ------------------------------------------------------------------------------------

    async def send(self) -> None:
        """A batch of sends: new ones, repeats, wrong ones."""
        given: list[tuple[Phone, f.Send]] = []
        for _ in range(self.chance.randint(1, 6)):
            hand = self.chance.choice(self.hands)
            other = self.chance.choice([p for p in self.people if p is not hand.phone.person])
            what = self.chance.random()
            if what < 0.12 and hand.sent:
                given.append((hand.phone, self.chance.choice(hand.sent)))
                continue
            more: dict[str, Any] = {"at": self.now, "body": opaque_body()}
            if what < 0.2:
                more["rosters"] = (f.RosterUsed(other.account, 9),)
            elif what < 0.3:
                more["ttl"] = 60
            elif what < 0.35:
                more["kind"] = "control"
            elif what < 0.4:
                more["sn"] = hand.phone.sn + 3
            send = hand.phone.send(other, **more)
            hand.sent.append(send)
            given.append((hand.phone, send))

        async def submit(store: Any) -> Any:
            calls = [
                dataclasses.replace(phone, store=store).submit(send, self.now)
                for phone, send in given
            ]
            return await asyncio.gather(*calls)

        await self.both(submit)

    async def read(self) -> None:
        """Everybody reads, with little room or much."""
        wanted = [
            Wanted(h.phone.id, h.known[0], self.chance.choice((0, 1, 4_000, 1 << 20)), h.told, 3)
            for h in self.hands
        ]
        found = await self.both(lambda store: store.fetch(wanted))
        for hand, fetched in zip(self.hands, found, strict=True):
            hand.read = list(fetched.rows)
            if fetched.statuses:
                hand.told = fetched.statuses[-1].tick

    async def ack(self) -> None:
        """A batch of acknowledgements, with and without receipts, nacks and ticks."""
        given: list[Acknowledgement] = []
        for hand in self.chance.sample(self.hands, k=3):
            if hand.read:
                last = hand.read[self.chance.randrange(len(hand.read))]
                rows = [r for r in hand.read if r.position <= last.position and r.gap is None]
                state = self.chance.choice(list(ReceiptState))
                receipts = [
                    hand.phone.receipt(row, state) for row in rows if self.chance.random() < 0.7
                ]
                nacks = [(r.position, "undecryptable") for r in rows if self.chance.random() < 0.1]
                position: int | None = last.position
                hand.known, hand.read = (last.position, last.digest), []
            else:
                receipts, nacks, position = [], [], None
            tick = hand.told if self.chance.random() < 0.5 else None
            given.append(
                Acknowledgement(
                    hand.phone.id, hand.phone.generation, position, tick, receipts, nacks
                )
            )

        async def acknowledge(store: Any) -> Any:
            return await asyncio.gather(*(store.acknowledge(ack, now_ms=self.now) for ack in given))

        await self.both(acknowledge)

    async def session(self) -> None:
        """A session ends, another begins."""
        hand = self.chance.choice(self.hands)
        phone = hand.phone
        await self.both(
            lambda store: store.end_session(
                phone.id, phone.generation or 0, window=4096, now_ms=self.now
            )
        )
        await self.connect(hand)

    async def time(self) -> None:
        """Time passes; what ran out becomes gaps, what nobody asks for is forgotten."""
        self.now += self.chance.choice((1_000, 61_000, 3_600_000))
        protected = {
            hand.phone.id: hand.known[0] + 1 for hand in self.hands if self.chance.random() < 0.2
        }
        await self.both(lambda store: store.expire(protected=protected, now_ms=self.now))
        await self.both(lambda store: store.clean(now_ms=self.now))

    async def roster(self) -> None:
        """A device comes or goes."""
        person = self.chance.choice(self.people)
        listed = [entry.certificate.device for entry in person.roster.entries]
        others = [device for device in listed if device != person.device.certificate.device]
        if not others:
            await self.add_device(person)
            return
        gone = DeviceId(self.chance.choice(others))
        revoke(person, gone)
        await self.both(lambda store: store.change_roster(person.roster, now_ms=self.now))
        self.hands = [hand for hand in self.hands if hand.phone.id != gone]

    async def look(self) -> None:
        """How far everything has come."""
        devices = [hand.phone.id for hand in self.hands]
        await self.both(lambda store: store.heads(devices))

        async def find(store: Any) -> Any:
            return [await store.device(device) for device in devices]

        await self.both(find)


def shown(answer: Any) -> Any:
    """An answer without what an engine draws by itself."""
    if isinstance(answer, SessionStart):
        return dataclasses.replace(answer, epoch=b"")
    return answer


def kinds(answer: Any) -> set[str]:
    """What happened, for the check that the seeds reach it."""
    text = repr(answer)
    words = ("Sent(", "stale_roster", "sn_reused", "out_of_order", "mailbox_full", "'expired'")
    more = ("'quota'", "undecryptable", "'read'", "epoch_changed=True", "'revoked'", "unconfirmed")
    return {word for word in (*words, *more) if word in text}


async def play(folder: Path, cluster: PostgresProcess, seed: int) -> set[str]:
    """Run one seed on both engines; returns what happened in it."""
    prepare(folder / "miss.sqlite", domain=DOMAIN, now_ms=NOW)
    sqlite = SqliteStore(folder / "miss.sqlite", LIFTED)
    postgres = PostgresStore(await prepared(cluster), first_contacts=LIFTED)
    for store in (sqlite, postgres):
        store.open()
    try:
        twins = Twins(sqlite, postgres, seed)
        await twins.start()
        steps = [twins.send] * 6 + [twins.read] * 4 + [twins.ack] * 5
        steps += [twins.session, twins.session, twins.time, twins.roster, twins.look]
        for _ in range(STEPS):
            await twins.chance.choice(steps)()
        return twins.seen
    finally:
        await sqlite.close()
        await postgres.close()


@pytest.mark.parametrize("seed", SEEDS)
async def test_both_engines_tell_the_same_history(
    tmp_path: Path, postgres: PostgresProcess, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILBOX_ROWS_MAX", 12)
    assert "Sent(" in await play(tmp_path, postgres, seed)


async def test_the_seeds_reach_what_they_are_about(
    tmp_path: Path, postgres: PostgresProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILBOX_ROWS_MAX", 12)
    seen: set[str] = set()
    for seed in (100, 101, 102):
        (tmp_path / str(seed)).mkdir()
        seen |= await play(tmp_path / str(seed), postgres, seed)
    assert seen >= {"stale_roster", "out_of_order", "mailbox_full", "'expired'", "'quota'"}
    assert seen >= {"'read'", "undecryptable", "epoch_changed=True", "'revoked'"}
