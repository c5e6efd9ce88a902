"""Sends and acknowledgements for tests of the store: real devices, opaque envelopes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from miss_protocol import frames as f
from miss_protocol.digest import EMPTY
from miss_protocol.identity import charter
from miss_protocol.identity import roster as rosters
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.receipts import Receipt, ReceiptState, sign_receipt
from miss_protocol.ids import DeviceId, MessageId
from miss_protocol.suites import BODY_BUCKETS, BODY_OVERHEAD, WRAP_MIN
from miss_server.relay.delivery import fingerprint, verdict
from miss_server.storage.accounts import Accounts, Enrolment
from miss_server.storage.audit import AuditLog
from miss_server.storage.messages import (
    AckLine,
    Acknowledged,
    Acknowledgement,
    Fetched,
    Greeting,
    Messages,
    NotDurable,
    Row,
    SessionStart,
    Settled,
    Submission,
    Wanted,
)
from miss_server.storage.standing import Standings
from tests.support.devices import NOW, Person


class Store(Accounts, Messages, AuditLog, Standings):
    """What the contract tests are given."""


def opaque_body(size: int = BODY_BUCKETS[0]) -> bytes:
    """Random bytes in the form of an encrypted body."""
    return b"\x01" + os.urandom(size + BODY_OVERHEAD - 1)


def opaque_wrap(size: int = WRAP_MIN[1] + 200) -> bytes:
    """Random bytes in the form of a steady wrap."""
    return b"\x01\x01" + os.urandom(size - 2)


async def enrol(store: Store, person: Person, *, now_ms: int = NOW) -> None:
    """Open the person's account and enrol its first device."""
    code = os.urandom(6).hex().upper()
    first = person.device
    await store.create(None, "Dr Fictif", person.account, now_ms=now_ms)
    await store.add_code(person.account, code, expires_ms=now_ms + 1000, now_ms=now_ms)
    acceptance = charter.accept(
        first.signing_key, first.certificate, version="1", text_hash=bytes(32), at_ms=now_ms
    )
    prekeys = [*first.new_prekeys(3, now_ms=now_ms), first.new_last_resort(now_ms=now_ms)]
    await store.enrol(Enrolment(code, person.roster, prekeys, acceptance, "test"), now_ms=now_ms)


@dataclass
class Phone:
    """A device as the store sees it: its counts, and what it has read."""

    store: Store
    certificate: DeviceCertificate
    person: Person
    generation: int | None = None
    sn: int = 0
    position: int = 0
    digest: bytes = EMPTY
    epoch: bytes = b""
    rows: list[Row] = field(default_factory=list)
    line: AckLine = field(default_factory=AckLine)

    @property
    def id(self) -> DeviceId:
        """The device's id."""
        return self.certificate.device

    def greeting(self) -> Greeting:
        """What its hello declares."""
        return Greeting(
            self.id,
            self.position,
            self.digest,
            self.sn,
            self.epoch,
            self.person.roster.version,
            "test",
        )

    async def connect(self, now_ms: int = NOW) -> SessionStart:
        """Begin a session and take over what it agrees on."""
        start = await self.store.begin_session(self.greeting(), now_ms=now_ms)
        assert isinstance(start, SessionStart)
        self.generation, self.epoch, self.line = start.generation, start.epoch, AckLine()
        if start.digest is not None:
            self.position, self.digest = start.acked, start.digest
        return start

    def send(
        self, *people: Person, own: bool = True, sn: int | None = None, **fields: Any
    ) -> f.Send:
        """A send to every device of `people`, the sender's other devices included."""
        accounts = [self.person, *people] if own else list(people)
        if sn is None:
            self.sn += 1
            sn = self.sn
        wraps = tuple(
            f.DeviceWrap(entry.certificate.device, opaque_wrap())
            for person in accounts
            for entry in person.roster.entries
            if entry.certificate.device != self.id
        )
        values: dict[str, Any] = {
            "sn": sn,
            "id": os.urandom(16),
            "at": NOW,
            "body": opaque_body(),
            "wraps": wraps,
            "rosters": tuple(f.RosterUsed(p.account, p.roster.version) for p in accounts),
        }
        return f.Send(**(values | fields))

    async def submit(self, send: f.Send, now_ms: int = NOW, unsure_ms: int = 0) -> Settled:
        """Hand a send in, as the relay does."""
        submission = Submission(
            self.id, self.generation, send, fingerprint(send), verdict(send, now_ms), unsure_ms
        )
        return await self.store.submit(submission, now_ms=now_ms)

    async def fetch(self, max_bytes: int = 1 << 20, ticks_after: int = 0) -> Fetched:
        """Read what waits and check that no position is missing."""
        [found] = await self.store.fetch(
            [Wanted(self.id, self.position, max_bytes, ticks_after, 100)]
        )
        for row in found.rows:
            assert row.position == self.position + 1
            self.position, self.digest = row.position, row.digest
            self.rows.append(row)
        return found

    def receipt(self, row: Row, state: ReceiptState = ReceiptState.DELIVERED) -> Receipt:
        """This device's signed word on a row."""
        endpoint = next(d for d in self.person.devices if d.certificate == self.certificate)
        return sign_receipt(
            endpoint.signing_key,
            message=MessageId(row.message),
            sender_device=row.sender_device,
            recipient_device=self.id,
            state=state,
            at_ms=NOW,
        )

    async def ack(
        self,
        position: int | None = None,
        receipts: Sequence[Receipt] = (),
        nacks: Sequence[tuple[int, str]] = (),
        tick: int | None = None,
        now_ms: int = NOW,
    ) -> Acknowledged:
        """Acknowledge, as the relay does."""
        return await self.store.acknowledge(
            Acknowledgement(self.id, self.generation, position, tick, receipts, nacks, self.line),
            now_ms=now_ms,
        )


def phone(store: Store, person: Person, index: int = 0) -> Phone:
    """The store's view of a person's device."""
    return Phone(store, person.devices[index].certificate, person)


async def pair(store: Store) -> tuple[Phone, Phone]:
    """Two connected people with a device each."""
    first, second = Person(), Person()
    for person in (first, second):
        await enrol(store, person)
    phones = phone(store, first), phone(store, second)
    for one in phones:
        await one.connect()
    return phones


async def acknowledged_only_anew(sender: Phone, reader: Phone, row: Row) -> None:
    """After an acknowledgement of `row` that failed: its session stores none, the next one its receipt."""
    with pytest.raises(NotDurable, match="before it"):
        await reader.ack(row.position)
    await reader.connect()
    await reader.ack(row.position, [reader.receipt(row)])
    [status] = (await sender.fetch()).statuses
    assert status.devices[0].signature


def revoke(person: Person, device: DeviceId) -> None:
    """Take a device off the person's roster, by the first device."""
    person.roster = rosters.succeed(
        person.roster,
        person.device.signing_key,
        person.device.certificate.device,
        revoke=[device],
        now_ms=NOW,
    )
