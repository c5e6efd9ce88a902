"""What `miss-server doctor` says of a PostgreSQL server: a real one, and each fact turned bad."""

from dataclasses import replace
from typing import Any

import pytest

from miss_server.findings import Verdict
from miss_server.storage.postgres.checks import Facts, ask, examine, judge
from tests.support.devices import DOMAIN
from tests.support.postgres import PostgresProcess
from tests.support.stores import prepared
from tests.support.wire import now_ms


def verdicts(facts: Facts, connections: int = 8) -> dict[str, Verdict]:
    """The worst by subject."""
    order = [Verdict.OK, Verdict.WARN, Verdict.BAD]
    worst: dict[str, Verdict] = {}
    for finding in judge(facts, domain=DOMAIN, connections=connections):
        assert finding.text.en
        assert finding.text.fr
        assert (finding.do is None) is (finding.verdict is Verdict.OK)
        known = worst.get(finding.subject, Verdict.OK)
        worst[finding.subject] = max(known, finding.verdict, key=order.index)
    return worst


@pytest.fixture
async def facts(postgres: PostgresProcess) -> Facts:
    """Of a real server, with our tables, and set up as it should be."""
    real = await ask((await prepared(postgres)).dsn, now_ms=now_ms())
    good = {"archive_mode": "on", "fsync": "on", "full_page_writes": "on"}
    return replace(real, settings=real.settings | good)


async def test_a_server_that_is_well(facts: Facts) -> None:
    assert set(verdicts(facts).values()) == {Verdict.OK}
    assert facts.version >= 15
    assert facts.settings["synchronous_commit"] == "on"
    assert facts.stored is not None


@pytest.mark.parametrize(
    ("subject", "changes", "verdict"),
    [
        ("database", {"version": 14}, Verdict.BAD),
        ("database", {"standby": True}, Verdict.BAD),
        ("schema", {"stored": None}, Verdict.WARN),
        ("schema", {"stored": {"schema": b"999", "domain": DOMAIN.encode()}}, Verdict.BAD),
        ("schema", {"stored": {"schema": b"0", "domain": DOMAIN.encode()}}, Verdict.WARN),
        ("schema", {"stored": {"schema": b"1", "domain": b"other.example"}}, Verdict.BAD),
        ("durability", {"settings": {"fsync": "off"}}, Verdict.BAD),
        ("durability", {"settings": {"full_page_writes": "off"}}, Verdict.BAD),
        ("durability", {"settings": {"synchronous_commit": "local"}}, Verdict.BAD),
        ("standby", {"standbys": 1}, Verdict.WARN),
        ("standby", {"settings": {"synchronous_standby_names": "b"}}, Verdict.BAD),
        (
            "standby",
            {"settings": {"synchronous_standby_names": "b"}, "standbys": 1, "following": 1},
            Verdict.OK,
        ),
        ("archive", {"settings": {"archive_mode": "off"}}, Verdict.WARN),
        ("archive", {"archive_fails": True}, Verdict.BAD),
        ("connections", {"settings": {"max_connections": "9"}}, Verdict.BAD),
        ("connections", {"settings": {"max_connections": "14"}, "clients": 5}, Verdict.WARN),
        ("clock", {"ahead_ms": -5_000}, Verdict.WARN),
        ("clock", {"ahead_ms": 3_600_000}, Verdict.BAD),
    ],
)
async def test_each_fact_turned_bad(
    facts: Facts, subject: str, changes: dict[str, Any], verdict: Verdict
) -> None:
    if "settings" in changes:
        changes = changes | {"settings": facts.settings | changes["settings"]}
    assert verdicts(replace(facts, **changes))[subject] is verdict


async def test_what_a_real_server_was_told_is_seen(postgres: PostgresProcess) -> None:
    database = await postgres.new_database()
    await postgres.sql(f'ALTER DATABASE "{database}" SET synchronous_commit = off')
    told = await examine(postgres.dsn(database), domain=DOMAIN, connections=8, now_ms=now_ms())
    said = {finding.text.en: finding.verdict for finding in told}
    assert said["synchronous_commit is off"] is Verdict.BAD
    assert said["our tables are not there yet"] is Verdict.WARN


async def test_who_cannot_be_asked(postgres: PostgresProcess) -> None:
    for dsn in (
        postgres.dsn("no-such-database"),
        postgres.dsn("postgres", password="wrong"),
        "postgresql://miss:geheim@127.0.0.1:9/miss",
    ):
        [finding] = await examine(dsn, domain=DOMAIN, connections=8, now_ms=now_ms())
        assert finding.verdict is Verdict.BAD
        assert "wrong" not in finding.text.en
        assert "geheim" not in finding.text.en
        assert finding.do is not None
        assert "MISS_DATABASE" in finding.do.fr
