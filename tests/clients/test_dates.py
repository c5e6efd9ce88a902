"""What the directory says is shown with its day, its age and what its sources disagree about."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from miss_client import Client, Store, new_device
from miss_client.cli import dates
from miss_protocol.directory import Source
from tests.clients.conftest import QUICK
from tests.support import register, sources
from tests.support.register import activity, rpps
from tests.support.server import DOMAIN, ServerProcess, miss_server, run_command

pytestmark = pytest.mark.timeout(90)
GP, COLLEAGUE = "8" + rpps(1), "8" + rpps(2)
LIST = (
    "Identifiant national;Identifiant local;Nom;Prénom;Nature;Rattachement\n"
    ";S-12;Quesnimont;Anne;;local.members.ho-1\n"
    f"{GP};;NOM1;Camille;;local.members.ho-1\n"
    ";HO-1;EHPAD du Beffroi;;organisation;\n"
)
HOME, SECRETARY = "local.members.ho-1", "local.members.s-12"
TODAY = datetime.fromtimestamp(time.time(), UTC).date()


def days_ago(days: int) -> str:
    return f"{TODAY - timedelta(days=days):%Y%m%d}"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """One whose sources are 12, 3 and no days old, and disagree about who somebody is."""
    people = (activity(n, name=f"NOM{n}") for n in (1, 2))
    register.write(tmp_path / f"PS_{days_ago(12)}.txt", *people)
    other = sources.mailbox("PER", "p@x.mssante.fr", national=COLLEAGUE, name="AUTRE", given="Paul")
    sources.write_mailboxes(tmp_path / f"bal_{days_ago(3)}.txt", other)
    (tmp_path / f"members_{days_ago(0)}.csv").write_text(LIST)
    files = (str(file) for file in sorted(tmp_path.glob("*_*")))
    server = ServerProcess(tmp_path / "miss.sqlite", tmp_path / "server.log")
    await server.start()
    miss_server("directory", "import", *files, "--domain", DOMAIN, database=server.database)
    try:
        yield server
    finally:
        await server.kill()


async def enrolled(server: ServerProcess, person: str) -> Client:
    return await new_device.enrol(
        server.url,
        server.code_for(person),
        Store.create(server.database.with_name(f"{person}.miss")),
        device_name="phone",
        accept_charter=True,
        timing=QUICK,
    )


async def test_every_command_that_names_people_says_of_which_day(server: ServerProcess) -> None:
    gp = await enrolled(server, GP)
    address = gp.account
    await gp.close()

    async def miss(*words: str, told: str = "", language: str = "C.UTF-8") -> str:
        store = ("--store", str(server.database.with_name(f"{GP}.miss")))
        settings = {"LANG": language, "COLUMNS": "300"}
        done = await asyncio.to_thread(
            run_command, "miss_client", *words, *store, settings=settings, told=told
        )
        assert "Traceback" not in done.stderr
        return done.stdout

    def operator(*words: str) -> None:
        miss_server(*words, "--domain", DOMAIN, database=server.database)

    then = (TODAY - timedelta(days=12)).isoformat()
    said = await miss("search", "nom2")
    assert "NOM2" in said
    assert "(another source says: Paul AUTRE)" in said
    assert f"RPPS {then} (12 days old)" in said
    assert "(3 days old)" in said
    assert "(of today)" in said
    said = await miss("search", "nom2", language="fr_FR.UTF-8")
    assert "(une autre source dit : Paul AUTRE)" in said
    assert f"Annuaire : MSSANTE {TODAY - timedelta(days=3)} (il y a 3 jours)" in said
    assert f"RPPS {then} (il y a 12 jours)" in said

    operator("organisations", "admin", "add", HOME, address)
    for words in (
        ("send", "nom2", "Bonjour"),  # not on MiSS: listed
        ("invite", "nom2"),
        ("wishes",),
        ("attest", "quesnimont", "--yes"),
        ("attestations",),
        ("admin", "list"),
        ("admin", "enrol", SECRETARY, "--yes"),
    ):
        said = await miss(*words)
        assert f"Directory: MSSANTE {TODAY - timedelta(days=3)} (3 days old)" in said, words
        assert said.count("12 days old") == 1, words

    assert await miss("contacts", "list") == ""
    colleague = await enrolled(server, COLLEAGUE)
    await miss("send", colleague.account, "Bonjour")
    await colleague.close()
    assert await miss("requests") == "Nobody.\n"
    assert "12 days old" in await miss("requests", "--all")
    assert "12 days old" in await miss("contacts", "list")
    await server.kill()
    said = await miss("contacts", "list")
    assert colleague.account in said
    assert "its date is not known now" in said


def test_ages_are_said_as_people_say_them() -> None:
    now_ms = 1_767_600_000_000  # 2026-01-05 08:00 UTC

    def said(*named: Source) -> str:
        return dates.line_of(named, now_ms=now_ms)

    assert said() == ""
    assert said(Source("A", "2026-01-05")) == "Directory: A 2026-01-05 (of today)"
    assert said(Source("A", "2026-01-06")) == "Directory: A 2026-01-06 (of today)"
    assert said(Source("A", "2026-01-04")) == "Directory: A 2026-01-04 (1 day old)"
    assert said(Source("A", "2026-01-03"), Source("B", "2025-01-05", "2025-01-01")) == (
        "Directory: A 2026-01-03 (2 days old), B 2025-01-05 (365 days old, unchanged since 2025-01-01)"
    )
    assert said(Source("A", "yesterday")) == "Directory: A yesterday (of unknown age)"


async def test_a_client_asks_what_the_directory_was_made_from(server: ServerProcess) -> None:
    gp = await enrolled(server, GP)
    found = await gp.sources()
    assert [one.name for one in found.sources] == ["MSSANTE", "RPPS", "members"]
    assert found.data_date == (TODAY - timedelta(days=12)).isoformat()
    assert found.nomenclatures[0].name == "TRE_G15-ProfessionSante"
    await gp.close()
