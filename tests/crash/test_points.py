"""Every play is cut at every point that it passes: the server ends there, hard, and starts again.

A real `miss-server` on real sockets; after the restart the devices go on as phones do, and what had
been promised must hold: what was answered is there exactly once, what was not answered is said again
and makes no second one, and the file is whole.

The table is `points.py`. One point again, as a failure names it:

    pytest 'tests/crash/test_points.py::test_a_crash_breaks_no_promise[live-commit.after submit-1]'

What a play passes, in order: `MISS_TRACE=1 pytest tests/crash -k "passes and live" -s`.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.killers import cut_and_go_on, prepare
from tests.crash.points import PLAYS, POINTS, cases, is_aside
from tests.crash.stage import Stage

pytestmark = pytest.mark.timeout(90)


@pytest.mark.parametrize("name", PLAYS)
async def test_the_play_passes_the_points_of_the_table(
    stage: Stage, name: str, tmp_path: Path
) -> None:
    """So that nothing in the server can move away from under its points unnoticed."""
    play, trace = PLAYS[name](), tmp_path / "trace"
    await prepare(play, stage)
    assert await play.cut(stage, "--trace", str(trace)) == 0, stage.server.log_text()
    if os.environ.get("MISS_TRACE"):
        print(trace.read_text())  # noqa: T201
    passed, wanted = Counter(trace.read_text().splitlines()), POINTS[name]
    aside = {point for point in passed if is_aside(name, point)}
    assert set(passed) - aside == set(wanted) - aside
    assert all(passed[point] >= times for point, times in wanted.items()), passed
    await stage.start(*play.options)
    await play.act(stage)
    await play.check(stage)


@pytest.mark.parametrize(("name", "point", "nth"), cases())
async def test_a_crash_breaks_no_promise(stage: Stage, name: str, point: str, nth: int) -> None:
    await cut_and_go_on(stage, name, point, nth)
