"""The operator's side of administrators: naming, removing, and seeing that nobody is left."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from miss_server.cli import app
from miss_server.storage.sqlite.store import SqliteStore, prepare
from miss_server.storage.standing import State
from tests.contract.test_departures import enrolled
from tests.support.devices import DOMAIN, NOW, address
from tests.support.in_force import put_in_force
from tests.support.organisations import CLAIRE, DOCTOR, FILES, HOME, NURSE, PEOPLE


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A file with a directory in which two people have an account."""
    path = tmp_path / "miss.sqlite"
    prepare(path, domain=DOMAIN, now_ms=NOW)
    return path


def run(database: Path, *words: str, status: int = 0) -> str:
    """Run a command in this process; returns all that it says."""
    done = CliRunner().invoke(
        app,
        ["organisations", "admin", *words, "--domain", DOMAIN],
        env={"MISS_DATABASE": str(database), "COLUMNS": "300"},
    )
    assert done.exit_code == status, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.output


def test_administrators_are_named_listed_and_removed(database: Path) -> None:
    async def people() -> tuple[str, str]:
        store = SqliteStore(database)
        store.open()
        await put_in_force(store, PEOPLE, FILES)
        accounts = [(await enrolled(store, one)).account for one in (DOCTOR, NURSE)]
        await store.close()
        return accounts[0], accounts[1]

    async def restrict(account: str) -> None:
        store = SqliteStore(database)
        store.open()
        await store.set_standing(
            account,  # type: ignore[arg-type]  # an address
            State.RESTRICTED,
            reason="?",
            actor=CLAIRE,
            now_ms=NOW,
        )
        await store.close()

    doctor, nurse = asyncio.run(people())
    assert run(database, "list") == ""
    assert f"{doctor} acts for EHPAD 14 now" in run(database, "add", HOME, doctor)
    assert "already" in run(database, "add", HOME, doctor)
    run(database, "add", HOME, nurse)
    listed = run(database, "list", "--organisation", HOME)
    assert f"{HOME}  EHPAD 14\n" in listed
    assert listed.count("  acts\n") == 2
    assert "NOBODY ACTS" not in run(database, "remove", HOME, nurse)
    asyncio.run(restrict(doctor))
    listed = run(database, "list")
    assert "CANNOT ACT" in listed
    assert " until " in listed
    assert "NOBODY ACTS" in listed
    assert "NOBODY ACTS" in run(database, "remove", HOME, doctor)
    assert "no administrator of" in run(database, "remove", HOME, doctor, status=1)


def test_what_cannot_be_named_is_said(database: Path) -> None:
    nobody = address()
    assert "no organisation 1999" in run(database, "add", "1999", nobody, status=1)
    assert "is no address" in run(database, "add", HOME, "somebody", status=2)

    async def work() -> None:
        store = SqliteStore(database)
        store.open()
        await put_in_force(store, PEOPLE, FILES)
        await store.close()

    asyncio.run(work())
    assert "with a device" in run(database, "add", HOME, nobody, status=1)
