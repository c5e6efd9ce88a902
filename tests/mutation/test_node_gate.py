"""The gate of PostgreSQL and of several nodes: every fault of `node_faults`, `batch_faults` and
`doorbell_faults` is found by the test that is written beside it, or this fails. Those of `chaos_faults` have theirs in `tests.chaos`.

The tests are those of the product, run here with the fault in place on the same fixtures; without it
they run, and must hold, where they are.
"""

import asyncio
import functools
import gc
import inspect
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import pytest

from tests.contract.test_doorbell import Exchange, over_redis
from tests.mutation import batch_faults, doorbell_faults, node_faults
from tests.mutation.chaos_faults import TROUBLED, TROUBLED_ROOT
from tests.mutation.faults import ALL as FAULTS
from tests.mutation.node_faults import NodeFault
from tests.mutation.played_faults import PLAYED
from tests.server.storage.test_batch_locks import dsn, nodes, phones, watch
from tests.server.storage.test_postgres_trouble import store
from tests.server.storage.test_races import engine

__all__ = [
    "dsn",
    "engine",
    "nodes",
    "phones",
    "store",
    "watch",
]  # fixtures of the tests


@pytest.fixture
async def exchange() -> AsyncIterator[Exchange]:
    """One kind of line is enough to find a fault that is not the line's."""
    async with over_redis() as made:
        yield made


def finding(fault: NodeFault) -> Callable[..., Awaitable[None]]:
    """A test that holds when the fault's own test fails as it should."""

    @functools.wraps(fault.killed_by)
    async def test(*, record_property: Callable[[str, str], None], **given: Any) -> None:
        try:
            with ExitStack() as stack:
                fault.put_in(stack)
                async with asyncio.timeout(fault.within):
                    await fault.killed_by(**given, **fault.given)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  # looked at below
            said = "".join(traceback.format_exception(error))
            error.__traceback__ = None
            gc.collect()  # what the test left half-way ends with it, not in the next one
            assert fault.saying in said, said
        else:
            pytest.fail(f"{fault.killed_by.__name__} does not find it")
        record_property("fault found", f"{fault.name}: {fault.killed_by.__name__}")

    wanted = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(fault.killed_by).parameters.items()
        if name not in fault.given
    ]
    more = inspect.Parameter("record_property", inspect.Parameter.KEYWORD_ONLY)
    test.__signature__ = inspect.Signature([*wanted, more])  # type: ignore[attr-defined]
    # Its parameters are given, and what it leaves half-way was not closed.
    test.pytestmark = [pytest.mark.filterwarnings("ignore")]  # type: ignore[attr-defined]
    return test


ALL = (*batch_faults.ALL, *node_faults.ALL, *doorbell_faults.ALL)
for _fault in ALL:
    globals()[f"test_{_fault.put_in.__name__}"] = finding(_fault)


def test_no_two_faults_have_one_name() -> None:
    some = (FAULTS, PLAYED, ALL, TROUBLED, TROUBLED_ROOT)
    names = [fault.name for faults in some for fault in faults]
    assert len(set(names)) == len(names)


def test_each_says_what_it_must_be_found_by() -> None:
    """Else any run that went wrong would count as one that found it."""
    some = (PLAYED, ALL, TROUBLED, TROUBLED_ROOT)
    assert [fault.name for faults in some for fault in faults if not fault.saying] == []
