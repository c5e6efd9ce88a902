"""`miss-server why` and `miss-server size` beside a running server, on SQLite and on PostgreSQL."""

import asyncio
import base64
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from miss_protocol import frames as f
from miss_protocol.identity.receipts import ReceiptState
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.cli import why
from miss_server.storage.overview import Place, Trace
from tests.support.mailing import opaque_body
from tests.support.postgres import PostgresProcess
from tests.support.server import DOMAIN, ServerProcess, miss_server, run_command
from tests.support.stores import prepared
from tests.support.wire import enrolled, further


@pytest.fixture(params=["sqlite", "postgres"])
async def server(
    request: pytest.FixtureRequest, postgres: PostgresProcess, tmp_path: Path
) -> AsyncIterator[ServerProcess]:
    """A started server on a fresh database of each engine in turn."""
    process = ServerProcess(tmp_path / "miss.sqlite", tmp_path / "server.log")
    if request.param == "postgres":
        process.dsn = postgres.dsn(await postgres.new_database())
    await process.start()
    yield process
    await process.stop()


def place(server: ServerProcess) -> Any:
    """What `--database` says of it."""
    return server.dsn or server.database


def run(server: ServerProcess, *words: str, check: bool = True) -> str:
    """What a command says."""
    done = miss_server(*words, "--domain", DOMAIN, database=place(server), check=check)
    return done.stdout + done.stderr


async def test_why_follows_a_message_from_waiting_to_read(server: ServerProcess) -> None:
    gp, nurse = await enrolled(server), await enrolled(server)
    tablet = await further(nurse)
    body = opaque_body()
    async with gp.online() as writer:
        await writer.settle(gp.send(nurse.person))
        send = gp.send(nurse.person, body=body)
        await writer.settle(send)
    name = send.id.hex()
    said = run(server, "why", name)
    assert f"From {gp.person.account} ({gp.id.hex()[:8]}), made durable" in said
    assert said.count("waits at position 2, 1 before it") == 2
    assert "delivered when it connects" in said
    assert nurse.person.account in said
    async with nurse.online() as reader:
        rows = await reader.deliveries(2)
        await reader.ack(receipts=[nurse.receipt(row) for row in rows])
        said = run(server, "why", name)
        assert "delivered, 20" in said
        assert "signed by the device" in said
        assert f"({tablet.id.hex()[:8]})" in said
        assert "waits at position 2, 1 before it" in said
        assert "has not heard the last of this" in said
        await reader.ack(receipts=[nurse.receipt(rows[1], ReceiptState.READ)])
    short = base64.b64encode(send.id).decode().rstrip("=")
    told = json.loads(run(server, "why", "--json", short))
    states = {place["device"]: place["state"] for place in told[0]["places"]}
    assert states == {nurse.id.hex(): "read", tablet.id.hex(): "waiting"}
    for secret in (body, *(wrap.wrap for wrap in send.wraps)):
        assert base64.b64encode(secret).decode()[:20] not in json.dumps(told)


def test_why_of_a_block_is_for_the_operator_only() -> None:
    gp, nurse = AccountAddress("gp@miss.example"), AccountAddress("nurse@miss.example")
    place = Place(
        *(DeviceId(bytes(16)), nurse, False, "waiting", 0, False, None, 0, 60_000, 0, False),
        silenced=True,
    )
    trace = Trace(gp, DeviceId(bytes(16)), 1, "message", "sent", 0, True, None, [place])
    said = "\n".join(why._lines(trace))
    assert "its owner blocks the sender" in said
    assert "expires 1970-01-01 00:01:00 UTC" in said
    assert "acknowledged" not in said


async def test_why_of_what_was_refused_or_never_came(server: ServerProcess) -> None:
    gp = await enrolled(server)
    async with gp.online() as writer:
        send = gp.send(wraps=())
        assert isinstance(await writer.settle(send), f.Refused)
    assert "refused (no_recipients)" in run(server, "why", send.id.hex())
    assert "no message of this id" in run(server, "why", "00" * 16, check=False)
    for wrong in ("xyz", "00", "z" * 32):
        assert "is no message id" in run(server, "why", wrong, check=False)


async def test_why_of_a_message_that_expired(
    server: ServerProcess, postgres: PostgresProcess
) -> None:
    gp, nurse = await enrolled(server), await enrolled(server)
    async with gp.online() as writer:
        send = gp.send(nurse.person)
        await writer.settle(send)
    await server.stop()
    expire = "UPDATE envelopes SET expires_ms = 1"
    if server.dsn:
        await postgres.sql(expire, database=server.dsn.rpartition("/")[2])
    else:
        with closing(sqlite3.connect(server.database, isolation_level=None)) as db:
            db.execute(expire)
    await server.start()
    said = run(server, "why", send.id.hex())
    assert "expired unread; the device sees a gap" in said
    assert "signed" not in said
    assert "has not heard the last" in said


async def test_size_counts_what_there_is(server: ServerProcess) -> None:
    gp, nurse = await enrolled(server), await enrolled(server)
    async with gp.online() as writer:
        for _ in range(5):
            await writer.settle(gp.send(nurse.person))
    said = run(server, "size")
    assert "2 accounts, 2 devices (0 not seen" in said
    assert "5 messages wait in 1 mailboxes" in said
    assert "2 new accounts, 2 new devices" in said
    told = json.loads(run(server, "size", "--json"))
    tables = {table["name"]: table for table in told["sizes"]["tables"]}
    assert tables["envelopes"]["rows"] == 5
    assert tables["sends"]["rows"] == 5
    assert sum(table["bytes"] for table in tables.values()) <= told["sizes"]["total"]
    assert tables["directory_words_0"]["bytes"] > 0
    # PostgreSQL tidies up in between.
    assert server.dsn or told["figures"]["bytes"] == told["sizes"]["total"]
    assert ("The database takes" in said) is bool(server.dsn)
    assert (told["disk_free"] is None) is bool(server.dsn)


@pytest.mark.parametrize("words", [("size",), ("why", "00" * 16)])
def test_no_database_and_no_database_of_ours(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = miss_server(*words, database=tmp_path / "mistyped.sqlite", check=False)
    assert done.returncode == 1
    assert "there is no" in done.stderr
    other = tmp_path / "other.sqlite"
    for content in (b"SQLite format 3\0" + bytes(4096), b"notes"):
        other.write_bytes(content)
        done = miss_server(*words, database=other, check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert other.read_bytes() == content


def in_french(server: ServerProcess, *words: str) -> str:
    """What a command says there."""
    where = ("--domain", DOMAIN, "--database", str(place(server)))
    done = run_command("miss_server", *words, *where, settings={"LANG": "fr_FR.UTF-8"})
    done.check_returncode()
    return done.stdout


async def test_in_french(server: ServerProcess) -> None:
    gp, nurse = await enrolled(server), await enrolled(server)
    async with gp.online() as writer:
        send = gp.send(nurse.person)
        await writer.settle(send)
    assert "2 comptes" in in_french(server, "size")
    assert "attend à la position 1" in in_french(server, "why", send.id.hex())


async def test_an_empty_database_of_postgresql_and_one_that_is_not_reached(
    postgres: PostgresProcess,
) -> None:
    database: Any = (await prepared(postgres)).dsn
    said = await asyncio.to_thread(miss_server, "size", database=database)
    assert "0 accounts, 0 devices" in said.stdout
    assert "The database takes" in said.stdout
    unknown = await asyncio.to_thread(miss_server, "why", "00" * 16, database=database, check=False)
    assert "no message of this id" in unknown.stderr
    nowhere: Any = "postgresql://miss:geheim@127.0.0.1:9/miss"
    away = await asyncio.to_thread(miss_server, "size", database=nowhere, check=False)
    assert away.returncode == 1
    assert "miss-server doctor" in away.stderr
    assert "geheim" not in away.stderr
    assert "Traceback" not in away.stderr
