"""What the store on PostgreSQL does when PostgreSQL is in trouble, and that it comes back by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import pytest

from miss_protocol import frames as f
from miss_server.storage.database import DatabaseError
from miss_server.storage.messages import Greeting, NotDurable, Settled
from miss_server.storage.postgres import pool as pools
from miss_server.storage.postgres.pool import Connection, Options
from miss_server.storage.postgres.preparing import prepare
from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.postgres.writer import Writer
from tests.support.devices import DOMAIN, NOW
from tests.support.mailing import Phone, acknowledged_only_anew, pair, phone
from tests.support.meeting import LIFTED
from tests.support.postgres import USER, PostgresProcess, postgres_server
from tests.support.stores import prepared


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(Options(dsn), first_contacts=LIFTED)
    store.open()
    yield store
    await store.close()


@pytest.fixture
async def store(postgres: PostgresProcess) -> AsyncIterator[PostgresStore]:
    """On a cluster that all tests share."""
    async with opened((await prepared(postgres)).dsn) as store:
        yield store


@pytest.fixture
async def own() -> AsyncIterator[PostgresProcess]:
    """A cluster that may be harmed."""
    async with postgres_server() as cluster:
        yield cluster


async def until_durable(one: Phone, send: f.Send) -> Settled:
    """As a client: the same send again and again."""
    while True:
        try:
            return await one.submit(send)
        except NotDurable:
            await asyncio.sleep(0.05)  # as its `retry_after` would have it


async def test_postgres_killed_amid_a_batch_is_not_durable_and_the_retry_makes_one_message(
    own: PostgresProcess,
) -> None:
    dsn = (await prepared(own)).dsn
    async with opened(dsn) as store:
        gp, nurse = await pair(store)  # type: ignore[arg-type]  # it is all that is asked of it
        blocker = await asyncpg.connect(dsn)
        await blocker.execute("BEGIN")
        await blocker.execute("SELECT 1 FROM mailboxes WHERE device = $1 FOR UPDATE", nurse.id)
        sends = [gp.send(nurse.person) for _ in range(10)]
        amid = [asyncio.ensure_future(gp.submit(send)) for send in sends]
        waiting = 0
        while not waiting:
            waiting = await blocker.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")
        await own.kill()
        blocker.terminate()
        for outcome in await asyncio.gather(*amid, return_exceptions=True):
            assert isinstance(outcome, NotDurable)
        with pytest.raises(NotDurable):
            await store.heads([nurse.id])
        with pytest.raises(NotDurable):
            await store.find(gp.person.account)
        assert store.tally.failures["connection"] > 0
        await own.start()
        answers = await asyncio.gather(*(until_durable(gp, send) for send in sends))
        assert all(isinstance(answer.reply, f.Sent) for answer in answers)
        assert [row.message for row in (await nurse.fetch()).rows] == [send.id for send in sends]


async def test_a_commit_whose_answer_was_lost_is_made_once(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gp, nurse = await pair(store)  # type: ignore[arg-type]
    real = Writer._end

    async def lost(self: Writer, db: Connection) -> None:
        monkeypatch.setattr(Writer, "_end", real)
        await real(self, db)
        raise ConnectionResetError("the answer was lost")

    monkeypatch.setattr(Writer, "_end", lost)
    send = gp.send(nurse.person)
    with pytest.raises(NotDurable):
        await gp.submit(send)
    assert isinstance((await gp.submit(send)).reply, f.Sent)
    assert [row.message for row in (await nurse.fetch()).rows] == [send.id]


async def test_behind_an_acknowledgement_that_was_undone_none_is_stored(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gp, nurse = await pair(store)  # type: ignore[arg-type]
    await gp.submit(gp.send(nurse.person))
    [row] = (await nurse.fetch()).rows
    real = Writer._end

    async def undone(self: Writer, db: Connection) -> None:
        monkeypatch.setattr(Writer, "_end", real)
        raise ConnectionResetError("it never arrived")

    monkeypatch.setattr(Writer, "_end", undone)
    with pytest.raises(NotDurable, match="never arrived"):
        await nurse.ack(row.position, [nurse.receipt(row)])
    await acknowledged_only_anew(gp, nurse, row)


async def test_a_read_only_server_stores_nothing_and_the_store_goes_on_afterwards(
    own: PostgresProcess,
) -> None:
    async with opened((await prepared(own)).dsn) as store:
        gp, nurse = await pair(store)  # type: ignore[arg-type]
        send = gp.send(nurse.person)

        async def read_only(state: str) -> None:
            await own.sql(f"ALTER SYSTEM SET default_transaction_read_only = {state}")
            await own.sql("SELECT pg_reload_conf()")

        await read_only("on")
        seen = False
        while not seen:
            try:
                await gp.submit(send)  # its session hears of the new setting a moment later
            except NotDurable as error:
                seen = "25006" in str(error)
            else:
                send = gp.send(nurse.person)
        assert (await store.heads([nurse.id]))[nurse.id].position == send.sn - 1
        await own.sql("ALTER SYSTEM RESET default_transaction_read_only")
        await own.sql("SELECT pg_reload_conf()")
        assert isinstance((await until_durable(gp, send)).reply, f.Sent)


async def test_a_frozen_server_is_given_up_in_time(
    own: PostgresProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "COMMAND_SECONDS", 0.5)
    monkeypatch.setattr(pools, "CONNECT_SECONDS", 0.5)
    async with opened((await prepared(own)).dsn) as store:
        gp, nurse = await pair(store)  # type: ignore[arg-type]
        send = gp.send(nurse.person)
        own.freeze()
        with pytest.raises(NotDurable):
            await gp.submit(send)
        own.thaw()
        assert isinstance((await until_durable(gp, send)).reply, f.Sent)
        assert [row.message for row in (await nurse.fetch()).rows] == [send.id]


async def test_a_changed_schema_needs_no_restart(
    store: PostgresStore, postgres: PostgresProcess
) -> None:
    gp, nurse = await pair(store)  # type: ignore[arg-type]
    for change in (
        'ALTER TABLE devices ALTER COLUMN "window" TYPE bigint',
        "ALTER TABLE envelopes ADD COLUMN later text NOT NULL DEFAULT ''",
        "ALTER TABLE mailboxes ALTER COLUMN waiting TYPE bigint",
        "ALTER TABLE sends ALTER COLUMN kind TYPE varchar(20)",
    ):
        async with store._pool.connection() as db:
            await db.execute(change)
        assert isinstance((await gp.submit(gp.send(nurse.person))).reply, f.Sent)
        [row] = (await nurse.fetch()).rows
        await nurse.ack(row.position, [nurse.receipt(row)])
        await gp.connect()
        assert (await store.heads([gp.id]))[gp.id].generation == gp.generation
        assert await store.find(gp.person.account) is not None


async def test_what_is_proved_is_the_way_that_batches_go(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "CONNECT_SECONDS", 2)
    await store.prove_durable(now_ms=NOW)
    async with AsyncExitStack() as stack:
        for _ in range(Options("").size):
            await stack.enter_async_context(store._pool.connection())
        # The quiet part has connections of its own, and is well.
        assert await store.epoch()
        with pytest.raises(NotDurable):
            await store.prove_durable(now_ms=NOW)
    await store.prove_durable(now_ms=NOW)


async def test_what_one_job_breaks_is_its_own_trouble(store: PostgresStore) -> None:
    gp, nurse = await pair(store)  # type: ignore[arg-type]
    bad = gp.send(nurse.person, rosters=(f.RosterUsed(gp.person.account[:-1] + "\0", 1),))
    good = nurse.send(gp.person)
    broken, sent = await asyncio.gather(gp.submit(bad), nurse.submit(good), return_exceptions=True)
    assert isinstance(broken, asyncpg.PostgresError | asyncpg.DataError)
    assert isinstance(sent, Settled)
    assert isinstance(sent.reply, f.Sent)
    assert isinstance((await gp.submit(gp.send(nurse.person, sn=1))).reply, f.Sent)


async def test_a_deadlock_with_somebody_else_is_tried_again(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gp, nurse = await pair(store)  # type: ignore[arg-type]
    real = Writer._end
    tries: list[int] = []

    async def crossed(self: Writer, db: Connection) -> None:
        tries.append(len(tries))
        if len(tries) < 3:
            # What a deadlock is reported as, by the server itself.
            await db.execute("DO $$ BEGIN RAISE deadlock_detected; END $$")
        await real(self, db)

    monkeypatch.setattr(Writer, "_end", crossed)
    assert isinstance((await gp.submit(gp.send(nurse.person))).reply, f.Sent)
    assert len(tries) == 3
    assert len((await nurse.fetch()).rows) == 1


@pytest.mark.parametrize("level", ["off", "local", "remote_write"])
async def test_a_server_that_answers_before_the_disk_is_refused(
    postgres: PostgresProcess, level: str
) -> None:
    dsn = (await prepared(postgres)).dsn
    name = dsn.rpartition("/")[2]
    await postgres.sql(f"ALTER DATABASE {name} SET synchronous_commit = {level}")
    with pytest.raises(DatabaseError, match="synchronous_commit"):
        await prepare(Options(dsn), domain=DOMAIN, now_ms=NOW)
    async with opened(dsn) as store:
        with pytest.raises(NotDurable, match="synchronous_commit"):
            await store.begin_session(
                Greeting(b"x" * 16, 0, bytes(32), 0, b"", 1, "test"),  # type: ignore[arg-type]
                now_ms=NOW,
            )


async def test_fsync_off_is_refused_unless_a_test_asks_for_it() -> None:
    async with postgres_server(fsync="off") as cluster:
        dsn = cluster.dsn(await cluster.new_database())
        with pytest.raises(DatabaseError, match="fsync"):
            await prepare(Options(dsn), domain=DOMAIN, now_ms=NOW)
        await prepare(Options(dsn, unsafe_fsync=True), domain=DOMAIN, now_ms=NOW)


async def test_databases_that_are_not_ours_are_refused(postgres: PostgresProcess) -> None:
    dsn = (await prepared(postgres)).dsn
    name = dsn.rpartition("/")[2]
    await prepare(Options(dsn), domain=DOMAIN, now_ms=NOW)
    with pytest.raises(DatabaseError, match="domain"):
        await prepare(Options(dsn), domain="other.example", now_ms=NOW)
    await postgres.sql("UPDATE settings SET value = '999' WHERE name = 'schema'", database=name)
    with pytest.raises(DatabaseError, match="newer"):
        await prepare(Options(dsn), domain=DOMAIN, now_ms=NOW)
    await postgres.sql("DROP TABLE settings", database=name)
    with pytest.raises(DatabaseError, match="another program"):
        await prepare(Options(dsn), domain=DOMAIN, now_ms=NOW)
    for wrong in (
        dsn.replace(name, "nowhere"),
        dsn.replace(USER, "nobody"),
        "postgresql://miss@127.0.0.1:1/x",
        "what is this",
    ):
        with pytest.raises(DatabaseError, match="PostgreSQL"):
            await prepare(Options(wrong), domain=DOMAIN, now_ms=NOW)


async def test_an_orderly_end_writes_what_was_handed_in(postgres: PostgresProcess) -> None:
    dsn = (await prepared(postgres)).dsn
    async with opened(dsn) as store:
        gp, nurse = await pair(store)  # type: ignore[arg-type]
        sends = [gp.send(nurse.person) for _ in range(3)]
        pending = [asyncio.ensure_future(gp.submit(send)) for send in sends]
        await asyncio.sleep(0)
        ack = asyncio.ensure_future(gp.ack(tick=0))
        await asyncio.sleep(0)
    for settled in await asyncio.gather(*pending):
        assert isinstance(settled.reply, f.Sent)
    assert not (await ack).stale
    with pytest.raises(NotDurable):
        await gp.submit(gp.send(nurse.person))
    async with opened(dsn) as again:
        assert len((await phone(again, nurse.person).fetch()).rows) == 3  # type: ignore[arg-type]
