"""Looks for seeds that find a fault: `python -m tests.mutation.search [NAME ...] [--most N]`."""

import argparse

from tests.mutation.faults import ALL
from tests.simulation.runner import run_seed


def main() -> None:
    """Print, for each fault, the first seeds that find it and what they say."""
    options = argparse.ArgumentParser()
    options.add_argument("names", nargs="*")
    options.add_argument("--most", type=int, default=200)
    options.add_argument("--enough", type=int, default=4)
    chosen = options.parse_args()
    for fault in ALL:
        if chosen.names and fault.name not in chosen.names:
            continue
        found = 0
        for seed in range(chosen.most):
            with fault.present():
                outcome = run_seed(seed)
            if outcome.broken:
                found += 1
                print(f"{fault.name}: seed {seed}, {len(outcome.steps)} steps: {outcome.broken}")  # noqa: T201
            if found >= chosen.enough:
                break
        else:
            print(f"{fault.name}: {found} in {chosen.most} seeds")  # noqa: T201


if __name__ == "__main__":
    main()
