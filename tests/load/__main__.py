"""Faults under load: `python -m tests.load [--seeds 1,2,3] [--only NAME] [--short] [--write]`.

Ends with 1 if anything was lost, doubled or passed over in silence. Some faults need root; without
it they end the run with an error.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.load import table
from tests.load.catalogue import FAULTS, ROOT_FAULTS
from tests.load.ledger import Verdict, together
from tests.load.stage import Fault, run


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load")
    parser.add_argument("--seeds", default="1,2,3", help="one run of each fault a seed")
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--short", action="store_true", help="seconds a run, as in the tests")
    parser.add_argument("--write", action="store_true", help="rewrite the table of tests/README.md")
    chosen = parser.parse_args()
    if chosen.write and (chosen.only or chosen.short):
        parser.error("the table is written by a whole run only")
    return chosen


def _run(fault: Fault, seeds: list[int], *, short: bool) -> Verdict:
    verdicts = []
    for seed in seeds:
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="miss-load-") as folder:
            verdict = asyncio.run(run(fault, seed, Path(folder), short=short))
        verdicts.append(verdict)
        _say(f"{fault.name}, seed {seed}, {time.perf_counter() - begun:.0f} s: {verdict}")
    return together(verdicts)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run, print, and write the table if asked."""
    chosen = _arguments()
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    faults = [
        fault for fault in (*FAULTS, *ROOT_FAULTS) if chosen.only.lower() in fault.name.lower()
    ]
    begun = time.perf_counter()
    results = [(fault.name, len(seeds), _run(fault, seeds, short=chosen.short)) for fault in faults]
    broken = [name for name, _, verdict in results if not verdict.holds]
    seconds = time.perf_counter() - begun
    _say(f"{len(results)} faults, {len(seeds)} runs each, in {seconds:.0f} s")
    if chosen.write:
        table.write(results, f"make faults SEEDS={chosen.seeds}", seconds)
    if broken:
        _say(f"not kept: {', '.join(broken)}")
    return 1 if broken or not results else 0


if __name__ == "__main__":
    sys.exit(main())
