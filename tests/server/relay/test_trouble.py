"""Gaps at the socket, and faults of the server itself: told or repeated, never a silent loss."""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from miss_protocol import client_session as events
from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.errors import CloseCode
from miss_protocol.ids import DeviceId
from miss_server.http import socket
from miss_server.http.websocket import WebSocket
from miss_server.relay.keeper import Keeper
from miss_server.storage.messages import (
    AckLine,
    Acknowledged,
    Acknowledgement,
    DeviceRecord,
    NotDurable,
    Settled,
    Submission,
)
from miss_server.storage.settlement.meeting import FirstContacts
from miss_server.storage.sqlite.store import SqliteStore
from tests.support.hosted import Hosted, hosted
from tests.support.wire import Device, code_of, enrolled, further, now_ms


async def sent(device: Device, *sends: f.Send) -> None:
    """Send, one after the other."""
    async with device.online() as line:
        for send in sends:
            assert isinstance(await line.settle(send), f.Sent)


async def test_expired_messages_are_one_gap_that_the_device_acknowledges(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        lasting = [gp.send(nurse.person)]
        await sent(gp, lasting[0], *(gp.send(nurse.person, ttl=60) for _ in range(3)))
        lasting.append(gp.send(nurse.person))
        await sent(gp, lasting[1], gp.send(nurse.person, ttl=60))
        later = now_ms() + 61_000
        assert await server.store.expire(protected={}, now_ms=later)
        async with nurse.online() as line:
            [first] = await line.deliveries(1)
            gap = (await line.next(events.GapSeen)).gap
            [second] = await line.deliveries(1)
            last = (await line.next(events.GapSeen)).gap
            assert (first.id, second.id) == (lasting[0].id, lasting[1].id)
            assert (gap.first, gap.last, gap.reason, gap.count) == (2, 4, "expired", 3)
            assert (last.first, last.last) == (6, 6)
            assert await line.caught_up() == 6
            await line.ack()
        async with nurse.online() as line, gp.online() as writer:
            assert await line.caught_up() == 6  # the digest over the gaps agrees
            states = [(await writer.next(events.StatusChanged)).status for _ in range(6)]
            told = sorted(state.devices[0].state for state in states)
            assert told == ["delivered"] * 2 + ["expired"] * 4


async def test_a_full_mailbox_is_one_growing_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILBOX_ROWS_MAX", 2)
    async with hosted(tmp_path) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        tablet = await further(nurse)
        async with gp.online() as writer, nurse.online() as phone:
            for _ in range(5):
                reply = await writer.settle(gp.send(nurse.person))
                await phone.deliveries(1)
                await phone.ack()
            assert isinstance(reply, f.Sent)
            assert reply.refused == (f.DeviceRefused(tablet.id, "mailbox_full"),)
        async with tablet.online() as line:
            await line.deliveries(2)
            gap = (await line.next(events.GapSeen)).gap
            assert (gap.first, gap.last, gap.reason, gap.count) == (3, 3, "quota", 3)
            await line.ack()


class Failing(SqliteStore):
    """Fails once where it is told to: at the call, or where it has a future, later by that."""

    fail_at = ""
    error: Exception = RuntimeError("a fault of ours")
    at_once = True

    def _due(self, name: str) -> bool:
        due = self.fail_at == name
        if due:
            self.fail_at = ""
            if self.at_once:
                raise self.error
        return due

    def _later(self) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_exception(self.error)
        return future

    async def device(self, device: DeviceId) -> DeviceRecord | None:
        self._due("device")
        return await super().device(device)

    def submit(self, submission: Submission, *, now_ms: int) -> asyncio.Future[Settled]:
        if self._due("submit"):
            return self._later()
        return super().submit(submission, now_ms=now_ms)

    def acknowledge(self, ack: Acknowledgement, *, now_ms: int) -> asyncio.Future[Acknowledged]:
        if self._due("acknowledge"):
            return self._later()
        return super().acknowledge(ack, now_ms=now_ms)

    def end_session(
        self, device: DeviceId, generation: int, *, window: int, now_ms: int
    ) -> asyncio.Future[None]:
        if self._due("end_session"):
            return self._later()
        return super().end_session(device, generation, window=window, now_ms=now_ms)

    async def expire(self, *, protected: Mapping[DeviceId, int], now_ms: int) -> Sequence[DeviceId]:
        self._due("expire")
        return await super().expire(protected=protected, now_ms=now_ms)


def fail_once(server: Hosted, name: str, error: Exception, *, at_once: bool = True) -> None:
    """Let the store fail at the next call of `name`."""
    assert isinstance(server.store, Failing)
    server.store.fail_at, server.store.error, server.store.at_once = name, error, at_once


ERRORS = pytest.mark.parametrize("error", [RuntimeError("oops"), NotDurable("full")], ids=repr)
WHEN = pytest.mark.parametrize("at_once", [True, False], ids=["at once", "later"])


@ERRORS
@WHEN
async def test_a_send_that_meets_a_fault_is_to_be_repeated(
    tmp_path: Path, error: Exception, at_once: bool
) -> None:
    async with hosted(tmp_path, Failing) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        async with gp.online() as line:
            send = gp.send(nurse.person)
            fail_once(server, "submit", error, at_once=at_once)
            reply = await line.settle(send)
            assert isinstance(reply, f.RetrySend)
            assert reply.code == ("internal" if isinstance(error, RuntimeError) else "not_durable")
            assert isinstance(await line.settle(send), f.Sent)


@ERRORS
@WHEN
async def test_an_ack_that_meets_a_fault_ends_the_connection_and_loses_nothing(
    tmp_path: Path, error: Exception, at_once: bool
) -> None:
    async with hosted(tmp_path, Failing) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        await sent(gp, gp.send(nurse.person))
        async with nurse.online() as line:
            await line.deliveries(1)
            fail_once(server, "acknowledge", error, at_once=at_once)
            await line.put(f.Ack(position=1, ref=1))
            assert await line.closed() == CloseCode.TRY_LATER
        async with nurse.online() as line:
            await line.deliveries(1)
            await line.ack()


@ERRORS
async def test_a_hello_that_meets_a_fault_may_come_again(tmp_path: Path, error: Exception) -> None:
    async with hosted(tmp_path, Failing) as server:
        gp = await enrolled(server)
        async with gp.line() as line:
            fail_once(server, "device", error)
            await line.greet()
            assert await line.closed() == CloseCode.TRY_LATER
        async with gp.online() as line:
            await line.ping()


@WHEN
async def test_an_end_that_cannot_be_noted_disturbs_nobody(tmp_path: Path, at_once: bool) -> None:
    async with hosted(tmp_path, Failing) as server:
        gp = await enrolled(server)
        fail_once(server, "end_session", NotDurable("full"), at_once=at_once)
        async with gp.online() as line:
            await line.caught_up()
        async with gp.online() as line:
            await line.ping()


@ERRORS
async def test_a_round_that_fails_is_followed_by_the_next(tmp_path: Path, error: Exception) -> None:
    async with hosted(tmp_path, Failing) as server:
        rounds = 0
        done = asyncio.Event()

        async def work() -> None:
            nonlocal rounds
            rounds += 1
            if rounds == 3:
                done.set()
            raise error

        it = server.services
        keeper = Keeper(server.store, it.hub, it.doorbell, it.sweep, it.clock, sweep_every=1.0)
        running = asyncio.create_task(keeper._every(0.001, work))
        await asyncio.wait_for(done.wait(), 10)
        running.cancel()
        await asyncio.wait({running})
        fail_once(server, "expire", error)
        with pytest.raises(type(error)):
            await keeper.expire()
        await keeper.expire()
        await keeper.clean()


class Counting(SqliteStore):
    """Counts how many acknowledgements it has at once."""

    now, most = 0, 0

    def acknowledge(self, ack: Acknowledgement, *, now_ms: int) -> asyncio.Future[Acknowledged]:
        self.now += 1
        self.most = max(self.most, self.now)
        storing = super().acknowledge(ack, now_ms=now_ms)
        storing.add_done_callback(self._stored)
        return storing

    def _stored(self, _: asyncio.Future[Acknowledged]) -> None:
        self.now -= 1


async def test_a_flood_of_acks_waits_in_its_own_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "JOBS_MAX", 8)
    async with hosted(tmp_path, Counting) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        async with gp.online() as line, nurse.online() as other:
            await line.caught_up()
            for n in range(200):
                await line.put(*(f.Ack(ref=n * 5 + k) for k in range(5)))
            await other.ping()
            for n in range(1000):
                assert (await line.next(events.AckStored)).ref == n
            await line.ping()
        assert isinstance(server.store, Counting)
        assert 8 <= server.store.most <= 8 + 5


async def test_receipts_that_are_not_stored_yet_wait_in_their_own_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One frame brings hundreds: counted by frames alone, a full mailbox would pile all of its up."""
    monkeypatch.setattr(socket, "RECEIPTS_MAX", 8)
    async with hosted(tmp_path, Counting) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        await sent(gp, gp.send(nurse.person))
        async with nurse.online() as line:
            [row] = await line.deliveries(1)
            await line.caught_up()
            word = nurse.receipt(row)
            for n in range(100):
                acks = (f.Ack(receipts=(word,) * 4, ref=n * 5 + k) for k in range(5))
                await line.put(*acks)
            for n in range(500):
                assert (await line.next(events.AckStored)).ref == n
            await line.ping()
        assert isinstance(server.store, Counting)
        assert 2 <= server.store.most <= 2 + 5


async def test_receipts_of_another_device_hold_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are refused and their nack goes on without them: counted still, nothing would be read."""
    monkeypatch.setattr(socket, "RECEIPTS_MAX", 1)
    async with hosted(tmp_path) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        await sent(gp, gp.send(nurse.person))
        async with nurse.online() as line:
            [row] = await line.deliveries(1)
            await line.caught_up()
            foreign = gp.receipt(row)
            await line.put(f.Nack(row.position, "undecryptable"), f.Ack(receipts=(foreign,), ref=1))
            assert (await line.next(events.ErrorTold)).error.ref == 1
            await line.ping()
            await line.ack()


class Noting(SqliteStore):
    """Notes in which line each acknowledgement stands."""

    def __init__(self, path: Path, first_contacts: FirstContacts) -> None:
        super().__init__(path, first_contacts)
        self.lines: list[AckLine] = []

    def acknowledge(self, ack: Acknowledgement, *, now_ms: int) -> asyncio.Future[Acknowledged]:
        self.lines.append(ack.line)
        return super().acknowledge(ack, now_ms=now_ms)


async def test_acknowledgements_of_a_connection_stand_in_one_line(tmp_path: Path) -> None:
    """Else one could be stored behind another, or behind a nack, that was not."""
    async with hosted(tmp_path, Noting) as server:
        gp, *others = [await enrolled(server) for _ in range(3)]
        assert isinstance(server.store, Noting)
        lines = []
        for nurse in others:
            await sent(gp, gp.send(nurse.person))
            server.store.lines.clear()
            async with nurse.online() as line:
                [row] = await line.deliveries(1)
                await line.put(f.Nack(row.position, "undecryptable"))
                await line.put(f.Ack(position=row.position, ref=1))
                await line.next(events.AckStored)
            assert len(server.store.lines) >= 2
            [one] = set(server.store.lines)
            lines.append(one)
        assert lines[0] is not lines[1]


async def test_a_suspended_account_neither_sends_nor_calls(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        async with gp.online() as line:
            await line.caught_up()
            with closing(sqlite3.connect(server.database)) as db, db:
                db.execute(
                    "UPDATE accounts SET suspended = 1 WHERE address = ?", (gp.person.account,)
                )
            reply = await line.settle(gp.send(nurse.person))
            assert isinstance(reply, f.Refused)
            assert reply.code == "suspended"
        assert code_of(await gp.call("GET", "/v1/prekeys")) == "suspended"


async def test_a_device_revoked_by_another_node_is_found_by_the_sweep(tmp_path: Path) -> None:
    async with hosted(tmp_path, sweep_every=0.1) as server:
        gp = await enrolled(server)
        async with gp.online() as line:
            await line.caught_up()
            with closing(sqlite3.connect(server.database)) as db, db:
                db.execute("UPDATE devices SET revoked_ms = 1 WHERE id = ?", (gp.id,))
            assert await line.closed() == CloseCode.REVOKED


async def test_what_was_read_survives_a_second_pause(tmp_path: Path) -> None:
    """What is read on may fill the limit anew before all of it was taken."""
    async with hosted(tmp_path) as server:
        gp = await enrolled(server)
        async with gp.online() as line:
            await line.caught_up()
            [wire] = [c._wire for c in server.services.hub.connections()]
            assert isinstance(wire, WebSocket)
            wire.pause_reading()
            ping = line.session.codec.encode([f.Ping(7)])
            mask = bytes(4)
            wire.data_received(bytes([0x82, 0x80 | len(ping)]) + mask + ping)
            wire.pause_reading()
            wire.resume_reading()
            async with asyncio.timeout(10):
                while 7 not in line.pongs:
                    await line.read()
