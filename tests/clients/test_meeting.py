"""People who have not met: real clients and the `miss` commands, against a server with its limits."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from miss_client import Client, meeting
from miss_client.cli import app
from miss_client.errors import RefusedByServer
from miss_client.events import MessageReceived
from miss_protocol.errors import Code
from miss_protocol.ids import MessageId
from miss_protocol.meeting import ReachRules
from tests.clients.conftest import World, until
from tests.support.server import DOMAIN, ServerProcess, run_command

pytestmark = pytest.mark.timeout(90)


async def two(world: World) -> tuple[Client, Client]:
    gp, cardiologist = await world.enrol("gp"), await world.enrol("cardiologist")
    for one in (gp, cardiologist):
        await one.__aenter__()
        await one.connected()
    return gp, cardiologist


async def ends(client: Client, to: Client, text: str, state: str) -> str:
    """Write, and wait for a state; returns its reason."""
    id = await client.send([to.account], text)
    message = await client.wait_for_state(MessageId(id), state)  # type: ignore[arg-type]  # a word of State
    return message.reason


async def test_a_first_message_is_told_as_such_and_a_third_waits_for_an_answer(
    strangers: World,
) -> None:
    gp, cardiologist = await two(strangers)
    events = cardiologist.events()
    await ends(gp, cardiologist, "un", "delivered")
    assert (await until(events, MessageReceived)).first
    await ends(gp, cardiologist, "deux", "delivered")
    assert not (await until(events, MessageReceived)).first
    assert await ends(gp, cardiologist, "trois", "failed") == "unanswered"
    [asks] = await meeting.requests(cardiologist.calls)
    assert (asks.account, asks.stance) == (gp.account, "request")
    answers = gp.events()
    await ends(cardiologist, gp, "oui", "delivered")
    assert not (await until(answers, MessageReceived)).first  # it wrote there before
    await ends(gp, cardiologist, "trois", "delivered")
    assert not await meeting.requests(cardiologist.calls)
    assert [one.stance for one in await meeting.met(cardiologist.calls)] == ["contact"]


async def test_who_is_blocked_sees_silence_and_who_is_declined_is_told(strangers: World) -> None:
    gp, cardiologist = await two(strangers)
    assert (await meeting.act(cardiologist.calls, gp.account, "block")).stance == "blocked"
    id = await gp.send([cardiologist.account], "un", ttl=3600)
    assert (await gp.wait_for_state(id, "sent")).reason == ""
    await meeting.act(cardiologist.calls, gp.account, "unblock")
    await ends(gp, cardiologist, "deux", "delivered")
    assert [one.text for one in cardiologist.messages()] == ["deux"]
    assert gp.saved(id).state == "sent"
    assert (await meeting.act(cardiologist.calls, gp.account, "decline")).stance == "declined"
    assert await ends(gp, cardiologist, "trois", "failed") == "declined"
    with pytest.raises(RefusedByServer) as caught:
        await meeting.act(cardiologist.calls, cardiologist.account, "block")
    assert caught.value.code is Code.MALFORMED


async def test_who_may_write_first_is_the_users_to_say(strangers: World) -> None:
    gp, cardiologist = await two(strangers)
    assert await meeting.reach(cardiologist.calls) == ReachRules()
    rules = ReachRules("listed", "contacts", ("60",), (), red_listed=True)
    assert await meeting.set_reach(cardiologist.calls, rules) == rules
    assert await meeting.reach(cardiologist.calls) == rules
    assert await ends(gp, cardiologist, "un", "failed") == "not_reachable"
    await meeting.set_reach(cardiologist.calls, ReachRules("listed", professions=("10",)))
    await ends(gp, cardiologist, "un", "delivered")  # a doctor, by the directory
    for wrong in ("\x1b[2J", "\n"):
        with pytest.raises(RefusedByServer):
            await meeting.set_reach(cardiologist.calls, ReachRules(professions=(wrong,)))


async def test_the_commands(strangers: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")

    async def miss(who: Client, *words: str) -> str:
        store = ["--store", str(who.vault.store.path)]
        result = await asyncio.to_thread(CliRunner().invoke, app, [*words, *store])
        assert result.exit_code == 0, result.output
        return result.output

    gp, cardiologist = await two(strangers)
    await ends(gp, cardiologist, "un", "delivered")
    for one in (gp, cardiologist):
        await one.close()
    strangers.clients.clear()
    said = await miss(cardiologist, "requests")
    assert gp.account in said
    assert "new: accept, decline or block" in said
    for act, stance in (
        ("decline", "declined"),
        ("block", "blocked"),
        ("unblock", "declined"),
        ("accept", "contact"),
    ):
        assert stance in await miss(cardiologist, act, gp.account)
    assert "Nobody." in await miss(cardiologist, "requests")
    assert gp.account in await miss(cardiologist, "requests", "--all")
    said = await miss(
        cardiologist, "reach", "--written-by", "listed", "--profession", "10",
        "--establishment", "1590000001", "--found-by", "contacts",
    )  # fmt: skip
    assert "May write first: contacts and those listed" in said
    assert "Establishments: 1590000001" in said
    assert "Find you: nobody (red list)" in await miss(cardiologist, "reach", "--red-list")


async def test_a_role_that_needs_more_has_a_higher_budget(directory: Path, tmp_path: Path) -> None:
    database = tmp_path / "miss.sqlite"
    database.write_bytes(directory.read_bytes())
    settings = {
        "MISS_NEW_RECIPIENTS_PER_HOUR": "1",
        "MISS_NEW_RECIPIENTS_BY_ROLE": '{"21": [2, 9], "administrator": [9, 9]}',
    }
    server = ServerProcess(
        database, tmp_path / "server.log", domain=DOMAIN, budgets=True, settings=settings
    )
    await server.start()
    world = World(server, tmp_path)
    try:
        pharmacist = await world.enrol("pharmacist")
        others = [await world.enrol(role) for role in ("gp", "nurse")]
        async with pharmacist, others[0], others[1]:
            for other in others:
                await ends(pharmacist, other, "Bonjour", "delivered")
        words = ("accounts", "budget", pharmacist.account, "--domain", DOMAIN)
        told = await asyncio.to_thread(
            run_command,
            "miss_server",
            *words,
            settings=settings | {"MISS_DATABASE": str(database)},
        )
        assert "1 new people an hour" in told.stdout
        assert "more by MISS_NEW_RECIPIENTS_BY_ROLE" in told.stdout
    finally:
        await world.close()
        await server.kill()
