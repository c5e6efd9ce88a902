"""The gate: every named fault is found by the worlds that are written beside it, or this fails.

A fault that no world finds any more means that the oracles, the steps or the seeds have gone blind:
`python -m tests.mutation.search NAME` looks for seeds that find it again. Faults that only
real processes show are in `played_faults`, and `tests/crash/test_faults.py` is their gate. The run's
last lines tell what found each.
"""

from collections.abc import Callable

import pytest

from tests.mutation.faults import ALL, Fault
from tests.mutation.played_faults import PLAYED
from tests.simulation.runner import run_seed

FAULTS_WANTED = 14


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
def test_the_fault_is_found(fault: Fault, record_property: Callable[[str, str], None]) -> None:
    for seed in fault.killed_by:
        with fault.present():
            outcome = run_seed(seed)
        found = outcome.broken.removeprefix("the server made a mistake: ")
        assert fault.is_told_by(found), f"seed {seed} says {found or 'nothing'}"
        record_property("fault found", f"{fault.name}: world {seed}, {found[:70]}")


@pytest.mark.parametrize("seed", sorted({seed for fault in ALL for seed in fault.killed_by}))
def test_without_a_fault_the_same_worlds_find_nothing(seed: int) -> None:
    assert not run_seed(seed).broken


def test_there_are_enough_faults() -> None:
    names = [fault.name for fault in (*ALL, *PLAYED)]
    assert len(set(names)) == len(names) >= FAULTS_WANTED
