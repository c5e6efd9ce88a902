"""The HTTP twins of the socket, alone and beside a live socket of the same device."""

import sqlite3
from pathlib import Path

import msgspec
import pytest
from msgspec import UNSET

from miss_protocol import api
from miss_protocol import client_session as events
from miss_protocol import frames as f
from miss_protocol.digest import envelope_hash, roll
from miss_protocol.errors import CloseCode
from tests.support.hosted import hosted
from tests.support.server import ServerProcess
from tests.support.wire import Device, code_of, enrolled

MAILBOX = "/v1/mailbox"


@pytest.fixture
async def gp(standing: ServerProcess) -> Device:
    """Who writes."""
    return await enrolled(standing)


@pytest.fixture
async def nurse(standing: ServerProcess) -> Device:
    """Who is written to."""
    return await enrolled(standing)


async def send(device: Device, frame: f.Send) -> f.Sent | f.Refused | f.RetrySend:
    """Send over HTTP."""
    answer = await device.call("POST", "/v1/messages", frame)
    assert answer.is_success, answer.content
    reply: f.Sent | f.Refused | f.RetrySend = msgspec.json.decode(
        answer.content,
        type=f.Sent | f.Refused | f.RetrySend,
    )
    return reply


def call(device: Device, **fields: object) -> api.MailboxCall:
    """What a device woken in the background asks for."""
    values = {
        "after": device.position,
        "digest": device.digest,
        "sn": device.sn,
        "epoch": device.epoch,
        "roster": device.person.roster.version,
    }
    return msgspec.convert(values | fields, api.MailboxCall, strict=False)


async def fetch(device: Device, **fields: object) -> api.MailboxPage:
    """Fetch, and take over position and digest as a client's store would."""
    page = await device.result("POST", MAILBOX, call(device, **fields), api.MailboxPage)
    for row in page.rows:
        assert isinstance(row, f.Deliver)
        assert row.position == device.position + 1
        hashed = envelope_hash(row.account, row.device, row.id, row.body, row.wrap)
        device.position, device.digest = row.position, roll(device.digest, row.position, hashed)
    device.epoch = page.epoch
    return page


async def test_a_device_without_any_socket_sends_fetches_and_acknowledges(
    gp: Device, nurse: Device
) -> None:
    message = gp.send(nurse.person)
    sent = await send(gp, message)
    assert isinstance(sent, f.Sent)
    assert await send(gp, message) == sent
    page = await fetch(nurse)
    [row] = page.rows
    assert isinstance(row, f.Deliver)
    assert (row.id, page.more, page.position, page.prekeys) == (message.id, False, 1, 3)
    receipt = nurse.receipt(row)
    page = await fetch(nurse, ack=f.Ack(position=1, receipts=(receipt,)))
    assert page.rows == ()
    assert (await fetch(nurse)).acked == 1
    [status] = (await fetch(gp)).statuses
    assert [(d.state, d.signature) for d in status.devices] == [("delivered", receipt.signature)]
    assert (await fetch(gp, ack=f.Ack(tick=status.tick))).statuses == ()
    assert (await fetch(gp)).statuses == ()


async def test_a_long_mailbox_is_paged(gp: Device, nurse: Device) -> None:
    ids = []
    async with gp.online() as line:
        for _ in range(300):
            one = gp.send(nurse.person)
            ids.append(one.id)
            await line.settle(one)
    got: list[bytes] = []
    more = True
    while more:
        ack = f.Ack(position=nurse.position) if nurse.position else UNSET
        page = await fetch(nurse, **({} if ack is UNSET else {"ack": ack}))
        got += [row.id for row in page.rows if isinstance(row, f.Deliver)]
        more = page.more
    assert got == ids


async def test_what_a_twin_refuses(gp: Device, nurse: Device) -> None:
    await send(gp, gp.send(nurse.person))
    [row] = (await fetch(nurse)).rows
    assert isinstance(row, f.Deliver)
    other = await enrolled(gp.server)
    for fields, code in (
        ({"ack": f.Ack(position=2)}, "ack_beyond"),
        ({"ack": f.Ack(tick=1)}, "ack_beyond"),
        ({"nacks": (f.Nack(2, "undecryptable"),)}, "nack_unknown"),
        ({"ack": f.Ack(position=1, receipts=(other.receipt(row),))}, "untrusted"),
        ({"ack": f.Ack(receipts=(nurse.receipt(row),) * 257)}, "too_large"),
    ):
        answer = await nurse.call("POST", MAILBOX, call(nurse, **fields))
        assert code_of(answer) == code
    behind = await gp.call("POST", MAILBOX, call(gp, sn=0))
    assert code_of(behind) == "sn_reused"
    bad = await gp.call("POST", "/v1/messages", {"op": "send", "sn": "one"})
    assert code_of(bad) == "malformed"
    refused = await send(gp, gp.send(nurse.person, body=b"plain"))
    assert isinstance(refused, f.Refused)
    assert refused.code == "not_encrypted"
    nacked = await fetch(nurse, ack=f.Ack(position=1), nacks=(f.Nack(1, "undecryptable"),))
    assert nacked.rows == ()
    [status] = (await fetch(gp)).statuses
    assert [d.state for d in status.devices] == ["undecryptable"]


async def test_a_live_socket_stays_while_its_device_calls(gp: Device, nurse: Device) -> None:
    async with nurse.online() as reader:
        await reader.caught_up()
        await send(gp, gp.send(nurse.person))
        [row] = await reader.deliveries(1)
        page = await fetch(nurse)
        assert [r.id for r in page.rows if isinstance(r, f.Deliver)] == [row.id]
        await fetch(nurse, ack=f.Ack(position=1, receipts=(nurse.receipt(row),)))
        assert isinstance(await send(nurse, nurse.send(gp.person)), f.Sent)
        # What the twin acknowledged, the socket had been written: it goes on where it was.
        await reader.ping()
        await send(gp, gp.send(nurse.person))
        [second] = await reader.deliveries(1)
        assert second.position == 2
        await reader.ack(receipts=[nurse.receipt(second)])


async def test_a_socket_that_was_overtaken_counts_anew_and_holds_up_nobody(
    tmp_path: Path,
) -> None:
    async with hosted(tmp_path) as server:
        gp, nurse, doctor = [await enrolled(server) for _ in range(3)]
        async with gp.online() as writer, doctor.online() as other:
            await other.caught_up()
            for _ in range(60):
                await writer.settle(gp.send(nurse.person))
            async with nurse.online() as reader:
                await reader.next(events.Delivered)
                # The window is full; the extension of the app fetches and acknowledges the rest.
                position, digest = nurse.position, nurse.digest
                while (await fetch(nurse)).more:
                    pass
                assert nurse.position == 60
                await fetch(nurse, ack=f.Ack(position=60))
                await writer.settle(gp.send(nurse.person, doctor.person))
                await reader.put(f.Ack(position=reader.session.position))
                await other.deliveries(1)
                assert await reader.closed() == CloseCode.TRY_LATER
                assert position < reader.session.position < 60
                assert digest != nurse.digest
            async with nurse.online() as reader:
                [row] = await reader.deliveries(1)
                assert row.position == 61


async def test_a_twin_that_uncovers_a_restore_ends_every_socket(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        async with gp.online() as line:
            # Positions that this database never gave: it must be an older copy.
            nurse.position, nurse.digest = 4, b"\x07" * 32
            page = await nurse.result("POST", MAILBOX, call(nurse), api.MailboxPage)
            assert page.restored is not UNSET
            assert (page.acked, page.after_digest) == (0, bytes(32))
            assert await line.closed() == CloseCode.TRY_LATER
        async with gp.line() as line:
            welcome = await line.log_in()
            assert (welcome.restored, welcome.epoch) == (page.restored, page.epoch)


async def test_an_older_socket_with_sends_on_the_way_does_not_end_the_newer_one(
    tmp_path: Path,
) -> None:
    async with hosted(tmp_path) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        async with gp.online() as older, gp.line() as newer:
            await older.caught_up()
            lock = sqlite3.connect(server.database, isolation_level=None)
            lock.execute("BEGIN IMMEDIATE")
            first, second = gp.send(nurse.person), gp.send(nurse.person)
            # The writer waits with the first; the newer hello and the second send wait together.
            await older.put(first)
            await older.ping(1)
            await newer.greet(sn=2)
            await newer.ping(2)
            await older.put(second)
            await older.ping(3)
            lock.execute("ROLLBACK")
            lock.close()
            assert await older.closed() == CloseCode.REPLACED
            welcome = (await newer.next(events.Welcomed)).welcome
            assert welcome.sn == 1
            assert isinstance(await newer.settle(first), f.Sent)
            assert isinstance(await newer.settle(second), f.Sent)
        async with nurse.online() as reader:
            rows = await reader.deliveries(2)
            assert [row.id for row in rows] == [first.id, second.id]
