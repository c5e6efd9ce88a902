"""The short run of the simulation: every recorded regression, and the same few seeds each time.

`make simulate` runs fresh seeds for as long as wanted.
"""

from pathlib import Path

import pytest

from tests.simulation.runner import REGRESSIONS, load, play, run_seed

SEEDS = range(48)
RECORDED = sorted(REGRESSIONS.glob("*.json"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_broke_once_holds_now(path: Path) -> None:
    outcome = play(*load(path))
    assert not outcome.broken, outcome.trace


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_doubled_or_silent(seed: int) -> None:
    outcome = run_seed(seed)
    assert not outcome.broken, outcome.trace
    assert len(outcome.steps) > 100


def test_the_seeds_exercise_what_they_claim() -> None:
    outcomes = [run_seed(seed) for seed in range(100, 108)]
    assert RECORDED
    assert sum(outcome.messages for outcome in outcomes) > 150
    assert {name for outcome in outcomes for name, _, _ in outcome.steps} >= {
        "cut",
        "crash",
        "phone dies",
        "restore database",
    }
