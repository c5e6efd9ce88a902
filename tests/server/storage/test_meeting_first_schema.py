"""A version that knows relations and administrators serves a database that has neither: messages go,
calls are refused."""

from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from miss_protocol import frames as f
from miss_protocol.errors import Code, Refused
from miss_server.storage import migrating
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.sql import leavers, reports
from miss_server.storage.sqlite import upgrading
from miss_server.storage.sqlite.store import SqliteStore
from tests.server.storage.test_migrating import LATER, first_database, first_file, in_database
from tests.support.databases import url
from tests.support.devices import DOMAIN, NOW
from tests.support.mailing import pair
from tests.support.postgres import PostgresProcess

MANY = 4
"""More than may be written before an answer, once there is where to count them."""


async def messages_go_and_calls_are_refused(store: SqliteStore | PostgresStore) -> None:
    gp, nurse = await pair(store)  # type: ignore[arg-type]  # it is all that is asked of it
    for _ in range(MANY):
        settled = await gp.submit(gp.send(nurse.person, ttl=60))
        assert isinstance(settled.reply, f.Sent)
    assert len((await nurse.fetch()).rows) == MANY
    assert await store.expire(protected={}, now_ms=LATER)
    await store.clean(now_ms=NOW)
    assert await store.read_with(reports.sums) == (0, None)
    own, other = gp.person.account, nurse.person.account
    for call in (
        store.relations(own),
        store.relation(own, other),
        store.act(own, other, "block", now_ms=NOW),
        store.reach_rules(own),
        store.budget(own),
        store.administrators(),
        store.own_people(own, "1590000014", after="", limit=9, now_ms=NOW),
        store.attest_own(own, "1590000014", "local.members.7", now_ms=NOW),
        store.reports_by(own, before=None, limit=1),
        store.signer(other, nurse.id),
    ):
        with pytest.raises(Refused) as caught:
            await call
        assert caught.value.code is Code.BUSY
    assert await store.enrolled_by(own) == ""
    assert await store.unvouched(["local.members.7"]) == set()
    await store._write(lambda connection: leavers.note(connection, 0, NOW))
    assert await store.clean(now_ms=NOW) >= 0


async def counts_now(store: SqliteStore | PostgresStore) -> None:
    gp, nurse = await pair(store)  # type: ignore[arg-type]
    for _ in range(MANY):
        settled = await gp.submit(gp.send(nurse.person))
    assert isinstance(settled.reply, f.Refused)
    assert settled.reply.code == "unanswered"


async def test_a_file_of_the_first_schema(tmp_path: Path) -> None:
    path = first_file(tmp_path)
    store = SqliteStore(path)
    store.open()
    await messages_go_and_calls_are_refused(store)
    await store.close()
    upgrading.upgrade(path, domain=DOMAIN, now_ms=LATER)
    store = SqliteStore(path)
    store.open()
    await counts_now(store)
    await store.close()


async def test_a_node_amid_whose_work_the_step_is_taken(postgres: PostgresProcess) -> None:
    name = await first_database(postgres)
    engine = create_async_engine(url(postgres, name))
    store = PostgresStore(Options(postgres.dsn(name)))
    await messages_go_and_calls_are_refused(store)
    await in_database(engine, migrating.upgrade)
    await counts_now(store)
    await store.close()
    await engine.dispose()
