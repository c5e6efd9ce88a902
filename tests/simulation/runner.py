"""Runs worlds from seeds, quickly and for as long as wanted; writes each failing run to a file.

`python -m tests.simulation.runner` is `make simulate`: `--seconds`, `--first SEED`, `--processes`.
A regression file holds the profile and the steps, so it replays whatever the seeds come to mean.
"""

import argparse
import random
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from tests.simulation.world import Profile, Step, World

REGRESSIONS = Path(__file__).parent / "regressions"
STEPS = 400
FAULTS = frozenset({"cut", "phone dies", "crash", "restore phone", "restore database"})


class Run(msgspec.Struct):
    """A recorded run."""

    found: str
    """What it broke when it was found."""
    profile: dict[str, bool]
    steps: list[tuple[str, int, int]]


@dataclass
class Outcome:
    """What became of one seed."""

    seed: int
    steps: list[Step]
    messages: int
    restores: int
    broken: str = ""
    trace: str = ""


def draw(seed: int, steps: int = STEPS) -> tuple[Profile, list[Step]]:
    """The profile and the steps of a seed; which of them are possible only the world knows."""
    chance = random.Random(seed)
    names = list(World.ACTS)
    weights = [weight for _, weight in World.ACTS.values()]
    rough = chance.choice((0.1, 0.5, 1.0))  # calm worlds get further, rough ones into odd corners
    shares = [
        weight * (rough if name in FAULTS else 1.0)
        for name, weight in zip(names, weights, strict=True)
    ]
    chosen = chance.choices(names, shares, k=steps * 2)
    drawn = [(name, chance.randrange(1 << 12), chance.randrange(1 << 12)) for name in chosen]
    return Profile.of(seed), drawn


def play(profile: Profile, steps: Sequence[Step], seed: int = 0, most: int = STEPS) -> Outcome:
    """Run steps, then heal and check."""
    outcome = Outcome(seed, [], 0, 0)
    with World(profile) as world:
        try:
            for step in steps:
                outcome.steps.append(step)
                if not world.step(step):
                    outcome.steps.pop()
                if len(outcome.steps) >= most:
                    break
            world.heal()
        except AssertionError as error:
            outcome.broken = str(error) or type(error).__name__
            outcome.trace = traceback.format_exc()
        outcome.messages = world.messages
        outcome.restores = world.ledger.restores
    return outcome


def shrink(profile: Profile, steps: Sequence[Step], found: str, seconds: float = 30) -> list[Step]:
    """Leave out what is not needed to break the same invariant."""
    kept, size, until = list(steps), max(1, len(steps) // 2), time.monotonic() + seconds
    while size and time.monotonic() < until:
        at = 0
        while at < len(kept) and time.monotonic() < until:
            fewer = kept[:at] + kept[at + size :]
            if play(profile, fewer).broken[:4] == found[:4]:
                kept = fewer
            else:
                at += size
        size //= 2
    return kept


def record(outcome: Outcome, profile: Profile, *, name: str = "") -> Path:
    """Write a failing run, shortened, where CI replays it."""
    steps = shrink(profile, outcome.steps, outcome.broken)
    run = Run(play(profile, steps).broken, asdict(profile), steps)
    path = REGRESSIONS / f"{name or f'seed-{outcome.seed}'}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")
    return path


def load(path: Path) -> tuple[Profile, list[Step]]:
    """Read a recorded run."""
    run = msgspec.json.decode(path.read_bytes(), type=Run)
    return Profile(**run.profile), run.steps


def run_seed(seed: int) -> Outcome:
    """Draw and play one seed."""
    profile, steps = draw(seed)
    return play(profile, steps, seed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run seeds until the time is over; returns how many broke something."""
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=float, default=600)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--processes", type=int, default=1)
    options.add_argument("--stop", action="store_true", help="at the first failure")
    options.add_argument("--no-record", action="store_true")
    chosen = options.parse_args(arguments)
    begun = time.monotonic()
    seeds = steps = messages = restores = 0
    broken: list[Outcome] = []
    with ProcessPoolExecutor(chosen.processes) as pool:
        following = chosen.first
        running = {pool.submit(run_seed, following + n) for n in range(chosen.processes)}
        following += chosen.processes
        while running:
            done = next(as_completed(running))
            running.discard(done)
            outcome = done.result()
            seeds, steps = seeds + 1, steps + len(outcome.steps)
            messages, restores = messages + outcome.messages, restores + outcome.restores
            if outcome.broken:
                broken.append(outcome)
                print(f"seed {outcome.seed}: {outcome.broken}", file=sys.stderr)  # noqa: T201
            if time.monotonic() - begun < chosen.seconds and not (broken and chosen.stop):
                running.add(pool.submit(run_seed, following))
                following += 1
    seconds = time.monotonic() - begun
    for outcome in broken[: 0 if chosen.no_record else 5]:
        path = record(outcome, Profile.of(outcome.seed))
        print(f"recorded {path}", file=sys.stderr)  # noqa: T201
    print(  # noqa: T201
        f"{seeds} worlds, {steps} steps ({steps / seconds:.0f} a second), {messages} messages,"
        f" {restores} restores, {seconds:.0f} s: {len(broken)} broke an invariant"
    )
    return min(len(broken), 100)


if __name__ == "__main__":
    sys.exit(main())
