"""`/health/live` and `/health/ready` of real servers: well, in trouble, and well again."""

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from miss_protocol import frames as f
from miss_server.conditions import Condition, State
from miss_server.operating import health as healths
from miss_server.operating.health import Health
from miss_server.operating.watching import DatabaseWatch
from miss_server.relay.clock import SystemClock
from miss_server.storage.messages import NotDurable
from miss_server.storage.postgres.store import PostgresStore
from miss_server.words import Both
from tests.support.hosted import hosted
from tests.support.postgres import USER, postgres_server
from tests.support.server import ServerProcess
from tests.support.stores import prepared
from tests.support.wire import enrolled, open_call


async def ready(server: Any, status: int) -> dict[str, Any]:
    """The parts by name; the answer has this status."""
    answer = await open_call(server, "GET", "/health/ready")
    assert answer.status_code == status, answer.content
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    parts = {part["part"]: part for part in document["parts"]}
    for part in parts.values():
        assert part["text"]["en"]
        assert part["text"]["fr"]
        assert datetime.fromisoformat(part["since"]).tzinfo is not None
    return {"status": document["status"], **parts}


async def until(server: Any, status: int) -> dict[str, Any]:
    """Ask until the answer has this status; a look is good for a second."""
    while True:
        answer = await open_call(server, "GET", "/health/ready")
        if answer.status_code == status:
            return await ready(server, status)


async def test_a_new_server_is_ready_and_says_what_is_not_perfect(server: ServerProcess) -> None:
    assert (await open_call(server, "GET", "/health/live")).json() == {"status": "live"}
    told = await ready(server, 200)
    assert told["status"] == "degraded"
    assert told["directory"]["state"] == "degraded"
    assert "No directory" in told["directory"]["text"]["en"]
    assert "Aucun annuaire" in told["directory"]["text"]["fr"]
    assert [told[part]["state"] for part in ("database", "disk", "doorbell", "process")] == [
        "ok"
    ] * 4
    assert told["database"]["vital"]
    assert not told["directory"]["vital"]


async def test_not_ready_while_nothing_can_be_made_durable(server: ServerProcess) -> None:
    gp = await enrolled(server)
    with closing(sqlite3.connect(server.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        told = await until(server, 503)
        assert told["status"] == "not_ready"
        assert told["database"]["state"] == "failed"
        # The process is well all the same: to end it would help nobody.
        assert (await open_call(server, "GET", "/health/live")).status_code == 200
        other.execute("ROLLBACK")
    told = await until(server, 200)
    assert told["database"]["state"] == "ok"
    async with gp.online() as line:
        assert isinstance(await line.settle(gp.send(gp.person)), f.Sent | f.Refused)
    said = server.log_text()
    assert "state='failed'" in said
    assert "state='ok'" in said


async def test_a_batch_that_fails_is_seen_by_its_cause(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        server.store._writer.lock_patience_ms = 50
        with closing(sqlite3.connect(server.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            told = await until(server, 503)
            other.execute("ROLLBACK")
        assert "Another process holds the database" in told["database"]["text"]["en"]
        assert "Un autre processus" in told["database"]["text"]["fr"]


async def test_draining_is_not_ready(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        await ready(server, 200)
        server.services.hub.draining = True
        told = await until(server, 503)
        assert told["process"]["state"] == "failed"
        assert "stopping" in told["process"]["text"]["en"]


async def test_strangers_learn_no_path_address_or_error(server: ServerProcess) -> None:
    answer = await open_call(server, "GET", "/health/ready")
    assert str(server.database.parent) not in answer.text
    assert "sqlite" not in answer.text.lower()
    assert (await open_call(server, "POST", "/health/ready")).status_code == 405


class Part:
    """A part that does as it is told."""

    part = "told"

    def __init__(self, *, vital: bool) -> None:
        self.vital = vital
        self.fails: type[Exception] | None = None

    async def condition(self) -> Condition:
        """See `Watched`."""
        if self.fails is not None:
            raise self.fails
        return Condition(State.OK, Both("well", "bien"))


class Clock(SystemClock):
    """Stands until it is turned."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now_ms(self) -> int:
        return round(self.at * 1000)

    def steady(self) -> float:
        return self.at


@pytest.mark.parametrize("vital", [True, False])
async def test_a_part_that_raises_has_failed_and_since_is_kept(vital: bool) -> None:
    part, clock = Part(vital=vital), Clock()
    health = Health(clock, [part])
    assert (await health.look()).status == "ready"
    part.fails = RuntimeError
    assert (await health.look()).status == "ready", "a look is good for a moment"
    clock.at += healths.FRESH
    report = await health.look()
    assert report.ready is not vital
    assert report.status == ("not_ready" if vital else "degraded")
    clock.at += 60
    assert (await health.look()).parts[0].since_ms == report.parts[0].since_ms == 1_001_000
    part.fails = None
    clock.at += 60
    report = await health.look()
    assert (report.status, report.parts[0].since_ms) == ("ready", 1_121_000)


async def test_a_part_that_needs_the_database_has_failed_without_a_traceback_at_each_look() -> None:
    part = Part(vital=False)
    part.fails = NotDurable
    with structlog.testing.capture_logs() as said:
        report = await Health(Clock(), [part]).look()
    assert report.parts[0].condition.state is State.FAILED
    assert "base" in report.parts[0].condition.text.fr
    assert [(line["event"], line.get("exc_info")) for line in said] == [("condition", None)]


async def test_a_database_that_lets_no_more_connections_in_is_told_as_that() -> None:
    async with postgres_server() as server:
        store = PostgresStore(await prepared(server))
        try:
            watch = DatabaseWatch(store, SystemClock())
            assert (await watch.condition()).state is State.OK
            await server.sql(f"ALTER ROLE {USER} CONNECTION LIMIT 0")
            await server.cut_clients(store._options.dsn.rpartition("/")[2])
            while (said := await watch.condition()).state is State.OK:
                pass  # its connection hears a moment later that it was cut
            while "no more connections" not in said.text.en:
                said = await watch.condition()
            assert "n'accepte plus" in said.text.fr
            await server.sql(f"ALTER ROLE {USER} CONNECTION LIMIT -1")
            assert (await watch.condition()).state is State.OK
        finally:
            await store.close()


async def test_a_part_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healths, "PATIENCE", 0.05)
    part = Part(vital=True)
    part.fails = TimeoutError
    report = await Health(Clock(), [part]).look()
    assert not report.ready
    assert report.parts[0].condition.text.fr == "Cet élément ne répond pas."
