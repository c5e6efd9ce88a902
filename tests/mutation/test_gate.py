"""The gate: every named fault is found by a world, or this fails.

The world that is written beside a fault is tried first. Whatever changes the moments at which things
happen makes of the same seed another world, so when that one does not find the fault any more, up to
`MORE_WORLDS` others are tried, of at most `STEPS` steps each and with the same troubles (a seed is one
of `Profile.SEEDS` profiles). A fault that none of them finds means that the oracles or the steps have
gone blind. The run's last lines tell what found each; `python -m tests.mutation.search NAME` looks for
worlds to write down anew, so that the gate stays quick.

Faults that only real processes show are in `played_faults`, and `tests/crash/test_faults.py` is their
gate; those of PostgreSQL and of several nodes in `node_faults`, with `test_node_gate`; those of first
contacts and of standing in `meeting_faults`, with `test_meeting_gate`.
"""

from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from tests.mutation.faults import ALL, Fault
from tests.mutation.played_faults import PLAYED
from tests.simulation.ground import Profile
from tests.simulation.runner import run_seed

FAULTS_WANTED = 14
MORE_WORLDS = 120
"""Some 48,000 steps, a minute: the rarest faults show in one of 25 worlds of their profile."""


def worlds(fault: Fault) -> Iterator[int]:
    """The seeds to try: those that are written down, then others of the same profiles."""
    yield from fault.killed_by
    for more in range(1, 1 + MORE_WORLDS):
        yield from (seed + more * Profile.SEEDS for seed in fault.killed_by)


def says(seed: int) -> str:
    """What a world finds, without the words around it."""
    return run_seed(seed).broken.removeprefix("the server made a mistake: ")


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
def test_the_fault_is_found(fault: Fault, record_property: Callable[[str, str], None]) -> None:
    heard: list[str] = []
    for seed in islice(worlds(fault), 1 + MORE_WORLDS):
        with fault.present():
            found = says(seed)
        if not fault.is_told_by(found):
            heard.append(f"{seed}: {found or 'nothing'}")
            continue
        if seed not in fault.killed_by:
            assert not says(seed), f"world {seed} finds something without the fault, too"
        after = f" (after {len(heard)} others: write it down)" if heard else ""
        record_property("fault found", f"{fault.name}: world {seed}{after}, {found[:70]}")
        return
    pytest.fail("no world finds it. They say\n" + "\n".join(heard))


@pytest.mark.parametrize("seed", sorted({seed for fault in ALL for seed in fault.killed_by}))
def test_without_a_fault_the_same_worlds_find_nothing(seed: int) -> None:
    assert not run_seed(seed).broken


def test_there_are_enough_faults() -> None:
    names = [fault.name for fault in (*ALL, *PLAYED)]
    assert len(set(names)) == len(names) >= FAULTS_WANTED
