"""Which source of the directory is too old: health, `/metrics` and `doctor` of a real server agree."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support import register, sources
from tests.support.operating import scrape
from tests.support.register import activity
from tests.support.server import DOMAIN, ServerProcess, miss_server, run_command
from tests.support.wire import open_call

OWN = "name;local identifier\nMaison des pratiques;1\n"
COMMUNES = "code_insee;nom_standard;codes_postaux;latitude_centre;longitude_centre\n"


def imported(folder: Path, days: Mapping[str, int]) -> tuple[Path, str]:
    """A database whose directory has these sources, each of so many days ago; what was said."""
    made = {
        "RPPS": register.write(folder / "PS.txt", activity(1)),
        "MSSANTE": sources.write_mailboxes(
            folder / "bal.txt",
            sources.mailbox("PER", "a@b.mssante.fr", national=f"8{register.rpps(1)}", name="NOM1"),
        ),
        "FINESS": sources.write_establishments(
            folder / "finess.csv", sources.establishment(sources.finess(1), "CH DE TEST")
        ),
        "members": folder / "members.csv",
        "COMMUNES": folder / "communes.csv",
    }
    made["members"].write_text(OWN, encoding="utf-8")
    made["COMMUNES"].write_text(COMMUNES + "59350;Lille;59000;50.63;3.05\n", encoding="utf-8")
    for name, ago in days.items():
        then = (datetime.now(UTC) - timedelta(days=ago, hours=1)).timestamp()
        os.utime(made[name], (then, then))
    database = folder / "miss.sqlite"
    files = [str(made[name]) for name in days]
    done = run_command(
        *("miss_server", "directory", "import", *files, "--domain", DOMAIN),
        *("--database", str(database)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return database, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("days", "old"),
    [
        ({"RPPS": 6, "MSSANTE": 6, "FINESS": 89, "members": 700, "COMMUNES": 700}, []),
        ({"RPPS": 1, "MSSANTE": 8, "FINESS": 91, "members": 1}, ["FINESS", "MSSANTE"]),
        ({"RPPS": 8, "FINESS": 8}, ["RPPS"]),
        ({"members": 700}, []),
    ],
)
async def test_each_source_may_be_as_old_as_its_kind(
    tmp_path: Path, days: dict[str, int], old: list[str]
) -> None:
    database, said = imported(tmp_path, days)
    assert said.count("This is old data") == len(old)
    server = ServerProcess(database, tmp_path / "server.log")
    await server.start()
    try:
        parts = (await open_call(server, "GET", "/health/ready")).json()["parts"]
        [part] = [one for one in parts if one["part"] == "directory"]
        samples = await scrape(server)
    finally:
        await server.stop()
    assert part["state"] == ("degraded" if old else "ok")
    for name, ago in days.items():
        assert f"{name} {ago}" in part["text"]["en"]
        assert f"{name} {ago}" in part["text"]["fr"]
    for text, words in (("en", "Too old: "), ("fr", "Trop ancien : ")):
        assert (words + ", ".join(old) + "." in part["text"][text]) is bool(old)
    ages, limits = (
        {
            dict(labels)["source"]: number
            for (name, labels), number in samples.items()
            if name == one
        }
        for one in ("miss_directory_source_age_seconds", "miss_directory_source_limit_seconds")
    )
    assert ages.keys() == days.keys()
    # As the alert MissDirectoryOld has it.
    assert sorted(name for name in ages.keys() & limits.keys() if ages[name] > limits[name]) == old
    lines = miss_server(
        "doctor", "--json", "--domain", DOMAIN, database=database, check=False
    ).stdout
    found = [json.loads(line) for line in lines.splitlines()]
    [finding] = [one for one in found if one["subject"] == "directory"]
    assert finding["verdict"] == ("warn" if old else "ok")
    assert ("too old: " + ", ".join(old) in finding["text"]["en"]) is bool(old)


def test_what_is_not_published_daily_may_say_the_same_for_long(tmp_path: Path) -> None:
    imported(tmp_path, {"RPPS": 20, "members": 20})
    _, said = imported(tmp_path, {"RPPS": 5, "members": 5})
    assert "RPPS stands still" in said
    assert "members stands still" not in said
