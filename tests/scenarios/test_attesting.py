"""People without a national number, over real processes: vouched for, shown so, ended with it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from miss_client import Client, RefusedByServer, Store, new_device, own_account
from miss_client.cli import app
from miss_client.transport import Timing
from miss_protocol.directory import Entry
from miss_protocol.errors import Code
from tests.support.server import DOMAIN, ServerProcess, miss_server

QUICK = Timing(backoff_min=0.05, backoff_max=0.2)
LIST = (
    "Identifiant national;Identifiant local;Nom;Prénom;Nature;Rattachement\n"
    "899000000010;;Vandrelle;Camille;;\n"
    ";S-12;Quesnimont;Anne;;\n"
    ";S-13;Quesnimont;Paule;;local.members.ho-1\n"
    ";HO-1;EHPAD du Beffroi;;organisation;\n"
)
DOCTOR, AIDE, PLACED = "899000000010", "local.members.s-12", "local.members.s-13"


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for the server's sweep, which no event tells."""
    async with asyncio.timeout(30):
        while not await holds():  # noqa: ASYNC110  # nobody would set the event
            await asyncio.sleep(0.05)


async def test_an_aide_is_vouched_for_shown_so_and_told_when_that_ends(tmp_path: Path) -> None:
    server = ServerProcess(
        tmp_path / "miss.sqlite",
        tmp_path / "server.log",
        settings={"MISS_LEAVING_EVERY": "0.05", "MISS_ATTESTATIONS_MAX": "1"},
    )
    members = tmp_path / "members.csv"
    members.write_text(LIST)
    await server.start()
    miss_server("directory", "import", str(members), "--domain", DOMAIN, database=server.database)

    async def enrol(person: str) -> Client:
        return await new_device.enrol(
            server.url,
            server.code_for(person),
            Store.create(tmp_path / f"{person}.miss"),
            device_name="phone",
            accept_charter=True,
            timing=QUICK,
        )

    async def miss(who: str, *words: str) -> tuple[int, str]:
        store = ("--store", str(tmp_path / f"{who}.miss"))
        done = await asyncio.to_thread(CliRunner().invoke, app, [*words, *store], input="y\n")
        return done.exit_code, done.output

    doctor = await enrol(DOCTOR)
    no = miss_server(
        *("enrol-code", AIDE, PLACED, "--domain", DOMAIN), database=server.database, check=False
    )
    assert (no.returncode, no.stdout.count("code ")) == (1, 1)  # the other's home vouches
    assert f"nobody vouches for them: {AIDE}" in no.stderr
    assert "miss attest" in no.stderr
    await own_account.attest(doctor.calls, AIDE)
    aide = await enrol(AIDE)
    try:
        with pytest.raises(RefusedByServer) as refused:
            await own_account.attest(aide.calls, PLACED)
        assert refused.value.code is Code.NOT_ALLOWED
        await doctor.close()
        code, said = await miss(DOCTOR, "attest", "quesnimont")
        assert code == 1
        assert AIDE in said
        assert PLACED in said
        code, said = await miss(DOCTOR, "attest", "quesnimont anne")
        assert code == 0, said
        assert "1 of 1 attestations" in said
        code, said = await miss(DOCTOR, "attest", PLACED)
        assert "limit_reached" in said
        code, said = await miss(DOCTOR, "search", "quesnimont")
        assert "attested by Camille Vandrelle" in said
        assert said.count("attested by") == 1
        placed = await aide.calls.get(f"/v1/directory/{PLACED}", Entry)
        assert placed.attested_by == ("EHPAD du Beffroi",)
        doctor = Client.open(Store.open(tmp_path / f"{DOCTOR}.miss"), timing=QUICK)
        await doctor.contacts.learn(aide.account)
        contact = doctor.contact(aide.account)
        assert contact is not None
        assert contact.attested_by == ("Camille Vandrelle",)
        await doctor.close()
        assert "attested by Camille Vandrelle" in (await miss(DOCTOR, "contacts", "list"))[1]
        assert AIDE in (await miss(DOCTOR, "attestations"))[1]
        assert await own_account.notices(aide.calls) == ()
        code, said = await miss(DOCTOR, "attestations", "--withdraw", AIDE)
        assert "0 of 1 attestations" in said
        assert "attested by nobody" in (await miss(DOCTOR, "search", "quesnimont anne"))[1]
        assert "nobody" not in (await miss(DOCTOR, "search", "quesnimont paule"))[1]

        async def told() -> bool:
            return [one.kind for one in await own_account.notices(aide.calls)] == ["unattested"]

        await eventually(told)
        await aide.close()
        assert "vouches for you any more" in (await miss(AIDE, "status"))[1]
    finally:
        await doctor.close()
        await aide.close()
        await server.kill()
