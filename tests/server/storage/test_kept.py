"""Rows that the writer keeps between transactions: never believed when somebody else may have
written, or when what was written was undone. Each test shows that it would see the mistake."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from miss_protocol import frames as f
from miss_protocol.errors import Code
from miss_server.storage.messages import NotDurable, Settled
from miss_server.storage.sqlite import kept as rows
from miss_server.storage.sqlite.engine import driver
from miss_server.storage.sqlite.kept import Kept
from miss_server.storage.sqlite.store import SqliteStore
from tests.mutation import kept as faults
from tests.support.mailing import pair
from tests.support.meeting import LIFTED
from tests.support.stores import new_file

Fault = Callable[[ExitStack], None]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An open store."""
    path = tmp_path / "miss.sqlite"
    new_file(path)
    opened = SqliteStore(path, LIFTED)
    opened.open()
    yield opened
    await opened.close()


def hand(store: Any) -> sqlite3.Connection:
    """The writer's own connection, for a moment at which it writes nothing."""
    assert store._writer._connection is not None
    return driver(store._writer._connection)


def code(settled: Settled) -> str:
    """`sent`, or why it was refused."""
    if isinstance(settled.reply, f.Sent):
        return "sent"
    assert isinstance(settled.reply, f.Refused)
    return settled.reply.code


async def test_what_is_kept_is_not_read_again(store: Any) -> None:
    gp, cardiologist = await pair(store)
    assert code(await gp.submit(gp.send(cardiologist.person))) == "sent"
    # Until they are settled, what is counted is read each time.
    assert code(await cardiologist.submit(cardiologist.send(gp.person))) == "sent"
    for _ in range(2):
        assert code(await gp.submit(gp.send(cardiologist.person))) == "sent"
    statements: list[str] = []
    hand(store).set_trace_callback(statements.append)
    assert code(await gp.submit(gp.send(cardiologist.person))) == "sent"
    hand(store).set_trace_callback(None)
    assert statements[0].startswith("BEGIN")
    assert not [one for one in statements if "SELECT" in one]
    found = await cardiologist.fetch()
    assert [row.position for row in found.rows] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("fault", "said"),
    [(None, Code.SUSPENDED.wire), (faults.rows_kept_past_another_writer, "sent")],
    ids=["as it is", "with the fault"],
)
async def test_another_process_that_writes_is_noticed(
    store: Any, fault: Fault | None, said: str
) -> None:
    gp, cardiologist = await pair(store)
    with ExitStack() as stack:
        if fault is not None:
            fault(stack)
        assert code(await gp.submit(gp.send(cardiologist.person))) == "sent"
        with closing(sqlite3.connect(store.path)) as other, other:
            other.execute("UPDATE accounts SET suspended = 1")
        assert code(await gp.submit(gp.send(cardiologist.person))) == said


@pytest.mark.parametrize(
    ("fault", "said"),
    [(None, "sent"), (faults.rows_kept_past_a_failed_commit, Code.SN_FORGOTTEN.wire)],
    ids=["as it is", "with the fault"],
)
async def test_what_a_failed_commit_undid_is_forgotten(
    store: Any, fault: Fault | None, said: str
) -> None:
    gp, cardiologist = await pair(store)
    # A constraint that is looked at by COMMIT and by nothing before it.
    for statement in (
        "PRAGMA foreign_keys = ON",
        "CREATE TABLE nobody (id INTEGER PRIMARY KEY)",
        "CREATE TABLE child (id REFERENCES nobody DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TRIGGER trap AFTER INSERT ON sends BEGIN INSERT INTO child VALUES (1); END",
    ):
        hand(store).execute(statement)
    send = gp.send(cardiologist.person)
    with ExitStack() as stack:
        if fault is not None:
            fault(stack)
        with pytest.raises(NotDurable, match="FOREIGN KEY"):
            await gp.submit(send)
        hand(store).execute("DROP TRIGGER trap")
        assert code(await gp.submit(send)) == said


async def test_full_mailboxes_empty_for_what_is_kept_too(store: Any) -> None:
    gp, cardiologist = await pair(store)
    for _ in range(3):
        assert code(await gp.submit(gp.send(cardiologist.person))) == "sent"
    await cardiologist.fetch()
    await cardiologist.ack(2)
    assert code(await gp.submit(gp.send(cardiologist.person))) == "sent"
    with closing(sqlite3.connect(store.path)) as db:
        [(waiting, size)] = db.execute(
            "SELECT waiting, bytes FROM mailboxes WHERE device = ?", (cardiologist.id,)
        )
        counted = db.execute(
            "SELECT count(*), sum(length(body) + length(wrap) + 160) FROM envelopes WHERE device = ?",
            (cardiologist.id,),
        ).fetchone()
    assert (waiting, size) == counted
    assert waiting == 2


async def test_more_rows_than_are_kept(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gp, cardiologist = await pair(store)
    assert code(await gp.submit(gp.send(cardiologist.person))) == "sent"
    kept = store._writer._kept
    assert kept.fresh(hand(store)) is kept
    monkeypatch.setattr(rows, "ROWS_MAX", 1)
    assert isinstance(fresh := kept.fresh(hand(store)), Kept)
    assert fresh is not kept
    assert code(await gp.submit(gp.send(cardiologist.person))) == "sent"
