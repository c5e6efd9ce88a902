"""One seed is one history on SQLite and on PostgreSQL: every frame that the server writes, in order, and
what each device has at the end.

`make simulate ENGINE=postgres` compares fresh seeds for as long as wanted.
"""

import asyncio
from collections.abc import Iterator

import pytest

from tests.simulation.postgres import PostgresDatabase
from tests.simulation.runner import Outcome, differ, run_seed
from tests.support.postgres import PostgresProcess

SEEDS = (0, 1, 2, 3, 4, 16, 28, 49, 52)
"""Every kind of trouble; four worlds are restored, the last one four times."""


@pytest.fixture(scope="module")
def database(
    postgres: PostgresProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresDatabase]:
    """One database for all worlds of this file."""
    with asyncio.Runner() as runner:
        name = runner.run(postgres.new_database())
    made = PostgresDatabase(postgres.dsn(name), tmp_path_factory.mktemp("cast"))
    yield made
    made.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_both_engines_tell_the_same_history(database: PostgresDatabase, seed: int) -> None:
    there = run_seed(seed, database.home)
    assert not there.broken, there.trace
    assert len(there.history) > 100
    assert differ(run_seed(seed), there) == ""


def test_a_difference_is_told() -> None:
    one, other = (Outcome(7, [], 0, 0, history=["a", word]) for word in ("b", "c"))
    assert differ(one, one) == ""
    assert differ(one, other) == "word 1: SQLite 'b', PostgreSQL 'c'"
    other.history = ["a"]
    assert differ(one, other) == "word 1: SQLite 'b', PostgreSQL nothing"
