"""What PostgreSQL must not do for a search, whatever it has learnt of the tables: read all accounts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from miss_server.storage.sql.words import FEW
from tests.support.devices import NOW
from tests.support.directories import PostgresShelf
from tests.support.postgres import PostgresProcess
from tests.support.searching import CARDIOLOGIST, NURSE, Bench


@pytest.fixture(params=[FEW, 0])
def bench(
    request: pytest.FixtureRequest, postgres: PostgresProcess, tmp_path: Path
) -> Iterator[Bench]:
    shelf = PostgresShelf(postgres, few=request.param)
    made = Bench(shelf, tmp_path)
    made.load(CARDIOLOGIST, NURSE)
    made.join(1, NOW)
    yield made
    shelf.close()


@pytest.mark.parametrize("query", ["lef lille", "lefevre"])
def test_an_entrys_account_is_found_through_an_index(bench: Bench, query: str) -> None:
    """The two columns are sorted differently: an index answers only who says in whose order they compare."""
    told: list[tuple[str, Any]] = []

    def note(_on: object, _cursor: object, statement: str, values: Any, *_more: object) -> None:
        if "accounts a" in statement and "directory_entries" in statement:
            told.append((statement, values))

    def plans(on: Connection) -> list[str]:
        event.listen(on, "before_cursor_execute", note)
        assert bench.shelf.directory.search(on, query, now_ms=NOW).entries
        event.remove(on, "before_cursor_execute", note)
        with on.begin():
            on.exec_driver_sql("SET LOCAL enable_seqscan = off")
            return [
                "\n".join(on.exec_driver_sql("EXPLAIN " + statement, values).scalars())
                for statement, values in told
            ]

    found = bench.shelf.read(plans)
    assert found
    for plan in found:
        assert "accounts_person" in plan or "person)::text = (a.person)" in plan, plan
        assert "accounts_pkey" not in plan or "relations" in plan, plan
