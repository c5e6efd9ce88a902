"""How a message's cost grows with what the server holds: `python -m tests.bench.growth`.

200 connections send to each other as in `throughput`, while one thing grows: the accounts in the
database, the idle connections beside them, or the messages that already wait for their (absent)
recipients. The cost is the server's CPU time for a message.
"""

import argparse
import gc
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvloop

from tests.bench import readme, throughput
from tests.bench import script as scripts
from tests.bench.figures import Figure, medians, save, say
from tests.bench.filling import fill
from tests.bench.machine import allow_open_files
from tests.bench.population import acquaint, populate
from tests.bench.throughput import Case, Load, measure, sends_each

UNIT = "us of server CPU"
ABSENT = 20
"""Recipients whose mailboxes are filled; each has room for what a run adds."""
WHOLE_PATH = Case("whole path, 8 in flight", 8)
TO_ABSENT = Case("to absent devices, 8 in flight", 8, ends_with_sent=True)


@dataclass(frozen=True)
class Scale:
    """At which points each axis is measured, and with how many connections that send."""

    accounts: tuple[int, ...] = (1_000, 10_000, 100_000)
    connections: tuple[int, ...] = (200, 2_000, 10_000)
    waiting: tuple[int, ...] = (0, 100, 1_000, 10_000)
    active: int = throughput.CONNECTIONS
    seconds: float = 4.0


def figures(*, runs: int = 3, scale: Scale | None = None) -> list[Figure]:
    """Medians over `runs` for each point of each axis."""
    scale = scale or Scale()
    allow_open_files(max(scale.connections, default=0) + 1_000)
    out: list[Figure] = []
    axes = (
        (_accounts, scale.accounts),
        (_connections, scale.connections),
        (_waiting, scale.waiting),
    )
    for axis in (axis for axis, points in axes if points):
        with tempfile.TemporaryDirectory(prefix="miss-bench-") as folder:
            for name, load, case in axis(Path(folder), scale):
                try:
                    found = [_cost(name, load, case, scale.seconds) for _ in range(runs)]
                finally:
                    gc.unfreeze()
                out += medians(found)
                say(out[-1:])
    return out


def _cost(name: str, load: Load, case: Case, seconds: float) -> list[Figure]:
    _, per_cpu, *_ = uvloop.run(measure(load, case, seconds))
    return [Figure(name, 1e6 / per_cpu.value, UNIT)]


Point = tuple[str, Load, Case]


def _accounts(folder: Path, scale: Scale) -> Iterator[Point]:
    load = throughput.prepare(folder, [WHOLE_PATH], scale.seconds, scale.active)
    there = scale.active
    for count in scale.accounts:
        populate(load.template, count - there, keys=False)
        there = count
        yield f"growth, accounts: {count:,}", load, WHOLE_PATH


def _connections(folder: Path, scale: Scale) -> Iterator[Point]:
    load = throughput.prepare(folder, [WHOLE_PATH], scale.seconds, scale.active)
    idle = populate(load.template, max(scale.connections) - scale.active)
    for count in scale.connections:
        some = idle[: count - scale.active]
        yield (
            f"growth, connections: {count:,}",
            Load(folder, load.peers, load.scripts, some),
            WHOLE_PATH,
        )


def _waiting(folder: Path, scale: Scale) -> Iterator[Point]:
    empty = folder / "empty.sqlite"
    peers = populate(empty, scale.active)
    sender, *absent = populate(empty, ABSENT + 1, keys=False)
    script = scripts.write(peers, sends_each(scale.seconds, scale.active), recipients=absent)
    acquaint(empty, script.pairs)
    for depth in scale.waiting:
        load = Load(folder, peers, {"message": script})
        shutil.copy(empty, load.template)
        fill(load.template, sender, absent, depth)
        yield f"growth, waiting for each recipient: {depth:,}", load, TO_ABSENT


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one short run of small steps")
    parser.add_argument("--write", action="store_true", help="also into the README of the bench")
    chosen = parser.parse_args()
    quick = Scale((1_000, 2_000), (200, 400), (0, 100), seconds=1.0)
    found = figures(runs=1 if chosen.quick else chosen.runs, scale=quick if chosen.quick else None)
    save(found, Path("bench.json"))
    if chosen.write:
        readme.write(Path("bench.json"))


if __name__ == "__main__":
    main()
