"""Sends, acknowledgements and statuses at the socket: the rules, and what breaking them costs."""

import asyncio
import os

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from miss_protocol import client_session as events
from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.errors import Code
from miss_protocol.identity.receipts import ReceiptState
from tests.support.devices import Person, address
from tests.support.mailing import opaque_body, opaque_wrap, revoke
from tests.support.server import ServerProcess
from tests.support.wire import Device, Line, enrolled, further, now_ms, publish


@pytest.fixture
async def gp(standing: ServerProcess) -> Device:
    """Who writes."""
    return await enrolled(standing)


@pytest.fixture
async def nurse(standing: ServerProcess) -> Device:
    """Who is written to."""
    return await enrolled(standing)


async def refused(line: Line, send: f.Send) -> str:
    """The code by which a send is refused for good."""
    reply = await line.settle(send)
    assert isinstance(reply, f.Refused), reply
    return reply.code


async def status(line: Line, message: bytes, *states: str) -> f.Status:
    """Wait until a message's status tells exactly these states."""
    while True:
        told = (await line.next(events.StatusChanged)).status
        if told.id == message and sorted(d.state for d in told.devices) == sorted(states):
            return told


async def test_a_message_is_delivered_acknowledged_and_read(gp: Device, nurse: Device) -> None:
    async with gp.online() as writer, nurse.online() as reader:
        await reader.caught_up()
        send = gp.send(nurse.person, urgency="urgent")
        sent = await writer.settle(send)
        assert isinstance(sent, f.Sent)
        assert (sent.id, sent.refused) == (send.id, ())
        [row] = await reader.deliveries(1)
        assert (row.position, row.account, row.device) == (1, gp.person.account, gp.id)
        assert (row.id, row.body, row.wrap) == (send.id, send.body, send.wraps[0].wrap)
        assert (row.kind, row.urgency) == ("message", "urgent")
        delivered = nurse.receipt(row)
        await reader.ack(receipts=[delivered])
        told = await status(writer, send.id, "delivered")
        assert told.devices[0].signature == delivered.signature
        read = nurse.receipt(row, ReceiptState.READ)
        await reader.ack(receipts=[read])
        told = await status(writer, send.id, "read")
        assert (told.devices[0].signature, told.sn) == (read.signature, send.sn)
        await writer.ack(tick=told.tick)
    async with nurse.online() as reader, gp.online() as writer:
        assert await reader.caught_up() == 1
        assert await writer.caught_up() == 0
        assert not writer.seen


@pytest.mark.parametrize("subprotocol", [f.MSGPACK, f.JSON])
async def test_catching_up_is_in_order_and_ends_with_drained(
    gp: Device, nurse: Device, subprotocol: f.Subprotocol
) -> None:
    sends = [gp.send(nurse.person) for _ in range(60)]
    async with gp.online() as writer:
        await writer.put(*sends)
        for send in sends:
            assert isinstance(await writer.answer(send.sn), f.Sent)
    async with nurse.online(subprotocol) as reader:
        for send in sends:
            [row] = await reader.deliveries(1)
            assert (row.id, row.position) == (send.id, send.sn)
            await reader.put(f.Ack(position=row.position))
        assert await reader.caught_up() == 60
        await reader.ack()
    async with nurse.online(subprotocol) as reader:
        assert await reader.caught_up() == 60


async def test_acknowledgements_beyond_and_backwards(gp: Device, nurse: Device) -> None:
    async with gp.online() as writer, nurse.online() as reader:
        for _ in range(2):
            await writer.settle(gp.send(nurse.person))
        [first, second] = await reader.deliveries(2)
        for wrong, code in (
            (f.Ack(position=3), "ack_beyond"),
            (f.Ack(tick=1), "ack_beyond"),
            (f.Ack(position=2**53 - 1, ref=1), "ack_beyond"),
            (f.Nack(3, "undecryptable"), "nack_unknown"),
            (f.Nack(0, "undecryptable"), "nack_unknown"),
        ):
            await reader.put(wrong)
            assert (await reader.error()).code == code
        await reader.ack()
        for wrong, code in (
            (f.Ack(position=1), "ack_backwards"),
            (f.Nack(2, "untrusted"), "nack_unknown"),
        ):
            await reader.put(wrong)
            assert (await reader.error()).code == code
        await reader.ping()
        await reader.ack(receipts=[nurse.receipt(first), nurse.receipt(second)])


async def test_nothing_is_deleted_by_an_ack_that_is_refused(gp: Device, nurse: Device) -> None:
    async with gp.online() as writer:
        send = gp.send(nurse.person)
        await writer.settle(send)
    async with nurse.online() as reader:
        await reader.caught_up()
        await reader.put(f.Ack(position=7, ref=1), f.Nack(9, "malformed"))
        for _ in range(2):
            await reader.error()
    async with nurse.online() as reader:
        [row] = await reader.deliveries(1)
        assert row.id == send.id


async def test_receipts_of_another_device_or_message(gp: Device, nurse: Device) -> None:
    tablet = await further(nurse)
    async with gp.online() as writer, nurse.online() as reader:
        send = gp.send(nurse.person)
        await writer.settle(send)
        [row] = await reader.deliveries(1)
        await reader.put(f.Ack(position=1, receipts=(tablet.receipt(row),), ref=4))
        error = await reader.error()
        assert (error.code, error.about, error.ref) == ("untrusted", "ack", 4)
        other = nurse.receipt(row, message=os.urandom(16))
        await reader.put(f.Ack(receipts=(other,), ref=5))
        error = await reader.error()
        assert (error.code, error.ref) == ("receipt_unknown", 5)
        many = (nurse.receipt(row),) * (limits.RECEIPTS_PER_ACK_MAX + 1)
        await reader.put(f.Ack(receipts=many))
        assert (await reader.error()).code == "too_large"
        # The acknowledgement that came with the foreign receipt did not count either.
        await reader.ack(receipts=[nurse.receipt(row)])
        await status(writer, send.id, "delivered", "waiting")


async def test_a_nack_ends_the_envelope_and_the_stream_goes_on(gp: Device, nurse: Device) -> None:
    async with gp.online() as writer, nurse.online() as reader:
        poison, good = gp.send(nurse.person), gp.send(nurse.person)
        await writer.put(poison, good)
        await reader.deliveries(2)
        await reader.put(f.Nack(1, "undecryptable"), f.Nack(1, "undecryptable"))
        await reader.ack()
        await status(writer, poison.id, "undecryptable")
        await status(writer, good.id, "delivered")


async def test_a_retry_after_a_lost_reply_makes_no_second_message(
    gp: Device, nurse: Device
) -> None:
    send = gp.send(nurse.person)
    async with gp.online() as writer:
        await writer.put(send)  # and gone before the answer
    async with gp.online() as writer, nurse.online() as reader:
        first = await writer.settle(send)
        assert isinstance(first, f.Sent)
        assert await writer.settle(send) == first
        other = gp.send(nurse.person, sn=send.sn)
        assert await refused(writer, other) == "sn_reused"
        await writer.settle(gp.send(nurse.person))
        rows = await reader.deliveries(2)
        assert rows[0].id == send.id != rows[1].id


async def test_sends_that_are_refused_each_with_its_code(gp: Device, nurse: Device) -> None:
    tablet = await further(nurse)
    own = f.RosterUsed(gp.person.account, 1)
    hers = f.RosterUsed(nurse.person.account, 2)
    wrap = opaque_wrap()
    to_phone, to_tablet = f.DeviceWrap(nurse.id, wrap), f.DeviceWrap(tablet.id, wrap)
    body = opaque_body()
    accounts = tuple(f.RosterUsed(address(), 1) for _ in range(limits.RECIPIENT_ACCOUNTS_MAX + 1))
    wraps = tuple(
        f.DeviceWrap(os.urandom(16), wrap) for _ in range(limits.RECIPIENT_DEVICES_MAX + 1)
    )
    async with gp.online() as writer:
        for fields, code in (
            ({"wraps": ()}, "no_recipients"),
            ({"wraps": (), "rosters": (own,)}, "no_recipients"),
            ({"wraps": wraps}, "too_many_recipients"),
            ({"rosters": accounts}, "too_many_recipients"),
            ({"rosters": (own, f.RosterUsed(address(), 1))}, "unknown_account"),
            ({"rosters": (own, f.RosterUsed(nurse.person.account, 1))}, "stale_roster"),
            ({"rosters": (hers,)}, "stale_roster"),
            ({"rosters": (own, hers, hers)}, "malformed"),
            ({"wraps": (to_phone,)}, "stale_roster"),
            ({"wraps": (to_phone, to_phone)}, "malformed"),
            ({"wraps": (to_phone, to_tablet, wraps[0])}, "stale_roster"),
            ({"body": b"Bonjour"}, "not_encrypted"),
            ({"body": b"\x02" + body[1:]}, "not_encrypted"),
            ({"body": body + b"x"}, "not_encrypted"),
            ({"body": bytes(limits.BODY_MAX + 1)}, "too_large"),
            ({"wraps": (to_phone, f.DeviceWrap(tablet.id, b"plain"))}, "not_encrypted"),
            ({"at": now_ms() - 3_600_000, "ttl": 60}, "expired"),
            ({"at": now_ms() + 24 * 3_600_000}, "clock_skew"),
        ):
            assert await refused(writer, gp.send(nurse.person, **fields)) == code
        gone_ahead = await writer.settle(gp.send(nurse.person, sn=gp.sn + 5))
        assert isinstance(gone_ahead, f.RetrySend)
        assert gone_ahead.code == "out_of_order"
        assert isinstance(await writer.settle(gp.send(nurse.person)), f.Sent)
    async with nurse.online() as reader:
        await reader.deliveries(1)
        await reader.caught_up()
        assert not reader.seen


async def test_a_send_to_oneself_alone_goes_to_ones_other_devices(gp: Device) -> None:
    async with gp.online() as writer:
        assert await refused(writer, gp.send()) == "no_recipients"
        tablet = await further(gp)
        assert isinstance(await writer.settle(gp.send()), f.Sent)
    async with tablet.online() as reader:
        [row] = await reader.deliveries(1)
        assert row.device == gp.id


async def test_sixty_five_sends_in_flight_are_one_too_many(gp: Device, nurse: Device) -> None:
    sends = [gp.send(nurse.person) for _ in range(limits.SENDS_IN_FLIGHT_MAX + 1)]
    async with gp.online() as writer, nurse.online() as reader:
        await writer.put(*sends)
        retry = (await writer.next(events.RetryWanted)).reply
        assert (retry.sn, retry.code) == (65, "rate_limited")
        for send in sends[:-1]:
            assert ((await writer.next(events.Settled)).reply).sn == send.sn
        assert isinstance(await writer.settle(sends[-1]), f.Sent)
        rows = []
        for _ in sends:
            rows += await reader.deliveries(1)
            await reader.put(f.Ack(position=rows[-1].position))
        assert [row.id for row in rows] == [send.id for send in sends]


async def test_the_order_of_one_sender_holds_under_many_senders(nurse: Device) -> None:
    writers = [await enrolled(nurse.server) for _ in range(6)]

    async def write(device: Device) -> list[bytes]:
        sends = [device.send(nurse.person) for _ in range(30)]
        async with device.online() as line:
            await line.put(*sends)
            for send in sends:
                assert isinstance(await line.answer(send.sn), f.Sent)
        return [send.id for send in sends]

    async with nurse.online() as reader:
        writing = [asyncio.create_task(write(one)) for one in writers]
        got: list[f.Deliver] = []
        while len(got) < 180:
            got += await reader.deliveries(1)
            await reader.put(f.Ack(position=got[-1].position))
        for writer, ids in zip(writers, await asyncio.gather(*writing), strict=True):
            assert [row.id for row in got if row.device == writer.id] == ids
        assert [row.position for row in got] == list(range(1, 181))


async def test_a_control_message_makes_no_status(gp: Device, nurse: Device) -> None:
    async with gp.online() as writer, nurse.online() as reader:
        # Control messages go to those who have answered.
        assert isinstance(await reader.settle(nurse.send(gp.person)), f.Sent)
        await writer.deliveries(1)
        await writer.ack()
        first = gp.send(nurse.person)
        await writer.settle(first)
        await reader.deliveries(1)
        await reader.ack()
        assert (await writer.next(events.StatusChanged)).status.id == first.id
        assert isinstance(await writer.settle(gp.send(nurse.person, kind="control")), f.Sent)
        [row] = await reader.deliveries(1)
        assert row.kind == "control"
        await reader.ack()
        send = gp.send(nurse.person)
        await writer.settle(send)
        await reader.deliveries(1)
        await reader.ack()
        told = (await writer.next(events.StatusChanged)).status
        assert told.id == send.id


async def test_statuses_are_told_again_until_acknowledged(gp: Device, nurse: Device) -> None:
    async with gp.online() as writer:
        send = gp.send(nurse.person)
        await writer.settle(send)
    async with nurse.online() as reader:
        [row] = await reader.deliveries(1)
        await reader.ack(receipts=[nurse.receipt(row)])
    for _ in range(2):
        async with gp.online() as writer:
            told = await status(writer, send.id, "delivered")
    async with gp.online() as writer:
        told = await status(writer, send.id, "delivered")
        await writer.put(f.Ack(tick=told.tick, ref=1), f.Ack(tick=told.tick + 1))
        assert (await writer.next(events.AckStored)).ref == 1
        assert (await writer.error()).code == "ack_beyond"
    async with gp.online() as writer:
        await writer.caught_up()
        await writer.ping()
        assert not writer.seen


async def test_an_ack_of_nothing_is_durable_at_once(gp: Device) -> None:
    async with gp.online() as line:
        await line.put(f.Ack(ref=9), f.Ack())
        assert (await line.next(events.AckStored)).ref == 9
        await line.ack(position=UNSET)


async def test_a_revoked_recipients_messages_are_told_as_revoked(gp: Device, nurse: Device) -> None:
    tablet = await further(nurse)
    async with gp.online() as writer, tablet.online() as reader:
        send = gp.send(nurse.person)
        await writer.settle(send)
        await reader.deliveries(1)
        revoke(nurse.person, tablet.id)
        await publish(nurse)
        await status(writer, send.id, "revoked", "waiting")
        stale = gp.send(nurse.person)
        wraps = (*stale.wraps, f.DeviceWrap(tablet.id, opaque_wrap()))
        assert await refused(writer, replace(stale, wraps=wraps)) == "stale_roster"
        assert isinstance(await writer.settle(gp.send(nurse.person)), f.Sent)


async def test_somebody_who_never_enrolled_cannot_be_written_to(gp: Device) -> None:
    async with gp.online() as writer:
        reply = await writer.settle(gp.send(Person()))
        assert isinstance(reply, f.Refused)
        assert reply.code == Code.UNKNOWN_ACCOUNT.wire
        assert len(reply.accounts) == 1
