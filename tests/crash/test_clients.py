"""The reference client ends at each of its own points, hard, and starts again on the same store;
and the server ends under it.

    pytest 'tests/crash/test_clients.py::test_a_client_may_end_anywhere[receive-came deliver-1]'

`MISS_TRACE=1 pytest tests/crash/test_clients.py -k passes -s` shows what it passes, in order.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.client_points import BESIDE, POINTS, cases
from tests.crash.homes import Homes
from tests.crash.killers import come_back, die_and_go_on, restore_and_go_on

ENDS = (
    "commit.after begin_session",
    "reply.before welcome",
    "taken send",
    "commit.before submit",
    "commit.after submit",
    "reply.before sent",
    "delivery.before deliver",
    "delivery.after deliver",
    "taken ack",
    "commit.after acknowledge",
    "reply.before acked",
    "delivery.before status",
)
"""Where the server ends under clients that are connected."""

pytestmark = pytest.mark.timeout(90)


@pytest.mark.parametrize("program", POINTS)
async def test_the_client_passes_the_points_of_the_table(
    homes: Homes, program: str, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    assert await homes.run(program, "--trace", str(trace)) == 0
    if os.environ.get("MISS_TRACE"):
        print(trace.read_text())  # noqa: T201
    passed = Counter(trace.read_text().splitlines())
    assert set(passed) - BESIDE[program] == set(POINTS[program])
    assert all(passed[point] >= times for point, times in POINTS[program].items()), passed


@pytest.mark.parametrize(("program", "point", "nth"), cases())
async def test_a_client_may_end_anywhere(homes: Homes, program: str, point: str, nth: int) -> None:
    await die_and_go_on(homes, program, point, nth)


@pytest.mark.parametrize("point", ENDS)
async def test_clients_come_back_by_themselves(homes: Homes, point: str) -> None:
    await come_back(homes, point)


async def test_a_restored_server_gets_again_what_it_called_sent(homes: Homes) -> None:
    await restore_and_go_on(homes)
