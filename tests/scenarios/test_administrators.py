"""An establishment enrols its secretary and ends her access, over real processes and by the commands."""

import asyncio
from pathlib import Path

from typer.testing import CliRunner

from miss_client import Client, ClientError, Store, new_device
from miss_client.cli import app
from miss_client.events import DevicesEnded
from miss_client.transport import Timing
from miss_protocol.errors import Code
from miss_protocol.identity.enrolment_link import read_link
from miss_protocol.ids import DeviceId
from tests.scenarios.test_attesting import eventually
from tests.support.server import DOMAIN, ServerProcess, miss_server
from tests.support.wire import open_call

QUICK = Timing(backoff_min=0.05, backoff_max=0.2)
LIST = (
    "Identifiant national;Identifiant local;Nom;Prénom;Nature;Rattachement\n"
    "899000000010;;Vandrelle;Camille;;local.members.ho-1\n"
    "899000000028;;Lefevere;Ada;;local.members.ho-1\n"
    ";S-12;Quesnimont;Anne;;local.members.ho-1\n"
    ";S-13;Quesnimont;Paule;;\n"
    ";HO-1;EHPAD du Beffroi;;organisation;\n"
)
DOCTOR, COLLEAGUE, HOME = "899000000010", "899000000028", "local.members.ho-1"
SECRETARY, ELSEWHERE = "local.members.s-12", "local.members.s-13"


async def test_an_establishment_enrols_its_secretary_and_ends_her_access(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "miss.sqlite", tmp_path / "server.log")
    members = tmp_path / "members.csv"
    members.write_text(LIST)
    await server.start()

    def operator(*words: str) -> str:
        return miss_server(*words, "--domain", DOMAIN, database=server.database).stdout

    async def enrol(code: str, name: str) -> Client:
        return await new_device.enrol(
            server.url,
            code,
            Store.create(tmp_path / f"{name}.miss"),
            device_name="phone",
            accept_charter=True,
            timing=QUICK,
        )

    async def tablet_of(client: Client) -> None:
        invitation = await client.invite_device()
        joining = await new_device.join_account(
            server.url,
            invitation.code,
            Store.create(tmp_path / "tablet.miss"),
            device_name="tablet",
            timing=QUICK,
        )
        waiting = asyncio.create_task(joining.approved())
        await client.approve_device(joining.approval_code)
        await (await waiting).close()

    async def miss(*words: str, status: int = 0, said: str = "y\n") -> str:
        store = ("--store", str(tmp_path / "doctor.miss"))
        done = await asyncio.to_thread(CliRunner().invoke, app, [*words, *store], input=said)
        assert done.exit_code == status, done.output
        return done.output

    operator("directory", "import", str(members))
    doctor = await enrol(server.code_for(DOCTOR), "doctor")
    address = doctor.account
    await doctor.close()
    secretary = None
    try:
        assert "no organisation" in await miss("admin", "list", status=1)
        operator("organisations", "admin", "add", HOME, address)
        assert "50 codes left" in await miss("admin", "list")

        told = await miss("admin", "enrol", "quesnimont", status=1)
        assert SECRETARY in told
        assert ELSEWHERE in told
        assert "not_found" in await miss("admin", "enrol", ELSEWHERE, status=1)
        assert "Nothing was changed" in await miss(
            "admin", "enrol", SECRETARY, status=1, said="n\n"
        )
        told = await miss("admin", "enrol", "quesnimont", "anne")
        link = read_link(told.splitlines()[-1])
        assert link.server == server.url
        assert "code until" in await miss("admin", "list")
        assert "No code waits" in await miss("admin", "end-code", SECRETARY)
        assert "code until" not in await miss("admin", "list")
        ended = await open_call(server, "POST", "/v1/enrolment/preview", {"code": link.code})
        assert ended.json()["code"] == "code_expired"
        assert "No code waits" in await miss("admin", "end-code", "quesnimont anne")
        assert "not_found" in await miss("admin", "end-code", COLLEAGUE, status=1)
        told = await miss("admin", "enrol", SECRETARY, "--yes")
        secretary = await enrol(read_link(told.splitlines()[-1]).code, "secretary")

        assert "enrolled" in await miss("admin", "list", "--organisation", HOME)
        await miss("send", secretary.account, "Bonjour")
        shown = await miss("contacts", "list")
        assert "enrolled by a code of EHPAD du Beffroi" in shown
        assert "attested by EHPAD du Beffroi" in shown
        assert "phone" in await miss("admin", "devices", "quesnimont anne")
        assert "no such person" in await miss("admin", "devices", COLLEAGUE, status=1)

        await tablet_of(secretary)
        told = await miss("admin", "devices", SECRETARY)
        [tablet] = [line.split()[0] for line in told.splitlines() if line.endswith("tablet")]
        assert "No device" in await miss("admin", "revoke", SECRETARY, "0", status=1)
        assert "Ended: tablet" in await miss("admin", "revoke", SECRETARY, tablet, "--yes")
        [notice] = await secretary.notices.look()
        assert isinstance(notice, DevicesEnded)
        await secretary.contacts.refresh(secretary.account)
        await secretary.revoke_device(DeviceId(notice.devices[0]))
        assert await secretary.notices.look() == []

        async def suspended() -> bool:
            assert secretary is not None
            try:
                await secretary.drained()
            except ClientError as error:
                return getattr(error, "refusal", None) is Code.SUSPENDED
            return False

        async with secretary:
            await secretary.drained()
            assert "Ended" in await miss("admin", "end", "quesnimont anne")
            await eventually(suspended)
        assert "  ended" in await miss("admin", "list")
        told = await miss("search", "quesnimont", "anne")
        assert told.count("attested by") == told.count("attested by nobody") == 1
        assert "Attested" in await miss("admin", "attest", SECRETARY)
        await secretary.close()
        secretary = Client.open(Store.open(tmp_path / "secretary.miss"), timing=QUICK)
        assert await secretary.notices.look() == []

        assert "no more" in await miss("admin", "leave", "--yes")
        assert "NOBODY ACTS" in operator("organisations", "admin", "list")
    finally:
        if secretary is not None:
            await secretary.close()
        await server.kill()
    actors = {
        line.split("  ")[2] for line in operator("audit", "show").splitlines() if "  " in line
    }
    assert f"administrator:{address}" in actors
