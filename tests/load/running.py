"""Plays a catalogue of faults from the command line, and writes its table.

`[--seeds 1,2,3] [--only NAME] [--short] [--write]`. Ends with 1 if anything was lost, doubled or passed
over in silence.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from tests.load import table
from tests.load.ledger import Verdict, together


class Named(Protocol):
    """A fault of some catalogue."""

    @property
    def name(self) -> str:
        """As the table has it."""
        ...


F_contra = TypeVar("F_contra", bound=Named, contravariant=True)
F = TypeVar("F", bound=Named)


class Run(Protocol[F_contra]):
    """Plays a fault once."""

    def __call__(
        self, fault: F_contra, seed: int, folder: Path, *, short: bool
    ) -> Awaitable[Verdict]:
        """Play it."""
        ...


def main(target: str, faults: Sequence[F], run: Run[F]) -> int:
    """Run, print, and write the table if asked; returns the exit status.

    Args:
        target: of the Makefile, and the name of the table's place in tests/README.md.
    """
    chosen = _arguments(target)
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    played = [fault for fault in faults if chosen.only.lower() in fault.name.lower()]
    begun = time.perf_counter()
    results = [
        (fault.name, len(seeds), _play(run, fault, seeds, short=chosen.short)) for fault in played
    ]
    broken = [name for name, _, verdict in results if not verdict.holds]
    seconds = time.perf_counter() - begun
    _say(f"{len(results)} faults, {len(seeds)} runs each, in {seconds:.0f} s")
    if chosen.write:
        names = [fault.name for fault in faults]
        table.write(results, names, f"make {target} SEEDS={chosen.seeds}", target)
    if broken:
        _say(f"not kept: {', '.join(broken)}")
    return 1 if broken or not results else 0


def _arguments(target: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"make {target}")
    parser.add_argument("--seeds", default="1,2,3", help="one run of each fault a seed")
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--short", action="store_true", help="seconds a run, as in the tests")
    parser.add_argument("--write", action="store_true", help="the rows of tests/README.md, too")
    chosen = parser.parse_args()
    if chosen.write and chosen.short:
        parser.error("the table is written by runs in full only")
    return chosen


def _play(run: Run[F], fault: F, seeds: list[int], *, short: bool) -> Verdict:
    verdicts = []
    for seed in seeds:
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="miss-faults-") as folder:
            verdict = asyncio.run(_once(run, fault, seed, Path(folder), short=short))
        verdicts.append(verdict)
        _say(f"{fault.name}, seed {seed}, {time.perf_counter() - begun:.0f} s: {verdict}")
    return together(verdicts)


async def _once(run: Run[F], fault: F, seed: int, folder: Path, *, short: bool) -> Verdict:
    return await run(fault, seed, folder, short=short)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
