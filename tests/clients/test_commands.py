"""The `miss` commands, as a person types them, against a real server."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from miss_client import Client
from miss_client.cli import app
from miss_client.cli.common import clean, store_path
from miss_client.cli.listen import told
from miss_client.cli.send import reason_text
from miss_client.events import (
    AccountEnding,
    AccountRestricted,
    CharterChanged,
    Connection,
    ConnectionChanged,
    DeviceChanged,
    DevicesEnded,
    Distrusted,
    EncryptedAgain,
    Event,
    GapSeen,
    HoleSeen,
    IdentityChanged,
    MessageReceived,
    ProofDue,
    Restored,
    StatusChanged,
    Unopened,
    WasDormant,
)
from miss_protocol.identity.enrolment_link import EnrolmentLink, write_link
from miss_protocol.ids import MessageId
from tests.clients.conftest import World, until
from tests.support.server import environment

pytestmark = pytest.mark.timeout(90)

Miss = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Miss:
    """Run `miss --store <who>.miss …` in a thread; returns exit code and everything shown."""
    monkeypatch.setenv("COLUMNS", "300")

    async def run(who: str, *words: str, typed: str = "") -> tuple[int, str]:
        store = ["--store", str(tmp_path / f"{who}.miss")]
        command = [*words, *store]
        result = await asyncio.to_thread(CliRunner().invoke, app, command, input=typed)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    return run


async def enrolled(world: World, miss: Miss, role: str) -> None:
    code = world.server.code_for(world.person(role))
    exit_code, said = await miss(
        role, "enrol", code, "--server", world.server.url, "--accept-charter", "--name", "phone"
    )
    assert exit_code == 0, said


async def process(who: str, *words: str, world: World) -> asyncio.subprocess.Process:
    """The same in a process of its own, for what runs beside another command."""
    program = "from miss_client.cli import main; main()"
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, *words, "--store", str(world.folder / f"{who}.miss")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment() | {"MISS_SERVER": world.server.url},
    )


async def test_from_enrolment_to_an_answer(world: World, miss: Miss) -> None:
    code = world.server.code_for(world.person("gp"))
    exit_code, said = await miss("gp", "enrol", code, "--server", world.server.url, typed="n\n")
    assert exit_code == 1
    assert "charter_declined" in said
    exit_code, said = await miss("gp", "enrol", code, "--server", world.server.url, typed="y\n")
    assert exit_code == 0
    assert "Vandrelle" in said
    await enrolled(world, miss, "cardiologist")
    _, said = await miss("gp", "search", "cardio", "lille")
    assert "on MiSS" in said
    assert "LEFÉVÈRE-DESPRÉ" in said
    _, said = await miss("gp", "search", "vandrelle")
    assert "Vandrelle" in said
    _, said = await miss("gp", "search", "lefvere", "cardio", "--kind", "person", "--reach", "miss")
    assert "Results for: lefevere cardio" in said
    assert "LEFÉVÈRE-DESPRÉ" in said
    exit_code, _ = await miss(
        "gp", "search", "cardio", "--profession", "60", "--department", "nord"
    )
    assert exit_code == 1
    exit_code, said = await miss("gp", "search", "cardio", "--department", "Nulle Part")
    assert exit_code == 1
    assert "No such department" in said
    _, said = await miss("gp", "search", "cardio", "--near", "50.63,3.05")
    assert "LEFÉVÈRE-DESPRÉ" in said
    exit_code, said = await miss("gp", "search", "cardio", "--near", "Nulleville")
    assert exit_code == 1
    assert "not_found" in said
    exit_code, said = await miss("gp", "search", "zzzzzz")
    assert exit_code == 1
    exit_code, said = await miss("gp", "send", "lefevere cardio", "Bonjour\x1b[2J")
    assert exit_code == 0
    assert "✓ sent" in said
    exit_code, said = await miss("cardiologist", "listen", "--once", "--read")
    assert exit_code == 0
    assert "Bonjour\N{REPLACEMENT CHARACTER}[2J" in said
    assert (await miss("cardiologist", "listen", "--once"))[1] == ""
    await miss("cardiologist", "status")  # connects, so that the receipt has left
    exit_code, said = await miss("gp", "status")
    assert exit_code == 0
    assert "unread: 0; waiting to leave: 0" in said
    exit_code, said = await miss("gp", "send", "oulcadine", "x")
    assert exit_code == 1
    assert "not on MiSS" in said
    exit_code, said = await miss("gp", "send", "lille", "x", "--until", "soon")
    assert exit_code == 2


async def test_the_link_of_a_letter_enrols_and_leads_nowhere_else(world: World, miss: Miss) -> None:
    code = world.server.code_for(world.person("gp"))
    link = write_link(EnrolmentLink(world.server.url, code))
    words = ("--name", "phone", "--accept-charter")
    for wrong, expected in [
        (("enrol", code), "Which server"),
        (("enrol", link, "--server", "https://other.example"), "another server"),
        (("enrol", link.replace("enrol?", "recover?")), "not one of such a letter"),
        (("enrol", link + "&code=ABCD"), "not one of such a letter"),
    ]:
        exit_code, said = await miss("gp", *wrong, *words)
        assert exit_code in (1, 2)
        assert expected in said
    exit_code, said = await miss("gp", "enrol", link.replace("miss:", "MISS:"), *words)
    assert exit_code == 0, said
    assert world.server.url in said


async def test_several_candidates_are_listed(world: World, miss: Miss) -> None:
    for role in ("gp", "cardiologist", "nurse"):
        await enrolled(world, miss, role)
    exit_code, said = await miss("gp", "send", "lille", "x")
    assert exit_code == 3
    assert said.count("@miss.example") == 2


async def test_devices_and_contacts(world: World, miss: Miss) -> None:
    await enrolled(world, miss, "gp")
    nurse = await world.enrol("nurse")
    exit_code, said = await miss("gp", "devices", "invite")
    invitation = said.split("miss enrol ")[1].split()[0]
    exit_code, refusal = await miss(
        "tablet", "enrol", "K7PQR-2MWXY", "--join", "--server", world.server.url
    )
    assert (exit_code, "no invitation" in refusal) == (1, True)
    joining = await process("tablet", "enrol", invitation, "--join", "--name", "tab", world=world)
    while "asks to join: tab" not in said:
        exit_code, said = await miss("gp", "devices", "list")
        assert exit_code == 0
    gp = world.reopen_path(world.folder / "gp.miss")
    [pending] = await gp.pending_devices()
    await gp.close()
    exit_code, said = await miss("gp", "devices", "approve", "AAAA-AAAA-AAAA-AAAA")
    assert (exit_code, "no_match" in said) == (1, True)
    exit_code, said = await miss("gp", "devices", "approve", "nonsense")
    assert (exit_code, "sixteen letters" in said) == (1, True)
    exit_code, said = await miss("gp", "devices", "approve", pending.code.lower())
    assert (exit_code, said.strip()) == (0, "Approved: tab")
    shown, _ = await joining.communicate()
    assert joining.returncode == 0
    assert pending.code in shown.decode()
    exit_code, said = await miss("gp", "devices", "revoke", "nobody")
    assert exit_code == 1
    exit_code, said = await miss("gp", "devices", "revoke", "tab", typed="n\n")
    assert exit_code == 1
    exit_code, said = await miss("gp", "devices", "revoke", "tab", "--yes")
    assert exit_code == 0
    exit_code, said = await miss("tablet", "status")
    assert (exit_code, "removed from its account" in said) == (1, True)
    exit_code, said = await miss("tablet", "status")
    assert (exit_code, "device_over" in said) == (1, True)

    exit_code, said = await miss("gp", "contacts", "verify", nurse.account, typed="n\n")
    assert exit_code == 1
    exit_code, said = await miss("gp", "contacts", "verify", nurse.account, "--yes")
    assert exit_code == 0
    assert all(group in said for group in (await nurse_number(nurse, world)).split())
    exit_code, said = await miss("gp", "contacts", "list")
    assert "verified by you" in said
    exit_code, said = await miss("gp", "contacts", "accept", nurse.account, typed="n\n")
    assert exit_code == 1
    exit_code, said = await miss("gp", "contacts", "accept", nurse.account, "--yes")
    assert exit_code == 0
    assert "no other identity was shown" in said
    exit_code, said = await miss("gp", "contacts", "list")
    assert "verified by you" in said
    exit_code, said = await miss("gp", "status", "--sign-charter", typed="y\n")
    assert (exit_code, "Signed: 2026-1" in said) == (0, True)


async def nurse_number(nurse: Client, world: World) -> str:
    gp = world.reopen_path(world.folder / "gp.miss")
    try:
        return await nurse.safety_number(gp.account)
    finally:
        await gp.close()


async def two_messages(events: AsyncIterator[Event]) -> None:
    for _ in range(2):
        await until(events, MessageReceived)


async def test_a_conversation_in_the_terminal(world: World, miss: Miss) -> None:
    await enrolled(world, miss, "gp")
    nurse = await world.enrol("nurse")
    async with nurse:
        await nurse.drained()
        gathered = asyncio.create_task(two_messages(nurse.events()))
        exit_code, said = await miss("gp", "chat", "oulcadine", typed="Bonjour\n\nÀ demain\n")
        assert exit_code == 0, said
        await gathered
        assert [one.text for one in nurse.messages()] == ["Bonjour", "À demain"]
        _, said = await miss("gp", "chat", "oulcadine")
        assert "Bonjour" in said


async def test_without_a_server_what_was_written_waits(world: World, miss: Miss) -> None:
    await enrolled(world, miss, "gp")
    await world.server.kill()
    address = "a" * 26 + "@miss.example"
    exit_code, said = await miss("gp", "send", address, "x", "--patience", "0.5")
    assert (exit_code, "It is kept" in said) == (3, True)
    exit_code, said = await miss("gp", "search", "x")
    assert (exit_code, "[unreachable]" in said) == (3, True)
    exit_code, said = await miss("gp", "status", "--patience", "0.5")
    assert (exit_code, "no connection" in said, "waiting to leave: 1" in said) == (3, True, True)


async def test_a_passphrase_instead_of_a_key_file(
    world: World, miss: Miss, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = world.server.code_for(world.person("gp"))
    words = ["enrol", code, "--server", world.server.url, "--accept-charter", "--passphrase"]
    exit_code, said = await miss("gp", *words, typed="agrafe\nagrafe\n")
    assert exit_code == 0, said
    assert "key" not in said
    exit_code, said = await miss("gp", "contacts", "list", typed="wrong\n")
    assert (exit_code, "store_key" in said) == (1, True)
    monkeypatch.setenv("MISS_PASSPHRASE", "agrafe")
    assert (await miss("gp", "contacts", "list"))[0] == 0


async def test_without_an_account_every_command_says_what_to_do(miss: Miss) -> None:
    for words in (["search", "x"], ["listen"], ["status"], ["devices", "list"]):
        exit_code, said = await miss("nobody", *words)
        assert (exit_code, "miss enrol CODE" in said) == (1, True)


def test_every_command_has_help_with_an_example() -> None:
    def commands(at: Any, name: str) -> list[tuple[str, Any]]:
        subs = getattr(at, "commands", None)
        if subs is None:
            return [(name, at)]
        return [one for word, sub in subs.items() for one in commands(sub, f"{name} {word}")]

    found = commands(get_command(app), "miss")
    assert len(found) >= 13
    for name, command in found:
        assert name in (command.help or ""), name


async def test_ctrl_c_ends_listening_and_leaves_a_good_store(world: World, miss: Miss) -> None:
    await enrolled(world, miss, "gp")
    listening = await process("gp", "listen", world=world)
    assert listening.stderr is not None
    assert b"connected" in await listening.stderr.readline()
    listening.send_signal(signal.SIGINT)
    assert await listening.wait() == 130
    assert b"Traceback" not in await listening.stderr.read()
    assert (await miss("gp", "status"))[0] == 0


async def test_every_event_has_words(world: World) -> None:
    gp = await world.enrol("gp")
    other, device = gp.account, gp.vault.device
    id = await gp.send(["a" * 26 + "@miss.example"], "texte")  # type: ignore[list-item]
    for event, words in [
        (StatusChanged(id, "failed", "unknown_account"), "not on MiSS"),
        (StatusChanged(id, "failed", "identity_changed"), "identity"),
        (StatusChanged(id, "failed", "undecryptable"), "could not open"),
        (GapSeen(3, "expired"), "3 message(s)"),
        (HoleSeen(other, device, 2), "2 missing"),
        (Unopened(other, "undecryptable"), "could not be opened"),
        (IdentityChanged(other, "N"), "miss contacts accept"),
        (Distrusted(other, "receipt"), "receipt"),
        (Restored(1, 2), "2 message(s)"),
        (WasDormant(), "30 days"),
        (CharterChanged("v2"), "v2"),
        (EncryptedAgain(MessageId(id), 1, "stale_roster"), "encrypted anew"),
        (DeviceChanged(other, 2, True), "version 2"),
        (AccountEnding("left", 0, 0), "no longer in the directory"),
        (AccountEnding("unattested", 0, 0), "Nobody vouches"),
        (AccountEnding("recovery", 0, 0), "miss veto"),
        (AccountEnding("something new", 0, 0), "something new"),
        (AccountRestricted(0, "Publicité."), "Reason: Publicité."),
        (DevicesEnded((bytes(16),)), "miss devices revoke"),
        (ProofDue(0, 86_400_000), "miss identity --renew"),
    ]:
        assert words in told(gp, event)  # type: ignore[arg-type]  # one of each
    for state in Connection:
        assert told(gp, ConnectionChanged(state)) == ""
    assert reason_text("something new") == "something new"


def test_the_store_is_where_miss_home_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MISS_HOME", str(tmp_path))
    assert store_path(None) == tmp_path / "device.miss"
    monkeypatch.delenv("MISS_HOME")
    assert store_path(None).name == "device.miss"
    assert store_path(tmp_path) == tmp_path
    assert clean("a\nb\u202e\x07") == "a\nb\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"
    assert os.environ.get("MISS_HOME") is None
