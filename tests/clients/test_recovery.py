"""What may go wrong between two people: crashes, restores, lies. Nothing is lost silently."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from miss_client import Client, ClientError, Store, Trouble
from miss_client.errors import RefusedByServer
from miss_client.events import (
    Connection,
    ConnectionChanged,
    Distrusted,
    IdentityChanged,
    MessageReceived,
    Restored,
)
from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.api import Rosters
from miss_protocol.errors import Code
from miss_protocol.identity.roster import RosterEntry, found
from tests.clients.conftest import QUICK, World, until

pytestmark = pytest.mark.timeout(90)


async def test_a_server_killed_after_sent_loses_nothing(world: World) -> None:
    gp, phone = await world.enrol("gp"), await world.enrol("cardiologist")
    tablet = await world.second(phone)
    async with gp:
        id = await gp.send([phone.account], "Avant la coupure")
        await gp.wait_for_state(id, "sent")
        await world.server.kill()
        waiting = await gp.send([phone.account], "Pendant la coupure")
        await world.server.start()
        async with phone, tablet:
            assert (await gp.wait_for_state(id, "delivered")).state == "delivered"
            await gp.wait_for_state(waiting, "delivered")
            await asyncio.gather(phone.drained(), tablet.drained())
            for device in (phone, tablet):
                while len(device.messages()) < 2:
                    await until(device.events(), MessageReceived)
                texts = [one.text for one in device.messages()]
                assert texts == ["Avant la coupure", "Pendant la coupure"]


async def test_a_client_killed_at_any_step_loses_and_doubles_nothing(
    world: World, tmp_path: Path
) -> None:
    """The receiving process dies by SIGKILL before its commit, after it, and after the ack."""
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    path = nurse.vault.store.path
    await nurse.close()
    async with gp:
        for step in ("before the commit", "after the commit", "after the ack"):
            await gp.wait_for_state(await gp.send([nurse.account], step), "sent")
            program = Path(__file__).with_name("dying_client.py")
            done = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, str(program), str(path), step],
                check=False,
                timeout=30,
            )
            assert done.returncode == -signal.SIGKILL
        nurse = Client.open(Store.open(path), timing=QUICK)
        world.clients.append(nurse)
        async with nurse:
            await nurse.drained()
            for message in gp.messages():
                await gp.wait_for_state(message.id, "delivered")  # type: ignore[arg-type]  # an id
        assert [one.text for one in world.reopen(nurse).messages()] == [
            "before the commit",
            "after the commit",
            "after the ack",
        ]


async def test_a_lost_reply_makes_no_second_message(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    id = await gp.send([nurse.account], "une fois")
    await gp.outbox.encrypt()
    [send] = gp.outbox.unsettled()
    first = await gp.calls.post("/v1/messages", send, f.Sent)  # the reply is not saved: lost
    again = await gp.calls.post("/v1/messages", send, f.Sent)
    assert first == again
    async with gp, nurse:
        await gp.wait_for_state(id, "delivered")
    assert [one.text for one in world.reopen(nurse).messages()] == ["une fois"]


async def test_a_copy_of_an_older_state_is_found_out(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    path = gp.vault.store.path
    await gp.close()
    copy = path.read_bytes()
    gp = world.reopen(gp)
    async with gp:
        await gp.wait_for_state(await gp.send([nurse.account], "x"), "sent")
    path.write_bytes(copy)
    gp = world.reopen(gp)
    async with gp:
        with pytest.raises(ClientError) as told:
            await gp.connected()
        assert told.value.trouble is Trouble.ROLLED_BACK
    with pytest.raises(ClientError) as told:
        world.reopen(gp)  # for good: its keys are never used again
    assert told.value.trouble is Trouble.ROLLED_BACK


async def test_a_restored_server_is_noticed_and_gets_again_what_it_lost(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    async with gp, nurse:
        await gp.wait_for_state(await gp.send([nurse.account], "un"), "delivered")
        await nurse.drained()
    backup = await world.server.backup()
    gp, nurse = world.reopen(gp), world.reopen(nurse)
    async with gp:
        async with nurse:
            await gp.wait_for_state(await gp.send([nurse.account], "deux"), "delivered")
        lost = await gp.send([nurse.account], "trois")
        await gp.wait_for_state(lost, "sent")
    await world.server.put_back(backup)
    gp, nurse = world.reopen(gp), world.reopen(nurse)
    on_gp, on_nurse = gp.events(), nurse.events()
    async with gp, nurse:
        assert isinstance(await until(on_gp, Restored), Restored)
        assert isinstance(await until(on_nurse, Restored), Restored)
        await gp.wait_for_state(lost, "delivered")
        fourth = await gp.send([nurse.account], "quatre")
        await gp.wait_for_state(fourth, "delivered")
        texts = [one.text for one in nurse.messages()]
        assert texts == ["un", "deux", "trois", "quatre"]  # each once


@pytest.mark.parametrize("connected", [True, False])
async def test_a_phone_that_replaced_the_only_one_comes_back_by_itself(
    world: World, connected: bool
) -> None:
    """The server is restored to a time when it knew the old phone alone, which is revoked since."""
    gp, old = await world.enrol("gp"), await world.enrol("nurse")
    backup = await world.server.backup()
    new = await world.second(old)
    await new.devices.revoke(old.vault.device)
    id = await gp.send([new.account], "avant")
    async with gp, new:
        await gp.wait_for_state(id, "delivered")
    await world.server.put_back(backup)
    gp, new = world.reopen(gp), world.reopen(new)
    async with gp:
        if connected:
            async with new:
                await new.drained()
                await gp.wait_for_state(await gp.send([new.account], "après"), "delivered")
        else:
            await new.fetch_once()
            await gp.wait_for_state(await gp.send([new.account], "après"), "sent")
            assert await new.fetch_once() == 1
        with pytest.raises(RefusedByServer) as refused:
            await old.fetch_once()
        assert refused.value.code is Code.REVOKED
    if not connected:
        assert [one.text for one in new.messages()] == ["avant", "après"]


async def test_a_device_whose_account_is_gone_is_told_so(world: World) -> None:
    backup = await world.server.backup()
    first = await world.enrol("gp")
    second = await world.second(first)
    await world.server.put_back(backup)
    for device in (first, second):
        with pytest.raises(RefusedByServer) as refused:
            await device.fetch_once()
        assert refused.value.code is Code.AUTH_FAILED
        async with device:
            with pytest.raises(ClientError) as told:
                await device.connected()
            assert told.value.trouble is Trouble.NOT_ADMITTED


async def test_a_count_that_was_agreed_and_lost_again_is_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole machine goes back, twice to the same state, and its mailbox does not differ."""
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    for device in (gp, nurse):
        await device.fetch_once()
    first = await world.server.snapshot()
    await nurse.send([gp.account], "lu")
    await nurse.fetch_once()
    assert await gp.fetch_once() == 1
    await world.server.put_back(*first)
    await gp.fetch_once()  # begins the one epoch that its digest may begin in a day
    second = await world.server.snapshot()
    await nurse.fetch_once()
    assert await gp.fetch_once() == 1
    counted = gp.vault.cursor.sn
    id = await gp.send([nurse.account], "compté")
    await gp.outbox.encrypt()
    declared = gp.vault.cursor.sn
    assert declared > counted >= gp.vault.cursor.settled
    await world.server.put_back(*second)

    async def die() -> None:
        raise ConnectionError

    with monkeypatch.context() as dying:
        dying.setattr(gp.outbox, "post", die)
        with pytest.raises(ConnectionError):
            await gp.fetch_once()
    assert gp.vault.cursor.settled == declared
    await world.server.put_back(*second)
    async with gp, nurse:
        await gp.wait_for_state(id, "delivered")
        await nurse.drained()
    assert [one.text for one in world.reopen(nurse).messages()] == ["lu", "compté"]


async def test_a_restored_server_learns_again_what_was_read(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    for device in (gp, nurse):
        await device.fetch_once()
    backup = await world.server.backup()
    id = await gp.send([nurse.account], "lu")
    await gp.fetch_once()
    await nurse.fetch_once()
    [message] = nurse.messages()
    await nurse.read(message.id)  # type: ignore[arg-type]  # an id
    await nurse.fetch_once()  # the receipt is paid, and its status lost
    await world.server.put_back(backup)
    async with gp, nurse:
        assert (await gp.wait_for_state(id, "read")).state == "read"


async def test_a_fetch_that_owes_more_receipts_than_fit_gives_each(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A position with the first of them would take the rows of the others."""
    monkeypatch.setattr(limits, "RECEIPTS_PER_ACK_MAX", 2)
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    ids = [
        await gp.send([nurse.account], text) for text in ("un", "deux", "trois", "quatre", "cinq")
    ]
    await gp.fetch_once()
    assert await nurse.fetch_once() == len(ids)
    async with gp:
        for id in ids:
            await gp.wait_for_state(id, "delivered")


async def test_receipts_that_do_not_verify_are_not_shown(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    id = await gp.send([nurse.account], "x")
    async with gp:
        await gp.wait_for_state(id, "sent")
        [device] = gp.saved(id).outcomes
        events = gp.events()
        forged = f.DeviceState(device, "read", 5, b"\1" * 64)
        unsigned = f.DeviceState(device, "delivered", 5)
        stranger = f.DeviceState(b"?" * 16, "read", 5, b"\1" * 64)
        gp.outbox.status(f.Status(1, id, 1, (forged, stranger)))
        assert await until(events, Distrusted) == Distrusted(nurse.account, "receipt")
        gp.outbox.status(f.Status(2, id, 1, (unsigned,)))
        gp.outbox.status(f.Status(3, b"unknown message!", 1, (unsigned,)))
        assert gp.saved(id).state == "sent"


async def test_a_background_wake_up_fetches_and_sends_without_a_connection(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    id = await gp.send([nurse.account], "réveil")
    assert await gp.fetch_once() == 0
    assert gp.saved(id).state == "sent"
    assert await nurse.fetch_once() == 1
    [message] = nurse.messages()
    await nurse.read(message.id)  # type: ignore[arg-type]  # an id
    await nurse.fetch_once()
    await gp.fetch_once()
    assert gp.saved(id).state == "read"
    async with nurse:  # the counts agree with a connection's
        await nurse.drained()
        with pytest.raises(ClientError) as told:
            await nurse.fetch_once()
        assert told.value.trouble is Trouble.CONNECTED


async def test_another_genesis_is_never_used_without_the_user(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    await gp.contacts.learn(nurse.account)
    impostor = found(
        SigningKey.generate(),
        nurse.account,
        RosterEntry(nurse.vault.certificate, "phone", approve=True),
        now_ms=1,
    )
    answer = Rosters(nurse.account, "N", "", "", "operator", (impostor.encode(),))
    events = gp.events()
    for _ in range(2):
        with pytest.raises(ClientError) as told:
            gp.contacts.take(nurse.account, answer)
        assert told.value.trouble is Trouble.IDENTITY_CHANGED
    assert isinstance(await until(events, IdentityChanged), IdentityChanged)
    with pytest.raises(ClientError):
        await gp.send([nurse.account], "x")
    with pytest.raises(ClientError):
        await gp.contacts.learn(nurse.account)
    assert await gp.contacts.sender(nurse.account, nurse.vault.device) is None
    await gp.accept_identity(nurse.account)  # the true one again, from the server
    assert (await gp.contacts.learn(nurse.account)).genesis != impostor.genesis
    broken = Rosters(nurse.account, "N", "", "", "operator", (b"no roster",))
    with pytest.raises(ClientError) as told:
        gp.contacts.take(nurse.account, broken)
    assert told.value.trouble is Trouble.SERVER


async def test_a_failed_commit_throws_the_endpoint_away(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    async with gp, nurse:
        await gp.wait_for_state(await gp.send([nurse.account], "un"), "delivered")
    gp = world.reopen(gp)
    before = gp.vault.endpoint

    def use_and_fail() -> None:
        with gp.vault.change() as endpoint:
            endpoint.break_session(nurse.vault.device)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use_and_fail()
    assert gp.vault.endpoint is not before
    [peer] = gp.contacts.devices_of([nurse.account])
    assert not gp.vault.endpoint.needs_session(peer, now_ms=gp.vault.clock())


async def test_a_newer_connection_of_the_same_device_wins(world: World) -> None:
    gp = await world.enrol("gp")
    async with gp:
        await gp.drained()
        events = gp.events()
        second = Client(gp.vault, timing=QUICK)
        async with second:
            await second.connected()
            while await until(events, ConnectionChanged) != ConnectionChanged(
                Connection.STOPPED, "replaced"
            ):
                pass
            with pytest.raises(ClientError) as told:
                await gp.connected()
            assert told.value.trouble is Trouble.REPLACED


async def test_events_are_for_any_number_of_listeners_and_end_with_the_client(
    world: World,
) -> None:
    gp = await world.enrol("gp")

    async def states(events: AsyncIterator[object]) -> list[Connection]:
        return [e.state async for e in events if isinstance(e, ConnectionChanged)]

    tasks = [asyncio.create_task(states(gp.events())) for _ in range(2)]
    async with gp:
        await gp.drained()
    seen = await asyncio.gather(*tasks)
    assert seen[0] == seen[1] == [Connection.CONNECTING, Connection.CATCHING_UP, Connection.LIVE]
