"""A device could not open a message: it is encrypted anew, and stays one message for everybody."""

import msgspec
import pytest

from miss_client import Client
from miss_client.events import EncryptedAgain, MessageReceived, Unopened
from miss_client.records import Outcome
from miss_protocol import content as contents
from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.content import Text
from miss_protocol.errors import Code
from tests.clients.conftest import World, until

pytestmark = pytest.mark.timeout(90)


def damage(sender: Client, reader: Client) -> None:
    """Spoil the reader's wrap in the only send that waits: it keeps its form and does not open."""
    [entry] = sender.vault.entries()
    send = msgspec.msgpack.decode(entry.frame, type=f.Send)
    wraps = tuple(
        f.DeviceWrap(one.device, one.wrap[:-1] + bytes([one.wrap[-1] ^ 1]))
        if one.device == reader.vault.device
        else one
        for one in send.wraps
    )
    assert wraps != send.wraps
    entry.frame = msgspec.msgpack.encode(msgspec.structs.replace(send, wraps=wraps))
    with sender.vault.store.transaction():
        sender.vault.put_entry(entry)


def texts(client: Client) -> list[str]:
    return [one.text for one in client.messages()]


async def test_an_envelope_that_cannot_be_opened_is_encrypted_anew(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    async with gp, nurse:
        await gp.wait_for_state(await gp.send([nurse.account], "un"), "delivered")
    gp, nurse = world.reopen(gp), world.reopen(nurse)
    id = await gp.send([nurse.account], "deux")
    await gp.outbox.encrypt()
    damage(gp, nurse)
    on_gp, on_nurse = gp.events(), nurse.events()
    async with gp, nurse:
        unopened = await until(on_nurse, Unopened)
        assert unopened == Unopened(gp.account, "undecryptable")
        again = await until(on_gp, EncryptedAgain)
        assert isinstance(again, EncryptedAgain)
        assert (again.id, again.times, again.reason) == (id, 1, "undecryptable")
        found = await gp.wait_for_state(id, "delivered")
        assert found.state == "delivered"
        assert [(one.text, one.id) for one in nurse.messages()][1:] == [("deux", id)]
        await nurse.read(id)
        assert (await gp.wait_for_state(id, "read")).state == "read"


@pytest.mark.parametrize("whose", ["the recipient's", "one's own"])
async def test_a_second_device_that_cannot_open_it_gets_it_anew(world: World, whose: str) -> None:
    """Also after the first device had it, when the message is over for the outbox (rule D3)."""
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    async with gp, nurse:
        tablet = await world.second(nurse if whose == "the recipient's" else gp)
        async with tablet:
            await gp.wait_for_state(await gp.send([nurse.account], "un"), "delivered")
            await nurse.wait_for_state(await nurse.send([gp.account], "et"), "delivered")
    gp, nurse, tablet = world.reopen(gp), world.reopen(nurse), world.reopen(tablet)
    id = await gp.send([nurse.account], "deux")
    await gp.outbox.encrypt()
    damage(gp, tablet)
    async with gp, nurse:
        await gp.wait_for_state(id, "delivered")
        assert not gp.vault.entries()
        on_tablet = tablet.events()
        async with tablet:
            async for event in on_tablet:
                if isinstance(event, MessageReceived) and event.text == "deux":
                    break
        assert gp.saved(id).state == "delivered"
        assert gp.saved(id).again == 1


async def test_a_message_that_never_opens_fails_after_three_tries(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    async with gp, nurse:
        id = await gp.send([nurse.account], "x")
        await gp.wait_for_state(id, "delivered")
    gp = world.reopen(gp)
    message = gp.saved(id)
    [(device, outcome)] = message.outcomes.items()
    message.state = "sent"
    message.outcomes[device] = Outcome(
        outcome.account, "waiting", 0, outcome.wire, again=limits.RESENDS_MAX
    )
    with gp.vault.store.transaction():
        gp.vault.put_message(message)
    gp.outbox.status(f.Status(1, outcome.wire, 1, (f.DeviceState(device, "undecryptable", 1),)))
    failed = gp.saved(id)
    assert (failed.state, failed.reason) == ("failed", "undecryptable")


async def test_a_copy_is_acknowledged_and_not_shown_again(world: World) -> None:
    """It was read, and then the server went back to before it came."""
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    async with gp, nurse:
        await gp.wait_for_state(await gp.send([nurse.account], "un"), "delivered")
    backup = await world.server.backup()
    gp, nurse = world.reopen(gp), world.reopen(nurse)
    async with gp:
        id = await gp.send([nurse.account], "deux")
        await gp.wait_for_state(id, "sent")
    await nurse.fetch_once()  # answered means that the receipts are with the server
    await nurse.read(id)
    await nurse.fetch_once()
    assert nurse.inbox.owed() == []
    await nurse.close()
    await world.server.put_back(backup)
    gp, nurse = world.reopen(gp), world.reopen(nurse)
    damage(gp, nurse)
    on_nurse = nurse.events()
    async with gp, nurse:
        await until(on_nurse, Unopened)
        found = await gp.wait_for_state(id, "read")
        assert (found.state, found.again) == ("read", 1)
        assert gp.vault.entries() == []
        assert texts(nurse) == ["un", "deux"]
        assert nurse.saved(id).wire != id  # receipts are for what the server knows


@pytest.mark.parametrize("whose", ["the recipient's", "one's own"])
async def test_a_second_device_shows_a_copy_once(world: World, whose: str) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    async with gp, nurse:
        tablet = await world.second(nurse if whose == "the recipient's" else gp)
        async with tablet:
            await gp.wait_for_state(await gp.send([nurse.account], "un"), "delivered")
    backup = await world.server.backup()
    gp, nurse, tablet = world.reopen(gp), world.reopen(nurse), world.reopen(tablet)
    async with gp:
        await gp.wait_for_state(await gp.send([nurse.account], "deux"), "sent")
    await tablet.fetch_once()
    assert texts(tablet) == ["un", "deux"]
    assert tablet.inbox.owed() == []
    await tablet.close()
    await world.server.put_back(backup)
    gp, tablet = world.reopen(gp), world.reopen(tablet)
    damage(gp, tablet)
    on_gp, on_tablet = gp.events(), tablet.events()
    async with gp, nurse, tablet:
        again = await until(on_gp, EncryptedAgain)
        while again.reason != "undecryptable":
            again = await until(on_gp, EncryptedAgain)
        await gp.wait_for_state(await gp.send([nurse.account], "trois"), "delivered")
        received = await until(on_tablet, MessageReceived)
        assert received.text == "trois"
        assert texts(tablet) == ["un", "deux", "trois"]


async def test_a_copy_that_says_something_else_is_refused(world: World) -> None:
    """Else the receipt for it would be for words that nobody was shown."""
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    on_nurse = nurse.events()
    async with gp, nurse:
        id = await gp.send([nurse.account], "oui")
        await gp.wait_for_state(id, "delivered")
        draft = gp.saved(id).draft
        assert draft is not None
        draft.content = contents.encode(Text(text="non"))
        draft.devices = (nurse.vault.device,)
        with gp.vault.store.transaction():
            gp.vault.put_draft(draft)
        gp.outbox.drafted.set()
        assert await until(on_nurse, Unopened) == Unopened(gp.account, "untrusted")
        assert texts(nurse) == ["oui"]
        # The true one, which the sender's program encrypts next, is known again.
        found = await gp.wait_for_state(id, "delivered")
        assert found.state == "delivered"


async def test_what_a_server_refused_keeps_its_id(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    id = await gp.send([nurse.account], "un")
    await gp.outbox.encrypt()
    [first] = gp.outbox.unsettled()
    gp.outbox.settle(f.Refused(first.sn, Code.STALE_ROSTER.wire, (nurse.account,)))
    await gp.outbox.encrypt()
    [second] = gp.outbox.unsettled()
    assert (first.id, second.id, second.sn) == (id, id, first.sn + 1)
    assert first.body != second.body
    async with gp, nurse:
        await gp.wait_for_state(id, "delivered")
    assert texts(world.reopen(nurse)) == ["un"]
