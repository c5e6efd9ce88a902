"""Leaving the register, over real processes: an import, a notice, a suspension, and back again."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from miss_client import Client, ClientError, Store, new_device, own_account
from miss_client.cli import app
from miss_client.transport import Timing
from miss_protocol.errors import Code
from tests.support.server import DOMAIN, ServerProcess, miss_server

QUICK = Timing(backoff_min=0.05, backoff_max=0.2)
HEAD = "Identifiant local;Nom;Prénom;Rattachement;Nature\n"
NURSE, HOME = "S-12;Quesnimont;Anne;local.members.ho-1;\n", "HO-1;EHPAD du Beffroi;;;organisation\n"
CHIEF = "S-1;Vandrelle;Camille;;\n"


@dataclass
class Place:
    """A server whose directory is one list, and the device of a person in it."""

    server: ServerProcess
    list: Path
    client: Client

    def imports(self, *lines: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Put a list in force, as the operator does beside the server."""
        self.list.write_text(HEAD + "".join(lines))
        done = miss_server(
            *("directory", "import", str(self.list), "--domain", DOMAIN, "--max-gone", "100"),
            database=self.server.database,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def leaving(self) -> str:
        """What the operator sees."""
        words = ("accounts", "leaving", "--domain", DOMAIN)
        return miss_server(*words, database=self.server.database).stdout


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a call of the server tells it; its sweep comes every few hundredths of a second."""
    async with asyncio.timeout(30):
        while not await holds():  # noqa: ASYNC110  # nobody would set the event
            await asyncio.sleep(0.05)


@pytest.fixture
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    server = ServerProcess(
        tmp_path / "miss.sqlite",
        tmp_path / "server.log",
        settings={"MISS_LEAVING_DAYS": str(request.param), "MISS_LEAVING_EVERY": "0.05"},
    )
    await server.start()
    members = tmp_path / "members.csv"
    members.write_text(HEAD + CHIEF + NURSE + HOME)
    miss_server("directory", "import", str(members), "--domain", DOMAIN, database=server.database)
    client = await new_device.enrol(
        server.url,
        server.code_for("local.members.s-12"),
        Store.create(tmp_path / "nurse.miss"),
        device_name="phone",
        accept_charter=True,
        timing=QUICK,
    )
    made = Place(server, members, client)
    yield made
    await made.client.close()  # tests open another one in its place
    await server.kill()


@pytest.mark.parametrize("place", [30.0], indirect=True)
async def test_notice_comes_first_and_coming_back_ends_it(place: Place, tmp_path: Path) -> None:
    async def told() -> bool:
        return bool(await own_account.notices(place.client.calls))

    async def not_told() -> bool:
        return not await told()

    assert await not_told()
    place.imports(CHIEF, HOME)
    await eventually(told)
    [notice] = await own_account.notices(place.client.calls)
    assert notice.kind == "left"
    assert notice.due - notice.since == 30 * 24 * 3600 * 1000
    assert "Quesnimont" in place.leaving()
    async with place.client:
        await place.client.drained()  # the grace is one: everything goes on
    await place.client.close()
    shown = await asyncio.to_thread(
        CliRunner().invoke, app, ["status", "--store", str(tmp_path / "nurse.miss")]
    )
    assert shown.exit_code == 0, shown.output
    assert "no longer in the directory" in shown.output
    place.client = Client.open(Store.open(tmp_path / "nurse.miss"), timing=QUICK)
    refused = place.imports("not;a;list;at;all;of ours\n", check=False)
    assert refused.returncode != 0
    assert await told()  # what is refused changes nothing, for better or worse

    place.imports(CHIEF, NURSE)  # she is back, but who vouches for her is gone

    async def unattested() -> bool:
        return [one.kind for one in await own_account.notices(place.client.calls)] == ["unattested"]

    await eventually(unattested)
    place.imports(CHIEF, NURSE, HOME)
    await eventually(not_told)
    assert "Quesnimont" not in place.leaving()


@pytest.mark.parametrize("place", [0.0], indirect=True)
async def test_a_live_session_ends_with_the_grace_and_comes_back_with_its_person(
    place: Place, tmp_path: Path
) -> None:
    async def ended() -> bool:
        try:
            await place.client.drained()
        except ClientError as error:
            return getattr(error, "refusal", None) is Code.SUSPENDED
        return False

    async with place.client:
        await place.client.drained()
        place.imports(CHIEF, HOME)
        await eventually(ended)
    await place.client.close()
    assert "since " in place.leaving()
    store = tmp_path / "nurse.miss"
    shown = await asyncio.to_thread(CliRunner().invoke, app, ["status", "--store", str(store)])
    assert "suspended" in shown.output
    place.imports(CHIEF, NURSE, HOME)

    async def stays() -> bool:
        return "Quesnimont" not in place.leaving()

    await eventually(stays)
    place.client = Client.open(Store.open(store), timing=QUICK)
    async with place.client:
        await place.client.drained()
