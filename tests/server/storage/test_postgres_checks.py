"""What `miss-server doctor` says of a PostgreSQL server: a real one, and each fact turned bad."""

from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from miss_server.findings import Finding, Verdict
from miss_server.storage.postgres.checks import (
    COMMIT_SLOW_MS,
    COMMITS,
    Facts,
    ask,
    commits,
    examine,
    judge,
    judge_commit,
)
from miss_server.storage.postgres.room import Limit, limits
from tests.support.devices import DOMAIN
from tests.support.postgres import USER, PostgresProcess, postgres_server, run_as_ordinary_user
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
        ("standby", {"slots": ("room2",)}, Verdict.WARN),
        ("standby", {"settings": {"synchronous_standby_names": "b"}}, Verdict.BAD),
        (
            "standby",
            {
                "settings": {"synchronous_standby_names": "b"},
                "standbys": 1,
                "following": 1,
                "sees": True,
            },
            Verdict.OK,
        ),
        (
            "standby",
            {"settings": {"synchronous_standby_names": "b"}, "standbys": 1, "sees": False},
            Verdict.WARN,
        ),
        (
            "standby",
            {"settings": {"synchronous_standby_names": "b"}, "standbys": 1, "sees": True},
            Verdict.BAD,
        ),
        ("archive", {"settings": {"archive_mode": "off"}}, Verdict.WARN),
        ("archive", {"archive_fails": True}, Verdict.BAD),
        ("connections", {"limits": [Limit("server", 7, 0)]}, Verdict.BAD),
        ("connections", {"limits": [Limit("server", 57, 0), Limit("role", 7, 0)]}, Verdict.BAD),
        ("connections", {"limits": [Limit("server", 12, 5)]}, Verdict.WARN),
        (
            "connections",
            {"limits": [Limit("server", 57, 20), Limit("database", 60, 53)]},
            Verdict.WARN,
        ),
        ("connections", {"limits": [Limit("server", 8, 0)]}, Verdict.OK),
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


async def test_the_limits_of_server_role_and_database_are_found() -> None:
    version = run_as_ordinary_user("postgres", "--version").stdout.split()[-1]
    kept = 6 if int(version.partition(".")[0]) >= 16 else 0  # PostgreSQL 15 reserves none
    own = {"reserved_connections": str(kept)} if kept else {}
    async with postgres_server(max_connections="30", **own) as server:
        name = await server.new_database()

        async def found(user: str = USER) -> dict[str, int]:
            connection = await asyncpg.connect(server.dsn(name, user=user))
            try:
                of = await limits(connection)
            finally:
                await connection.close()
            assert all(limit.used >= 1 for limit in of)
            return {limit.of: limit.most for limit in of}

        assert await found() == {"server": 27 - kept}
        await server.sql(f"ALTER ROLE {USER} CONNECTION LIMIT 4")
        assert await found() == {"server": 27 - kept, "role": 4}
        await server.sql(f'ALTER DATABASE "{name}" CONNECTION LIMIT 5')
        assert await found() == {"server": 27 - kept, "role": 4, "database": 5}
        if kept:
            await server.sql(f"GRANT pg_use_reserved_connections TO {USER}")
            assert (await found())["server"] == 27
        # Neither of the two limits holds for a superuser.
        assert await found("postgres") == {"server": 27}


async def test_a_second_room_whose_standby_is_away_is_not_one_room() -> None:
    async with postgres_server() as server:
        dsn = server.dsn(await server.new_database())

        async def said() -> Finding:
            found = await examine(dsn, domain=DOMAIN, connections=8, now_ms=now_ms())
            [standby] = [finding for finding in found if finding.subject == "standby"]
            return standby

        # As a base backup makes one for as long as it runs.
        backing_up = await server.connect()
        await backing_up.execute("SELECT pg_create_physical_replication_slot('night', true, true)")
        assert (await said()).text.en == "none: one server room"
        await backing_up.close()
        await server.sql("SELECT pg_create_physical_replication_slot('room2')")
        finding = await said()
        assert finding.verdict is Verdict.WARN
        assert "kept for room2, but nobody follows" in finding.text.en


async def test_a_durable_commit_is_timed_and_leaves_nothing_behind(
    postgres: PostgresProcess,
) -> None:
    dsn = (await prepared(postgres)).dsn
    before = await written(postgres, dsn)
    [finding] = await commits(dsn)
    assert f"ms to keep 4 KiB (median of {COMMITS})" in finding.text.en
    after = await written(postgres, dsn)
    assert after[0] - before[0] >= COMMITS * 4096
    assert after[1:] == before[1:]


async def written(postgres: PostgresProcess, dsn: str) -> tuple[int, int, int]:
    """How much of its log a server has flushed, and what a database has: tables, rows of ours."""
    connection = await postgres.connect(dsn.rpartition("/")[2])
    try:
        row = await connection.fetchrow(
            "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint,"
            " (SELECT count(*) FROM pg_class), (SELECT count(*) FROM settings)"
        )
    finally:
        await connection.close()
    assert row is not None
    return row[0], row[1], row[2]


async def test_a_commit_that_waits_for_a_standby_that_is_not_there() -> None:
    async with postgres_server() as server:
        dsn = server.dsn(await server.new_database())
        await server.sql("ALTER SYSTEM SET synchronous_standby_names = 'b'")
        await server.sql("SELECT pg_reload_conf()")
        [finding] = await commits(dsn, seconds=0.5)
        assert finding.verdict is Verdict.BAD
        assert finding.text == ("nothing is kept within 0.5 s", "rien n'est gardé en 0.5 s")
        assert finding.do is not None
        assert "standby" in finding.do.en


async def test_a_commit_that_cannot_be_tried(postgres: PostgresProcess) -> None:
    database = await postgres.new_database()
    await postgres.sql(
        "DO $$ BEGIN EXECUTE (SELECT string_agg('REVOKE EXECUTE ON FUNCTION ' || oid::regprocedure"
        " || ' FROM PUBLIC', '; ') FROM pg_proc WHERE proname = 'pg_logical_emit_message'); END $$",
        database=database,
    )
    [finding] = await commits(postgres.dsn(database))
    assert finding.verdict is Verdict.WARN
    assert "permission denied" in finding.text.en
    assert await commits("postgresql://miss:geheim@127.0.0.1:9/miss") == []


def test_a_slow_commit() -> None:
    assert judge_commit(COMMIT_SLOW_MS).verdict is Verdict.OK
    slow = judge_commit(COMMIT_SLOW_MS + 0.1)
    assert slow.verdict is Verdict.WARN
    assert slow.do is not None
    assert "pg_wal" in slow.do.fr


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
