"""What a device does for itself: finishing what was cut short, prekeys, rosters, waiting drafts."""

import asyncio

import msgspec
import pytest

from miss_client import (
    Client,
    ClientError,
    RefusedByServer,
    ServerError,
    Trouble,
    Unreachable,
    new_device,
)
from miss_client.calls import Calls, Nothing
from miss_client.client import this_app
from miss_client.enrolment import begin_enrolment, check_name, preview_code
from miss_client.errors import explain
from miss_client.events import CharterChanged, Restored
from miss_client.vault import Vault
from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.api import PrekeyCount, Prekeys, PrekeysClaimed
from miss_protocol.errors import Code, Malformed, Untrusted
from tests.clients.conftest import QUICK, World, until

pytestmark = pytest.mark.timeout(60)


async def test_an_enrolment_whose_reply_was_lost_goes_on_with_the_same_call(world: World) -> None:
    code = world.server.code_for(world.person("gp"))
    store = world.store("gp")
    vault, calls = Vault(store), Calls(world.server.url)
    preview = await preview_code(calls, code, join=False)
    begin_enrolment(vault, world.server.url, code, preview, device_name="phone", app=this_app())
    with pytest.raises(ClientError) as told:
        Client.open(store)
    assert told.value.trouble is Trouble.NOT_READY
    await calls.post_open("/v1/enrolment", vault.info.call, Nothing)  # carried out, reply lost
    await world.server.kill()
    with pytest.raises(Unreachable):
        await new_device.enrol(world.server.url, code, store, device_name="x", accept_charter=True)
    await world.server.start()
    client = await new_device.enrol(
        world.server.url, code, store, device_name="x", accept_charter=True, timing=QUICK
    )
    world.clients.append(client)
    async with client:
        await client.drained()
    assert msgspec.json.decode(b"{}", type=Nothing) == Nothing()
    await calls.close()


async def test_a_device_that_joins_goes_on_after_an_interruption(world: World) -> None:
    gp = await world.enrol("gp")
    invitation = await gp.invite_device()
    store = world.store("tablet")
    words = (world.server.url, invitation.code, store)
    first = await new_device.join_account(*words, device_name="tablet")
    again = await new_device.join_account(*words, device_name="tablet", timing=QUICK)
    assert first.approval_code == again.approval_code
    await first.close()
    waiting = asyncio.create_task(again.approved())
    await gp.approve_device(first.approval_code)
    await gp.approve_device(first.approval_code)  # twice is once
    tablet = await waiting
    world.clients.append(tablet)
    assert [entry.name for entry in tablet.own_devices()].count("tablet") == 1
    with pytest.raises(ClientError) as told:
        await new_device.join_account(*words, device_name="tablet")
    assert told.value.trouble is Trouble.STORE_EXISTS
    with pytest.raises(RefusedByServer) as unknown:
        await new_device.join_account(
            world.server.url,
            "AAAAA-AAAAA-" + "AAAA-AAAA-AAAA-AAAA",
            world.store("x"),
            device_name="x",
        )
    assert unknown.value.code is Code.CODE_UNKNOWN


async def test_a_device_that_joins_a_restored_server_hears_of_it_and_leaves_new_prekeys(
    world: World,
) -> None:
    gp = await world.enrol("gp")
    invitation = await gp.invite_device()
    joining = await new_device.join_account(
        world.server.url, invitation.code, world.store("tablet"), device_name="t", timing=QUICK
    )
    await world.server.stop()
    world.server.database.with_name(world.server.database.name + ".witness").unlink()
    await world.server.start()
    await gp.approve_device(joining.approval_code)
    tablet = await joining.approved()
    world.clients.append(tablet)
    left = await tablet.calls.get("/v1/prekeys", PrekeyCount)
    assert (left.count, left.highest) == (0, -1)  # what it brought may have been here before
    events = tablet.events()
    async with tablet:
        assert isinstance(await until(events, Restored), Restored)
        await tablet.drained()
        while (left := await tablet.calls.get("/v1/prekeys", PrekeyCount)).count == 0:
            pass  # the chore of the first connection is on its way
    assert left.count == limits.PREKEYS_UPLOADED
    assert left.highest > limits.PREKEYS_UPLOADED + 1


async def test_a_restore_that_is_told_over_http_voids_prekeys_until_the_next_connection(
    world: World,
) -> None:
    gp = await world.enrol("gp")
    async with gp:
        await gp.drained()
    await gp.close()
    await world.server.stop()
    world.server.database.with_name(world.server.database.name + ".witness").unlink()
    await world.server.start()
    gp = world.reopen(gp)
    events = gp.events()
    assert await gp.fetch_once() == 0
    assert isinstance(await until(events, Restored), Restored)
    assert gp.vault.cursor.last_resort_owed
    assert (await gp.calls.get("/v1/prekeys", PrekeyCount)).count == 0
    async with gp:
        await gp.drained()
        while gp.vault.cursor.last_resort_owed:
            await gp.calls.get("/v1/prekeys", PrekeyCount)
        left = await gp.calls.get("/v1/prekeys", PrekeyCount)
    # As many again, and after them a last resort: ids grow over both kinds.
    assert left == PrekeyCount(limits.PREKEYS_UPLOADED, 2 * limits.PREKEYS_UPLOADED + 2)


async def test_two_devices_change_the_roster_at_once(world: World) -> None:
    phone = await world.enrol("gp")
    tablet = await world.second(phone)
    laptop = await world.second(phone, "laptop")
    # The tablet does not know of the laptop's roster yet: it looks again and succeeds.
    assert tablet.contacts.own.version < phone.contacts.own.version
    await tablet.revoke_device(laptop.vault.device)
    assert tablet.contacts.own.find(laptop.vault.device) is None
    await tablet.revoke_device(laptop.vault.device)  # nothing to do any more
    async with phone:
        await phone.drained()
    phone = world.reopen(phone)
    await phone.upkeep.agree_roster(1)  # what a restored server would lack is given again
    await phone.upkeep.agree_roster(phone.contacts.own.version)


async def test_prekeys_are_refilled_and_the_charter_is_followed(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    target = PrekeysClaimed((nurse.vault.device,))
    for _ in range(30):
        await gp.calls.post("/v1/prekeys/claim", target, Prekeys)
    left = await nurse.calls.get("/v1/prekeys", PrekeyCount)
    assert left.count == 20
    await nurse.upkeep.refill_prekeys(19)
    assert (await nurse.calls.get("/v1/prekeys", PrekeyCount)).count == 51
    welcome = f.Welcome(
        nurse.account, b"e" * 16, 0, 0, 0, 0, prekeys=50, roster=1, charter="old", dormant=True
    )
    events = nurse.events()
    await nurse.upkeep.after_welcome(welcome)
    assert await until(events, CharterChanged) == CharterChanged("2026-1")
    assert await nurse.sign_charter() == "2026-1"


async def test_a_draft_that_waited_too_long_is_not_sent_late(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    id = await gp.send([nurse.account], "x", ttl=60)
    real = gp.vault.clock
    gp.vault.clock = lambda: real() + 61_000
    await gp.outbox.encrypt()
    assert (gp.saved(id).state, gp.saved(id).reason) == ("failed", "expired")
    with pytest.raises(ClientError):
        await gp.wait_for_state(await gp.send([nurse.account], "y"), "sent")  # not connected
    with pytest.raises(ClientError):
        await gp.connected()


async def test_a_rate_limit_delays_a_draft_and_those_behind_it(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    target = PrekeysClaimed((nurse.vault.device,))
    for _ in range(30):
        await gp.calls.post("/v1/prekeys/claim", target, Prekeys)
    first = await gp.send([nurse.account], "1")
    await gp.send([nurse.account], "2")
    wait = await gp.outbox.encrypt()
    assert wait is not None
    assert wait > 1
    assert len(gp.vault.drafts.all()) == 2  # in order, later
    assert gp.saved(first).state == "queued"
    assert gp.outbox.unsettled() == []


async def test_what_is_expired_is_forgotten_and_seen_envelopes_too(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    async with gp:
        await gp.wait_for_state(await gp.send([nurse.account], "x", ttl=60), "sent")
        assert len(gp.vault.entries()) == 1
        real = gp.vault.clock
        gp.vault.clock = lambda: real() + 61_000
        gp.outbox.forget_expired()
        assert gp.vault.entries() == []
    await nurse.fetch_once()
    assert len(nurse.vault.seen.all()) == 1
    nurse.inbox.forget_seen(before_ms=nurse.vault.clock() + 1)
    assert nurse.vault.seen.all() == []


async def test_answers_that_are_not_in_the_protocol_are_told(world: World) -> None:
    gp = await world.enrol("gp")
    with pytest.raises(ServerError):
        await gp.calls.get_open("/v1/server", PrekeyCount)
    with pytest.raises((ServerError, RefusedByServer)):
        await gp.calls.get("/v1/nothing", Nothing)
    bare = Calls(world.server.url)
    with pytest.raises(ServerError):
        await bare.get("/v1/links", Nothing)
    await bare.close()
    clock = gp.vault.clock
    gp.vault.clock = lambda: clock() + 24 * 3600 * 1000
    with pytest.raises(RefusedByServer) as skew:
        await gp.search("lille")
    assert skew.value.code is Code.CLOCK_SKEW


def test_errors_explain_themselves_in_both_languages() -> None:
    assert "miss enrol" in explain(ClientError(Trouble.STORE_MISSING), "fr")
    assert explain(ServerError("x", texts={"fr": "Désolé"}), "fr") == "Désolé"
    assert explain(Untrusted("x"), "en") == Code.UNTRUSTED.text("en")
    assert explain(RefusedByServer(Code.BUSY), "fr") == Code.BUSY.text("fr")
    assert all(trouble.text("fr") != trouble.text("en") for trouble in Trouble)
    for name in ("", "x" * 65, "a\nb"):
        with pytest.raises(Malformed):
            check_name(name)


async def test_a_fault_while_encrypting_is_told_to_whoever_waits(world: World) -> None:
    client = await world.enrol("gp")
    nurse = await world.enrol("nurse")

    async def fail() -> float | None:
        raise KeyError("a fault of ours")

    client.outbox.encrypt = fail  # type: ignore[method-assign]  # the fault
    async with client:
        id = await client.send([nurse.account], "x")
        with pytest.raises(ServerError) as told:
            await client.wait_for_state(id, "sent")
        assert isinstance(told.value.__cause__, KeyError)
