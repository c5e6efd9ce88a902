"""What real clients make of a suspension: told why, and what waited comes when it is taken back."""

import asyncio

import pytest

from miss_client.errors import explain
from miss_client.events import Connection, ConnectionChanged, MessageReceived
from miss_client.transport import Stopped
from tests.clients.conftest import World, until
from tests.support.server import DOMAIN, miss_server

pytestmark = pytest.mark.timeout(90)
WHY = "Publicité : charte, article 4."


async def command(world: World, *words: str) -> str:
    """One of the operator's commands, beside the server."""
    done = await asyncio.to_thread(
        miss_server, *words, "--domain", DOMAIN, database=world.server.database
    )
    return done.stdout


async def test_a_suspended_client_stops_and_shows_the_reason(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    async with gp:
        before = await gp.send([nurse.account], "Bilan du 3, à rappeler.")
        await gp.wait_for_state(before, "sent")
        async with nurse:
            changes = nurse.events()
            await gp.wait_for_state(before, "delivered")
            said = await command(world, "accounts", "suspend", nurse.account, "--reason", WHY)
            assert nurse.account in said
            while (await until(changes, ConnectionChanged)).state is not Connection.STOPPED:
                pass
            with pytest.raises(Stopped) as stopped:
                await nurse.connected()
            assert explain(stopped.value, "fr").endswith(f"Motif : {WHY}")
            assert explain(stopped.value, "en").endswith(f"Reason: {WHY}")
        refused = await gp.send([nurse.account], "Et celui-ci ?")
        assert (await gp.wait_for_state(refused, "failed")).reason == "not_served"
        assert WHY in await command(world, "accounts", "standing")
        await command(world, "accounts", "restore", nurse.account, "--reason", "Réglé.")
        nurse = world.reopen(nurse)
        async with nurse:
            seen = nurse.events()
            await gp.send([nurse.account], "De nouveau là.")
            assert (await until(seen, MessageReceived)).text == "De nouveau là."
    log = await command(world, "audit", "show", "--account", nurse.account)
    assert [line.split()[4] for line in log.splitlines()[-2:]] == [
        "account_suspended",
        "account_reinstated",
    ]
    assert WHY not in world.server.log_text()


@pytest.mark.parametrize(
    ("account", "reason", "said"),
    [
        ("nobody", WHY, "is no address"),
        (f"{'a' * 26}@{DOMAIN}", "", "a reason has 1 to 280"),
        (f"{'a' * 26}@{DOMAIN}", "x" * 281, "a reason has 1 to 280"),
        (f"{'a' * 26}@{DOMAIN}", WHY, "there is no account"),
    ],
)
async def test_clumsy_words_are_told(world: World, account: str, reason: str, said: str) -> None:
    for words in ("suspend", "restrict", "restore"):
        done = await asyncio.to_thread(
            miss_server,
            *("accounts", words, account, "--reason", reason, "--domain", DOMAIN),
            database=world.server.database,
            check=False,
        )
        assert done.returncode in (1, 2)
        assert said in done.stderr
        assert "Traceback" not in done.stderr
