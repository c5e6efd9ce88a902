"""What a reader shows to the operator: by real clients and the `miss` commands, with the user asked."""

import asyncio
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from miss_client import Client, ClientError, Trouble, reporting
from miss_client.cli import app
from miss_client.errors import RefusedByServer
from miss_client.store import Store
from miss_client.vault import Vault
from miss_protocol.errors import Code
from tests.clients.conftest import World
from tests.support.server import DOMAIN, miss_server

pytestmark = pytest.mark.timeout(90)
TEXT = "Achetez !\nVous : oui"
OTHER = "Et celui-ci reste entre nous."


async def command(world: World, *words: str) -> str:
    """One of the operator's commands, beside the server."""
    done = await asyncio.to_thread(
        miss_server, *words, "--domain", DOMAIN, database=world.server.database
    )
    return done.stdout


async def miss(who: Client, *words: str, said: str = "", status: int = 0) -> str:
    """One of the reader's commands."""
    store = ["--store", str(who.vault.store.path)]
    result: Result = await asyncio.to_thread(
        CliRunner().invoke, app, [*words, *store], input=said, env={"COLUMNS": "300"}
    )
    assert result.exit_code == status, result.output
    return result.output


async def received(world: World) -> tuple[Client, Client]:
    """A GP who wrote twice to a nurse; both are offline now."""
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    async with gp, nurse:
        for text in (TEXT, OTHER):
            await gp.wait_for_state(await gp.send([nurse.account], text), "delivered")
    world.clients.clear()
    return gp, nurse


async def test_the_commands_ask_and_show_this_message_alone(world: World) -> None:
    _, nurse = await received(world)
    numbers = [
        line.split()[0] for line in (await miss(nurse, "report")).splitlines() if "  " in line
    ]
    first = numbers[0]
    said = await miss(nurse, "report", first, said="why\nunsolicited\nn\n", status=1)
    assert "Achetez !\n    | Vous : oui" in said
    assert "will read this message" in said
    assert "advertising or a questionnaire" in said
    assert "Nothing was shown." in said
    assert await miss(nurse, "reports") == "None.\n"
    assert await command(world, "reports", "list") == "None.\n"
    words = ("report", first, "--reason", "abuse", "--note", "Troisième  fois.")
    assert "The operator has it" in await miss(nurse, *words, said="y\n")
    assert "The operator has it" in await miss(nurse, *words, "--yes")  # one report all the same
    [line] = (await miss(nurse, "reports")).splitlines()
    assert "insults or threats  open  Achetez ! Vous : oui" in line
    [listed] = (await command(world, "reports", "list")).splitlines()
    number = listed.split()[0]
    shown = await command(world, "reports", "show", number)
    assert "  | Achetez !\n  | Vous : oui\n" in shown
    assert "Their note: Troisième fois." in shown
    assert "This server took it" in shown
    await command(world, "reports", "close", number, "--outcome", "none")
    assert "closed" in await miss(nurse, "reports")
    assert OTHER not in shown
    for text in ("Achetez", "Troisième"):
        assert text not in world.server.log_text()


async def test_clumsy_words_are_told(world: World) -> None:
    gp, nurse = await received(world)
    assert "no such message" in await miss(nurse, "report", "zz", status=1)
    assert "at most 500" in await miss(nurse, "report", "zz", "--note", "x" * 501, status=2)
    assert "No message was received" in await miss(gp, "report")
    vault = Vault(Store.open(nurse.vault.store.path))
    shown = vault.messages.all()
    # Ids are the sender's to choose: two of one beginning must not be taken for each other.
    with vault.store.transaction():
        for number in range(300):
            like: Any = msgspec.structs.replace(shown[0], id=number.to_bytes(16), signed=b"")
            vault.put_message(like)
    vault.store.close()
    assert "type more" in await miss(nurse, "report", "0", "--yes", status=3)
    listed = await miss(nurse, "report")
    old = listed.split()[0]
    assert "not_reportable" in await miss(nurse, "report", old, "--yes", status=1)


async def test_what_cannot_be_shown_is_told_before_or_by_the_server(world: World) -> None:
    gp, nurse = await received(world)
    gp, nurse = world.reopen(gp), world.reopen(nurse)
    [own, _] = gp.messages()
    with pytest.raises(ClientError) as caught:
        await reporting.report(gp.vault, gp.calls, own, "other")
    assert caught.value.trouble is Trouble.NOT_REPORTABLE
    first, second = nurse.messages()
    for wrong, code in (
        (msgspec.structs.replace(first, signed=second.signed[:-1]), Code.MALFORMED),
        (msgspec.structs.replace(first, device=nurse.vault.device), Code.UNTRUSTED),
        (msgspec.structs.replace(first, saved_ms=1), Code.REPORT_TOO_OLD),
    ):
        with pytest.raises(RefusedByServer) as refused:
            await reporting.report(nurse.vault, nurse.calls, wrong, "other")
        assert refused.value.code is code
    ahead = msgspec.structs.replace(first, saved_ms=first.saved_ms + 10**9)
    assert (await reporting.report(nurse.vault, nurse.calls, ahead, "other")).state == "open"
    [one] = await reporting.reports(nurse.calls)
    assert (one.account, one.device) == (gp.account, gp.vault.device)
