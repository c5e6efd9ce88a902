"""Recovery after losing every device, over real processes: seen, objected to, accepted by hand."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from miss_client import Client, ClientError, RefusedByServer, Store, new_device, own_account
from miss_client.cli import app, chat
from miss_client.transport import Timing
from miss_protocol.errors import Code
from tests.support.server import DOMAIN, ServerProcess, miss_server

QUICK = Timing(backoff_min=0.05, backoff_max=0.2)
LIST = (
    "Identifiant national;Nom;Prénom\n899000000010;Vandrelle;Camille\n899000000028;Lefevere;Anne\n"
)
GP, CARDIO = "899000000010", "899000000028"


@dataclass
class Place:
    """A server with two people, and their stores."""

    server: ServerProcess
    folder: Path

    def store(self, name: str) -> Path:
        return self.folder / f"{name}.miss"

    async def enrol(self, person: str) -> Client:
        return await new_device.enrol(
            self.server.url,
            self.server.code_for(person),
            Store.create(self.store(person)),
            device_name="phone",
            accept_charter=True,
            timing=QUICK,
        )

    def open(self, name: str) -> Client:
        return Client.open(Store.open(self.store(name)), timing=QUICK)

    async def miss(self, who: str, *words: str, typed: str = "y\n") -> tuple[int, str]:
        """A command of a person's device; nobody else has its store open meanwhile."""
        given = [*words, "--store", str(self.store(who))]
        done = await asyncio.to_thread(CliRunner().invoke, app, given, input=typed)
        return done.exit_code, done.output

    async def operator(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            miss_server, *words, "--domain", DOMAIN, database=self.server.database, check=check
        )

    async def recovery_code(self, account: str) -> str:
        done = await self.operator("recovery", "code", account)
        return done.stdout.split("recovery code ")[1].split()[0]


async def make(tmp_path: Path, hours: float) -> Place:
    server = ServerProcess(
        tmp_path / "miss.sqlite",
        tmp_path / "server.log",
        settings={"MISS_RECOVERY_HOURS": str(hours)},
    )
    members = tmp_path / "members.csv"
    members.write_text(LIST)
    await server.start()
    miss_server("directory", "import", str(members), "--domain", DOMAIN, database=server.database)
    return Place(server, tmp_path)


@pytest.fixture
async def at_once(tmp_path: Path) -> AsyncIterator[Place]:
    """Where the delay is twenty seconds: enough for what is done meanwhile."""
    place = await make(tmp_path, 20 / 3600)
    yield place
    await place.server.kill()


@pytest.fixture
async def in_days(tmp_path: Path) -> AsyncIterator[Place]:
    """Where the delay is three days."""
    place = await make(tmp_path, 72)
    yield place
    await place.server.kill()


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for the server's round, which no event tells here."""
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110  # nobody would set the event
            await asyncio.sleep(0.1)


async def test_lost_recovered_and_accepted_by_hand(
    at_once: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = at_once
    gp, cardio = await place.enrol(GP), await place.enrol(CARDIO)
    address = cardio.account
    async with gp:
        await gp.drained()
        first = await gp.send([address], "avant")
        await gp.wait_for_state(first, "sent")
    await gp.close()
    code = await place.recovery_code(address)
    words = ("recover", code, "--server", place.server.url, "--name", "new")
    exit_code, said = await place.miss("new", *words)
    assert exit_code == 3, said
    assert "Anne Lefevere" in said
    assert "old ones" in (await place.miss(GP, "send", address, "pendant"))[1]
    monkeypatch.setattr(chat, "LOOK_AGAIN", 0.0)
    _, said = await place.miss(GP, "chat", address, typed="pour toi\n")
    assert said.count("old ones") == 2  # before the conversation, and before its line
    assert "RECOVERING" in (await place.miss(GP, "contacts", "list"))[1]
    assert address in (await place.operator("recovery", "list")).stdout

    async def done() -> bool:
        return (await place.miss("new", *words))[0] == 0

    await eventually(done)
    async with cardio:  # the lost phone, in whoever's hands
        with pytest.raises(ClientError) as stopped:
            await cardio.drained()
        assert getattr(stopped.value, "refusal", None) is Code.REVOKED
    await cardio.close()
    exit_code, said = await place.miss(GP, "send", address, "secret")
    assert exit_code == 1
    assert "identity is not the one known here" in said
    gp = place.open(GP)
    async with gp:
        await gp.drained()  # with the statuses of what waited for devices that are gone
        states = {one.text: one.state for one in gp.messages() if one.own}
    assert states == dict.fromkeys(("avant", "pendant", "pour toi"), "failed")
    await gp.close()
    new = place.open("new")
    async with new:
        await new.drained()
        assert new.messages() == []  # nothing was encrypted to a genesis that nobody confirmed
    await new.close()
    assert "IDENTITY CHANGED" in (await place.miss(GP, "contacts", "list"))[1]
    exit_code, said = await place.miss(GP, "contacts", "confirm", address, typed="n\n")
    assert exit_code == 1
    exit_code, said = await place.miss(GP, "contacts", "confirm", address)
    assert exit_code == 0, said
    exit_code, said = await place.miss(GP, "send", address, "après")
    assert exit_code == 0, said
    new = place.open("new")
    async with new:
        await new.drained()
        assert [one.text for one in new.messages()] == ["après"]
    assert new.account == address  # rule A1: the address survives every key
    await new.close()


async def test_a_device_that_is_not_lost_objects(in_days: Place) -> None:
    place = in_days
    cardio = await place.enrol(CARDIO)
    address = cardio.account
    with pytest.raises(RefusedByServer) as refused:
        await own_account.veto_recovery(cardio.calls)
    assert refused.value.code is Code.NOT_FOUND
    code = await place.recovery_code(address)
    words = ("recover", code, "--server", place.server.url, "--accept-charter")
    exit_code, said = await place.miss("thief", *words)
    assert exit_code == 3, said
    [notice] = await own_account.notices(cardio.calls)
    assert notice.kind == "recovery"
    assert notice.due - notice.since == 72 * 3600 * 1000
    async with cardio:
        await cardio.drained()  # until then everything goes on
    await cardio.close()
    for words_ in (("status",), ("listen", "--once")):
        assert "miss veto" in (await place.miss(CARDIO, *words_))[1]
    exit_code, said = await place.miss(CARDIO, "veto", typed="n\n")
    assert exit_code == 1
    exit_code, said = await place.miss(CARDIO, "veto")
    assert exit_code == 0, said
    exit_code, said = await place.miss("thief", *words)
    assert exit_code == 1
    assert "was stopped" in said
    exit_code, said = await place.miss("thief", "status")
    assert exit_code == 1
    assert "not finished" in said
    code = await place.recovery_code(address)
    again = ("recover", code, "--server", place.server.url, "--accept-charter")
    assert (await place.miss("thief2", *again))[0] == 3
    late = await place.recovery_code(address)
    exit_code, said = await place.miss("thief3", "recover", late, *again[2:])
    assert "recovering" in said
    assert "Cancelled" in (await place.operator("recovery", "cancel", address)).stdout
    assert (
        "no such thing" in (await place.operator("recovery", "cancel", address, check=False)).stderr
    )
    assert (await place.miss("thief2", *again))[0] == 1


async def test_a_recovery_letter_and_what_is_no_account(in_days: Place) -> None:
    place = in_days
    cardio = await place.enrol(CARDIO)
    await cardio.close()
    letter = place.folder / "letter.html"
    await place.operator("recovery", "code", cardio.account, "--letter", str(letter))
    page = letter.read_text("utf-8")
    assert "miss://recover?" in page
    assert "Anne Lefevere" in page
    assert letter.stat().st_mode & 0o777 == 0o600
    for address, told in [("nobody", "no account"), ("a" * 26 + f"@{DOMAIN}", "not on MiSS")]:
        done = await place.operator("recovery", "code", address, check=False)
        assert done.returncode == 1
        assert told in done.stderr
