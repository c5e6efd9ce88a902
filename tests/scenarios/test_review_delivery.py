# ruff: noqa: F811  # the fixtures of the clients' tests are used by name
"""Rare orders of events, each of which once lost, doubled, delayed or held up a message."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from miss_client.outbox import TRIES_MAX
from miss_protocol import api, limits
from miss_protocol import client_session as events
from miss_protocol import frames as f
from miss_protocol.errors import CloseCode
from miss_protocol.ids import DeviceId
from miss_protocol.suites import BODY_BUCKETS
from miss_server.storage.messages import Greeting, SessionRefused, SessionStart
from miss_server.storage.sqlite.store import SqliteStore
from tests.clients.conftest import World, directory, world  # noqa: F401  # fixtures
from tests.support.devices import NOW
from tests.support.hosted import hosted
from tests.support.mailing import Phone, opaque_body, pair, phone
from tests.support.meeting import LIFTED
from tests.support.stores import new_file
from tests.support.wire import Device, enrolled

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An empty, open store."""
    path = tmp_path / "miss.sqlite"
    new_file(path)
    opened = SqliteStore(path, LIFTED)
    opened.open()
    yield opened
    await opened.close()


async def restored(store: SqliteStore) -> tuple[Phone, Phone]:
    """Two devices, of which the second has just uncovered that the database is an older copy."""
    gp, nurse = await pair(store)  # type: ignore[arg-type]  # it is both interfaces
    nurse.position, nurse.digest = 5, b"\x07" * 32
    return gp, nurse


# --- a restored database (rule C6) ----------------------------------------------------------------


async def test_a_lost_welcome_after_a_restore_starts_no_further_epoch(store: SqliteStore) -> None:
    gp, nurse = await restored(store)
    first = await store.begin_session(nurse.greeting(), now_ms=NOW)
    assert isinstance(first, SessionStart)
    assert first.epoch_changed
    await gp.connect()
    again = await store.begin_session(nurse.greeting(), now_ms=NOW)  # the welcome never arrived
    assert isinstance(again, SessionStart)
    assert not again.epoch_changed
    assert again.epoch == first.epoch == await store.epoch()
    assert again.restored_since == first.restored_since
    assert (again.resume_after, again.digest) == (first.resume_after, first.digest)
    assert (await gp.connect()).restored_since is None


async def test_a_device_behind_its_own_sends_is_found_out_after_a_restore_too(
    store: SqliteStore,
) -> None:
    gp, nurse = await restored(store)
    behind = phone(store, gp.person)  # type: ignore[arg-type]  # it is both interfaces
    behind.epoch = gp.epoch
    await gp.submit(gp.send(nurse.person))
    await store.begin_session(nurse.greeting(), now_ms=NOW)
    refused = await store.begin_session(behind.greeting(), now_ms=NOW)
    assert refused == SessionRefused(rolled_back=True)


async def test_a_device_that_learns_its_roster_late_confirms_it(store: SqliteStore) -> None:
    gp, nurse = await restored(store)
    await nurse.connect()
    [version] = [gp.person.roster.version]
    old = gp.greeting()
    older = Greeting(old.device, 0, old.digest, 0, old.epoch, version - 1, "test")
    start = await store.begin_session(older, now_ms=NOW)
    assert isinstance(start, SessionStart)
    assert start.restored_since is not None
    assert start.digest is not None
    gp.epoch, gp.position, gp.digest = start.epoch, start.acked, start.digest
    await gp.connect()  # it has fetched the newest roster since
    settled = await nurse.submit(nurse.send(gp.person, sn=1))
    assert isinstance(settled.reply, f.Sent)


class SlowToBegin(SqliteStore):
    """Holds every new session up until it is let go."""

    held: asyncio.Event | None = None
    begun: asyncio.Event

    async def begin_session(
        self, greeting: Greeting, *, now_ms: int
    ) -> SessionStart | SessionRefused:
        start = await super().begin_session(greeting, now_ms=now_ms)
        if self.held is not None:
            self.begun.set()
            await self.held.wait()
        return start


async def test_an_epoch_changed_by_a_device_that_hangs_up_reaches_everybody(
    tmp_path: Path,
) -> None:
    async with hosted(tmp_path, store_type=SlowToBegin) as server:
        store = server.store
        assert isinstance(store, SlowToBegin)
        gp, nurse = await enrolled(server), await enrolled(server)
        async with gp.online() as line:
            await line.caught_up()
            store.held, store.begun = asyncio.Event(), asyncio.Event()
            async with nurse.line() as leaving:
                nurse.digest = leaving.session.digest = b"\x07" * 32
                await leaving.greet()
                await asyncio.wait_for(store.begun.wait(), 10)
            [stranger] = server.services.hub.strangers or [None]
            if stranger is not None:
                await asyncio.wait_for(stranger.ended.wait(), 10)  # it noticed the hanging up
            store.held.set()
            store.held = None
            assert await asyncio.wait_for(line.closed(), 10) == CloseCode.TRY_LATER


async def test_a_sender_uncovers_a_restore_by_its_own_sends(world: World) -> None:
    """Nobody received anything since the backup, so no mailbox differs; the sent message is gone
    all the same, and the sender's numbers would wait for it for ever."""
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    async with gp:
        await gp.drained()
    backup = await world.server.backup()
    gp = world.reopen(gp)
    async with gp:
        lost = await gp.send([nurse.account], "un")
        await gp.wait_for_state(lost, "sent")
    await world.server.put_back(backup)
    gp = world.reopen(gp)
    async with gp, nurse:
        second = await gp.send([nurse.account], "deux")
        async with asyncio.timeout(60):
            await gp.wait_for_state(second, "delivered")
            await gp.wait_for_state(lost, "delivered")
    assert [one.text for one in world.reopen(nurse).messages()] == ["un", "deux"]


# --- receipts and acknowledgements ----------------------------------------------------------------


async def test_a_receipt_after_its_ack_still_reaches_the_sender(store: SqliteStore) -> None:
    gp, nurse = await pair(store)  # type: ignore[arg-type]  # it is both interfaces
    await gp.submit(gp.send(nurse.person))
    [row] = (await nurse.fetch()).rows
    await nurse.ack(1)
    receipt = nurse.receipt(row)
    assert [to for to, _ in (await nurse.ack(receipts=[receipt])).statuses] == [gp.id]
    [status] = (await gp.fetch()).statuses
    assert status.devices[0].signature == receipt.signature
    assert not (await nurse.ack(receipts=[receipt])).statuses  # once


async def test_an_ack_that_was_not_stored_is_not_called_durable(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        async with gp.online() as sender, nurse.online() as line:
            assert isinstance(await sender.settle(gp.send(nurse.person)), f.Sent)
            await line.next(events.Delivered)
            # A newer session of the device has begun and is not on its connection yet.
            greeting = Greeting(nurse.id, 0, nurse.digest, 0, nurse.epoch, 1, "test")
            await server.store.begin_session(greeting, now_ms=server.clock.now_ms())
            await line.put(f.Ack(position=1, ref=7))
            code = await asyncio.wait_for(line.closed(), 10)
            assert not [e for e in line.seen if isinstance(e, events.AckStored)]
            # Nobody took its place, so it must come back.
            assert code == CloseCode.TRY_LATER


# --- time -----------------------------------------------------------------------------------------


async def test_rows_held_by_a_live_connection_hold_up_no_other_expiry(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from miss_server.storage.sql import endings

    monkeypatch.setattr(endings, "EXPIRED_AT_ONCE", 3)
    gp, nurse = await pair(store)  # type: ignore[arg-type]  # it is both interfaces
    for _ in range(5):
        await gp.submit(gp.send(nurse.person, ttl=60))
    other = gp.send(nurse.person, ttl=120)
    await gp.submit(other)
    rung = await store.expire(protected={nurse.id: 5}, now_ms=NOW + 180_000)
    assert set(rung) == {gp.id, nurse.id}
    assert [row.gap for row in (await nurse.fetch()).rows] == [None] * 5 + ["expired"]


async def test_a_device_connected_for_a_month_is_not_dormant(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        async with nurse.online() as line:
            await line.caught_up()
            for day in range(1, 32):
                server.clock.ahead = day * 24 * 3600
                await server.services.hub.note_seen(server.clock.now_ms())
            async with gp.online() as sender:
                answer = await sender.settle(gp.send(nurse.person, at=server.clock.now_ms()))
                assert isinstance(answer, f.Sent), answer
                await line.next(events.Delivered)


async def test_nothing_is_delivered_past_its_time_after_an_outage(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        async with gp.online() as sender:
            send = gp.send(nurse.person, ttl=60)
            send.at -= 59_000
            assert isinstance(await sender.settle(send), f.Sent)
    await asyncio.sleep(1.5)  # the server is away when the time is over
    async with hosted(tmp_path) as server, Device(server, nurse.person).online() as line:
        assert (await line.next(events.GapSeen)).gap.reason == "expired"


# --- the HTTP twin beside a socket (rule B3) ------------------------------------------------------


async def test_rows_acknowledged_by_http_do_not_leave_a_socket_waiting(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        async with gp.online() as sender:
            for _ in range(8):
                send = gp.send(nurse.person, body=opaque_body(BODY_BUCKETS[-1]))
                assert isinstance(await sender.settle(send), f.Sent)
        twin = Device(server, nurse.person)
        async with nurse.online() as line:
            await line.next(events.Delivered)
            [connection] = [c for c in server.services.hub.connections() if c.device == nurse.id]
            while connection.session.room > 0:
                await line.ping()
            written = connection.session.delivered
            assert 0 < written < 8
            await drain_by_http(twin)
            await line.put(f.Ack(position=written))
            assert await asyncio.wait_for(line.closed(), 10) == CloseCode.TRY_LATER


async def drain_by_http(device: Device) -> None:
    """Fetch and acknowledge everything by HTTP."""
    from miss_protocol.digest import envelope_hash, roll

    while True:
        call = api.MailboxCall(
            after=device.position,
            digest=device.digest,
            sn=0,
            epoch=device.epoch,
            ack=f.Ack(position=device.position),
        )
        page = await device.result("POST", "/v1/mailbox", call, api.MailboxPage)
        if not page.rows:
            return
        for row in page.rows:
            assert isinstance(row, f.Deliver)
            row_hash = envelope_hash(row.account, row.device, row.id, row.body, row.wrap)
            device.position, device.digest = (
                row.position,
                roll(device.digest, row.position, row_hash),
            )


# --- the sender's outbox --------------------------------------------------------------------------


async def test_a_send_held_for_an_unconfirmed_account_stays_one_message(world: World) -> None:
    """After a restore: whoever had it already would else see it twice, and whoever stays away for
    a quarter of an hour would never get it."""
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    id = await gp.send([nurse.account], "une seule fois")
    await gp.outbox.encrypt()
    [first] = gp.outbox.unsettled()
    sn = first.sn
    for _ in range(TRIES_MAX + 1):
        gp.outbox.settle(f.Refused(sn, "unconfirmed", (nurse.account,), 0.0))
        await gp.outbox.encrypt()
        [again] = gp.outbox.unsettled()
        assert again.sn == sn + 1
        assert msgspec.structs.replace(again, sn=first.sn) == first
        sn = again.sn
    assert gp.saved(id).state == "queued"
    gp.outbox.settle(f.Refused(sn, "unconfirmed", (nurse.account,), 3600.0))
    assert await gp.outbox.encrypt() is not None  # it waits
    assert not gp.outbox.unsettled()


async def test_a_held_send_is_tried_again_soon_and_then_ever_more_rarely(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    await gp.send([nurse.account], "bientôt")
    await gp.outbox.encrypt()
    now = gp.vault.clock()
    monkeypatch.setattr(gp.vault, "clock", lambda: now)
    for least in (1, 2, 4, 8, 16, 30, 30):
        [send] = gp.outbox.unsettled()
        gp.outbox.settle(f.Refused(send.sn, "unconfirmed", (nurse.account,), 1.0))
        waits = await gp.outbox.encrypt()
        assert waits is not None
        assert least <= waits <= 2 * least
        now += round(waits * 1000)
        assert await gp.outbox.encrypt() is None


async def test_a_message_whose_only_device_left_does_not_stay_sent(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    async with gp:
        id = await gp.send([nurse.account], "x")
        await gp.wait_for_state(id, "sent")
    gp = world.reopen(gp)
    [device] = gp.saved(id).outcomes
    gp.outbox.status(f.Status(1, id, 1, (f.DeviceState(device, "undecryptable", 1),)))
    tablet = await world.second(nurse)
    await tablet.revoke_device(DeviceId(device))
    await gp.contacts.refresh(nurse.account)
    await gp.outbox.encrypt()
    found = gp.saved(id)
    assert (found.state, found.reason) == ("failed", "revoked")
    assert not gp.vault.entries()


async def test_a_second_device_that_cannot_open_is_not_called_waiting(world: World) -> None:
    """It gets the message anew (rule D3), or is said not to have it once the time is over."""
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    tablet = await world.second(nurse)
    async with gp, nurse:
        soon = await gp.send([nurse.account], "x")
        late = await gp.send([nurse.account], "y")
        await gp.wait_for_state(late, "delivered")
    gp = world.reopen(gp)
    device = tablet.vault.device
    gp.outbox.status(f.Status(9, soon, 1, (f.DeviceState(device, "undecryptable", 1),)))
    assert [draft.devices for draft in gp.vault.drafts.all()] == [(device,)]
    assert gp.saved(soon).outcomes[device].again == 1
    gp.vault.clock = lambda: gp.saved(late).sent_ms + limits.TTL_DEFAULT * 1000
    gp.outbox.status(f.Status(10, late, 2, (f.DeviceState(device, "undecryptable", 1),)))
    assert gp.saved(late).outcomes[device].state == "undecryptable"
    assert {gp.saved(soon).state, gp.saved(late).state} == {"delivered"}
