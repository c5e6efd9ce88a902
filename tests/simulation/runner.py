"""Runs worlds from seeds, quickly and for as long as wanted; writes each failing run to a file.

`python -m tests.simulation.runner` is `make simulate`: `--seconds`, `--first SEED`, `--processes`;
`--engine postgres` plays each seed there too, and what it tells must be what SQLite's tells.
A regression file holds the profile and the steps, so it replays whatever the seeds come to mean.
"""

import argparse
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import msgspec

from tests.simulation.homes import MakeHome, SqliteHome
from tests.simulation.postgres import Far, PostgresDatabase
from tests.simulation.world import Profile, Step, World
from tests.support.postgres import postgres_server

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
    history: list[str] = field(default_factory=list)
    """See `Ground.history`."""


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


def play(
    profile: Profile,
    steps: Sequence[Step],
    seed: int = 0,
    most: int = STEPS,
    make_home: MakeHome = SqliteHome,
) -> Outcome:
    """Run steps, then heal and check."""
    outcome = Outcome(seed, [], 0, 0)
    with World(profile, make_home) as world:
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
        outcome.history = [*world.history, *world.ends()]
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


def run_seed(seed: int, make_home: MakeHome = SqliteHome) -> Outcome:
    """Draw and play one seed."""
    profile, steps = draw(seed)
    return play(profile, steps, seed, make_home=make_home)


def differ(here: Outcome, there: Outcome) -> str:
    """Where the history of one seed on SQLite and that on PostgreSQL part; empty if nowhere."""
    for number, (one, other) in enumerate(zip_longest(here.history, there.history)):
        if one != other:
            told = ("nothing" if word is None else repr(word) for word in (one, other))
            return "word {}: SQLite {}, PostgreSQL {}".format(number, *told)
    return ""


_database: PostgresDatabase | None = None


def _start_postgres(dsns: "SimpleQueue[str]") -> None:
    """In each process: take one of the databases."""
    global _database  # a process of the pool has no other place
    folder = Path(tempfile.mkdtemp(prefix="miss-"))
    _database = PostgresDatabase(dsns.get(), folder)
    shutil.rmtree(folder)


def run_on_both(seed: int) -> Outcome:
    """Play one seed on PostgreSQL, and compare it with SQLite's."""
    assert _database is not None
    there = run_seed(seed, _database.home)
    there.broken = there.broken or differ(run_seed(seed), there)
    there.history = []
    return there


@contextmanager
def _workers(engine: str, processes: int) -> Iterator[tuple[Executor, Callable[[int], Outcome]]]:
    """Processes, and what they do with a seed."""
    if engine == "sqlite":
        with ProcessPoolExecutor(processes) as pool:
            yield pool, run_seed
        return
    far, dsns = Far(), multiprocessing.get_context("spawn").SimpleQueue()
    serving = postgres_server(fsync="off")  # nobody cuts the power of a simulation
    server = far.run(serving.__aenter__())
    try:
        for _ in range(processes):
            dsns.put(server.dsn(far.run(server.new_database())))
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            processes, mp_context=spawn, initializer=_start_postgres, initargs=(dsns,)
        ) as pool:
            yield pool, run_on_both
    finally:
        far.run(serving.__aexit__(None, None, None))
        far.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run seeds until the time is over; returns how many broke something."""
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=float, default=600)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--engine", choices=("sqlite", "postgres"), default="sqlite")
    options.add_argument("--processes", type=int, default=1)
    options.add_argument("--stop", action="store_true", help="at the first failure")
    options.add_argument("--no-record", action="store_true")
    chosen = options.parse_args(arguments)
    begun = time.monotonic()
    seeds = steps = messages = restores = 0
    broken: list[Outcome] = []
    with _workers(chosen.engine, chosen.processes) as (pool, run):
        following = chosen.first
        running = {pool.submit(run, following + n) for n in range(chosen.processes)}
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
                running.add(pool.submit(run, following))
                following += 1
    seconds = time.monotonic() - begun
    replayed = 5 if chosen.engine == "sqlite" and not chosen.no_record else 0
    for outcome in broken[:replayed]:
        path = record(outcome, Profile.of(outcome.seed))
        print(f"recorded {path}", file=sys.stderr)  # noqa: T201
    print(  # noqa: T201
        f"{seeds} worlds, {steps} steps ({steps / seconds:.0f} a second), {messages} messages,"
        f" {restores} restores, {seconds:.0f} s: {len(broken)} broke an invariant"
    )
    return min(len(broken), 100)


if __name__ == "__main__":
    sys.exit(main())
