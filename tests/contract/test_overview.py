"""The contract of `Overview` and `Writing`: what an operator is told of a database."""

import pytest

from miss_protocol.ids import AccountAddress
from miss_server.storage.overview import Overview, Writing
from miss_server.storage.postgres.overview import PostgresOverview
from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.sqlite.overview import SqliteOverview
from miss_server.storage.sqlite.store import SqliteStore
from miss_server.storage.standing import State
from tests.contract.test_departures import enrolled
from tests.support.devices import NOW
from tests.support.mailing import pair
from tests.support.organisations import (
    AIDE,
    CLAIRE,
    DOCTOR,
    HOME,
    OTHER_HOME,
    STRANGER,
    name,
    open_house,
)

DAY = 24 * 3600 * 1000


@pytest.fixture
def overview(store: SqliteStore | PostgresStore) -> Overview:
    """Of the same database."""
    if isinstance(store, SqliteStore):
        return SqliteOverview(store.path)
    return PostgresOverview(store._options)


async def test_an_empty_database(overview: Overview) -> None:
    figures = await overview.figures(now_ms=NOW)
    assert (figures.accounts, figures.devices, figures.prekeys, figures.waiting) == (0, 0, 0, 0)
    assert (figures.deepest, figures.mailboxes, figures.full) == (0, 0, 0)
    assert figures.oldest_ms is None
    assert (figures.reports_open, figures.oldest_report_ms) == (0, None)
    assert figures.directory_ms is None
    assert figures.epoch == 1
    assert figures.bytes > 0
    assert await overview.trace(bytes(16), now_ms=NOW) == []


async def test_accounts_of_a_month(store: SqliteStore | PostgresStore, overview: Overview) -> None:
    for number, at in enumerate((NOW - 40 * DAY, NOW - DAY, NOW)):
        address = AccountAddress(f"{'abc'[number] * 26}@miss.example")
        await store.create(None, "Dr Fictif", address, now_ms=at)
    assert (await overview.figures(now_ms=NOW)).accounts == 3
    sizes = await overview.sizes(now_ms=NOW)
    assert (sizes.new_accounts, sizes.new_devices, sizes.messages_week) == (2, 0, 0)
    tables = {table.name: table for table in sizes.tables}
    assert tables["accounts"].rows == 3
    assert {"sends", "envelopes", "mailboxes", "settings"} <= tables.keys()
    assert sum(table.bytes for table in sizes.tables) <= sizes.total
    assert 0 <= sizes.free <= sizes.total


async def test_of_a_silenced_message_an_operator_sees_why_it_waits(
    store: SqliteStore | PostgresStore, overview: Overview
) -> None:
    gp, nurse = await pair(store)  # type: ignore[arg-type]  # it is every interface
    await store.act(nurse.person.account, gp.person.account, "block", now_ms=NOW)
    send = gp.send(nurse.person, ttl=60)
    await gp.submit(send)
    [trace] = await overview.trace(send.id, now_ms=NOW)
    [place] = trace.places
    assert (place.state, place.silenced, place.expires_ms) == ("waiting", True, NOW + 60_000)
    await store.expire(protected={}, now_ms=NOW + 60_000)
    [trace] = await overview.trace(send.id, now_ms=NOW)
    [place] = trace.places
    assert (place.state, place.silenced) == ("expired", False)


async def test_organisations_for_which_nobody_can_act(
    store: SqliteStore | PostgresStore, overview: Overview
) -> None:
    await open_house(store)
    doctor, stranger = await enrolled(store, DOCTOR), await enrolled(store, STRANGER)
    assert await overview.without_administrator() == []
    await name(store, doctor.account)
    await name(store, stranger.account, OTHER_HOME)
    assert await overview.without_administrator() == []
    await store.attest_own(doctor.account, HOME, AIDE, now_ms=NOW)
    for account in (doctor.account, stranger.account):
        await store.set_standing(account, State.SUSPENDED, reason="?", actor=CLAIRE, now_ms=NOW)
    assert await overview.without_administrator() == [HOME, OTHER_HOME]
    for organisation, account in ((HOME, doctor.account), (OTHER_HOME, stranger.account)):
        await store.remove_administrator(organisation, account, actor=CLAIRE, now_ms=NOW)
    # It still vouches for somebody; the other one was given up.
    assert await overview.without_administrator() == [HOME]


async def test_a_proof_is_no_failure(store: Writing) -> None:
    writing = store
    await writing.prove_durable(now_ms=NOW)
    await writing.prove_durable(now_ms=NOW + 1)
    assert sum(writing.tally.batch_seconds.counts) == sum(writing.tally.batch_wait.counts)
    assert not writing.tally.failures.total()
