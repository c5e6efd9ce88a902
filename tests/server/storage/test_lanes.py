"""Batches of one node beside each other: over other devices they wait for nobody, and what one device
asks for, or is sent, keeps its order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from miss_protocol import frames as f
from miss_server.storage.messages import NotDurable, SessionStart
from miss_server.storage.postgres import jobs, writer
from miss_server.storage.postgres.batch import Batch
from miss_server.storage.postgres.jobs import Bundle
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.postgres.writer import Writer
from tests.support.devices import NOW, Person
from tests.support.mailing import Phone, Store, enrol, pair, phone
from tests.support.meeting import LIFTED
from tests.support.postgres import PostgresProcess
from tests.support.stores import prepared


@pytest.fixture
async def wide(
    postgres: PostgresProcess, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PostgresStore]:
    """A store with room for batches beside each other."""
    monkeypatch.setattr(writer, "LANES", 2)
    opened = PostgresStore(Options((await prepared(postgres)).dsn, size=5), first_contacts=LIFTED)
    opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def people(wide: PostgresStore) -> list[Phone]:
    """Six people, connected."""
    each = [Person() for _ in range(4)]
    for person in each:
        await enrol(cast(Store, wide), person)
    found = [*await pair(cast(Store, wide)), *(phone(cast(Store, wide), one) for one in each)]
    for one in found[2:]:
        await one.connect()
    return found


@asynccontextmanager
async def first_stands(
    monkeypatch: pytest.MonkeyPatch, *, before: str = "COMMIT"
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """The first batch stands before its COMMIT, or before its statements, until the block ends; what is
    yielded waits until it stands and, if it is the COMMIT, is taken for a slow one."""
    stands, lasts, goes = asyncio.Event(), asyncio.Event(), asyncio.Event()
    owner, name = (Writer, "_end") if before == "COMMIT" else (Batch, "run")
    real, commit_lasts = getattr(owner, name), Writer._commit_lasts

    async def standing(*given: Any) -> None:
        if not stands.is_set():
            stands.set()
            await goes.wait()
        await real(*given)

    def noted(self: Writer, bundle: Bundle) -> None:
        commit_lasts(self, bundle)
        lasts.set()

    async def until_it_stands() -> None:
        await stands.wait()
        if before == "COMMIT":
            await lasts.wait()

    monkeypatch.setattr(owner, name, standing)
    monkeypatch.setattr(Writer, "_commit_lasts", noted)
    try:
        yield until_it_stands
    finally:
        goes.set()


async def under_way(store: PostgresStore) -> int:
    """How many batches, once what was just handed in had its chance to begin."""
    for _ in range(3):
        await asyncio.sleep(0)
    return len(store._writer._under_way)


async def test_over_other_devices_a_batch_waits_for_nobody(
    wide: PostgresStore, people: list[Phone], monkeypatch: pytest.MonkeyPatch
) -> None:
    gp, nurse, cardiologist, pharmacist, *_ = people
    async with first_stands(monkeypatch) as until_it_stands:
        first = asyncio.ensure_future(gp.submit(gp.send(nurse.person)))
        await until_it_stands()
        beside = await cardiologist.submit(cardiologist.send(pharmacist.person))
        assert isinstance(beside.reply, f.Sent)
        assert not first.done()
    assert isinstance((await first).reply, f.Sent)


async def test_what_one_device_sends_and_is_sent_keeps_its_order(
    wide: PostgresStore, people: list[Phone], monkeypatch: pytest.MonkeyPatch
) -> None:
    gp, nurse, cardiologist, pharmacist, midwife, dentist = people
    order: list[str] = []

    def submitted(name: str, sender: Phone, recipient: Phone) -> asyncio.Future[Any]:
        settling = asyncio.ensure_future(sender.submit(sender.send(recipient.person)))
        settling.add_done_callback(lambda _: order.append(name))
        return settling

    async with first_stands(monkeypatch) as until_it_stands:
        answers = [submitted("first", gp, nurse)]
        await until_it_stands()
        answers += [
            submitted("of the same sender", gp, cardiologist),
            submitted("to the same recipient", cardiologist, nurse),
            # It could go on its own, but must not come before what its sender sent first.
            submitted("after that one", cardiologist, pharmacist),
            submitted("apart", midwife, dentist),
        ]
        await answers[-1]
        assert order == ["apart"]
    for settled in await asyncio.gather(*answers):
        assert isinstance(settled.reply, f.Sent)
    assert order[1] == "first"
    assert order.index("to the same recipient") < order.index("after that one")
    assert len((await nurse.fetch()).rows) == 2


async def test_a_session_begins_after_what_the_last_one_sent(
    wide: PostgresStore, people: list[Phone], monkeypatch: pytest.MonkeyPatch
) -> None:
    gp, nurse, *_ = people
    async with first_stands(monkeypatch) as until_it_stands:
        sending = asyncio.ensure_future(gp.submit(gp.send(nurse.person)))
        await until_it_stands()
        coming = asyncio.ensure_future(wide.begin_session(gp.greeting(), now_ms=NOW))
        await asyncio.sleep(0)
        assert not coming.done()
    assert isinstance((await sending).reply, f.Sent)
    assert isinstance(await coming, SessionStart)


async def test_beside_much_no_other_batch_begins(
    wide: PostgresStore, people: list[Phone], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SMALL", 1)
    gp, nurse, cardiologist, pharmacist, *_ = people
    async with first_stands(monkeypatch) as until_it_stands:
        two = [asyncio.ensure_future(gp.submit(gp.send(nurse.person))) for _ in range(2)]
        await until_it_stands()
        apart = asyncio.ensure_future(cardiologist.submit(cardiologist.send(pharmacist.person)))
        assert await under_way(wide) == 1
    for answer in (*two, apart):
        assert isinstance((await answer).reply, f.Sent)


async def test_beside_one_that_does_not_wait_for_its_commit_no_other_begins(
    wide: PostgresStore, people: list[Phone], monkeypatch: pytest.MonkeyPatch
) -> None:
    gp, nurse, cardiologist, pharmacist, *_ = people
    async with first_stands(monkeypatch, before="statements") as until_it_stands:
        first = asyncio.ensure_future(gp.submit(gp.send(nurse.person)))
        await until_it_stands()
        apart = asyncio.ensure_future(cardiologist.submit(cardiologist.send(pharmacist.person)))
        assert await under_way(wide) == 1
    for answer in (first, apart):
        assert isinstance((await answer).reply, f.Sent)


async def test_acknowledgements_wait_for_each_other_and_hold_up_no_send(
    wide: PostgresStore, people: list[Phone], monkeypatch: pytest.MonkeyPatch
) -> None:
    gp, nurse, *_ = people
    batches: list[list[str]] = []
    real = Writer._commit

    async def noting(self: Writer, some: Any, *rest: Any) -> None:
        batches.append([type(job.work).__name__ for job in some])
        await real(self, some, *rest)

    for _ in range(3):
        await gp.submit(gp.send(nurse.person))
    monkeypatch.setattr(Writer, "_commit", noting)
    acks = [asyncio.ensure_future(nurse.ack(position)) for position in (1, 2, 3)]
    await gp.submit(gp.send(nurse.person))
    await asyncio.gather(*acks)
    assert batches == [["Submission"], ["Acknowledgement"] * 3]
    nurse.position = 3
    assert [row.position for row in (await nurse.fetch()).rows] == [4]


async def test_many_acknowledgements_wait_for_nothing(
    wide: PostgresStore, people: list[Phone], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "ACK_LINGER", 3600.0)
    gp, nurse, *_ = people
    await gp.submit(gp.send(nurse.person))
    await asyncio.gather(*(nurse.ack(1) for _ in range(jobs.ACKS_AT_ONCE)))
    assert not (await nurse.fetch()).rows


async def test_what_lingers_or_is_behind_another_batch_is_written_before_the_end(
    wide: PostgresStore, people: list[Phone], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "ACK_LINGER", 3600.0)
    gp, nurse, *_ = people
    async with first_stands(monkeypatch) as until_it_stands:
        first = asyncio.ensure_future(gp.submit(gp.send(nurse.person)))
        await until_it_stands()
        second = asyncio.ensure_future(gp.submit(gp.send(nurse.person)))
        ack = asyncio.ensure_future(nurse.ack(tick=0))
        await asyncio.sleep(0)
        stopping = asyncio.ensure_future(wide._writer.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
    await stopping
    assert not ack.result().stale
    for answer in (first, second):
        assert isinstance(answer.result().reply, f.Sent)
    with pytest.raises(NotDurable, match="closing"):
        await gp.submit(gp.send(nurse.person))


async def test_while_it_fails_all_fail_together_and_not_at_once_again(
    wide: PostgresStore, people: list[Phone], monkeypatch: pytest.MonkeyPatch
) -> None:
    gp, nurse, cardiologist, pharmacist, *_ = people
    real, commits = Writer._commit, list[int]()

    async def failing(self: Writer, some: Any, *rest: Any) -> None:
        commits.append(len(some))
        if len(commits) < 3:
            raise ConnectionResetError("PostgreSQL went away")
        await real(self, some, *rest)

    monkeypatch.setattr(Writer, "_commit", failing)
    one, other = gp.send(nurse.person), cardiologist.send(pharmacist.person)
    with pytest.raises(NotDurable):
        await gp.submit(one)
    again = asyncio.ensure_future(gp.submit(one))
    await asyncio.sleep(0)
    both = await asyncio.gather(again, cardiologist.submit(other), return_exceptions=True)
    assert [type(outcome) for outcome in both] == [NotDurable, NotDurable]
    assert isinstance((await gp.submit(one)).reply, f.Sent)
    assert isinstance((await cardiologist.submit(other)).reply, f.Sent)
    assert commits[:3] == [1, 2, 1]
