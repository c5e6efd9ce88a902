"""The gate of first contacts and of standing: every fault of `meeting_faults` is found by the test that is
written beside it, or this fails. Without a fault the tests run, and must hold, where they are.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from miss_server.storage.settlement.meeting import FirstContacts
from miss_server.storage.sqlite.store import SqliteStore
from tests.mutation.faults import ALL as FAULTS
from tests.mutation.meeting_faults import ALL
from tests.mutation.node_faults import ALL as NODES
from tests.mutation.played_faults import PLAYED
from tests.mutation.test_node_gate import finding
from tests.support.stores import new_file


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An empty store, as strangers meet in it."""
    path = tmp_path / "miss.sqlite"
    new_file(path)
    opened = SqliteStore(path, FirstContacts())
    opened.open()
    yield opened
    await opened.close()


for _fault in ALL:
    globals()[f"test_{_fault.put_in.__name__}"] = finding(_fault)


def test_no_fault_has_the_name_of_another() -> None:
    names = [fault.name for faults in (FAULTS, PLAYED, NODES, ALL) for fault in faults]
    assert len(set(names)) == len(names)
