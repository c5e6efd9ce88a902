"""`miss-server accounts`: addresses to copy whole, people to find by name."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from miss_protocol.ids import AccountAddress
from miss_server.storage.sqlite.store import SqliteStore, prepare
from tests.support.devices import NOW, address
from tests.support.server import DOMAIN, run_command

HOSTILE = "Anne\x1b[2K Dupont-Étrangère"
PEOPLE = {
    HOSTILE: "810000000017",
    "Docteur Marie-Emmanuelle de La Rochefoucauld-Saint-Exupéry": "local.members.s-12",
    "Annick Martin": None,
}


@pytest.fixture
def database(tmp_path: Path) -> tuple[Path, dict[str, AccountAddress]]:
    """One with these people's accounts, and each one's address."""
    path = tmp_path / "miss.sqlite"
    prepare(path, domain=DOMAIN, now_ms=NOW)

    async def fill() -> dict[str, AccountAddress]:
        store = SqliteStore(path)
        store.open()
        try:
            return {
                name: await store.create(person, name, address(), now_ms=NOW)
                for name, person in PEOPLE.items()
            }
        finally:
            await store.close()

    return path, asyncio.run(fill())


def run(
    database: Path, *words: str, status: int = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    done = run_command(
        *("miss_server", *words, "--database", str(database), "--domain", DOMAIN),
        settings=variables,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize("columns", ["20", "80", "300"])
def test_an_address_stands_whole_on_one_line(
    database: tuple[Path, dict[str, AccountAddress]], columns: str
) -> None:
    path, made = database
    lines = run(path, "accounts", COLUMNS=columns).stdout.splitlines()
    assert [line.split()[0] for line in lines] == sorted(made.values())
    for line in lines:
        assert "\x1b" not in line
        assert line.endswith("  0 devices  never seen")
    text = "\n".join(lines)
    assert "Docteur Marie-Emmanuelle de La Rochefoucauld-Saint-Exupéry (local.members.s-12)" in text
    assert "Dupont-Étrangère (810000000017)" in text


def test_programs_read_lines_of_json(database: tuple[Path, dict[str, AccountAddress]]) -> None:
    path, made = database
    lines = run(path, "accounts", "--json").stdout.splitlines()
    told = {one["name"]: one for one in map(json.loads, lines)}
    assert told == {
        name: {
            "address": made[name],
            "name": name,
            "person": person,
            "devices": 0,
            "seen_ms": None,
        }
        for name, person in PEOPLE.items()
    }
    assert run(path, "accounts", "leaving", "--json").stdout == ""


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("ann", {HOSTILE, "Annick Martin"}),
        ("etrangere ANNE", {HOSTILE}),
        ("810000000017", {HOSTILE}),
        ("local.members.s-12", {"Docteur Marie-Emmanuelle de La Rochefoucauld-Saint-Exupéry"}),
        ("martine", set()),
    ],
)
def test_people_are_found_by_name(
    database: tuple[Path, dict[str, AccountAddress]], words: str, found: set[str]
) -> None:
    path, made = database
    lines = run(path, "accounts", "--name", words).stdout.splitlines()
    assert [line.split()[0] for line in lines] == sorted(made[name] for name in found)


def test_a_name_without_a_letter_is_told(
    database: tuple[Path, dict[str, AccountAddress]],
) -> None:
    path, _ = database
    assert "no letter and no digit" in run(path, "accounts", "--name", "…", status=2).stderr


def test_that_there_are_more_is_told(database: tuple[Path, dict[str, AccountAddress]]) -> None:
    path, made = database
    first, second, third = sorted(made.values())
    page = run(path, "accounts", "--limit", "2")
    assert [line.split()[0] for line in page.stdout.splitlines()] == [first, second]
    assert f"--after {second}" in page.stderr
    rest = run(path, "accounts", "--limit", "1", "--after", second)
    assert rest.stdout.split()[0] == third
    assert rest.stderr == ""


@pytest.mark.parametrize(
    ("before", "variables", "named"),
    [
        ([], {"MISS_OPERATOR": " Anne  Dupont "}, " (named Anne Dupont)"),
        (["--operator", "Claire"], {"MISS_OPERATOR": "Anne"}, " (named Claire)"),
        ([], {"MISS_OPERATOR": "Anne", "SUDO_USER": "bob"}, " (sudo bob) (named Anne)"),
        ([], {}, ""),
    ],
)
def test_who_acts_is_named_in_the_audit_log(
    database: tuple[Path, dict[str, AccountAddress]],
    before: list[str],
    variables: dict[str, str],
    named: str,
) -> None:
    path, made = database
    whom = made["Annick Martin"]
    words = ("accounts", "budget", whom, "--hour", "60")
    settings: Any = {"SUDO_USER": ""} | variables
    run(path, *before, *words, **settings)
    [line] = run(path, "audit", "export").stdout.splitlines()
    actor = json.loads(line)["actor"]
    assert actor.startswith("operator:")
    assert actor.partition(" ")[1] + actor.partition(" ")[2] == named


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "Anne\x1b[2K", "Anne\u202e", "x) (sudo bob"])
def test_a_name_that_could_mislead_is_refused(
    database: tuple[Path, dict[str, AccountAddress]], name: str
) -> None:
    path, made = database
    words = ("accounts", "budget", made["Annick Martin"], "--hour", "60")
    assert "MISS_OPERATOR is a name" in run(path, "--operator", name, *words, status=2).stderr
    assert run(path, "audit", "show").stdout.count("operator:") == 0
