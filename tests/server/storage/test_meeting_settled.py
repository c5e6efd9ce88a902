"""Of whom nothing is asked when they write: both engines leave out the same pairs, and no others."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest

from miss_server.storage.postgres import batch
from miss_server.storage.postgres import meeting as on_postgres
from miss_server.storage.settlement.meeting import Pair, Row
from miss_server.storage.sqlite import meeting as on_sqlite
from miss_server.storage.sqlite.engine import driver, open_engine
from miss_server.storage.sqlite.kept import Kept
from miss_server.storage.sqlite.store import prepare
from tests.support.devices import DOMAIN, NOW
from tests.support.postgres import PostgresProcess
from tests.support.stores import prepared

Both = tuple[Row | None, Row | None]


def settled(mine: Row | None, theirs: Row | None) -> bool:
    """Each wrote to the other, or was accepted after writing; nothing is unanswered, declined, blocked."""
    if mine is None or theirs is None:
        return False
    _, _, first, unanswered, _, declined, _ = mine
    _, _, their_first, _, accepted, their_declined, blocked = theirs
    answered = their_first is not None or accepted is not None
    refused = (declined, their_declined, blocked) != (None, None, None)
    return first is not None and answered and not unanswered and not refused


def every_row(owner: str, peer: str) -> list[Row | None]:
    """What there can be from one to the other."""
    times = None, NOW
    return [
        None,
        *(
            (owner, peer, first, unanswered, accepted, declined, blocked)
            for first, unanswered, accepted, declined, blocked in product(
                times, (0, 1), times, times, times
            )
        ),
    ]


def everything() -> dict[Pair, Both]:
    """All that there can be both ways, each between two others."""
    states = range(len(every_row("", "")))
    found: dict[Pair, Both] = {}
    for number, (mine, theirs) in enumerate(product(states, states)):
        own, peer = f"own{number}@miss.example", f"peer{number}@miss.example"
        found[own, peer] = every_row(own, peer)[mine], every_row(peer, own)[theirs]
    return found


def rows_of(world: dict[Pair, Both]) -> list[Row]:
    """Those that there are."""
    return [row for both in world.values() for row in both if row is not None]


def unsettled(world: dict[Pair, Both]) -> Sequence[Pair]:
    """The pairs that must be told."""
    return sorted(pair for pair, both in world.items() if not settled(*both))


async def test_postgresql_tells_of_those_who_are_not_settled(postgres: PostgresProcess) -> None:
    world = everything()
    pairs = list(world)
    connection = await postgres.connect((await prepared(postgres)).dsn.rpartition("/")[2])
    try:
        await connection.execute(on_postgres.KEEP, *zip(*rows_of(world), strict=True))
        found = await connection.fetch(batch._ACCOUNTS_AND_RELATIONS, [], *zip(*pairs, strict=True))
    finally:
        await connection.close()
    told = [on_postgres.told(pairs[number - 1], what) for _, _, number, *_, what, _, _ in found]
    assert sorted(pair for pair, _, _ in told) == unsettled(world)
    # What is told of them is what there is.
    for pair, *both in told:
        for (owner, peer, *said), row in zip(both, world[pair], strict=True):
            assert {owner, peer} == set(pair)
            first, unanswered, *acts = (None, 0, None, None, None) if row is None else row[2:]
            assert [one is None for one in said] == [one is None for one in (first, 0, *acts)]
            assert said[1] == unanswered


def test_sqlite_tells_of_those_who_are_not_settled(tmp_path: Path) -> None:
    world = everything()
    path = tmp_path / "miss.sqlite"
    prepare(path, domain=DOMAIN, now_ms=NOW)
    engine = open_engine(path)
    try:
        with engine.begin() as connection:
            db, kept = driver(connection), Kept()
            on_sqlite.keep(db, rows_of(world), ())
            for _ in range(2):  # the second time settled ones are known
                told = kept.unsettled(db, list(world))
                assert sorted(pair for pair, _, _ in told) == unsettled(world)
                assert all((mine, theirs) == world[pair] for pair, mine, theirs in told)
            statements: list[str] = []
            db.set_trace_callback(statements.append)
            assert kept.unsettled(db, [pair for pair in world if settled(*world[pair])]) == []
            assert not statements
    finally:
        engine.dispose()


@pytest.mark.parametrize("spare", [0, 1])
def test_too_many_settled_ones_are_forgotten_and_nothing_else(
    tmp_path: Path, spare: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = {pair: both for pair, both in everything().items() if settled(*both)}
    monkeypatch.setattr("miss_server.storage.sqlite.kept.PAIRS_MAX", len(world) - 1 + spare)
    path = tmp_path / "miss.sqlite"
    prepare(path, domain=DOMAIN, now_ms=NOW)
    engine = open_engine(path)
    try:
        with engine.begin() as connection:
            db = driver(connection)
            on_sqlite.keep(db, rows_of(world), ())
            kept = Kept().fresh(db)
            assert kept.unsettled(db, list(world)) == []
            assert kept.fresh(db) is kept
            statements: list[str] = []
            db.set_trace_callback(statements.append)
            assert kept.unsettled(db, list(world)) == []
            assert bool(statements) is not bool(spare)
    finally:
        engine.dispose()
