"""Group commit: neighbours are nobody's fault, storage trouble is told, the end writes everything."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from miss_protocol import frames as f
from miss_protocol.errors import Code, Refused
from miss_server.storage.disk import EXIT_DISK
from miss_server.storage.messages import NotDurable
from miss_server.storage.sqlite import writer
from miss_server.storage.sqlite.engine import driver
from miss_server.storage.sqlite.store import SqliteStore
from miss_server.storage.sqlite.writer import EXIT_WRITER, Writer
from tests.support.devices import Person
from tests.support.mailing import acknowledged_only_anew, enrol, opaque_body, pair
from tests.support.meeting import LIFTED
from tests.support.server import environment
from tests.support.stores import new_file


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An open store."""
    path = tmp_path / "miss.sqlite"
    new_file(path)
    opened = SqliteStore(path, LIFTED)
    opened.open()
    yield opened
    await opened.close()


def note(name: str) -> Any:
    """A job that writes one row."""
    return lambda db: db.execute("INSERT INTO settings VALUES (?, x'00')", (name,)).rowcount


def noted(store: SqliteStore) -> set[str]:
    """The rows that jobs wrote and that are durable."""
    with closing(sqlite3.connect(store.path)) as db:
        return {n for (n,) in db.execute("SELECT name FROM settings WHERE value = x'00'")}


async def write(store: SqliteStore, job: Any) -> Any:
    """Run a job on the driver's connection."""
    return await store._write(lambda connection: job(driver(connection)))


async def behind_a_lock(store: SqliteStore, *jobs: Any) -> list[Any]:
    """Run jobs as one batch: they gather while another process holds the database."""
    lock = sqlite3.connect(store.path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    first = asyncio.ensure_future(write(store, lambda db: None))
    await asyncio.sleep(0)
    rest = [asyncio.ensure_future(write(store, job)) for job in jobs]
    await asyncio.sleep(0)
    lock.execute("ROLLBACK")
    lock.close()
    await first
    return await asyncio.gather(*rest, return_exceptions=True)


async def test_a_refusal_undoes_its_own_job_only(store: SqliteStore) -> None:
    def refusing(db: sqlite3.Connection) -> None:
        note("half")(db)
        raise Refused(Code.CODE_USED)

    outcomes = await behind_a_lock(store, note("a"), refusing, note("b"))
    assert (outcomes[0], outcomes[2]) == (1, 1)
    assert isinstance(outcomes[1], Refused)
    assert noted(store) == {"a", "b"}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (lambda db: note("schema")(db), sqlite3.IntegrityError),
        (lambda db: db.execute("SELECT ?", (object(),)), sqlite3.ProgrammingError),
        (lambda db: db.execute("SELECT ?", (2**70,)), OverflowError),
        (lambda db: 1 // 0, ZeroDivisionError),
    ],
)
async def test_a_fault_in_one_job_fails_none_of_its_neighbours(
    store: SqliteStore, fault: Any, error: type[Exception]
) -> None:
    outcomes = await behind_a_lock(store, note("a"), fault, note("b"))
    assert (outcomes[0], outcomes[2]) == (1, 1)
    assert isinstance(outcomes[1], error)
    assert noted(store) == {"a", "b"}
    with pytest.raises(error):
        await write(store, fault)


async def test_a_locked_database_is_not_durable_and_then_works(store: SqliteStore) -> None:
    store._writer.lock_patience_ms = 10
    with closing(sqlite3.connect(store.path, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        with pytest.raises(NotDurable, match="locked"):
            await write(store, note("a"))
        lock.execute("ROLLBACK")
    assert noted(store) == set()
    assert await write(store, note("a")) == 1


async def test_behind_an_acknowledgement_that_met_a_lock_none_is_stored(store: Any) -> None:
    gp, nurse = await pair(store)
    await gp.submit(gp.send(nurse.person))
    [row] = (await nurse.fetch()).rows
    store._writer.lock_patience_ms = 10
    with closing(sqlite3.connect(store.path, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        with pytest.raises(NotDurable, match="locked"):
            await nurse.ack(row.position, [nurse.receipt(row)])
        lock.execute("ROLLBACK")
    await acknowledged_only_anew(gp, nurse, row)


async def test_a_full_disk_is_not_durable_and_then_works(store: Any) -> None:
    gp, doctor = await pair(store)
    sends = [gp.send(doctor.person, body=opaque_body(4096)) for _ in range(50)]

    def pages(limit: int) -> Any:
        return lambda db: db.execute(f"PRAGMA max_page_count = {limit}").fetchone()[0]

    await write(store, pages(1))  # SQLite takes the present size for the least
    refused: list[f.Send] = []
    for send in sends:
        try:
            await gp.submit(send)
        except NotDurable:
            refused.append(send)
            break
    [again] = refused
    with pytest.raises(NotDurable, match="full"):
        await gp.submit(again)
    await write(store, pages(1_000_000))
    assert isinstance((await gp.submit(again)).reply, f.Sent)
    rows = (await doctor.fetch()).rows
    assert [row.message for row in rows] == [send.id for send in sends[: len(rows)]]
    assert rows[-1].message == again.id


async def test_what_was_handed_in_is_written_before_the_end(store: SqliteStore) -> None:
    jobs = [asyncio.ensure_future(write(store, note(f"n{i}"))) for i in range(700)]
    await asyncio.sleep(0)
    await store._writer.stop()
    assert await asyncio.gather(*jobs) == [1] * 700
    assert len(noted(store)) == 700
    with pytest.raises(NotDurable, match="closing"):
        await write(store, note("late"))
    # The fixture closes once more: that is harmless.


async def test_a_caller_that_gave_up_disturbs_nobody(store: SqliteStore) -> None:
    given_up = asyncio.ensure_future(write(store, note("a")))
    await asyncio.sleep(0)
    given_up.cancel()
    assert await write(store, note("b")) == 1
    assert noted(store) == {"a", "b"}


def test_an_fsync_that_fails_ends_the_process(tmp_path: Path) -> None:
    """After it nobody knows what is on disk: a restart reads what is (rule C4)."""
    program = """
import asyncio, sqlite3, sys
from pathlib import Path
from miss_server.storage.sqlite.store import SqliteStore, prepare

def failing(_):
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    raise error

async def main():
    path = Path(sys.argv[1])
    prepare(path, domain="miss.example", now_ms=1)
    store = SqliteStore(path)
    store.open()
    await store._write(failing)
    print("went on")

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "miss.sqlite")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment(),
    )
    assert done.returncode == EXIT_DISK
    assert "the disk failed" in done.stderr
    assert "went on" not in done.stdout


def test_a_writer_that_ends_takes_the_process_with_it(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from pathlib import Path
from miss_server.storage.sqlite import writer
from miss_server.storage.sqlite.store import SqliteStore, prepare

def failing(*_):
    raise RuntimeError("a fault of ours")

async def main():
    path = Path(sys.argv[1])
    prepare(path, domain="miss.example", now_ms=1)
    store = SqliteStore(path)
    writer.Writer._finish = failing
    store.open()
    await store._write(lambda _: None)
    print("went on")

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "miss.sqlite")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment(),
    )
    assert done.returncode == EXIT_WRITER
    assert "the writer failed" in done.stderr
    assert "went on" not in done.stdout


async def test_enrolments_in_one_batch_are_each_their_own(store: Any) -> None:
    people = [Person() for _ in range(5)]
    await asyncio.gather(*(enrol(store, person) for person in people))
    found = [await store.find(person.account) for person in people]
    assert all(account is not None and account.devices == 1 for account in found)
    assert await store.find(Person().account) is None


async def test_acknowledgements_wait_for_each_other_and_hold_up_no_send(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gp, nurse = await pair(store)
    batches: list[list[str]] = []
    settle = Writer._settle

    def noting(self: Writer, db: sqlite3.Connection, jobs: Any) -> None:
        batches.append([type(job.work).__name__ for job in jobs])
        settle(self, db, jobs)

    for _ in range(3):
        await gp.submit(gp.send(nurse.person))
    monkeypatch.setattr(Writer, "_settle", noting)
    acks = [asyncio.ensure_future(nurse.ack(position)) for position in (1, 2, 3)]
    await gp.submit(gp.send(nurse.person))
    await asyncio.gather(*acks)
    assert batches == [["Submission"], ["Acknowledgement"] * 3]
    with closing(sqlite3.connect(store.path)) as db:
        assert db.execute("SELECT position FROM envelopes").fetchall() == [(4,)]


async def test_many_acknowledgements_wait_for_nothing(store: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(writer, "ACK_LINGER", 3600.0)
    gp, nurse = await pair(store)
    await gp.submit(gp.send(nurse.person))
    await asyncio.gather(*(nurse.ack(1) for _ in range(writer.ACKS_AT_ONCE)))
    assert not (await nurse.fetch()).rows


async def test_what_lingers_is_written_before_the_end(store: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(writer, "ACK_LINGER", 3600.0)
    gp, nurse = await pair(store)
    await gp.submit(gp.send(nurse.person))
    lingering = asyncio.ensure_future(nurse.ack(1))
    await asyncio.sleep(0)
    await store._writer.stop()
    assert not (await lingering).stale
    with closing(sqlite3.connect(store.path)) as db:
        assert db.execute("SELECT count(*) FROM envelopes").fetchone() == (0,)
