"""People who write to each other, over a real server."""

import asyncio

import pytest

from miss_client import ClientError, RefusedByServer, Trouble, conversation_of
from miss_client.events import DeviceChanged, MessageReceived, StatusChanged
from miss_protocol.errors import Code, Refused
from tests.clients.conftest import World, until

pytestmark = pytest.mark.timeout(60)


async def test_a_message_reaches_the_other_and_the_sender_sees_it_read(world: World) -> None:
    gp, cardiologist = await world.enrol("gp"), await world.enrol("cardiologist")
    events = cardiologist.events()
    async with gp, cardiologist:
        await cardiologist.drained()
        id = await gp.send([cardiologist.account], "Un avis sur un ECG ?")
        came = await until(events, MessageReceived)
        assert isinstance(came, MessageReceived)
        assert (came.text, came.sender, came.own) == ("Un avis sur un ECG ?", gp.account, False)
        assert "Vandrelle" in came.sender_name
        assert (await gp.wait_for_state(id, "delivered")).state == "delivered"
        await cardiologist.read(came.id)
        await cardiologist.read(came.id)  # twice is once
        assert (await gp.wait_for_state(id, "read")).state == "read"
        # Over: nothing is kept for sending again, and no receipt is owed any more.
        assert gp.vault.entries() == []


async def test_all_devices_of_both_show_the_same_conversation(world: World) -> None:
    gp, phone = await world.enrol("gp"), await world.enrol("cardiologist")
    tablet = await world.second(phone)
    async with gp, phone, tablet:
        await asyncio.gather(gp.drained(), phone.drained(), tablet.drained())
        on_phone, on_tablet, on_gp = phone.events(), tablet.events(), gp.events()
        question = await gp.send([phone.account], "Peut-on l'arrêter ?")
        await until(on_phone, MessageReceived)
        await until(on_tablet, MessageReceived)
        await gp.wait_for_state(question, "delivered")
        answer = await tablet.send([gp.account], "Oui.", reply_to=question)
        echoed = await until(on_phone, MessageReceived)
        assert isinstance(echoed, MessageReceived)
        assert (echoed.text, echoed.own, echoed.to) == ("Oui.", True, (gp.account,))
        received = await until(on_gp, MessageReceived)
        assert isinstance(received, MessageReceived)
        assert received.id == answer
        assert received.kind == "reply"
        await tablet.wait_for_state(answer, "delivered")
        conversation = conversation_of([gp.account, phone.account])
        texts = [
            [m.text for m in c.messages(conversation=conversation)] for c in (gp, phone, tablet)
        ]
        assert texts == [["Peut-on l'arrêter ?", "Oui."]] * 3
        # The acks of the new sessions went through: the next message is a steady one.
        assert gp.saved(question).again == 0


async def test_a_device_that_joins_and_one_that_leaves_are_followed_by_senders(
    world: World,
) -> None:
    gp, phone = await world.enrol("gp"), await world.enrol("cardiologist")
    async with gp, phone:
        first = await gp.send([phone.account], "un")
        await gp.wait_for_state(first, "delivered")
        tablet = await world.second(phone)
        events = gp.events()
        on_tablet = tablet.events()
        async with tablet:
            second = await gp.send([phone.account], "deux")
            changed = await until(events, DeviceChanged)
            assert isinstance(changed, DeviceChanged)
            assert (changed.account, changed.version, changed.own) == (phone.account, 2, False)
            came = await until(on_tablet, MessageReceived)
            assert isinstance(came, MessageReceived)
            assert came.text == "deux"
            found = await gp.wait_for_state(second, "delivered")
            assert found.again == 1  # encrypted anew, once, visibly
            await phone.revoke_device(tablet.vault.device)
            with pytest.raises(ClientError) as told:
                await tablet.wait_for_state(await tablet.send([gp.account], "encore là"), "read")
            assert told.value.trouble is Trouble.DEVICE_OVER
        third = await gp.send([phone.account], "trois")
        await gp.wait_for_state(third, "delivered")
        assert [one.text for one in gp.messages()] == ["un", "deux", "trois"]
        assert len(gp.contacts.devices_of([phone.account])) == 1
    with pytest.raises(ClientError) as told:
        world.reopen(tablet)
    assert told.value.trouble is Trouble.DEVICE_OVER


async def test_what_is_written_without_a_connection_leaves_later_in_order(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    ids = [await gp.send([nurse.account], str(n)) for n in range(20)]
    assert {gp.saved(id).state for id in ids} == {"queued"}
    await gp.close()
    gp = world.reopen(gp)
    async with gp, nurse:
        for id in ids:
            await gp.wait_for_state(id, "delivered")
    nurse = world.reopen(nurse)
    assert [one.text for one in nurse.messages()] == [str(n) for n in range(20)]


async def test_several_recipients_and_their_receipts(world: World) -> None:
    gp, nurse, pharmacist = [await world.enrol(r) for r in ("gp", "nurse", "pharmacist")]
    async with gp, nurse:
        id = await gp.send([nurse.account, pharmacist.account], "Sortie demain")
        events = gp.events()
        await gp.wait_for_state(id, "sent")
        async with pharmacist:
            async for event in events:
                if isinstance(event, StatusChanged) and event.state == "delivered":
                    break
        outcomes = gp.saved(id).outcomes.values()
        assert sorted(one.account for one in outcomes) == sorted(
            [nurse.account, pharmacist.account]
        )


async def test_refusals_come_before_anything_is_saved(world: World) -> None:
    gp = await world.enrol("gp")
    other = "a" * 26 + "@miss.example"
    for to, text, code in [
        ([], "x", Code.NO_RECIPIENTS),
        ([gp.account], "x", Code.NO_RECIPIENTS),
        ([other], "", Code.MALFORMED),
        ([other], "x" * 8001, Code.TOO_LARGE),
        ([other], "€" * 8000, Code.TOO_LARGE),
        (
            [f"{'abcdefghijklmnopqrstuvwxyz234567'[n]}" * 25 + "a@miss.example" for n in range(32)],
            "x",
            Code.TOO_MANY_RECIPIENTS,
        ),
    ]:
        with pytest.raises(Refused) as told:
            await gp.send(to, text)  # type: ignore[arg-type]  # as typed by a user
        assert told.value.code is code
    with pytest.raises(Refused):
        await gp.send([other], "x", ttl=1)  # type: ignore[list-item]  # as typed by a user
    assert gp.messages() == []
    with pytest.raises(ClientError) as missing:
        await gp.read(b"0" * 16)  # type: ignore[arg-type]  # no message of ours
    assert missing.value.trouble is Trouble.NO_MESSAGE


async def test_an_unknown_recipient_fails_visibly_and_blocks_nobody(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    async with gp, nurse:
        nobody = await gp.send(["a" * 26 + "@miss.example"], "perdu")  # type: ignore[list-item]
        someone = await gp.send([nurse.account], "arrivé")
        failed = await gp.wait_for_state(nobody, "sent")
        assert (failed.state, failed.reason) == ("failed", "unknown_account")
        assert (await gp.wait_for_state(someone, "delivered")).state == "delivered"


async def test_codes_are_used_once_and_only_with_consent(world: World) -> None:
    from miss_client import new_device

    code = world.server.code_for(world.person("gp"))
    store = world.store("declined")
    with pytest.raises(ClientError) as told:
        await new_device.enrol(
            world.server.url, code, store, device_name="x", accept_charter=lambda preview: False
        )
    assert told.value.trouble is Trouble.CHARTER_DECLINED
    shown: list[str] = []

    def accept(preview: object) -> bool:
        shown.append(getattr(preview, "name", ""))
        return True

    client = await new_device.enrol(
        world.server.url, code, store, device_name="x", accept_charter=accept
    )
    world.clients.append(client)
    assert "Vandrelle" in shown[0]
    with pytest.raises(ClientError) as twice:
        await new_device.enrol(world.server.url, code, store, device_name="x", accept_charter=True)
    assert twice.value.trouble is Trouble.STORE_EXISTS
    with pytest.raises(RefusedByServer) as used:
        await new_device.enrol(
            world.server.url, code, world.store("again"), device_name="x", accept_charter=True
        )
    assert used.value.code is Code.CODE_USED


async def test_the_directory_the_safety_number_and_the_mark(world: World) -> None:
    gp, cardiologist = await world.enrol("gp"), await world.enrol("cardiologist")
    page = await gp.search("LEFEVERE cardio lille")
    assert [entry.account for entry in page.entries] == [cardiologist.account]
    assert (await gp.person(world.person("nurse"))).name
    assert await gp.safety_number(cardiologist.account) == await cardiologist.safety_number(
        gp.account
    )
    contact = gp.contact(cardiologist.account)
    assert contact is not None
    assert not contact.verified
    gp.mark_verified(cardiologist.account)
    contact = gp.contact(cardiologist.account)
    assert contact is not None
    assert contact.verified
    with pytest.raises(ClientError):
        gp.mark_verified("a" * 26 + "@miss.example")  # type: ignore[arg-type]  # never met
