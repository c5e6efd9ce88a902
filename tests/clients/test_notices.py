"""What its user is to know of an account reaches them on a connection that is up, and once it is."""

import asyncio
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from miss_client import Client
from miss_client.cli import app
from miss_client.errors import Unreachable
from miss_client.events import AccountRestricted, StatusChanged
from miss_client.notices import Notice, Notices
from tests.clients.conftest import QUICK, World, until
from tests.clients.test_standing import command

pytestmark = pytest.mark.timeout(60)
WHY = "Publicité : charte, article 4."


async def test_a_restriction_is_told_to_who_follows_events(world: World) -> None:
    gp = await world.enrol("gp", timing=replace(QUICK, look_every=0.01))
    async with gp:
        await gp.drained()
        assert gp.notices.asked_ms is None  # there is nobody to tell
        events = gp.events()
        await gp.notices.look_if_due()
        await command(world, "accounts", "restrict", gp.account, "--reason", WHY)
        gp.notices.asked_ms = None  # a day later, say
        told = await until(events, AccountRestricted)
        assert told.reason == WHY
        asked = gp.notices.asked_ms
        assert asked is not None
        assert asked >= told.since
        await gp.notices.look_if_due()
        assert gp.notices.asked_ms == asked
    gp = world.reopen(gp)
    events = gp.events()
    async with gp:  # a new start tells it anew
        assert await until(events, AccountRestricted) == told


async def restricted(world: World) -> tuple[Client, Client]:
    """One who was told all that there is, was restricted since, and somebody new to them."""
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    await gp.notices.look()
    await command(world, "accounts", "restrict", gp.account, "--reason", WHY)
    return gp, nurse


async def test_the_reason_is_told_with_the_first_refusal(strangers: World) -> None:
    gp, nurse = await restricted(strangers)
    events = gp.events()
    async with gp:
        await gp.drained()
        sent = [await gp.send([nurse.account], text) for text in ("un", "deux", "trois")]
        assert (await until(events, AccountRestricted)).reason == WHY
        for one in sent:
            assert (await gp.wait_for_state(one, "failed")).reason == "restricted"


async def test_a_restriction_that_is_taken_back_ends_at_once(strangers: World) -> None:
    gp, nurse = await restricted(strangers)
    assert WHY in await command(strangers, "accounts", "standing")
    words = ("accounts", "restore", gp.account, "--reason", "Réglé.")
    async with gp:
        refused = await gp.send([nurse.account], "un")
        assert (await gp.wait_for_state(refused, "failed")).reason == "restricted"
        assert "Done" in await command(strangers, *words)
        await gp.wait_for_state(await gp.send([nurse.account], "deux"), "sent")
    assert "Nothing to do" in await command(strangers, *words)
    assert gp.account not in await command(strangers, "accounts", "standing")
    log = await command(strangers, "audit", "show", "--account", gp.account)
    assert log.count("account_reinstated") == 1


async def test_the_reason_is_told_without_a_connection(strangers: World) -> None:
    gp, nurse = await restricted(strangers)
    events = gp.events()
    await gp.send([nurse.account], "un")
    await gp.fetch_once()
    assert (await until(events, StatusChanged)).reason == "restricted"
    assert (await until(events, AccountRestricted)).reason == WHY


async def test_the_reason_waits_for_somebody_to_tell(strangers: World) -> None:
    gp, nurse = await restricted(strangers)
    async with gp:
        id = await gp.send([nurse.account], "un")
        assert (await gp.wait_for_state(id, "failed")).reason == "restricted"
    gp = strangers.reopen(gp)
    await gp.send([nurse.account], "deux")
    await gp.fetch_once()
    assert gp.notices.wanted
    events = gp.events()
    await gp.fetch_once()
    assert (await until(events, AccountRestricted)).reason == WHY


async def test_the_send_command_tells_of_a_refusal_that_nothing_explains(
    strangers: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gp, nurse = await restricted(strangers)
    path = str(gp.vault.store.path)
    await gp.close()

    async def fails(self: Notices) -> list[Notice]:
        raise Unreachable("the line went")

    monkeypatch.setattr(Notices, "look", fails)
    words = ["send", nurse.account, "un", "--store", path]
    done = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert done.exit_code == 1
    assert "Not sent to" in done.stderr
    assert WHY not in done.stderr


async def test_the_send_command_shows_the_reason(strangers: World) -> None:
    gp, nurse = await restricted(strangers)
    path = str(gp.vault.store.path)
    await gp.close()
    words = ["send", nurse.account, "un", "--store", path]
    done = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert done.exit_code == 1
    assert WHY in done.stderr
