"""`/metrics` of a real server: who may read it, what it counts, and that it names nobody."""

import os
import re
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from miss_protocol import frames as f
from miss_protocol.ids import DeviceId
from miss_server.config import Settings
from miss_server.listening import ListenError, listen_for_metrics
from miss_server.storage.sqlite.store import SqliteStore
from tests.support.hosted import hosted
from tests.support.operating import scrape, value
from tests.support.server import ServerProcess
from tests.support.wire import enrolled, open_call


async def test_what_is_sent_delivered_and_refused_is_counted(server: ServerProcess) -> None:
    before = await scrape(server)
    assert value(before, "miss_ready") == 1
    assert value(before, "miss_part_state", {"part": "database", "state": "ok"}) == 1
    assert value(before, "miss_part_state", {"part": "database", "state": "failed"}) == 0
    gp, nurse = await enrolled(server), await enrolled(server)
    async with gp.online() as writer, nurse.online() as reader:
        await reader.caught_up()
        await writer.settle(gp.send(nurse.person))
        [row] = await reader.deliveries(1)
        await reader.ack(receipts=[nurse.receipt(row)])
        await writer.settle(gp.send(wraps=()))
        async with gp.line() as bad:
            await bad.greet(signature=os.urandom(64))
            await bad.closed()
        during = await scrape(server)
        assert value(during, "miss_connections", {"state": "live"}) == 2
    after = await scrape(server)
    assert value(after, "miss_sends_total", {"outcome": "sent"}) == 1
    assert value(after, "miss_sends_total", {"outcome": "no_recipients"}) == 1
    assert value(after, "miss_delivery_seconds_count") == 1
    assert value(after, "miss_logins_total", {"outcome": "ok"}) == 2
    assert value(after, "miss_logins_total", {"outcome": "auth_failed"}) == 1
    assert value(after, "miss_connections_closed_total", {"code": "gone"}) == 2
    assert value(after, "miss_connections_closed_total", {"code": "auth"}) == 1
    assert value(after, "miss_acknowledgements_total") == 1
    jobs = value(after, "miss_batch_jobs_sum")
    assert jobs >= value(after, "miss_batch_jobs_count") > 0
    assert value(after, "miss_batch_seconds_bucket", {"le": "+Inf"}) == value(
        after, "miss_batch_wait_seconds_count"
    )
    assert value(after, "miss_calls_total", {"call": "metrics", "status": "200"}) == 2
    while not value(after, "miss_loop_lag_seconds_count"):
        after = await scrape(server)


async def test_what_waits_is_summed_up(server: ServerProcess, tmp_path: Path) -> None:
    gp, nurse = await enrolled(server), await enrolled(server)
    async with gp.online() as writer:
        for _ in range(3):
            await writer.settle(gp.send(nurse.person))
    # Sums are kept for some seconds: a server that has not been asked yet tells those of now.
    await server.stop()
    await server.start()
    now = await scrape(server)
    assert value(now, "miss_mailbox_rows") == 3
    assert value(now, "miss_mailboxes_waiting") == 1
    assert value(now, "miss_mailbox_deepest_rows") == 3
    assert value(now, "miss_mailbox_bytes") > 3 * 160
    assert value(now, "miss_accounts") == 2
    assert value(now, "miss_devices", {"state": "active"}) == 2
    assert value(now, "miss_prekeys") == 6
    assert value(now, "miss_devices_short_of_prekeys", {"supply": "low"}) == 2
    assert value(now, "miss_devices_short_of_prekeys", {"supply": "none"}) == 0
    assert 0 < value(now, "miss_oldest_waiting_seconds") < 600
    assert value(now, "miss_epoch_number") == 1
    assert value(now, "miss_database_bytes") > 100_000


async def test_no_sample_names_anybody(server: ServerProcess) -> None:
    gp, nurse = await enrolled(server), await enrolled(server)
    async with gp.online() as writer, nurse.online() as reader:
        await writer.settle(gp.send(nurse.person))
        await reader.deliveries(1)
        await gp.call("GET", f"/v1/accounts/{nurse.person.account}/rosters")
        await gp.call("GET", "/v1/directory/812345678901")
        await open_call(server, "GET", "/v1/nothing-like-that-812345678901")
        text = (await open_call(server, "GET", "/metrics")).text
    for device in (gp, nurse):
        assert device.id.hex()[:8] not in text
        assert device.person.account[:8] not in text
    assert "8123456" not in text
    labels = set(re.findall(r'[{,]([a-z_]+)="', text))
    assert labels <= LABELS, "a new label: is it by person, account or device?"


LABELS = {
    *(
        "call",
        "cause",
        "code",
        "kind",
        "le",
        "outcome",
        "part",
        "source",
        "state",
        "status",
        "supply",
        "version",
        "way",
    ),
    *("implementation", "major", "minor", "patchlevel"),
}


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
async def test_nothing_is_told_through_a_proxy_that_nobody_named(
    tmp_path: Path, header: str
) -> None:
    async with started(tmp_path) as server:
        answer = await open_call(server, "GET", "/metrics", headers={header: "127.0.0.1"})
        assert answer.status_code == 404
        assert "miss_" not in answer.text


async def test_behind_a_trusted_proxy_its_clients_address_counts(tmp_path: Path) -> None:
    async with started(tmp_path, MISS_TRUSTED_PROXIES="127.0.0.1") as server:
        for client, status in (("192.0.2.1", 404), ("127.0.0.1", 200)):
            headers = {"X-Forwarded-For": client}
            answer = await open_call(server, "GET", "/metrics", headers=headers)
            assert answer.status_code == status
        # And who asks it directly, from the proxy's own machine.
        assert (await open_call(server, "GET", "/metrics")).status_code == 200


async def test_who_may_read_is_a_setting(tmp_path: Path) -> None:
    async with started(tmp_path, MISS_METRICS_FROM="192.0.2.0/24, 198.51.100.7") as server:
        assert (await open_call(server, "GET", "/metrics")).status_code == 404
    async with started(tmp_path, MISS_METRICS_FROM="192.0.2.0/24, 127.0.0.1") as server:
        assert (await open_call(server, "GET", "/metrics")).status_code == 200


async def test_the_first_fault_of_a_call_is_a_rise(tmp_path: Path) -> None:
    async with hosted(tmp_path, Broken) as server:
        before = await scrape(server)
        fault = {"call": "server_info", "status": "500"}
        assert value(before, "miss_calls_total", fault) == 0
        assert value(before, "miss_calls_total", {"call": "none", "status": "500"}) == 0
        assert (await (await enrolled(server)).call("GET", "/v1/prekeys")).status_code == 500
        after = await scrape(server)
    risen = {
        dict(labels)["call"]
        for (name, labels), count in after.items()
        if name == "miss_calls_total"
        and ("status", "500") in labels
        # `increase` sees nothing in a series that was not there before.
        and count > before.get((name, labels), count)
    }
    assert risen == {"count"}


async def test_openmetrics_for_who_asks_for_it(server: ServerProcess) -> None:
    answer = await open_call(
        server, "GET", "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"}
    )
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_errors_of_the_database_are_counted(server: ServerProcess) -> None:

    gp, nurse = await enrolled(server), await enrolled(server)
    with closing(sqlite3.connect(server.database, isolation_level=None)) as other:
        async with gp.online() as writer:
            other.execute("BEGIN IMMEDIATE")
            assert isinstance(await writer.settle(gp.send(nurse.person)), f.RetrySend)
            other.execute("ROLLBACK")
    now = await scrape(server)
    assert value(now, "miss_database_errors_total", {"cause": "locked"}) >= 1
    assert value(now, "miss_sends_total", {"outcome": "not_durable"}) == 1


@pytest.mark.parametrize("trusted", [True, False])
async def test_every_answer_has_an_id_that_the_log_has_too(tmp_path: Path, trusted: bool) -> None:
    given = "a-request-0815"
    settings = {"MISS_TRUSTED_PROXIES": "127.0.0.1"} if trusted else {}
    async with started(tmp_path, **settings) as server:
        gp = await enrolled(server)
        answer = await gp.call("GET", "/v1/directory/1", headers={"X-Request-ID": given})
        name = answer.headers["x-request-id"]
        assert (name == given) is trusted
        assert f"request='{name}'" in server.log_text()
        for wrong in ("short", "x" * 65, "a b c d e f g h"):
            answer = await gp.call("GET", "/v1/prekeys", headers={"X-Request-ID": wrong})
            assert answer.headers["x-request-id"] != wrong


async def test_metrics_can_have_a_port_of_their_own(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with started(tmp_path, MISS_METRICS_PORT=str(port)) as server:
        assert (await open_call(server, "GET", "/metrics")).status_code == 404
        common, server.url = server.url, f"http://127.0.0.1:{port}"
        assert value(await scrape(server), "miss_ready") == 1
        taken = ServerProcess(tmp_path / "other.sqlite", tmp_path / "other.log")
        taken.settings = {"MISS_METRICS_PORT": str(port)}
        with pytest.raises(RuntimeError, match=f"metrics: 127.0.0.1 {port}"):
            await taken.start()
        server.url = common
        assert (await open_call(server, "GET", "/health/ready")).status_code == 200


def two_free_ports() -> int:
    """The first of two that follow each other. Somebody may take one before it is used."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def test_each_worker_takes_the_next_port() -> None:
    port = two_free_ports()
    settings = Settings.model_validate({"metrics_port": port, "workers": 2})
    with listen_for_metrics(settings) as first, listen_for_metrics(settings) as second:
        assert [one.getsockname()[1] for one in (first, second)] == [port, port + 1]
        with pytest.raises(ListenError, match="metrics"):
            listen_for_metrics(settings)
    assert not Settings.model_validate({}).metrics_ports


class Broken(SqliteStore):
    """A store with a fault in one method."""

    async def count_prekeys(self, device: DeviceId) -> tuple[int, int]:
        raise RuntimeError(device)


@asynccontextmanager
async def started(folder: Path, **settings: str) -> AsyncIterator[ServerProcess]:
    """A server with these settings, until the block ends."""
    server = ServerProcess(folder / "miss.sqlite", folder / "server.log", settings=settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
